//! The five functions that a host calls.
//!
//! They are unsafe in one respect only: their names must not be those of something else. Every address that comes in is looked up in the
//! record of what was allocated, and never followed by itself.

use std::cell::RefCell;

use smtp_fallback_policy::Module;

use crate::places::Places;
use crate::request;

/// What an instance remembers between calls.
struct Instance {
    module: Module,
    places: Places,
    /// Of the last call; empty before the first.
    answer: String,
}

std::thread_local! {
    /// An instance has one thread. It is borrowed for the whole of each function: one that trapped leaves it borrowed, so that every later
    /// one traps as well, and none works on what is half done.
    static INSTANCE: RefCell<Instance> =
        const { RefCell::new(Instance { module: Module::new(), places: Places::new(), answer: String::new() }) };
}

/// A place of so many octets for the host to write to; 0 where there is none.
// SAFETY: no other symbol of this module has the name, and C's library is not linked.
#[unsafe(no_mangle)]
extern "C" fn allocate(octets: u32) -> u32 {
    INSTANCE.with_borrow_mut(|instance| instance.places.allocate(octets))
}

/// Gives a place back. What is not a place, with its size, is left alone.
// SAFETY: no other symbol of this module has the name; C's library, whose `free` it would be, is not linked.
#[unsafe(no_mangle)]
extern "C" fn free(address: u32, octets: u32) {
    INSTANCE.with_borrow_mut(|instance| instance.places.free(address, octets));
}

/// Makes the call that stands in a place: 0 where it was answered, 1 where it was not understood.
// SAFETY: no other symbol of this module has the name.
#[unsafe(no_mangle)]
extern "C" fn call(address: u32, octets: u32) -> u32 {
    INSTANCE.with_borrow_mut(|Instance { module, places, answer }| {
        *answer = String::new();
        let outcome = places.written(address, octets).and_then(|request| request::answer(module, request));
        let (status, text) = match outcome {
            Ok(text) => (0, text),
            Err(error) => (1, request::print_error(&error)),
        };
        *answer = text;
        status
    })
}

/// Where the answer of the last call is.
// SAFETY: no other symbol of this module has the name.
#[unsafe(no_mangle)]
extern "C" fn answer() -> u32 {
    INSTANCE.with_borrow(|Instance { answer, .. }| if answer.is_empty() { 0 } else { answer.as_ptr().expose_provenance() as u32 })
}

/// How long it is.
// SAFETY: no other symbol of this module has the name.
#[unsafe(no_mangle)]
extern "C" fn answer_octets() -> u32 {
    INSTANCE.with_borrow(|instance| instance.answer.len() as u32)
}

//! Runs `tests/vectors/`, the shared truth of every way to call the module. `vectors/README.md` states the format.
//!
//! The face here is the Rust library. Those that need a runtime are in `tests/src`: without one this builds in seconds.

mod face;
mod run;
mod vector;

pub use face::{Face, Native};
pub use run::{Failure, run};
pub use vector::{Call, Step, Vector, vectors, vectors_in};

/// The secret that every vector is configured with, where it names none.
pub const SECRET: &[u8] = b"0123456789abcdef";

//! libsmtp_fallback: the policy component for programs in C, and in whatever language can call C. `include/smtp_fallback.h` says what each
//! function does, and is what callers rely on.
//!
//! | module | what |
//! |---|---|
//! | this one | the border: pointers, texts, panics |
//! | [`answer`] | codes and answers |
//! | [`settings`] | what `smtp_fallback_open` reads |
//! | [`handle`] | a component with its policy, from opening to closing |
//! | [`policies`] | the policy in force |
//! | [`records`] | the store behind a handle, from the first call on |
//! | [`log`] | warnings and failures, to the caller's function |

mod answer;
mod handle;
mod log;
mod policies;
mod records;
mod settings;

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::answer::{Code, Error, guarded};
use crate::handle::Handle;

/// More octets are not read: far more than a mail's facts, and than a policy may have.
const MAX_OCTETS: usize = 16 << 20;

/// `smtp_fallback_open`
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smtp_fallback_open(
    settings: *const c_char,
    handle: *mut *mut Handle,
    answer: *mut *mut c_char,
) -> c_int {
    // SAFETY: the caller gives NULL or a place for a handle.
    if let Some(handle) = unsafe { handle.as_mut() } {
        *handle = std::ptr::null_mut();
    }
    // SAFETY: `answer` is NULL or a place for a text; `settings` is NULL or a text that ends with NUL; see above for `handle`.
    unsafe {
        guarded(answer, || {
            log::begin();
            let place = handle.as_mut().ok_or_else(|| null("handle"))?;
            let (opened, summary) = Handle::open(text("settings", settings)?)?;
            *place = Box::into_raw(Box::new(opened));
            Ok(summary)
        })
    }
}

/// `smtp_fallback_reload`
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smtp_fallback_reload(
    handle: *mut Handle,
    policy_json: *const c_char,
    answer: *mut *mut c_char,
) -> c_int {
    // SAFETY: `answer` is NULL or a place for a text, `handle` NULL or one from `smtp_fallback_open` that was not closed,
    // `policy_json` NULL or a text that ends with NUL.
    unsafe {
        guarded(answer, || {
            let policy = if policy_json.is_null() { None } else { Some(text("policy_json", policy_json)?) };
            of(handle)?.reload(policy)
        })
    }
}

/// A function of the contract with arguments.
macro_rules! with_arguments {
    ($($symbol:ident $function:literal)*) => {$(
        #[doc = concat!("`", stringify!($symbol), "`")]
        ///
        /// # Safety
        /// As the header says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol(handle: *mut Handle, arguments: *const c_char, answer: *mut *mut c_char) -> c_int {
            // SAFETY: `answer` is NULL or a place for a text, `handle` NULL or one from `smtp_fallback_open` that was not closed,
            // `arguments` NULL or a text that ends with NUL.
            unsafe { guarded(answer, || of(handle)?.call($function, text("arguments", arguments)?)) }
        }
    )*};
}

with_arguments! {
    smtp_fallback_keys "keys"
    smtp_fallback_decide "decide"
    smtp_fallback_explain "explain"
    smtp_fallback_parse_address "parse-address"
    smtp_fallback_inspect "inspect"
    smtp_fallback_parse_authentication_results "parse-authentication-results"
}

/// A function of the contract without arguments.
macro_rules! without_arguments {
    ($($symbol:ident $function:literal)*) => {$(
        #[doc = concat!("`", stringify!($symbol), "`")]
        ///
        /// # Safety
        /// As the header says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol(handle: *mut Handle, answer: *mut *mut c_char) -> c_int {
            // SAFETY: `answer` is NULL or a place for a text, `handle` NULL or one from `smtp_fallback_open` that was not closed.
            unsafe { guarded(answer, || of(handle)?.call($function, "{}")) }
        }
    )*};
}

without_arguments! {
    smtp_fallback_describe "describe"
    smtp_fallback_schema "schema"
}

/// `smtp_fallback_free`
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smtp_fallback_free(answer: *mut c_char) {
    // SAFETY: `answer` is NULL or was handed out by this library and not freed yet.
    unsafe { answer::free(answer) }
}

/// `smtp_fallback_close`
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smtp_fallback_close(handle: *mut Handle) {
    let close = || {
        // SAFETY: `handle` is NULL or one from `smtp_fallback_open` that was not closed, and that nobody uses any more.
        match unsafe { handle.as_ref() } {
            None => {}
            // Its threads and its file are those of the process before the fork: to wait for them would be for ever.
            Some(handle) if handle.is_of_another_process() => {}
            // SAFETY: see above. It was made by `Box::into_raw`.
            Some(_) => drop(unsafe { Box::from_raw(handle) }),
        }
        Ok(String::new())
    };
    // SAFETY: no answer is wanted.
    unsafe { guarded(std::ptr::null_mut(), close) };
}

/// `smtp_fallback_version`
#[unsafe(no_mangle)]
pub extern "C" fn smtp_fallback_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// `smtp_fallback_on_log`
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smtp_fallback_on_log(
    log: Option<unsafe extern "C" fn(context: *mut c_void, level: c_int, line: *const c_char)>,
    context: *mut c_void,
) {
    let set = || {
        log::to(log.map(|log| (log, context)));
        Ok(String::new())
    };
    // SAFETY: no answer is wanted.
    unsafe { guarded(std::ptr::null_mut(), set) };
}

/// A fault of this library on command, for the test of its border. Not in a release build.
///
/// # Safety
/// As those of the header.
#[cfg(debug_assertions)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smtp_fallback_test_panic(answer: *mut *mut c_char) -> c_int {
    // SAFETY: `answer` is NULL or a place for a text.
    unsafe { guarded(answer, || panic!("a fault\non command")) }
}

/// The handle behind the pointer.
///
/// # Safety
/// NULL, or a handle from `smtp_fallback_open` that is not closed while the reference lives.
unsafe fn of<'a>(handle: *const Handle) -> Result<&'a Handle, Error> {
    // SAFETY: the caller's duty.
    unsafe { handle.as_ref() }.ok_or_else(|| null("handle"))
}

/// The text behind the pointer.
///
/// # Safety
/// NULL, or a text that ends with NUL and is not changed while the reference lives.
unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a str, Error> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: the caller's duty.
    let octets = unsafe { CStr::from_ptr(pointer) }.to_bytes();
    if octets.len() > MAX_OCTETS {
        let found = octets.len();
        return Err(Error::new(Code::Argument, format!("{name}: found {found} octets, expected at most {MAX_OCTETS}")));
    }
    std::str::from_utf8(octets).map_err(|error| {
        let place = error.valid_up_to();
        Error::new(Code::Argument, format!("{name}: the octet at offset {place} is no UTF-8; JSON is to be in UTF-8"))
    })
}

fn null(name: &str) -> Error {
    Error::new(Code::Argument, format!("{name} is NULL"))
}

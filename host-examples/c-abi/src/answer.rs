//! Codes and answers, and what keeps a panic from crossing the border.

use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use smtp_fallback_embed::{ConfigureError, Failure};
use smtp_fallback_policy::contract::PolicyError;

/// What a function returns. The numbers are those of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Code {
    Argument = 1,
    Policy = 2,
    Component = 3,
    Store = 4,
    Forked = 5,
    Panic = 6,
}

const OK: c_int = 0;

/// Why there is no result: what the answer says then.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Error {
    code: Code,
    message: String,
    /// Of a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<PolicyError>>,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        // One without a list would be a third form of the answer.
        let errors = (code == Code::Policy).then(Vec::new);
        Error { code, message: message.into(), errors }
    }

    /// For the log.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<ConfigureError> for Error {
    fn from(error: ConfigureError) -> Self {
        let message = error.to_string();
        match error {
            ConfigureError::Policy(errors) => Error { code: Code::Policy, message, errors: Some(errors) },
            _ => Error::new(Code::Component, message),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::new(Code::Component, failure.to_string())
    }
}

/// Does the work and puts its result, or what is wrong, where the answer goes. A panic is a code like the others.
///
/// # Safety
/// `answer` is NULL or a place for a text.
pub(crate) unsafe fn guarded(answer: *mut *mut c_char, work: impl FnOnce() -> Result<String, Error>) -> c_int {
    // SAFETY: the caller's duty.
    let mut place = unsafe { answer.as_mut() };
    // Whatever happens, there is something in it that can be freed.
    if let Some(place) = &mut place {
        **place = std::ptr::null_mut();
    }
    let whole = AssertUnwindSafe(|| {
        let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<&str>().map(|&text| text.to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::new(Code::Panic, format!("a fault of the library: {words}; close the handle and open another")))
        });
        let (code, text) = match result {
            Ok(text) => (OK, text),
            Err(error) => (error.code as c_int, smtp_fallback_json::print(&error)),
        };
        if let Some(place) = place {
            // JSON writes a NUL as \u0000.
            *place = CString::new(text).map_or(std::ptr::null_mut(), CString::into_raw);
        }
        code
    });
    let whole = || catch_unwind(whole);
    crate::log::inside(whole).unwrap_or_else(|panic| {
        // Whatever it is, to drop it might panic again.
        std::mem::forget(panic);
        Code::Panic as c_int
    })
}

/// # Safety
/// `answer` is NULL or was put in its place by [`guarded`], and not freed since.
pub(crate) unsafe fn free(answer: *mut c_char) {
    if !answer.is_null() {
        // SAFETY: the caller's duty; `guarded` took it from a `CString`.
        drop(unsafe { CString::from_raw(answer) });
    }
}

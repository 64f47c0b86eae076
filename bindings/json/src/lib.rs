//! The functions of the contract by JSON: a name and its arguments in, the result out, in the mapping that
//! [`smtp_fallback_policy::contract`] and `tests/vectors/README.md` state.
//!
//! Faces whose border carries texts share it: the core module, the npm package, the C library. [`Call::read`] says what is wrong with a call
//! and where; [`answer`] makes a call on the module itself. A host that has the module elsewhere (the C library has it under wasmtime)
//! takes the [`Call`] apart and uses [`print()`] and [`print_result`].
//!
//! ```
//! use smtp_fallback_json::{Call, answer};
//! use smtp_fallback_policy::Module;
//!
//! let mut module = Module::new();
//! let call = Call::read("parse-address", r#"{"text": "[IPv6:2001:DB8::25]"}"#)?;
//! assert_eq!(answer(&mut module, &call), r#"{"ok":"2001:db8::25"}"#);
//!
//! let error = Call::read("decide", r#"{"connection": {"stage": "gretting"}}"#).unwrap_err();
//! assert!(error.to_string().starts_with("decide: unknown variant `gretting`, expected one of `greeting`"));
//! # Ok::<(), smtp_fallback_json::CallError>(())
//! ```
#![forbid(unsafe_code)]

mod call;
mod result;

pub use call::{Arguments, Call, CallError, FUNCTIONS, Octets};
pub use result::{answer, print, print_result};

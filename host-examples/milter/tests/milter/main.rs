//! The filter as an MTA meets it: the real program, asked over its sockets by an MTA of the tests' own. Real ones are in `interop/`.
#![allow(clippy::unwrap_used)] // A test may panic.

mod beside;
mod clients;
mod component;
mod documented;
mod ending;
mod fields;
mod front;
mod messages;
mod mta;
mod process;
mod program;
mod recorded;
mod refusals;
mod sockets;

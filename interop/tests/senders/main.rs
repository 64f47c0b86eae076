//! Real mail servers as clients of smtpd, each on a machine of its own. Run by `cargo xtask interop`: it needs root, Debian's packages and npm.
#![allow(clippy::unwrap_used)] // A test may panic.

mod cache;
mod facts;
mod layouts;
mod machines;
mod matrix;
mod refusals;
mod report;
mod trial;

//! Verification against a real name server on the loopback interface.

#![allow(clippy::unwrap_used)] // A test may panic.

mod bench;
mod dkim;
mod spf;

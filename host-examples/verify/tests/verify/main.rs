//! Verification against a real name server on the loopback interface.

#![allow(clippy::unwrap_used)] // A test may panic.

mod arc;
mod bench;
mod dkim;
mod dmarc;
mod iprev;
mod limits;
mod macros;
mod openspf;
mod spf;
mod valimail;

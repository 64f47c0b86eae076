//! What a hostile client can try, against the program itself, alone and in front of another server.
#![allow(clippy::unwrap_used)] // A test may panic.

mod bdat;
mod flood;
mod injection;
mod naive;
mod overlong;
mod peer;
#[allow(dead_code)] // It serves several test programs.
#[path = "../end_to_end/server.rs"]
mod server;
mod smuggling;
mod starttls;
mod verb;

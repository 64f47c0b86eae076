//! Whatever breaks: nothing that was answered 250 is lost, and nothing that was refused is delivered.
#![allow(clippy::unwrap_used)] // A test may panic.

mod component;
mod dns;
mod kill;
mod log;
mod mail;
#[allow(dead_code)] // It serves several test programs.
#[path = "../../../store/tests/redis/server.rs"]
mod redis;
mod reload;
#[allow(dead_code)] // It serves several test programs.
#[path = "../end_to_end/server.rs"]
mod server;
mod storage;
mod upstream;

//! The program from outside: a process, real sockets over IPv4 and IPv6, the shipped component, a name server on the loopback
//! interface.
#![allow(clippy::unwrap_used)] // A test may panic.

mod beside;
mod checked;
mod documented;
mod limits;
mod policy;
mod process;
mod protocol;
mod records;
#[allow(dead_code)] // It serves several test programs.
#[path = "../../../store/tests/redis/server.rs"]
mod redis;
#[allow(dead_code)] // It serves several test programs.
mod server;

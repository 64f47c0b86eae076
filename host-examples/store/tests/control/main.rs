//! The control socket, with real sockets: its protocol, hostile clients, permissions, and other processes that share a store.
#![allow(clippy::unwrap_used)] // A test may panic.

mod client;
mod host;
mod hostile;
mod protocol;
mod socket;

//! The policy as a milter: Postfix or Sendmail asks it about each client and each message, and gives the client its answer.
//!
//! This is the library behind the program `smtp-fallback-milter`: [`config`] is its file, [`socket`] and [`server`] take the MTA's connections,
//! [`session`] follows a client through one of them and asks the policy. The protocol itself is the package `smtp-fallback-milter-codec`, and what
//! every daemon has is `smtp-fallback-daemon`.
#![forbid(unsafe_code)]

pub mod config;
pub mod server;
pub mod session;
pub mod socket;

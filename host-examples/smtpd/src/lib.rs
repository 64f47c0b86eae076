//! An SMTP server that applies the policy component and keeps what it accepts in a Maildir.
//!
//! This is the library behind the program `smtp-fallback-smtpd`: [`config`] reads its file, [`load`] loads what the file names,
//! [`server`] listens, [`session`] speaks SMTP.
#![forbid(unsafe_code)]

pub mod args;
pub mod command;
pub mod config;
pub mod data;
pub mod header;
pub mod load;
pub mod log;
pub mod maildir;
pub mod path;
pub mod policy;
pub mod reply;
pub mod server;
pub mod session;
pub mod wire;

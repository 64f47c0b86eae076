//! An SMTP server that applies the policy component, and keeps what it accepts in a Maildir or hands it to the mail system behind it.
//!
//! This is the library behind the program `smtp-fallback-smtpd`: [`config`] reads its file, [`load`] loads what the file names,
//! [`server`] listens, [`session`] speaks SMTP, [`upstream`] is the mail system behind.
#![forbid(unsafe_code)]

pub mod args;
pub mod beside;
pub mod channel;
pub mod chunks;
pub mod command;
pub mod config;
pub mod data;
mod file;
pub mod gate;
pub mod header;
pub mod load;
pub mod log;
pub mod loopback;
pub mod maildir;
pub mod memory;
pub mod notify;
pub mod path;
pub mod policy;
pub mod privileges;
pub mod proxy;
pub mod records;
pub mod reply;
pub mod server;
pub mod session;
pub mod text;
pub mod tls;
pub mod trusted;
pub mod upstream;
pub mod watched;
pub mod wire;

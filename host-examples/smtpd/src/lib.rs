//! An SMTP server that applies the policy component, and keeps what it accepts in a Maildir or hands it to the mail system behind it.
//!
//! This is the library behind the program `smtp-fallback-smtpd`: [`config`] is its file, [`load`] makes what the file names,
//! [`server`] listens, [`session`] speaks SMTP, [`upstream`] is the mail system behind.
#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod any;
pub mod channel;
pub mod chunks;
pub mod command;
pub mod config;
pub mod data;
pub mod gate;
pub mod header;
pub mod load;
pub mod loopback;
pub mod maildir;
pub mod path;
pub mod proxy;
pub mod reply;
pub mod server;
pub mod session;
pub mod text;
pub mod tls;
pub mod upstream;
pub mod wire;

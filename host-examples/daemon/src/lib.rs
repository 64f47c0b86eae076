//! What the daemons of this project have around their protocols: the command line, the configuration's common part, the policy with its
//! records, what is read again on SIGHUP, the log, and what stands beside the mail.
//!
//! A daemon binds its sockets, calls [`run::begin`], and speaks its protocol in [`run::Begun::run`]:
//!
//! | module | what |
//! |---|---|
//! | [`program`], [`args`] | `main`; `--config`, `--check-config`, `--observe` |
//! | [`config`] | the settings that all have, their values, and what a changed file needs a restart for |
//! | [`check`] | `--check-config` |
//! | [`run`] | from the bound sockets to the end: privileges, signals, reload |
//! | [`source`] | component and policy, loaded and loaded again |
//! | [`policy`] | asking it with the records that it wants, and storing those that it gives back |
//! | [`records`] | the store that the configuration names |
//! | [`watched`], [`beside`] | what metrics and status page show; control socket and port |
//! | [`log`], [`notify`], [`privileges`] | the log; the service manager; giving up root |
//! | [`memory`], [`trusted`], [`domain`] | memory for messages, whose word is taken, domain names |
#![forbid(unsafe_code)]

pub mod args;
pub mod beside;
pub mod check;
pub mod config;
pub mod domain;
pub mod file;
pub mod log;
pub mod memory;
pub mod notify;
pub mod policy;
pub mod privileges;
pub mod program;
pub mod records;
pub mod run;
pub mod source;
pub mod trusted;
pub mod watched;

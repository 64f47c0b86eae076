//! smtpd and the milter among other people's mail software: starts each in a folder or on a machine of its own, for tests that let them talk
//! to each other.
//!
//! All of it listens on the loopback interface, or in a network of its own that leads nowhere, and delivers nowhere but into its own folder. The
//! instances that the system may run by itself are neither used nor touched.
//!
//! | module | responsibility |
//! | --- | --- |
//! | `postfix` | a Postfix of one's own: configuration, start and stop, its queue, its log, and the mail that it delivered |
//! | `opendkim` | a filter that verifies signatures |
//! | `sendmail` | a Sendmail that receives, on a machine of its own |
//! | `dovecot` | an LMTP server, on a UNIX socket and on a port |
//! | `smtpd`, `milter` | the programs under test |
//! | `program` | starting one of them |
//! | `root`, `machine` | other mail servers: a root for each, and machines over it with a network of their own |
//! | `senders` | other mail servers as clients |
//! | `exchange`, `receiver` | what they meet: names, addresses, and smtpd at them |
//! | `wait` | looking again and again, for a bounded time |

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "it is for tests alone, and a test may panic")]

mod dovecot;
mod exchange;
mod machine;
mod milter;
mod opendkim;
mod postfix;
mod program;
mod receiver;
mod root;
pub mod senders;
mod sendmail;
mod smtpd;
mod wait;

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU16, Ordering};

pub use dovecot::Dovecot;
pub use exchange::{Arrival, Exchange, Host};
pub use machine::{IPV4, IPV6, Machine};
pub use milter::Milter;
pub use opendkim::Opendkim;
pub use postfix::{Postfix, SERVICES, Setup};
pub use program::Program;
pub use receiver::{Delivered, Receiver, Reception};
pub use root::Root;
pub use sendmail::Sendmail;
pub use smtpd::{Setting, Smtpd, check_config};
pub use wait::{PATIENCE, until};

/// A folder that other users can look into, as the daemons that run under their own need. It goes when this is dropped.
fn public_folder(prefix: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// User and group number of a user of this system.
fn user(name: &str) -> (u32, u32) {
    let user = nix::unistd::User::from_name(name).unwrap().unwrap_or_else(|| panic!("this system has no user {name}"));
    (user.uid.as_raw(), user.gid.as_raw())
}

/// Gives a folder or file to a user.
fn give(path: &std::path::Path, name: &str) {
    let (uid, gid) = user(name);
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .unwrap_or_else(|error| panic!("{}: {error}; run as root", path.display()));
}

/// A port below those that the system gives to connections on their way out: no such connection takes it between the moment when it is
/// chosen and that when a server binds it, or while that is stopped.
fn free_address(ip: IpAddr) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1000) as u16 * 10;
    for _ in 0..1000 {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from((ip, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port from 20000 to 29999 is free");
}

/// The message as it is kept in a file: with the line ends of UNIX.
pub fn kept_as(message: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(text) => kept.extend_from_slice(&[text, b"\n"].concat()),
            None => kept.extend_from_slice(line),
        }
    }
    kept
}

/// The messages in a Maildir that were delivered, those that nobody has seen.
fn in_maildir(path: &std::path::Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(path.join("new")) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

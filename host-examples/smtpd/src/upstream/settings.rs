//! Where upstream is, how to speak to it, and for whom.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where upstream is, and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub address: Address,
    /// What it speaks.
    pub protocol: Protocol,
    /// How it is told who the client is.
    pub tell: Tell,
    /// This host: what it calls itself where it speaks for itself.
    pub host_name: String,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// Where upstream listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321: one reply to a message.
    Smtp,
    /// RFC 2033: one reply to a message for each recipient.
    Lmtp,
}

/// How upstream is told who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// By the XCLIENT command of Postfix. Upstream must announce it, with ADDR at least.
    Xclient,
    /// By a line of the PROXY protocol, version 1, before anything else.
    ProxyV1,
    /// Not at all: upstream sees the address of this host.
    Nothing,
}

/// How long upstream may take (the names of RFC 5321 §4.5.3.2). The client waits meanwhile, with time-outs of its own: the
/// defaults are a little shorter than those the RFC gives to clients, so that it hears of ours before its own runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the greeting.
    pub greeting: Duration,
    /// For the reply to a command; also for all that follows the greeting up to the last EHLO together, and for MAIL with a new
    /// connection where one is needed.
    pub command: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For each piece of the message's text to be taken: 64 kB about.
    pub block: Duration,
    /// For everything from DATA to the reply after the dot: the client has sent its own dot, and waits.
    pub dot: Duration,
    /// The silence after which [`Upstream::keep_alive`](super::Upstream::keep_alive) sends NOOP. Postfix counts each, 100 for a message
    /// (`smtpd_junk_command_limit`), and waits 300 s (`smtpd_timeout`).
    pub keep_alive: Duration,
    /// How long a connection is kept while the client waits between two messages. At the next one there is a new connection.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            greeting: Duration::from_secs(60),
            command: Duration::from_secs(200),
            data: Duration::from_secs(110),
            block: Duration::from_secs(170),
            dot: Duration::from_secs(570),
            keep_alive: Duration::from_secs(60),
            idle: Duration::from_secs(10),
        }
    }
}

/// Who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its true address. Port 0 means: unknown.
    pub address: SocketAddr,
    /// The address of ours that it connected to. Port 0 means: unknown.
    pub destination: SocketAddr,
    /// What it called itself, as it was sent.
    pub ehlo_name: &'a str,
    /// It said EHLO, not HELO.
    pub extended: bool,
    /// The name of its address in the DNS.
    pub name: Name,
}

/// The name of the client's address in the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The name, which leads back to the address.
    Confirmed(String),
    /// There is none, or it leads elsewhere, or nobody asked.
    None,
    /// The DNS did not answer.
    TemporarilyUnknown,
}

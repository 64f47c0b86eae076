//! What can go wrong with upstream.

use std::fmt;
use std::io;

use super::Reply;

/// Why upstream gave no answer to pass on; except for [`Refused`](Error::Refused), which has one.
///
/// None of them says anything about the message: the client is to be told to come back (a reply 4yz).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There was no connection.
    Unreachable(io::Error),
    /// Upstream took too long; at what.
    TimedOut(&'static str),
    /// The connection was closed, or broke, or had done so before; at what.
    Closed(&'static str),
    /// What came is no reply of SMTP, or more or other than what can come there.
    Broken {
        /// At what.
        at: &'static str,
        /// What was wrong with it.
        fault: &'static str,
    },
    /// Upstream does not want this client: its greeting, or its reply to EHLO or XCLIENT, was no 2yz, or it closed an idle session
    /// with 421. The reply is for the client.
    Refused(Reply),
    /// Upstream does not do what the settings say: it cannot be told who the client is, and must not get the client's mail under our
    /// address; or it speaks another protocol. For the operator to put right.
    Misconfigured(String),
    /// What was to be sent cannot be: a command or a text that upstream might read as two, or a command that is not for it. Nothing was
    /// written.
    Unsendable(&'static str),
}

impl Error {
    /// Whether the message may have been delivered all the same: everything was sent, the dot too, and its reply is missing.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Error::TimedOut(at::DOT) | Error::Closed(at::DOT) | Error::Broken { at: at::DOT, .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable(error) => write!(f, "upstream cannot be reached: {error}"),
            Error::TimedOut(at) => write!(f, "upstream took too long at {at}"),
            Error::Closed(at) => write!(f, "upstream closed the connection at {at}"),
            Error::Broken { at, fault } => write!(f, "upstream does not speak SMTP at {at}: {fault}"),
            Error::Refused(reply) => write!(f, "upstream refused the client: {reply}"),
            Error::Misconfigured(what) => write!(f, "upstream does not do what the configuration says: {what}"),
            Error::Unsendable(what) => write!(f, "not sent to upstream: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Unreachable(error) => Some(error),
            _ => None,
        }
    }
}

/// Where in the session it was. A command of the client's goes by its own name.
pub(super) mod at {
    pub(in super::super) const CONNECT: &str = "the connection";
    pub(in super::super) const GREETING: &str = "the greeting";
    pub(in super::super) const HELLO: &str = "EHLO";
    pub(in super::super) const XCLIENT: &str = "XCLIENT";
    pub(in super::super) const DATA: &str = "DATA";
    pub(in super::super) const TEXT: &str = "the text of the message";
    pub(in super::super) const DOT: &str = "the dot";
    pub(in super::super) const NOOP: &str = "our own NOOP";
    pub(in super::super) const QUIT: &str = "QUIT";
    pub(in super::super) const IDLE: &str = "rest";
    pub(in super::super) const EARLIER: &str = "an earlier command";
}

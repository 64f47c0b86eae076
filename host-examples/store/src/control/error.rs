//! What can be wrong with a control socket.

use std::io;
use std::path::PathBuf;

use super::protocol::COMPARE_AND_SET;
use crate::StoreError;

/// Why a control socket cannot be opened, reached or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another process serves this socket. Cause: it was started twice, or two configurations name the same path.
    #[error("another process serves the socket {path:?}; end it, or give this one another path")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is something else under this path.
    #[error("{path:?} is there and is no socket, so that it is left alone; give the socket another path, or remove that")]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The permissions would let everybody in, or are none.
    #[error(
        "mode {mode:04o} is no mode for the control socket: expected 0600, or 0660 with a group; whoever can write to it can read \
         the secret and let any network in, so that it is never open to all users"
    )]
    Mode {
        /// The mode that was asked for.
        mode: u32,
    },
    /// The path does not fit into a socket's address (`sockaddr_un`, unix(7)), with room for a name beside it.
    #[error("the path of the socket has {octets} octets, expected at most {max}: {path:?}; choose a shorter one")]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        octets: usize,
        /// The longest that is possible.
        max: usize,
    },
    /// The system refused a step of opening the socket. Cause: the directory is missing or not this user's, or the group is not.
    #[error(
        "the socket {path:?} cannot be opened: {step}: {error}; check that its directory exists and this user may write there"
    )]
    Open {
        /// The socket.
        path: PathBuf,
        /// Which step.
        step: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Nobody listens. Cause: no host runs, or it serves another path.
    #[error("no host listens at the control socket {path:?}; start the host, or name the socket of one that runs")]
    NoHost {
        /// The socket.
        path: PathBuf,
    },
    /// The file's permissions keep this process out.
    #[error(
        "this process may not connect to the control socket {path:?}{}; it needs the right to write to the socket, and to enter the \
         directories above: run it as root, as the socket's user, or in its group",
        .owner.map(|(user, group, mode)| format!(" (user {user}, group {group}, mode {mode:04o})")).unwrap_or_default()
    )]
    NoRight {
        /// The socket.
        path: PathBuf,
        /// Its user, group and mode, where they can be seen.
        owner: Option<(u32, u32, u32)>,
    },
    /// The connection failed otherwise, or broke.
    #[error("the control socket {path:?} fails: {error}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The host ended or closed the connection after a write was sent. Whether it is in force is not known.
    #[error(
        "the host at the control socket {path:?} closed the connection without an answer; whether the record was written is not known"
    )]
    Unknown {
        /// The socket.
        path: PathBuf,
    },
    /// The host took too long. Cause: it hangs, or others keep it busy. Whether a `compare-and-set` is in force is not known.
    #[error(
        "the host at the control socket {path:?} {} within {seconds} s{}; it hangs or is overloaded: look at its log, try again, and start it \
         anew if that does not help",
        if request.is_some() { "gave no answer" } else { "took no connection" },
        .request.map(after_time).unwrap_or_default()
    )]
    Time {
        /// The socket.
        path: PathBuf,
        /// The `request` that was to be answered, such as "scan"; absent where it was not even connected.
        request: Option<&'static str>,
        /// The limit.
        seconds: u64,
    },
    /// What answered does not speak this protocol, or a version of it that has changed.
    #[error(
        "what answers at the control socket {path:?} does not speak its protocol: {what}; check the path, and that host and client fit together"
    )]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// What was wrong about the answer.
        what: String,
    },
    /// The host answered with an error.
    #[error("the host answers: {0}")]
    Refused(String),
}

/// What a request without an answer leaves behind.
fn after_time(request: &str) -> String {
    let unknown = if request == COMPARE_AND_SET { "; whether the record was written is not known" } else { "" };
    format!(" to the request `{request}`{unknown}")
}

impl From<ControlError> for StoreError {
    fn from(error: ControlError) -> Self {
        StoreError::Unavailable(error.to_string())
    }
}

//! Where the MTA finds the filter: `unix:`, `inet:` and `inet6:`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::str::FromStr;

use smtp_fallback_store::control::{ControlError, Socket, SocketFile};

/// A socket, as the MTA's configuration names it too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketName {
    /// `unix:/run/smtp-fallback-milter/milter.sock`. Sendmail's `local:` is the same.
    Unix(PathBuf),
    /// `inet:127.0.0.1:8894` and `inet6:[::1]:8894`, or as Sendmail writes them `inet:8894@127.0.0.1` and `inet6:8894@::1`.
    Inet(SocketAddr),
}

/// The text names no socket. The message begins with the text, to be put behind "found".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketNameError(String);

impl fmt::Display for SocketNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, expected unix: and the path of a socket, or inet: or inet6: with an IP address and a port, such as \
             \"unix:/run/smtp-fallback-milter/milter.sock\", \"inet:127.0.0.1:8894\" or \"inet6:[::1]:8894\"; host names are not looked up",
            self.0
        )
    }
}

impl std::error::Error for SocketNameError {}

impl FromStr for SocketName {
    type Err = SocketNameError;

    fn from_str(text: &str) -> Result<Self, SocketNameError> {
        let error = || SocketNameError(text.to_owned());
        let (scheme, rest) = text.split_once(':').ok_or_else(error)?;
        match scheme {
            "unix" | "local" if !rest.is_empty() => Ok(SocketName::Unix(rest.into())),
            "inet" | "inet6" => {
                let address = inet(rest).ok_or_else(error)?;
                if address.is_ipv6() == (scheme == "inet6") { Ok(SocketName::Inet(address)) } else { Err(error()) }
            }
            _ => Err(error()),
        }
    }
}

/// `ADDRESS:PORT` as Postfix has it, with IPv6 in brackets, or `PORT@ADDRESS` as Sendmail does.
fn inet(text: &str) -> Option<SocketAddr> {
    match text.split_once('@') {
        Some((port, address)) => {
            let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
            Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
        }
        None => text.parse().ok(),
    }
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketName::Unix(path) => write!(f, "unix:{}", path.display()),
            SocketName::Inet(address @ SocketAddr::V4(_)) => write!(f, "inet:{address}"),
            SocketName::Inet(address @ SocketAddr::V6(_)) => write!(f, "inet6:{address}"),
        }
    }
}

/// A bound socket, which takes no connection yet.
#[derive(Debug)]
pub enum Bound {
    /// With its file, which goes when this is dropped.
    Unix(UnixListener, SocketFile),
    /// On a port.
    Inet(TcpListener),
}

impl Bound {
    /// Where it listens, with the port that the system chose.
    pub fn name(&self) -> String {
        match self {
            Bound::Unix(_, file) => format!("unix:{}", file.path().display()),
            Bound::Inet(listener) => match listener.local_addr() {
                Ok(address) => SocketName::Inet(address).to_string(),
                Err(error) => format!("an unknown address ({error})"),
            },
        }
    }
}

/// A socket cannot be opened.
#[derive(Debug)]
pub enum BindError {
    /// One with a file.
    Unix(ControlError),
    /// One with a port.
    Inet(SocketAddr, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Unix(error) => write!(f, "listen: {error}"),
            BindError::Inet(address, error) => {
                let advice = match error.kind() {
                    io::ErrorKind::AddrInUse => "another process listens there: stop it, or choose another port",
                    io::ErrorKind::PermissionDenied => "ports below 1024 need the right to bind them: choose a higher one",
                    _ => "choose an address of this machine",
                };
                write!(f, "listen: {} cannot be bound: {error}; {advice}", SocketName::Inet(*address))
            }
        }
    }
}

impl std::error::Error for BindError {}

/// Binds a socket; one with a file gets these permissions, and this group's number.
///
/// # Errors
/// The system refuses it, or somebody listens there already.
pub fn bind(name: &SocketName, mode: u32, group: Option<u32>) -> Result<Bound, BindError> {
    match name {
        SocketName::Unix(path) => {
            let Socket { listener, file } = Socket::bind(path, mode, group).map_err(BindError::Unix)?;
            Ok(Bound::Unix(listener, file))
        }
        SocketName::Inet(address) => {
            let failed = |error| BindError::Inet(*address, error);
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(Bound::Inet(listener))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_postfix_and_sendmail_have() {
        for (text, name) in [
            ("unix:/run/a/b.sock", "unix:/run/a/b.sock"),
            ("local:/run/a/b.sock", "unix:/run/a/b.sock"),
            ("inet:127.0.0.1:8894", "inet:127.0.0.1:8894"),
            ("inet:8894@127.0.0.1", "inet:127.0.0.1:8894"),
            ("inet6:[::1]:8894", "inet6:[::1]:8894"),
            ("inet6:8894@::1", "inet6:[::1]:8894"),
            ("inet6:8894@[::1]", "inet6:[::1]:8894"),
        ] {
            assert_eq!(text.parse::<SocketName>().expect(text).to_string(), name);
        }
    }

    #[test]
    fn says_what_was_expected() {
        for text in [
            "",
            "/run/a.sock",
            "unix:",
            "inet:localhost:8894",
            "inet:127.0.0.1",
            "inet:[::1]:8894",
            "inet6:127.0.0.1:8894",
            "inet:70000@127.0.0.1",
            "tcp:127.0.0.1:1",
        ] {
            let error = text.parse::<SocketName>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?}, expected unix:")), "{error}");
        }
    }

    #[test]
    fn a_socket_has_its_permissions_and_goes_with_its_listener() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("milter.sock");
        let bound = bind(&SocketName::Unix(path.clone()), 0o660, None).expect("bound");
        assert_eq!(bound.name(), format!("unix:{}", path.display()));
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o660);
        let error = bind(&SocketName::Unix(path.clone()), 0o660, None).expect_err("it is served").to_string();
        assert!(error.contains("another process serves"), "{error}");
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let bound = bind(&SocketName::Inet(([127, 0, 0, 1], 0).into()), 0, None).expect("bound");
        let name = bound.name();
        let error = bind(&name.parse().expect("a name"), 0, None).expect_err("taken").to_string();
        assert!(error.starts_with(&format!("listen: {name} cannot be bound")) && error.contains("another process"), "{error}");
    }
}

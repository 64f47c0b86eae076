//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cache::CacheCommand;
use crate::clients::ClientsOptions;
use crate::mx::MxOptions;
use crate::version::VersionOptions;

/// Where a host listens, unless its configuration says something else.
const SOCKET: &str = "/run/smtp-fallback/control.sock";

/// Names the socket where `--socket` does not.
const SOCKET_VARIABLE: &str = "SMTP_FALLBACK_SOCKET";

/// Looks at what a running mail host remembers about its clients, and changes it.
///
/// A host keeps records about the IPv6 addresses and networks that bring it mail: how much of it was authenticated, which networks are
/// refused for now, which refused mails came back over IPv4. This program asks the host for them by its control socket. It needs the
/// right to write to that socket: run it as root, or as the host's user.
#[derive(Debug, Parser)]
#[command(
    name = "smtp-fallback",
    version,
    after_help = EXAMPLES,
    after_long_help = EXAMPLES,
)]
pub(crate) struct Args {
    /// The control socket of the host [default: the variable SMTP_FALLBACK_SOCKET, else /run/smtp-fallback/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at records, delete them, save and load them, or let a network in
    #[command(subcommand, arg_required_else_help = true)]
    Cache(CacheCommand),
    /// Report who does not come back over IPv4
    ///
    /// Networks whose refused mail did not arrive over IPv4: since when, how often it was tried, and which mail has waited the longest; and
    /// what is refused, waits and is let in. To let a network in, see `smtp-fallback cache exempt --help`, or put it into `exempt` in the
    /// policy. The status page of the host shows the same. Numbers such as 3 times over half an hour are those of the default policy.
    Clients(ClientsOptions),
    /// Check whether a domain's MX records let senders come back over IPv4
    Mx(MxOptions),
    /// Tell versions: of this program, of the running host, and which component it runs
    ///
    /// A component is named by its SHA-256, which hosts write to their log as well (event component-loaded). Whether a component is the one
    /// that a source makes, whoever builds that source can tell: the build is the same everywhere, octet for octet.
    Version(VersionOptions),
}

const EXAMPLES: &str = "\
Examples:
  smtp-fallback cache get 2001:db8::25              what is known about this client
  smtp-fallback cache show --kind network           the networks, one a line
  smtp-fallback cache exempt 2001:db8::25 --for 7d  let its network in for a week
  smtp-fallback clients                             who does not come back over IPv4
  smtp-fallback mx example.org                      whether senders can
  smtp-fallback version                             which component the host runs

Exit status: 0 done; 1 nothing was found; 2 wrong command line, no host, or another failure.";

impl Args {
    /// The socket that is meant.
    pub(crate) fn socket(&self) -> PathBuf {
        let named = || std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.socket.clone().or_else(named).unwrap_or_else(|| SOCKET.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn is_sound() {
        Args::command().debug_assert();
    }
}

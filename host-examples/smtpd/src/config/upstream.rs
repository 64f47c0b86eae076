//! The table `[upstream]`: the mail system behind this one, in front mode.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::value;
use crate::upstream::{Address, Protocol, Settings, Tell, Timeouts};

/// The mail system that takes accepted mail.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// An IP address and a port, or `unix:` and the path of a socket.
    #[serde(deserialize_with = "value::upstream_address")]
    pub address: Address,
    /// `smtp` or `lmtp`.
    #[serde(default = "smtp", deserialize_with = "value::upstream_protocol")]
    pub protocol: Protocol,
    /// How it is told who the client is: `xclient`, `proxy-v1`, or `nothing`.
    #[serde(deserialize_with = "value::upstream_tell")]
    pub tell: Tell,
    /// Which domains mail is taken for is left to it; else `domains` says so. Only for an upstream that is told who the client is.
    #[serde(default)]
    pub any_domain: bool,
    /// How long it may take.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
}

/// How long upstream may take. Each 100 ms to 1 h; the client waits meanwhile, for 5 min at a command and 10 min after the dot, if it
/// follows RFC 5321 §4.5.3.2.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTimeouts {
    /// For the connection.
    #[serde(deserialize_with = "value::upstream_time")]
    pub connect: Duration,
    /// For the greeting.
    #[serde(deserialize_with = "value::upstream_time")]
    pub greeting: Duration,
    /// For the reply to a command.
    #[serde(deserialize_with = "value::upstream_time")]
    pub command: Duration,
    /// For the reply to DATA.
    #[serde(deserialize_with = "value::upstream_time")]
    pub data: Duration,
    /// For each block of the message to be taken.
    #[serde(deserialize_with = "value::upstream_time")]
    pub block: Duration,
    /// For the reply after the dot.
    #[serde(deserialize_with = "value::upstream_time")]
    pub dot: Duration,
    /// While the client takes its time with a message, upstream gets a NOOP after each such silence.
    #[serde(deserialize_with = "value::upstream_time")]
    pub keep_alive: Duration,
    /// How long a connection is kept while the client waits between two messages: upstream serves fewer connections, as a rule, than this
    /// server has clients.
    #[serde(deserialize_with = "value::upstream_time")]
    pub idle: Duration,
}

impl Upstream {
    /// As the session wants it; `host_name` is this host.
    pub fn settings(&self, host_name: &str) -> Settings {
        let UpstreamTimeouts { connect, greeting, command, data, block, dot, keep_alive, idle } = self.timeouts;
        Settings {
            address: self.address.clone(),
            protocol: self.protocol,
            tell: self.tell,
            host_name: host_name.to_owned(),
            timeouts: Timeouts { connect, greeting, command, data, block, dot, keep_alive, idle },
        }
    }

    /// The path of its socket, where it has one.
    pub fn socket(&mut self) -> Option<&mut PathBuf> {
        match &mut self.address {
            Address::Unix(path) => Some(path),
            Address::Tcp(_) => None,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.tell == Tell::ProxyV1 && matches!(self.address, Address::Unix(_)) {
            return Err(
                "upstream.tell: found \"proxy-v1\" with a UNIX socket, expected \"xclient\" or \"nothing\" there".to_owned()
            );
        }
        if self.any_domain && self.tell == Tell::Nothing {
            return Err("upstream.any_domain: found true with tell = \"nothing\": upstream would relay for everybody, as if it were for this \
                        host; remove it, and list the domains"
                .to_owned());
        }
        Ok(())
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        let Timeouts { connect, greeting, command, data, block, dot, keep_alive, idle } = Timeouts::default();
        UpstreamTimeouts { connect, greeting, command, data, block, dot, keep_alive, idle }
    }
}

fn smtp() -> Protocol {
    Protocol::Smtp
}

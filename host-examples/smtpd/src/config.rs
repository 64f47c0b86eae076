//! The configuration file (TOML).
//!
//! Whatever is wrong is refused with its place, what was expected and what to do; nothing is ignored.

mod arrivals;
mod changes;
mod limits;
mod records;
mod upstream;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use smtp_fallback_policy::contract::Listener as Kind;

use crate::tls;
use crate::trusted::Trusted;
use crate::upstream::Address;

pub use arrivals::Ipv4Arrivals;
pub use changes::InForce;
pub use limits::{Limits, PolicyLimits, Verify};
pub use records::{Monitor, Store};
pub use upstream::Upstream;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This host's name: in the greeting, in Received fields, in file names. A domain name of up to 253 octets.
    #[serde(deserialize_with = "value::host_name")]
    pub host_name: String,
    /// The domains whose mail is taken, in lower case; at least one, unless `upstream.any_domain` leaves it to upstream.
    #[serde(default, deserialize_with = "value::domains")]
    pub domains: Vec<String>,
    /// Where accepted mail is kept. Made when it is missing. Either this or `upstream`.
    pub maildir: Option<PathBuf>,
    /// The mail system that takes accepted mail.
    pub upstream: Option<Upstream>,
    /// The policy component, `smtp-fallback-policy.wasm`.
    pub component: PathBuf,
    /// A folder for its machine code, so that it need not be compiled at each start. Whoever can write there can run code as this server.
    pub component_cache: Option<PathBuf>,
    /// The policy, a JSON file.
    pub policy: PathBuf,
    /// What is logged: a level, or the directives of tracing's `EnvFilter`.
    #[serde(default = "default_log", deserialize_with = "value::log_filter")]
    pub log: String,
    /// How it is written.
    #[serde(default)]
    pub log_format: LogFormat,
    /// The user that the server becomes once its ports are bound: a name or a number. Only root can become another.
    pub user: Option<String>,
    /// Its group; the user's own if absent.
    pub group: Option<String>,
    /// Certificates for STARTTLS.
    pub tls: Option<Tls>,
    /// Where to listen; at least one.
    #[serde(rename = "listener", deserialize_with = "value::not_empty")]
    pub listeners: Vec<Listener>,
    /// The same mail would be taken over IPv4, here or on another host of these domains: without that nothing is refused (A20, R9).
    #[serde(default = "yes")]
    pub reachable_over_ipv4: bool,
    /// Mail of these domains that arrives over IPv4 is seen here, or on hosts that share the records (A34, A37); absent, the listeners say it.
    pub ipv4_arrivals_visible: Option<bool>,
    /// How messages are verified.
    #[serde(default)]
    pub verify: Verify,
    /// Limits of the SMTP service.
    #[serde(default)]
    pub limits: Limits,
    /// Limits of the policy component.
    #[serde(default)]
    pub policy_limits: PolicyLimits,
    /// Where the policy's records live.
    #[serde(default)]
    pub store: Store,
    /// Where metrics and the status page are served; nowhere if absent.
    pub monitor: Option<Monitor>,
}

/// One address to listen on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port, such as `[::]:25`. An IPv6 address takes IPv6 only. Port 0 takes a free one.
    #[serde(deserialize_with = "value::socket_address")]
    pub address: SocketAddr,
    /// Announce IPV6-IPV4-FALLBACK (R1), to clients over IPv6 (A23). On an IPv4 address only with `proxy_from`.
    #[serde(default)]
    pub extension: bool,
    /// The kind of service: only `mx` is in scope of the policy (A18).
    #[serde(default = "default_kind")]
    pub kind: Kind,
    /// The proxies whose connections begin with a PROXY header that names the client (R11). Nobody else's word is taken.
    #[serde(default, deserialize_with = "value::proxies")]
    pub proxy_from: Trusted,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Certificates for STARTTLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate and those between it and the authority, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// The authorities whose clients count as verified, in PEM. Clients are asked for a certificate then.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// The text is no configuration: says where, and what was expected.
    Invalid(PathBuf, Box<toml::de::Error>),
    /// The values do not fit together: says which, and what to do.
    Contradiction(PathBuf, String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable(path, error) => {
                write!(f, "the configuration {} cannot be read: {error}; check the name after --config", path.display())
            }
            ConfigError::Invalid(path, error) => {
                write!(f, "the configuration {}: {}", path.display(), error.to_string().trim_end())
            }
            ConfigError::Contradiction(path, text) => write!(f, "the configuration {}: {text}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file. Relative paths in it start at its own folder.
    pub fn from_file(path: &Path) -> Result<Config, ConfigError> {
        InForce::read(path).map(|(config, _)| config)
    }

    fn from_text(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let mut config: Config = toml::from_str(text).map_err(|error| ConfigError::Invalid(path.to_owned(), Box::new(error)))?;
        config.check().map_err(|text| ConfigError::Contradiction(path.to_owned(), text))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in config.files() {
            *file = folder.join(&*file);
        }
        Ok(config)
    }

    /// The files of [`Tls`], where it is configured.
    pub fn tls_files(&self) -> Option<tls::Files> {
        let Tls { certificate, key, client_ca } = self.tls.clone()?;
        Some(tls::Files { certificate, key, client_ca })
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        let mut files = vec![&mut self.component, &mut self.policy];
        files.extend([&mut self.maildir, &mut self.component_cache].into_iter().flatten());
        if let Some(Tls { certificate, key, client_ca }) = &mut self.tls {
            files.extend([certificate, key]);
            files.extend(client_ca);
        }
        files.extend(self.upstream.as_mut().and_then(Upstream::socket));
        files.extend(self.store.files());
        files
    }

    fn check(&self) -> Result<(), String> {
        match (&self.maildir, &self.upstream) {
            (Some(_), None) | (None, Some(_)) => {}
            (None, None) => {
                return Err("found neither maildir nor [upstream], expected one of them: where accepted mail goes".to_owned());
            }
            (Some(_), Some(_)) => {
                return Err("found both maildir and [upstream], expected one of them; remove the other".to_owned());
            }
        }
        let any_domain = self.upstream.as_ref().is_some_and(|upstream| upstream.any_domain);
        match (self.domains.is_empty(), any_domain) {
            (true, false) => {
                return Err(
                    "domains: found none, expected the domains whose mail is taken; add domains = [\"demo.example\"]".to_owned()
                );
            }
            (false, true) => {
                return Err("upstream.any_domain: found true beside domains, expected one of them; remove the other".to_owned());
            }
            _ => {}
        }
        if let Some(upstream) = &self.upstream {
            upstream.check()?;
            let itself = |listener: &&Listener| match upstream.address {
                Address::Tcp(address) => address.port() != 0 && reaches(listener.address, address),
                Address::Unix(_) => false,
            };
            if let Some(listener) = self.listeners.iter().find(itself) {
                return Err(format!(
                    "upstream.address: found the listener {} of this server itself, expected another server; correct one of them",
                    listener.address
                ));
            }
        }
        let taken = |(index, listener): &(usize, &Listener)| {
            listener.address.port() != 0 && self.listeners[..*index].iter().any(|other| other.address == listener.address)
        };
        if let Some((_, listener)) = self.listeners.iter().enumerate().find(taken) {
            return Err(format!("listener {}: found twice, expected each address once; remove one", listener.address));
        }
        if self.group.is_some() && self.user.is_none() {
            return Err("group: found without user, expected both, or user alone; add user".to_owned());
        }
        for listener in &self.listeners {
            if listener.extension && listener.address.is_ipv4() && listener.proxy_from.is_empty() {
                return Err(format!(
                    "listener {}: found extension = true on an IPv4 address, expected it on IPv6 addresses only (A23); \
                     remove the line",
                    listener.address
                ));
            }
        }
        self.store.check()?;
        self.monitor.as_ref().map_or(Ok(()), Monitor::check)?;
        if self.limits.message_memory < self.limits.message_size {
            return Err(format!(
                "limits.message_memory: found {} octets, expected at least limits.message_size, {} octets, or no message of \
                 that size could be taken; raise the one or lower the other",
                self.limits.message_memory, self.limits.message_size
            ));
        }
        Ok(())
    }
}

/// Whether who connects to `address` comes to a listener on `listener`, as far as can be told from the two.
fn reaches(listener: SocketAddr, address: SocketAddr) -> bool {
    let same_host = listener.ip() == address.ip()
        || (listener.ip().is_unspecified() && address.ip().is_loopback() && listener.is_ipv4() == address.is_ipv4());
    same_host && listener.port() == address.port()
}

fn default_log() -> String {
    "info".to_owned()
}

fn default_kind() -> Kind {
    Kind::Mx
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;

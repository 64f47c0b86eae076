//! The configuration file (TOML).
//!
//! Whatever is wrong is refused with its place, what was expected and what to do; nothing is ignored.

mod arrivals;
mod limits;
mod upstream;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use smtp_fallback_daemon::config::{Configuration, LogFormat, Monitor, PolicyLimits, Settings, Store, Verify};
use smtp_fallback_daemon::trusted::Trusted;
use smtp_fallback_policy::contract::Listener as Kind;

use crate::tls;
use crate::upstream::Address;

pub use limits::Limits;
pub use upstream::Upstream;

/// Files that are open beside those of connections: listeners, logs, name servers, messages being written.
const OTHER_FILES: u64 = 200;
/// Files for a connection: the client's, upstream's, and a message's.
const FILES_FOR_A_CONNECTION: u64 = 3;

/// Where no client's certificate is verified.
const NO_CLIENT_CA: &str = "clients are verified where `client_ca` is set in [tls] of the server's configuration";

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

impl Config {
    /// The files of [`Tls`], where it is configured.
    pub fn tls_files(&self) -> Option<tls::Files> {
        let Tls { certificate, key, client_ca } = self.tls.clone()?;
        Some(tls::Files { certificate, key, client_ca })
    }

    /// The part that all daemons have.
    pub fn settings(&self) -> Settings {
        let verifies_clients = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        Settings {
            host_name: self.host_name.clone(),
            component: self.component.clone(),
            component_cache: self.component_cache.clone(),
            policy: self.policy.clone(),
            policy_limits: self.policy_limits.clone(),
            store: self.store.clone(),
            monitor: self.monitor.clone(),
            user: self.user.clone(),
            group: self.group.clone(),
            reachable_over_ipv4: self.reachable_over_ipv4,
            ipv4_arrivals: self.ipv4_arrivals(),
            open_files: (self.limits.connections as u64).saturating_mul(FILES_FOR_A_CONNECTION).saturating_add(OTHER_FILES),
            no_verified_clients: (!verifies_clients).then_some(NO_CLIENT_CA),
        }
    }
}

impl Configuration for Config {
    fn paths(&mut self) -> Vec<&mut PathBuf> {
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

//! The configuration file (TOML).

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use smtp_fallback_daemon::config::{
    Configuration, Ipv4Arrivals, LogFormat, Monitor, PolicyLimits, Settings, Store, Verify, value,
};

use crate::socket::SocketName;

/// Files that are open beside the MTA's connections: sockets, logs.
const OTHER_FILES: u64 = 100;
/// Files for a connection: itself, and a question to a name server.
const FILES_FOR_A_CONNECTION: u64 = 2;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of the host whose MTA asks, for the status page.
    #[serde(deserialize_with = "value::host_name")]
    pub host_name: String,
    /// Where the MTA finds the filter; at least one.
    #[serde(deserialize_with = "sockets")]
    pub listen: Vec<SocketName>,
    /// Who may connect to `unix:` sockets, as the mode of a file.
    #[serde(default = "default_mode", deserialize_with = "value::file_mode")]
    pub socket_mode: u32,
    /// The group of `unix:` sockets: the MTA's.
    pub socket_group: Option<String>,
    /// The policy component, `smtp-fallback-policy.wasm`.
    pub component: PathBuf,
    /// A folder for its machine code, so that it need not be compiled at each start. Whoever can write there can run code as this filter.
    pub component_cache: Option<PathBuf>,
    /// The policy, a JSON file.
    pub policy: PathBuf,
    /// What is logged: a level, or the directives of tracing's `EnvFilter`.
    #[serde(default = "default_log", deserialize_with = "value::log_filter")]
    pub log: String,
    /// How it is written.
    #[serde(default)]
    pub log_format: LogFormat,
    /// The user that the filter becomes once its sockets are bound: a name or a number. Only root can become another.
    pub user: Option<String>,
    /// Its group; the user's own if absent.
    pub group: Option<String>,
    /// The same mail would be taken over IPv4, here or on another host of these domains: without that nothing is refused (A20, R9).
    #[serde(default = "yes")]
    pub reachable_over_ipv4: bool,
    /// Mail of these domains that arrives over IPv4 is seen here, or on hosts that share the records (A34, A37).
    #[serde(default)]
    pub ipv4_arrivals_visible: bool,
    /// In place of own verification: the authserv-ids of filters that are asked before this one and whose Authentication-Results count.
    #[serde(default, deserialize_with = "authserv_ids")]
    pub authserv_ids: Vec<String>,
    /// Services of the MTA, by `{daemon_name}`, that take mail of own users: out of scope (A18). So are the ports 465 and 587.
    #[serde(default = "default_submission")]
    pub submission_daemons: Vec<String>,
    /// Services of the MTA, by `{daemon_name}`, that only a front with the extension can reach.
    #[serde(default)]
    pub trusted_fronts: Vec<String>,
    /// The front only announces the keyword and passes the verb on, and this filter decides. Otherwise the front has decided.
    #[serde(default)]
    pub behind_front: bool,
    /// How messages are verified.
    #[serde(default)]
    pub verify: Verify,
    /// Limits of the filter.
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

/// Limits of the filter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of the MTA at a time; more are closed, and the MTA does what it does without the filter.
    #[serde(deserialize_with = "value::at_least_one")]
    pub connections: usize,
    /// The largest message whose signatures are verified; those of a larger one are a temporary error. 64 KiB to 1 GiB.
    #[serde(deserialize_with = "value::message_size")]
    pub message_size: usize,
    /// What all messages being received may take in memory together; those from one network a quarter of it, or one message. Beyond it
    /// signatures are a temporary error. At least 64 KiB, and not less than `message_size`.
    #[serde(deserialize_with = "value::memory_size")]
    pub message_memory: usize,
    /// How long an MTA may be silent while its client takes its time. 1 min to 24 h.
    #[serde(deserialize_with = "idle_time")]
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 1000, message_size: 50 << 20, message_memory: 256 << 20, idle: Duration::from_secs(7210) }
    }
}

impl Limits {
    /// The share of `message_memory` that the clients of one network have: a quarter, and enough for one message.
    pub fn memory_for_a_network(&self) -> usize {
        (self.message_memory / 4).max(self.message_size)
    }
}

impl Config {
    /// The part that all daemons have.
    pub fn settings(&self) -> Settings {
        let why = match self.ipv4_arrivals_visible {
            true => "the configuration says so",
            false => {
                "the policy neither rejects mail nor disbelieves a client since a mail did not arrive over IPv4; where all mail over IPv4 for \
                 these domains passes this filter, or hosts that share its records, set ipv4_arrivals_visible = true"
            }
        };
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
            ipv4_arrivals: Ipv4Arrivals { visible: self.ipv4_arrivals_visible, why },
            open_files: (self.limits.connections as u64).saturating_mul(FILES_FOR_A_CONNECTION).saturating_add(OTHER_FILES),
            no_verified_clients: None,
        }
    }
}

impl Configuration for Config {
    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut files = vec![&mut self.component, &mut self.policy];
        files.extend(&mut self.component_cache);
        files.extend(self.listen.iter_mut().filter_map(|name| match name {
            SocketName::Unix(path) => Some(path),
            SocketName::Inet(_) => None,
        }));
        files.extend(self.store.files());
        files
    }

    fn check(&self) -> Result<(), String> {
        if let Some((_, twice)) = self.listen.iter().enumerate().find(|(index, name)| self.listen[..*index].contains(name)) {
            return Err(format!("listen: found {twice} twice, expected each socket once; remove one"));
        }
        if self.socket_mode & 0o007 != 0 || self.socket_mode & 0o600 != 0o600 {
            return Err(format!(
                "socket_mode: found \"{:04o}\", expected \"0600\", or \"0660\" for the group of the MTA, which socket_group names: whoever can \
                 connect can put evidence about any client into the records",
                self.socket_mode
            ));
        }
        if self.behind_front && self.trusted_fronts.is_empty() {
            return Err("behind_front: found true without trusted_fronts, expected the {daemon_name} of the service that only the front can \
                        reach; add trusted_fronts = [\"front\"], or remove the line"
                .to_owned());
        }
        if self.group.is_some() && self.user.is_none() {
            return Err("group: found without user, expected both, or user alone; add user".to_owned());
        }
        self.store.check()?;
        self.monitor.as_ref().map_or(Ok(()), Monitor::check)?;
        if self.limits.message_memory < self.limits.message_size {
            return Err(format!(
                "limits.message_memory: found {} octets, expected at least limits.message_size, {} octets, or no message of that size could \
                 be verified; raise the one or lower the other",
                self.limits.message_memory, self.limits.message_size
            ));
        }
        Ok(())
    }
}

fn sockets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketName>, D::Error> {
    use serde::de::Error as _;
    let texts: Vec<String> = value::not_empty(deserializer)?;
    let name = |text: String| text.parse().map_err(|error| D::Error::custom(format_args!("found {error}")));
    texts.into_iter().map(name).collect()
}

fn authserv_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    use serde::de::Error as _;
    let ids = Vec::<String>::deserialize(deserializer)?;
    match ids.iter().find(|id| id.trim().is_empty()) {
        Some(id) => Err(D::Error::custom(format_args!("found {id:?}, expected an authserv-id, such as \"mx.demo.example\""))),
        None => Ok(ids),
    }
}

fn idle_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    value::duration(deserializer, 60 * value::SECOND, 24 * 3600 * value::SECOND, "1 min to 24 h")
}

fn default_mode() -> u32 {
    0o660
}

fn default_log() -> String {
    "info".to_owned()
}

/// Postfix's usual `milter_macro_daemon_name` for submission, and Sendmail's name of its submission agent.
fn default_submission() -> Vec<String> {
    vec!["ORIGINATING".to_owned(), "MSA".to_owned()]
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;

//! The configuration file (TOML).
//!
//! Whatever is wrong is refused with its place, what was expected and what to do; nothing is ignored.

mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use smtp_fallback_policy::contract::Listener as Kind;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This host's name: in the greeting, in Received fields, in file names. A domain name of up to 253 octets.
    #[serde(deserialize_with = "value::host_name")]
    pub host_name: String,
    /// The domains whose mail is taken, in lower case; at least one.
    #[serde(deserialize_with = "value::domains")]
    pub domains: Vec<String>,
    /// Where accepted mail is kept. Made when it is missing.
    pub maildir: PathBuf,
    /// The policy component, `smtp-fallback-policy.wasm`.
    pub component: PathBuf,
    /// The policy, a JSON file.
    pub policy: PathBuf,
    /// What is logged: a level, or the directives of tracing's `EnvFilter`.
    #[serde(default = "default_log", deserialize_with = "value::log_filter")]
    pub log: String,
    /// Where to listen; at least one.
    #[serde(rename = "listener", deserialize_with = "value::not_empty")]
    pub listeners: Vec<Listener>,
    /// The same mail would be taken over IPv4, here or on another host of these domains: without that nothing is refused (A20, R9).
    #[serde(default = "yes")]
    pub reachable_over_ipv4: bool,
    /// How messages are verified.
    #[serde(default)]
    pub verify: Verify,
    /// Limits of the SMTP service.
    #[serde(default)]
    pub limits: Limits,
    /// Limits of the policy component and of its records.
    #[serde(default)]
    pub policy_limits: PolicyLimits,
}

/// One address to listen on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port, such as `[::]:25`. An IPv6 address takes IPv6 only. Port 0 takes a free one.
    #[serde(deserialize_with = "value::socket_address")]
    pub address: SocketAddr,
    /// Announce IPV6-IPV4-FALLBACK (R1). Allowed on IPv6 only (A23).
    #[serde(default)]
    pub extension: bool,
    /// The kind of service: only `mx` is in scope of the policy (A18).
    #[serde(default = "default_kind")]
    pub kind: Kind,
}

/// Verification by SPF and DKIM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// Name servers to ask; empty for those of the system.
    #[serde(deserialize_with = "value::socket_addresses")]
    pub nameservers: Vec<SocketAddr>,
    /// The time for all look-ups of one message: what is not known then is a temporary error. 100 ms to 1 min.
    #[serde(deserialize_with = "value::verify_deadline")]
    pub deadline: Duration,
    /// DNS answers that are remembered.
    pub cache_entries: usize,
}

/// Limits of the SMTP service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest message, announced by SIZE. 64 KiB to 1 GiB.
    #[serde(deserialize_with = "value::message_size")]
    pub message_size: usize,
    /// What all messages being received may take in memory together. At least 64 KiB, and not less than `message_size`.
    #[serde(deserialize_with = "value::memory_size")]
    pub message_memory: usize,
    /// Recipients of one message. RFC 5321 §4.5.3.1.8 wants at least 100.
    #[serde(deserialize_with = "value::at_least_one")]
    pub recipients: usize,
    /// Connections at a time.
    #[serde(deserialize_with = "value::at_least_one")]
    pub connections: usize,
    /// Mistakes of a client (5yz replies of the server itself) before it is disconnected.
    #[serde(deserialize_with = "value::at_least_one")]
    pub errors: usize,
    /// How long a client may be silent. 1 s to 1 h; RFC 5321 §4.5.3.2.7 wants at least 5 min.
    #[serde(deserialize_with = "value::idle_time")]
    pub idle: Duration,
    /// How long a message may take from 354 to its end. 1 s to 24 h.
    #[serde(deserialize_with = "value::message_time")]
    pub message_time: Duration,
}

/// Limits of the policy component and of its records.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyLimits {
    /// The time for one call. 1 ms to 10 s.
    #[serde(deserialize_with = "value::call_deadline")]
    pub deadline: Duration,
    /// The memory of one instance. 1 MiB to 1 GiB.
    #[serde(deserialize_with = "value::instance_memory")]
    pub memory: usize,
    /// Records that are kept in memory, about 400 octets each.
    #[serde(deserialize_with = "value::at_least_one")]
    pub records: usize,
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
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
        let mut config: Config = toml::from_str(&text).map_err(|error| ConfigError::Invalid(path.to_owned(), Box::new(error)))?;
        config.check().map_err(|text| ConfigError::Contradiction(path.to_owned(), text))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in [&mut config.maildir, &mut config.component, &mut config.policy] {
            *file = folder.join(&*file);
        }
        Ok(config)
    }

    /// Whether mail is also taken over IPv4 here, so that its arrival can be seen (A34).
    pub fn sees_ipv4_arrivals(&self) -> bool {
        self.listeners.iter().any(|listener| listener.address.is_ipv4() && listener.kind == Kind::Mx)
    }

    fn check(&self) -> Result<(), String> {
        for listener in &self.listeners {
            if listener.extension && listener.address.is_ipv4() {
                return Err(format!(
                    "listener {}: found extension = true on an IPv4 address, expected it on IPv6 addresses only (A23); \
                     remove the line",
                    listener.address
                ));
            }
        }
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

impl Default for Verify {
    fn default() -> Self {
        Verify { nameservers: Vec::new(), deadline: Duration::from_secs(5), cache_entries: 8192 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_size: 25 << 20,
            message_memory: 256 << 20,
            recipients: 100,
            connections: 500,
            errors: 20,
            idle: Duration::from_secs(300),
            message_time: Duration::from_secs(1800),
        }
    }
}

impl Default for PolicyLimits {
    fn default() -> Self {
        PolicyLimits { deadline: Duration::from_millis(50), memory: 16 << 20, records: 200_000 }
    }
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
mod tests {
    use super::*;

    const SMALL: &str = r#"
host_name = "mx.demo.example"
domains = ["Demo.example"]
maildir = "mail"
component = "/policy.wasm"
policy = "policy.json"

[[listener]]
address = "[::1]:2525"
"#;

    fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("smtpd.toml");
        std::fs::write(&path, text).expect("writable");
        let config = Config::from_file(&path).map_err(|error| error.to_string());
        config.inspect(|config| assert_eq!(config.maildir, folder.path().join("mail")))
    }

    #[test]
    fn a_small_file_has_all_defaults() {
        let config = read(SMALL).expect("valid");
        assert_eq!(config.domains, ["demo.example"]);
        assert_eq!(config.component, Path::new("/policy.wasm"));
        assert_eq!(config.log, "info");
        assert!(config.reachable_over_ipv4 && !config.sees_ipv4_arrivals());
        assert_eq!(config.limits.message_size, 25 * 1024 * 1024);
        assert_eq!(config.limits.idle, Duration::from_secs(300));
        assert_eq!(config.policy_limits.deadline, Duration::from_millis(50));
        assert!(!config.listeners[0].extension && config.listeners[0].kind == Kind::Mx);
    }

    #[test]
    fn every_setting_can_be_set() {
        let text = format!(
            r#"{SMALL}
extension = true
kind = "submission"
[[listener]]
address = "127.0.0.1:0"
[verify]
nameservers = ["127.0.0.1:5353", "::1"]
deadline = "1500ms"
cache_entries = 10
[limits]
message_size = "10MiB"
message_memory = 67108864
recipients = 200
connections = 7
errors = 3
idle = "10s"
message_time = "1h"
[policy_limits]
deadline = "5ms"
memory = "32MiB"
records = 1000
"#
        );
        let config = read(&text).expect("valid");
        assert!(config.sees_ipv4_arrivals());
        assert_eq!(config.listeners[0].kind, Kind::Submission);
        assert_eq!(config.verify.nameservers, ["127.0.0.1:5353", "[::1]:53"].map(|address| address.parse().expect("valid")));
        assert_eq!(config.verify.deadline, Duration::from_millis(1500));
        assert_eq!((config.limits.message_size, config.limits.message_memory), (10 << 20, 64 << 20));
        assert_eq!(config.limits.message_time, Duration::from_secs(3600));
        assert_eq!(config.policy_limits.memory, 32 << 20);
    }

    #[test]
    fn the_sample_file_is_valid() {
        Config::from_file(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/smtpd.toml"))).expect("valid");
    }

    #[test]
    fn errors_say_where_and_what() {
        let with = |text: &str| format!("{SMALL}{text}");
        let cases = [
            (with("extensions = true"), &["line 10", "unknown field `extensions`", "`extension`"][..]),
            (with("kind = \"mta\""), &["line 10", "unknown variant `mta`", "`mx`"]),
            (with("[limits]\nidle = \"5\""), &["line 11", "found \"5\"", "5m"]),
            (with("[limits]\nidle = \"2h\""), &["line 11", "1 s to 1 h"]),
            (with("[limits]\nmessage_size = \"1MB\""), &["line 11", "25MiB"]),
            (with("[limits]\nmessage_size = -1"), &["line 11", "25MiB"]),
            (with("[limits]\nmessage_size = 1"), &["line 11", "64 KiB to 1 GiB"]),
            (with("[limits]\nerrors = 0"), &["line 11", "at least 1"]),
            (with("[limits]\nmessage_memory = \"1MiB\""), &["message_memory", "at least limits.message_size"]),
            (with("[verify]\nnameservers = [\"dns.example\"]"), &["line 11", "dns.example", "127.0.0.1:53"]),
            (with("[[listener]]\naddress = \"127.0.0.1:1\"\nextension = true"), &["127.0.0.1:1", "IPv6 addresses only"]),
            (with("[[listener]]\naddress = \"localhost:25\""), &["line 11", "localhost:25", "[::]:25"]),
            (SMALL.replace("[[listener]]\naddress = \"[::1]:2525\"", "listener = []"), &["at least one"]),
            (SMALL.replace("[\"Demo.example\"]", "[]"), &["line 3", "at least one"]),
            (SMALL.replace("\"Demo.example\"", "\"de mo\""), &["line 3", "de mo", "demo.example"]),
            (SMALL.replace("mx.demo.example", "mx\\r\\n.example"), &["line 2"]),
            (SMALL.replace("mx.demo.example", &format!("{}mx", "a.".repeat(126))), &["line 2", "254 octets", "253"]),
            (SMALL.replace("maildir", "mailbox"), &["line 4", "unknown field `mailbox`"]),
            (SMALL.replace("maildir = \"mail\"\n", ""), &["missing field `maildir`"]),
            (SMALL.replace("maildir =", "log = \"a=b=c\"\nmaildir ="), &["line 4", "info"]),
            ("domains = [".to_owned(), &["line 1"]),
        ];
        for (text, parts) in cases {
            let error = read(&text).expect_err(&text);
            for part in parts {
                assert!(error.contains(part), "{part:?} is not in: {error}");
            }
        }
    }
}

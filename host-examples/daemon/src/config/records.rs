//! The tables `[store]` and `[monitor]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use smtp_fallback_store::Limits;
use smtp_fallback_store::redis::RedisSettings;

use super::value;

/// Where the policy's records live. Without a place they are in memory, and end with the process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The file behind the records in memory. Made when it is missing, in a folder that is there.
    pub path: Option<PathBuf>,
    /// The server that all hosts of a domain share. Either this or `path`.
    pub redis: Option<RedisSettings>,
    /// Records at most, about 100 octets each, 1 to 100 million.
    #[serde(deserialize_with = "value::record_count")]
    pub records: usize,
    /// Of these, about one /48 and its networks.
    #[serde(deserialize_with = "value::at_least_one")]
    pub records_per_48: usize,
    /// About one /32.
    #[serde(deserialize_with = "value::at_least_one")]
    pub records_per_32: usize,
    /// How long a message may wait for its records in all; what is not there by then is decided without. 1 ms to 1 s.
    #[serde(deserialize_with = "value::store_time")]
    pub time: Duration,
    /// The socket by which the command line and other processes reach the records.
    pub control: Option<PathBuf>,
    /// Who may connect there, as the mode of a file: the owner and whoever this allows can read and change all records.
    #[serde(deserialize_with = "value::file_mode")]
    pub control_mode: u32,
}

impl Store {
    /// The limits of the records in memory.
    pub fn limits(&self) -> Limits {
        Limits { records: self.records, per_48: self.records_per_48, per_32: self.records_per_32 }
    }

    /// The files that it names.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let own = [&mut self.path, &mut self.control].into_iter().flatten();
        own.chain(self.redis.iter_mut().flat_map(RedisSettings::files))
    }

    /// Whether its values fit together; else what is wrong, and what to do.
    ///
    /// # Errors
    /// Says which do not.
    pub fn check(&self) -> Result<(), String> {
        if self.path.is_some() && self.redis.is_some() {
            return Err("store: found both path and [store.redis], expected one of them; remove the other".to_owned());
        }
        if self.control.is_some() && (self.control_mode & !0o770 != 0 || self.control_mode & 0o600 != 0o600) {
            return Err(format!(
                "store.control_mode: found \"{:04o}\", expected \"0600\", or \"0660\" for the group too: whoever can write to the socket can \
                 change all records, so that it is never open to all users",
                self.control_mode
            ));
        }
        Ok(())
    }
}

impl Default for Store {
    fn default() -> Self {
        let Limits { records, per_48, per_32 } = Limits::default();
        Store {
            path: None,
            redis: None,
            records,
            records_per_48: per_48,
            records_per_32: per_32,
            time: Duration::from_millis(20),
            control: None,
            control_mode: 0o600,
        }
    }
}

/// Where metrics and the status page are served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// Address and port, such as `127.0.0.1:9125`. Port 0 takes a free one.
    #[serde(deserialize_with = "value::monitor_address")]
    pub address: SocketAddr,
    /// The address may be another than one of this host's loopback: whoever reaches it sees whose mail is refused.
    #[serde(default)]
    pub allow_remote: bool,
}

impl Monitor {
    /// Whether others can reach it only where that is wanted.
    ///
    /// # Errors
    /// They can.
    pub fn check(&self) -> Result<(), String> {
        if self.allow_remote || self.address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(format!(
            "monitor.address: found {}, which other machines can reach, expected a loopback address such as 127.0.0.1:9125; correct it, or \
             set allow_remote = true and let a firewall guard the port",
            self.address
        ))
    }
}

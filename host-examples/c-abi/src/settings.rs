//! What `smtp_fallback_open` reads.

mod span;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;
use smtp_fallback_daemon::file;
use smtp_fallback_embed::Limits;
use smtp_fallback_json::Octets;
use smtp_fallback_store::redis::RedisSettings;

use crate::answer::{Code, Error};

/// The settings of a handle.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) component: PathBuf,
    /// Its text is [`Settings::policy`].
    #[serde(default, rename = "policy")]
    inline: Option<Inline>,
    #[serde(default)]
    policy_file: Option<PathBuf>,
    #[serde(default)]
    secret: Option<Octets>,
    #[serde(default)]
    pub(crate) store: Option<Store>,
    #[serde(default)]
    pub(crate) cache: Option<PathBuf>,
    #[serde(default = "default_deadline", deserialize_with = "deadline")]
    deadline_ms: u64,
    #[serde(default = "default_memory", deserialize_with = "memory")]
    memory: usize,
    #[serde(default = "default_instances", deserialize_with = "instances")]
    instances: u32,
    #[serde(default = "default_store_time", deserialize_with = "store_time")]
    store_ms: u64,
}

/// Where the policy comes from.
pub(crate) enum Policy<'a> {
    /// There is none: everything passes.
    None,
    Text(String),
    File(&'a Path),
}

/// Where the records live.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Store {
    Memory(MemoryStore),
    File(PathBuf),
    Control(PathBuf),
    Redis(RedisSettings),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryStore {
    #[serde(default = "default_records", deserialize_with = "records")]
    pub(crate) records: usize,
}

/// A policy as a value, whose text counts and is taken from the settings; or as a text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a policy, as a JSON object or as a text")]
enum Inline {
    Text(String),
    Object {},
}

impl Settings {
    pub(crate) fn read(text: &str) -> Result<(Settings, Option<String>), Error> {
        let wrong = |problem: String| Error::new(Code::Argument, format!("settings: {problem}"));
        let mut settings: Settings = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if settings.inline.is_some() && settings.policy_file.is_some() {
            return Err(wrong("found both policy and policy-file, expected one of them; remove the other".to_owned()));
        }
        // As it was written: for the places of errors, and since a name that stands twice is one.
        let policy = settings.inline.take().map(|inline| match inline {
            Inline::Text(text) => text,
            Inline::Object {} => span::of_member(text, "policy").unwrap_or_default().to_owned(),
        });
        Ok((settings, policy))
    }

    /// The policy, as it was found inline.
    pub(crate) fn policy(&self, inline: Option<String>) -> Policy<'_> {
        match (inline, &self.policy_file) {
            (Some(text), _) => Policy::Text(text),
            (None, Some(path)) => Policy::File(path),
            (None, None) => Policy::None,
        }
    }

    pub(crate) fn policy_file(&self) -> Option<&Path> {
        self.policy_file.as_deref()
    }

    pub(crate) fn secret(&self) -> Option<&[u8]> {
        self.secret.as_ref().map(|Octets(octets)| octets.as_slice())
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { deadline: Duration::from_millis(self.deadline_ms), memory: self.memory, instances: self.instances }
    }

    /// How long a call waits for the store in all.
    pub(crate) fn store_time(&self) -> Duration {
        Duration::from_millis(self.store_ms)
    }
}

/// The policy in a file.
pub(crate) fn read_policy(path: &Path) -> Result<String, Error> {
    let unreadable = |error: std::io::Error| {
        let problem = format!("the policy {} cannot be read: {error}; check `policy-file` in the settings", path.display());
        Error::new(Code::Policy, problem)
    };
    file::read(path, crate::MAX_OCTETS as u64, "a policy has at most 1 MiB").map_err(unreadable)
}

const MIB: usize = 1 << 20;

fn default_deadline() -> u64 {
    50
}

fn default_memory() -> usize {
    16 * MIB
}

fn default_instances() -> u32 {
    16
}

fn default_store_time() -> u64 {
    20
}

fn default_records() -> usize {
    1_000_000
}

fn deadline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within("deadline-ms", u64::deserialize(deserializer)?, 1, 10_000)
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within("memory", usize::deserialize(deserializer)?, MIB, 1024 * MIB)
}

fn instances<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within("instances", u32::deserialize(deserializer)?, 1, 10_000)
}

fn store_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within("store-ms", u64::deserialize(deserializer)?, 1, 1000)
}

fn records<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within("records", usize::deserialize(deserializer)?, 1, 100_000_000)
}

fn within<T: PartialOrd + std::fmt::Display, E: serde::de::Error>(name: &str, found: T, least: T, most: T) -> Result<T, E> {
    match least <= found && found <= most {
        true => Ok(found),
        false => Err(E::custom(format_args!("{name}: found {found}, expected {least} to {most}"))),
    }
}

#[cfg(test)]
mod tests;

//! Values of configuration files, each read with its limits, so that an error has the value's place. A program whose file has values of its
//! own reads them the same way.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::domain::is_domain;
use crate::trusted::{ProxyNetwork, Trusted};

/// A second, in the milliseconds of [`duration`].
pub const SECOND: u64 = 1000;
const MIB: u64 = 1 << 20;
const DNS_PORT: u16 = 53;
/// The longest host name that DNS can have, in octets: its 255 count the lengths of the labels and the root (RFC 1035 §3.1).
const HOST_NAME_MAX: usize = 253;

/// A host name of at most 253 octets.
pub fn host_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match String::deserialize(deserializer).and_then(checked_domain)? {
        name if name.len() > HOST_NAME_MAX => Err(D::Error::custom(format_args!(
            "found a name of {} octets, expected one of at most {HOST_NAME_MAX}, such as mx.demo.example",
            name.len()
        ))),
        name => Ok(name),
    }
}

/// A list with at least one entry.
pub fn not_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let values = Vec::deserialize(deserializer)?;
    if values.is_empty() { Err(D::Error::custom("found an empty list, expected at least one entry")) } else { Ok(values) }
}

/// An IP address and a port to listen on.
pub fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format_args!(
            "found {text:?}, expected an IP address and a port, such as [::]:25 or 0.0.0.0:25; host names are not looked up"
        ))
    })
}

/// IP addresses of name servers, with port 53 where none is named.
pub fn socket_addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parsed = |text: String| {
        let with_port = text.parse::<SocketAddr>().ok();
        with_port.or_else(|| text.parse::<IpAddr>().ok().map(|address| (address, DNS_PORT).into())).ok_or_else(|| {
            D::Error::custom(format_args!("found {text:?}, expected an IP address, with or without a port, such as 127.0.0.1:53"))
        })
    };
    texts.into_iter().map(parsed).collect()
}

/// A level, or the directives of `EnvFilter`.
pub fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = text.split(',').find(|directive| !is_directive(directive.trim()));
    let error = match (wrong, text.parse::<tracing_subscriber::EnvFilter>()) {
        (None, Ok(_)) => return Ok(text),
        (Some(wrong), _) => format!("{wrong:?} is neither a level nor a part of the program"),
        (None, Err(error)) => error.to_string(),
    };
    Err(D::Error::custom(format_args!(
        "found {text:?}, expected a level (error, warn, info, debug, trace) or directives such as \
         \"info,smtp_fallback_daemon=debug\"; {error}"
    )))
}

/// A level, or a part of the program with one. `EnvFilter` takes any word for a part, and a typo would switch the log off.
fn is_directive(directive: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    const PARTS: [&str; 7] = ["smtp_fallback_", "hickory_", "mail_auth", "wasmtime", "cranelift", "rustls", "tokio"];
    let is_level = |level: &str| LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
    match directive.rsplit_once('=') {
        None => is_level(directive),
        Some((part, level)) => is_level(level) && PARTS.iter().any(|known| part.starts_with(known)),
    }
}

/// A number that is not 0.
pub fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("found 0, expected at least 1")),
        number => Ok(number),
    }
}

pub(super) fn record_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        number @ 1..=100_000_000 => Ok(number),
        number => Err(D::Error::custom(format_args!("found {number}, expected 1 to 100000000"))),
    }
}

pub(super) fn store_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(deserializer, 1, SECOND, "1 ms to 1 s")
}

/// The mode of a file, as chmod takes it: "0660".
pub fn file_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    mode.ok_or_else(|| {
        D::Error::custom(format_args!("found {text:?}, expected the mode of a file in octal digits, such as \"0660\""))
    })
}

pub(super) fn monitor_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| D::Error::custom(format_args!("found {text:?}, expected an IP address and a port, such as 127.0.0.1:9125")))
}

/// A size of 64 KiB to 1 GiB.
pub fn message_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    size(deserializer, 64 << 10, 1 << 30, "64 KiB to 1 GiB")
}

/// A size of 64 KiB to 1024 GiB.
pub fn memory_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    size(deserializer, 64 << 10, 1 << 40, "64 KiB to 1024 GiB")
}

pub(super) fn instance_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    size(deserializer, MIB, 1 << 30, "1 MiB to 1 GiB")
}

pub(super) fn verify_deadline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(deserializer, 100, 60 * SECOND, "100 ms to 1 min")
}

pub(super) fn call_deadline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(deserializer, 1, 10 * SECOND, "1 ms to 10 s")
}

/// One of the words, and what it stands for.
pub fn word<'de, D: Deserializer<'de>, T: Copy>(deserializer: D, known: &[(&str, T)]) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = known.iter().map(|(word, _)| format!("{word:?}")).collect();
        D::Error::custom(format_args!("found {text:?}, expected one of {}", words.join(", ")))
    })
}

/// The text, if it is a domain name.
pub fn checked_domain<E: Error>(text: String) -> Result<String, E> {
    if is_domain(&text) {
        Ok(text)
    } else {
        Err(E::custom(format_args!("found {text:?}, expected a domain name such as demo.example, without a dot at the end")))
    }
}

/// A time from `least` to `most` milliseconds, such as `500ms` or `5m`; `range` says the same in words.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D, least: u64, most: u64, range: &str) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale = match unit {
        "ms" => Some(1),
        "s" => Some(SECOND),
        "m" => Some(60 * SECOND),
        "h" => Some(3600 * SECOND),
        _ => None,
    };
    let milliseconds = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    match milliseconds {
        Some(time) if (least..=most).contains(&time) => Ok(Duration::from_millis(time)),
        Some(_) => Err(D::Error::custom(format_args!("found {text:?}, expected {range}"))),
        None => Err(D::Error::custom(format_args!(
            "found {text:?}, expected a number and a unit without space (ms, s, m, h), such as 500ms or 5m, from {range}"
        ))),
    }
}

/// A number of octets, or a text such as `25MiB`, from `least` to `most`; `range` says the same in words.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D, least: u64, most: u64, range: &'static str) -> Result<usize, D::Error> {
    let octets = deserializer.deserialize_any(SizeVisitor { range })?;
    let fits = usize::try_from(octets).ok().filter(|_| (least..=most).contains(&octets));
    fits.ok_or_else(|| D::Error::custom(format_args!("found {octets} octets, expected {range}")))
}

/// A number of octets, or a text with a unit.
struct SizeVisitor {
    range: &'static str,
}

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of octets, or a text with a unit (KiB, MiB, GiB) such as 25MiB, from {}", self.range)
    }

    fn visit_i64<E: Error>(self, octets: i64) -> Result<u64, E> {
        u64::try_from(octets).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(octets), &self))
    }

    fn visit_u64<E: Error>(self, octets: u64) -> Result<u64, E> {
        Ok(octets)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let scale = match unit {
            "KiB" => Some(1 << 10),
            "MiB" => Some(MIB),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        let octets = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
        octets.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// The networks of those whose word about a client is taken.
pub fn proxies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Trusted, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| text.parse::<ProxyNetwork>().map_err(|error| D::Error::custom(format_args!("found {error}"))))
        .collect()
}

//! The values that only this server's configuration has.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use smtp_fallback_daemon::config::value::{SECOND, checked_domain, duration, word};
pub(super) use smtp_fallback_daemon::config::value::{
    at_least_one, host_name, log_filter, memory_size, message_size, not_empty, proxies, socket_address,
};

use crate::upstream::{Address, Protocol, Tell};

pub(super) fn domains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.into_iter().map(|text| checked_domain(text.to_ascii_lowercase())).collect()
}

pub(super) fn upstream_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(Address::Unix(path.into())),
        _ => text.parse().map(Address::Tcp).map_err(|_| {
            D::Error::custom(format_args!(
                "found {text:?}, expected an IP address and a port, or unix: and the path of a socket, such as 127.0.0.1:10025 or \
                 unix:/run/dovecot/lmtp; host names are not looked up"
            ))
        }),
    }
}

pub(super) fn upstream_protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    word(deserializer, &[("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)])
}

pub(super) fn upstream_tell<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tell, D::Error> {
    word(deserializer, &[("xclient", Tell::Xclient), ("proxy-v1", Tell::ProxyV1), ("nothing", Tell::Nothing)])
}

pub(super) fn upstream_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(deserializer, 100, 3600 * SECOND, "100 ms to 1 h")
}

pub(super) fn greeting_delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(deserializer, 0, 30 * SECOND, "0s to 30 s")
}

pub(super) fn ipv6_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    prefix(deserializer, 16, 128)
}

pub(super) fn ipv4_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    prefix(deserializer, 8, 32)
}

pub(super) fn idle_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(deserializer, SECOND, 3600 * SECOND, "1 s to 1 h")
}

pub(super) fn message_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(deserializer, SECOND, 24 * 3600 * SECOND, "1 s to 24 h")
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D, least: u8, most: u8) -> Result<u8, D::Error> {
    match i64::deserialize(deserializer)? {
        bits if (i64::from(least)..=i64::from(most)).contains(&bits) => Ok(bits as u8),
        bits => Err(D::Error::custom(format_args!("found {bits}, expected {least} to {most} bits"))),
    }
}

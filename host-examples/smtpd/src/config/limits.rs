//! The table `[limits]`.

use std::time::Duration;

use serde::Deserialize;

use super::value;

/// Limits of the SMTP service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest message, announced by SIZE. 64 KiB to 1 GiB.
    #[serde(deserialize_with = "value::message_size")]
    pub message_size: usize,
    /// What all messages being received may take in memory together; those from one network a quarter of it, or one message. At least
    /// 64 KiB, and not less than `message_size`.
    #[serde(deserialize_with = "value::memory_size")]
    pub message_memory: usize,
    /// Recipients of one message. RFC 5321 §4.5.3.1.8 wants at least 100.
    #[serde(deserialize_with = "value::at_least_one")]
    pub recipients: usize,
    /// Connections at a time.
    #[serde(deserialize_with = "value::at_least_one")]
    pub connections: usize,
    /// Connections at a time from one network; 0 for no limit but `connections`.
    pub connections_per_prefix: usize,
    /// Bits of an IPv6 address that make a network. 16 to 128.
    #[serde(deserialize_with = "value::ipv6_prefix")]
    pub ipv6_prefix: u8,
    /// Bits of an IPv4 address that make a network. 8 to 32.
    #[serde(deserialize_with = "value::ipv4_prefix")]
    pub ipv4_prefix: u8,
    /// Mistakes of a client (5yz replies of the server itself) before it is disconnected.
    #[serde(deserialize_with = "value::at_least_one")]
    pub errors: usize,
    /// How long the greeting is held back; a client that speaks meanwhile is refused. Up to 30 s; 0 switches it off.
    #[serde(deserialize_with = "value::greeting_delay")]
    pub greeting_delay: Duration,
    /// The time for one command. 1 s to 1 h; RFC 5321 §4.5.3.2.7 wants at least 5 min.
    #[serde(deserialize_with = "value::idle_time")]
    pub idle: Duration,
    /// The time for the next block of a message. 1 s to 1 h; RFC 5321 §4.5.3.2.5 gives 3 min.
    #[serde(deserialize_with = "value::idle_time")]
    pub data_block: Duration,
    /// How long a message may take from 354 or its first BDAT to its end, and how long a transaction may take to come to that. 1 s to
    /// 24 h.
    #[serde(deserialize_with = "value::message_time")]
    pub message_time: Duration,
    /// The time for a TLS handshake. 1 s to 1 h.
    #[serde(deserialize_with = "value::idle_time")]
    pub tls_handshake: Duration,
}

impl Limits {
    /// The share of `message_memory` that the clients of one network have: a quarter, and enough for one message.
    pub fn memory_for_a_network(&self) -> usize {
        (self.message_memory / 4).max(self.message_size)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_size: 25 << 20,
            message_memory: 256 << 20,
            recipients: 100,
            connections: 500,
            connections_per_prefix: 50,
            ipv6_prefix: 64,
            ipv4_prefix: 32,
            errors: 20,
            greeting_delay: Duration::ZERO,
            idle: Duration::from_secs(300),
            data_block: Duration::from_secs(180),
            message_time: Duration::from_secs(1800),
            tls_handshake: Duration::from_secs(30),
        }
    }
}

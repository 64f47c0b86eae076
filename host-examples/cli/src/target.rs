//! What the person means by ADDRESS or NETWORK.

use std::str::FromStr;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind};
use smtp_fallback_policy::network::{Network, NetworkError};
use smtp_fallback_policy::parse_address;
use smtp_fallback_store::control::JsonKey;

/// An address, a network, or a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A client.
    Address(Address),
    /// A network, with its length.
    Network(Network),
    /// The record of a refused mail, by the name that `cache show` gives it.
    Mail(Key),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((kind, hash)) = text.split_once(':').filter(|(kind, _)| matches!(*kind, "exact" | "inferred")) {
            let key = serde_json::from_value(serde_json::json!({"kind": kind, "hash": hash}));
            return key
                .map(|JsonKey(key)| Target::Mail(key))
                .map_err(|error| format!("{error}, as `cache show --kind {kind}` has them"));
        }
        if !text.contains('/') {
            return parse_address(text).map(Target::Address);
        }
        Network::parse(text).map(Target::Network).map_err(|error| match error {
            NetworkError::Address => format!("no address stands before the slash; expected a network such as 2001:db8::/64, found {text:?}"),
            NetworkError::Length => {
                format!("no length between 0 and 128 stands behind the slash; expected a network such as 2001:db8::/64, found {text:?}")
            }
            NetworkError::HostBits(network) => format!("{text} has bits set beyond its length; expected {network}, or an address without /"),
        })
    }
}

impl Target {
    /// Whether all of it is IPv4 (A22).
    pub(crate) fn is_ipv4(self) -> bool {
        match self {
            Target::Address(address) => address.is_ipv4(),
            Target::Network(network) => network.is_ipv4(),
            Target::Mail(_) => false,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Address(address) => address.fmt(f),
            Target::Network(network) => network.fmt(f),
            Target::Mail(key) => f.write_str(&key_name(key)),
        }
    }
}

/// Why nothing is found about IPv4.
pub(crate) const IPV4: &str = "the policy keeps nothing about IPv4 clients: all mail over IPv4 passes it";

/// The keys of records that are kept for exactly this network.
pub(crate) fn keys_of_network(network: Network) -> Vec<Key> {
    let key = |kind| Key { kind, address: network.prefix(), prefix_length: network.length() };
    let kinds = match network.length() {
        48 => &[KeyKind::Network, KeyKind::Budget][..],
        128 => &[KeyKind::Network, KeyKind::Address],
        _ => &[KeyKind::Network],
    };
    kinds.iter().map(|kind| key(*kind)).collect()
}

/// The word for a kind.
pub(crate) fn kind_name(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Address => "address",
        KeyKind::Network => "network",
        KeyKind::Budget => "budget",
        KeyKind::Exact => "exact",
        KeyKind::Inferred => "inferred",
    }
}

/// What the record is about: "2001:db8::/64", "2001:db8::25", "exact:0011…".
pub(crate) fn key_name(key: &Key) -> String {
    match key.kind {
        KeyKind::Address if key.prefix_length == 128 => key.address.to_string(),
        KeyKind::Address | KeyKind::Network | KeyKind::Budget => Network::of(key.address, key.prefix_length).to_string(),
        KeyKind::Exact | KeyKind::Inferred => format!("{}:{:032x}", kind_name(key.kind), key.address.bits()),
    }
}

/// Why no record has this key; `None` where one may.
pub(crate) fn wrong_key(key: &Key) -> Option<String> {
    let network = Network::of(key.address, key.prefix_length);
    let length = network.length();
    let expected = match key.kind {
        KeyKind::Exact | KeyKind::Inferred => return None,
        _ if network.is_ipv4() => "an IPv6 network: nothing is kept about IPv4",
        KeyKind::Address if length != 128 => "a /128, as a client's address is one",
        KeyKind::Budget if length != 48 => "a /48",
        KeyKind::Network if length < 16 => "a network from /16 to /128, as policies have them",
        _ => return None,
    };
    Some(format!("key: found {network}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_paste() {
        for (text, name) in [
            ("[IPv6:2001:DB8::25]", "2001:db8::25"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("2001:db8::25/128", "2001:db8::25/128"),
            ("exact:00112233445566778899aabbccddeeff", "exact:00112233445566778899aabbccddeeff"),
        ] {
            assert_eq!(text.parse::<Target>().expect(text).to_string(), name);
        }
        for (text, part) in [
            ("mail.example", "expected one such as 192.0.2.1, 2001:db8::1"),
            ("2001:db8::25/64", "expected 2001:db8::/64"),
            ("2001:db8::/200", "between 0 and 128"),
            ("mail.example/64", "expected a network such as 2001:db8::/64"),
            ("exact:0011", "expected 32 hexadecimal digits, as `cache show --kind exact` has them"),
        ] {
            let error = text.parse::<Target>().expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}

//! The names of records on the server: text that people can read and other hosts can make.

use std::net::Ipv6Addr;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind};
use smtp_fallback_policy::network::Network;

const KINDS: [(KeyKind, &str); 5] = [
    (KeyKind::Address, "address"),
    (KeyKind::Network, "network"),
    (KeyKind::Budget, "budget"),
    (KeyKind::Exact, "exact"),
    (KeyKind::Inferred, "inferred"),
];

/// Makes and reads the names under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Names { prefix: prefix.to_owned() }
    }

    /// Where a record is. Different keys have different names.
    pub(super) fn of(&self, key: &Key) -> String {
        let Key { kind, address, prefix_length } = *key;
        let name = KINDS.iter().find(|(known, _)| *known == kind).map_or("", |(_, name)| *name);
        let prefix = &self.prefix;
        match kind {
            KeyKind::Exact | KeyKind::Inferred if prefix_length == 128 => format!("{prefix}{name}:{:032x}", address.bits()),
            KeyKind::Exact | KeyKind::Inferred => format!("{prefix}{name}:{:032x}/{prefix_length}", address.bits()),
            KeyKind::Address | KeyKind::Network | KeyKind::Budget => {
                // As people write IPv4 networks. A shorter prefix of a mapped address is no network of the module's, yet has a name.
                let ipv4 = address.bits() >> 32 == 0xffff;
                match prefix_length.checked_sub(96) {
                    Some(length) if ipv4 => format!("{prefix}{name}:{address}/{length}"),
                    _ => format!("{prefix}{name}:{}/{prefix_length}", Ipv6Addr::from_bits(address.bits())),
                }
            }
        }
    }

    /// Whose record this is; `None` if none of ours has this name.
    pub(super) fn read(&self, name: &[u8]) -> Option<Key> {
        let (kind, rest) = std::str::from_utf8(name).ok()?.strip_prefix(&*self.prefix)?.split_once(':')?;
        let kind = KINDS.iter().find(|(_, name)| *name == kind).map(|(kind, _)| *kind)?;
        let key = match kind {
            KeyKind::Exact | KeyKind::Inferred => {
                let hash = u128::from_str_radix(rest, 16).ok()?;
                Key { kind, address: Address::from_bits(hash), prefix_length: 128 }
            }
            KeyKind::Address | KeyKind::Network | KeyKind::Budget => {
                let network = Network::parse(rest).ok()?;
                Key { kind, address: network.prefix(), prefix_length: network.length() }
            }
        };
        // One name for each key: what is written in another way is none of ours.
        (self.of(&key).as_bytes() == name).then_some(key)
    }

    /// Where the shared secret is.
    pub(super) fn secret(&self) -> String {
        format!("{}secret", self.prefix)
    }

    /// A key to try writes on, of one store's own.
    pub(super) fn probe(&self, number: u64) -> String {
        format!("{}probe:{number:016x}", self.prefix)
    }

    /// The pattern for SCAN: the prefix means itself only.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 1);
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern + "*"
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use super::*;

    fn key(kind: KeyKind, address: &str, prefix_length: u8) -> Key {
        Key { kind, address: address.parse().unwrap(), prefix_length }
    }

    #[test]
    fn names_are_text_and_lead_back() {
        let names = Names::new("smtp-fallback:");
        for (key, name) in [
            (key(KeyKind::Network, "2001:db8::", 64), "smtp-fallback:network:2001:db8::/64"),
            (key(KeyKind::Network, "192.0.2.0", 120), "smtp-fallback:network:192.0.2.0/24"),
            (key(KeyKind::Address, "2001:db8::1", 128), "smtp-fallback:address:2001:db8::1/128"),
            (key(KeyKind::Address, "192.0.2.1", 128), "smtp-fallback:address:192.0.2.1/32"),
            (key(KeyKind::Budget, "2001:db8:1::", 48), "smtp-fallback:budget:2001:db8:1::/48"),
            (key(KeyKind::Network, "::", 0), "smtp-fallback:network:::/0"),
            (key(KeyKind::Exact, "::ab", 128), "smtp-fallback:exact:000000000000000000000000000000ab"),
            (key(KeyKind::Inferred, "192.0.2.1", 128), "smtp-fallback:inferred:00000000000000000000ffffc0000201"),
        ] {
            assert_eq!(names.of(&key), name);
            assert_eq!(names.read(name.as_bytes()), Some(key), "{name}");
        }
    }

    #[test]
    fn what_is_written_in_another_way_is_none_of_ours() {
        let names = Names::new("p:");
        for name in [
            "network:2001:db8::/64",
            "p:network:2001:DB8::/64",
            "p:network:2001:db8:0::/64",
            "p:network:2001:db8::1/64",
            "p:network:2001:db8::",
            "p:network:::ffff:192.0.2.0/120",
            "p:network:",
            "p:networks:2001:db8::/64",
            "p:exact:ab",
            "p:exact:000000000000000000000000000000AB",
            "p:exact:+00000000000000000000000000000ab",
            "p:exact:000000000000000000000000000000ab/128",
            "p:secret",
            "p:probe:0000000000000001",
            "p:",
            "",
        ] {
            assert_eq!(names.read(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(names.read(b"p:network:\xff"), None);
    }

    /// The module writes no such keys, but no two may share a name.
    #[test]
    fn odd_keys_have_names_of_their_own() {
        let names = Names::new("");
        let odd = [
            key(KeyKind::Network, "192.0.2.0", 30),
            key(KeyKind::Network, "192.0.2.0", 126),
            key(KeyKind::Network, "192.0.2.0", 129),
            key(KeyKind::Exact, "::ab", 0),
            key(KeyKind::Exact, "::ab", 128),
        ];
        let mut all: Vec<String> = odd.iter().map(|key| names.of(key)).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), odd.len(), "{all:?}");
    }

    #[test]
    fn a_pattern_means_the_prefix_itself() {
        assert_eq!(Names::new("smtp-fallback:").pattern(), "smtp-fallback:*");
        assert_eq!(Names::new("a*b?[c]\\:").pattern(), "a\\*b\\?\\[c\\]\\\\:*");
        assert_eq!(Names::new("").pattern(), "*");
    }
}

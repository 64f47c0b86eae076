//! IP addresses: reading them as MTAs write them, and what counts as IPv4 (A22).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IP address. IPv4 is kept as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2), so that every address has 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(u128);

/// The text is no address; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// The beginning of the text, with question marks for what is no printable ASCII.
    found: String,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is no IP address; expected one such as 192.0.2.1, 2001:db8::1, [2001:db8::1] or IPv6:2001:db8::1",
            self.found
        )
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// From four 32-bit words, the most significant first.
    pub const fn from_words([w0, w1, w2, w3]: [u32; 4]) -> Self {
        Address((w0 as u128) << 96 | (w1 as u128) << 64 | (w2 as u128) << 32 | w3 as u128)
    }

    /// The four 32-bit words, the most significant first.
    pub const fn words(self) -> [u32; 4] {
        [(self.0 >> 96) as u32, (self.0 >> 64) as u32, (self.0 >> 32) as u32, self.0 as u32]
    }

    /// From 128 bits.
    pub const fn from_bits(bits: u128) -> Self {
        Address(bits)
    }

    /// The 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Whether the connection counts as IPv4: IPv4-mapped, and NAT64's well-known prefix 64:ff9b::/96 (RFC 6052), behind which
    /// there is an IPv4 client. 6to4 and Teredo are IPv6.
    pub const fn is_ipv4(self) -> bool {
        self.0 >> 32 == 0xffff || self.0 >> 32 == 0x0064_ff9b << 64
    }

    /// The address with all bits after the first `length` set to zero.
    pub const fn masked(self, length: u8) -> Self {
        match length {
            0 => Address(0),
            1..=127 => Address(self.0 & (u128::MAX << (128 - length as u32))),
            _ => self,
        }
    }
}

impl fmt::Display for Address {
    /// RFC 5952; an IPv4-mapped address as IPv4.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Address(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Address(v6.to_bits()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let v6 = Ipv6Addr::from_bits(address.0);
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Understands surrounding brackets (RFC 5321 §4.1.3), the prefix `IPv6:` in any case (address literals, Sendmail), and a
    /// zone id (RFC 4007 §11), which is dropped: it means something only on the machine that wrote it.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        // 64 octets hold any address with prefix, brackets and a zone id of a long interface name.
        let shown = |c| if (' '..='~').contains(&c) { c } else { '?' };
        let error = || AddressError { found: text.chars().take(64).map(shown).collect() };
        let bare = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']')).ok_or_else(error)?;
        let tagged = bare.split_at_checked(5).filter(|(tag, _)| tag.eq_ignore_ascii_case("ipv6:")).map(|(_, rest)| rest);
        let bare = tagged.unwrap_or(bare);
        if tagged.is_none()
            && let Ok(v4) = bare.parse::<Ipv4Addr>()
        {
            return Ok(IpAddr::V4(v4).into());
        }
        let (v6, zone) = bare.split_once('%').map_or((bare, None), |(v6, zone)| (v6, Some(zone)));
        if zone.is_some_and(|zone| zone.is_empty() || !zone.bytes().all(|b| b.is_ascii_graphic() && b != b'%')) {
            return Err(error());
        }
        v6.parse::<Ipv6Addr>().map(|v6| Address(v6.to_bits())).map_err(|_| error())
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<Address>().expect(text).to_string()
    }

    #[test]
    fn reads_what_mtas_write() {
        assert_eq!(parsed("2001:DB8::1"), "2001:db8::1");
        assert_eq!(parsed("[2001:db8::1]"), "2001:db8::1");
        assert_eq!(parsed("IPv6:2001:db8:0:0:0:0:0:1"), "2001:db8::1");
        assert_eq!(parsed("[ipv6:2001:db8::1]"), "2001:db8::1");
        assert_eq!(parsed("fe80::1%eth0"), "fe80::1");
        assert_eq!(parsed("192.0.2.1"), "192.0.2.1");
        assert_eq!(parsed("[192.0.2.1]"), "192.0.2.1");
        assert_eq!(parsed("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn is_text_to_serde() {
        let address: Address = serde_json::from_str("\"[IPv6:2001:DB8::1]\"").expect("an address");
        assert_eq!(serde_json::to_string(&address).expect("text"), "\"2001:db8::1\"");
        let error = serde_json::from_str::<Address>("\"localhost\"").expect_err("no address").to_string();
        assert!(error.contains("localhost"), "{error}");
    }

    #[test]
    fn rejects_the_rest() {
        for text in [
            "",
            "[]",
            "[::1",
            "::1]",
            "IPv6:192.0.2.1",
            "192.0.2.256",
            "192.0.2.1%eth0",
            "fe80::1%",
            "fe80::1%a%b",
            "IPv6:IPv6:::1",
            "localhost",
            " ::1",
            "::1\r\n",
            "IPv6é::1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn tells_ipv4_from_ipv6() {
        let is_ipv4 = |text: &str| text.parse::<Address>().expect(text).is_ipv4();
        assert!(is_ipv4("192.0.2.1"));
        assert!(is_ipv4("::ffff:192.0.2.1"));
        assert!(is_ipv4("64:ff9b::c000:201"));
        assert!(!is_ipv4("64:ff9b:1::c000:201"), "the local-use prefix of RFC 8215 is not the well-known one");
        assert!(!is_ipv4("::fffe:c000:201"));
        assert!(!is_ipv4("2002:c000:201::1"), "6to4");
        assert!(!is_ipv4("2001:0:c000:201::1"), "Teredo");
        assert!(!is_ipv4("::1"));
    }

    #[test]
    fn masks() {
        let address: Address = "2001:db8:ffff:ffff::1".parse().expect("valid");
        assert_eq!(address.masked(48).to_string(), "2001:db8:ffff::");
        assert_eq!(address.masked(0).bits(), 0);
        assert_eq!(address.masked(128), address);
        assert_eq!(Address::from_words(address.words()), address);
    }
}

//! IP networks: a prefix and its length.

use std::fmt;

use crate::address::Address;

/// An IP network. Invariant: the bits after the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    prefix: Address,
    length: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// The part before the slash is no address.
    Address,
    /// The part after the slash is no length between 0 and 128 (32 for IPv4).
    Length,
    /// Bits after the prefix are set: the network meant is this one.
    HostBits(Network),
}

impl Network {
    /// The network of this length that `address` is in; a `length` over 128 counts as 128.
    pub const fn of(address: Address, length: u8) -> Self {
        let length = if length > 128 { 128 } else { length };
        Network { prefix: address.masked(length), length }
    }

    /// Reads `2001:db8::/32`, `192.0.2.0/24`, or an address alone.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let ip: std::net::IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => bits,
            Some(digits) if !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|&length| length <= bits).ok_or(NetworkError::Length)?
            }
            Some(_) => return Err(NetworkError::Length),
        };
        let address = Address::from(ip);
        let network = Network::of(address, length + (128 - bits));
        if network.prefix == address { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }

    /// Whether the address is in this network.
    pub fn contains(self, address: Address) -> bool {
        address.masked(self.length) == self.prefix
    }

    /// The address whose bits after the prefix are zero.
    pub const fn prefix(self) -> Address {
        self.prefix
    }

    /// Bits in the prefix, of 128.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether all of it is IPv4 (A22).
    pub fn is_ipv4(self) -> bool {
        self.length >= 96 && self.prefix.is_ipv4()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ipv4 = self.length >= 96 && self.prefix.bits() >> 32 == 0xffff;
        write!(f, "{}/{}", self.prefix, if ipv4 { self.length - 96 } else { self.length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for text in ["2001:db8::/32", "::1/128", "192.0.2.0/24", "::/0", "0.0.0.0/0"] {
            assert_eq!(Network::parse(text).map(|n| n.to_string()), Ok(text.into()));
        }
        assert_eq!(Network::parse("2001:db8::1").map(|n| n.length()), Ok(128));
        assert_eq!(
            Network::parse("2001:db8::1/32"),
            Err(NetworkError::HostBits(Network::parse("2001:db8::/32").expect("valid")))
        );
        for text in ["2001:db8::/129", "192.0.2.0/33", "::/", "::/+1", "::/0001"] {
            assert_eq!(Network::parse(text), Err(NetworkError::Length), "{text}");
        }
        assert_eq!(Network::parse("2001:db8"), Err(NetworkError::Address));
    }

    #[test]
    fn contains_its_addresses_only() {
        let network = Network::parse("2001:db8:2::/47").expect("valid");
        let contains = |text: &str| network.contains(text.parse().expect(text));
        assert!(contains("2001:db8:2::"));
        assert!(contains("2001:db8:3:ffff:ffff:ffff:ffff:ffff"));
        assert!(!contains("2001:db8:4::"));
        assert!(!contains("2001:db8:1:ffff:ffff:ffff:ffff:ffff"));
    }
}

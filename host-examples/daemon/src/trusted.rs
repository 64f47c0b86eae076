//! Whose word about a client's address is taken: the proxies in front (R11).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::network::{Network, NetworkError};

/// The networks of the proxies that a listener trusts, `proxy_from` in the configuration. Without any, nobody is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted(Vec<ProxyNetwork>);

impl Trusted {
    /// Whether the peer of a connection is such a proxy. An IPv4-mapped address counts as IPv4.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        // `::/64` would otherwise contain all IPv4-mapped addresses, and so all of IPv4.
        self.0.iter().any(|&ProxyNetwork(network)| network.contains(Address::from(peer)) && is_ipv4(network) == peer.is_ipv4())
    }

    /// Whether nobody is trusted: no connection has a header.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<ProxyNetwork> for Trusted {
    fn from_iter<I: IntoIterator<Item = ProxyNetwork>>(networks: I) -> Self {
        Trusted(networks.into_iter().collect())
    }
}

/// One network of proxies: an address alone, or a prefix and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyNetwork(Network);

impl fmt::Display for ProxyNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no network of proxies. The message begins with the text, to be put behind "found", and says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyNetworkError {
    text: String,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Network(NetworkError),
    Everybody,
}

impl FromStr for ProxyNetwork {
    type Err = ProxyNetworkError;

    /// Reads `192.0.2.1`, `192.0.2.0/24`, `2001:db8::1` or `2001:db8::/64`. A length of 0 is refused: it would let every client choose
    /// its address.
    fn from_str(text: &str) -> Result<Self, ProxyNetworkError> {
        let error = |fault| ProxyNetworkError { text: text.into(), fault };
        let network = Network::parse(text).map_err(|fault| error(Fault::Network(fault)))?;
        let length = if is_ipv4(network) { network.length() - 96 } else { network.length() };
        if length == 0 { Err(error(Fault::Everybody)) } else { Ok(ProxyNetwork(network)) }
    }
}

impl fmt::Display for ProxyNetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProxyNetworkError { text, fault } = self;
        match fault {
            Fault::Network(NetworkError::Address) => {
                write!(
                    f,
                    "{text:?}, expected the address of a proxy such as \"192.0.2.1\", or a network such as \"2001:db8::/64\""
                )
            }
            Fault::Network(NetworkError::Length) => {
                write!(f, "{text:?}, expected a length from 1 to 32 behind an IPv4 address, from 1 to 128 behind an IPv6 address")
            }
            Fault::Network(NetworkError::HostBits(network)) => {
                write!(
                    f,
                    "{text:?} with bits set behind the prefix, expected the network \"{network}\", or the address without a length"
                )
            }
            Fault::Everybody => {
                write!(f, "{text:?}, expected the addresses of the proxies only: with all addresses every client could claim any")
            }
        }
    }
}

impl std::error::Error for ProxyNetworkError {}

/// Whether all of the network is IPv4-mapped. (NAT64's prefix is IPv6 here: a peer has the address it has.)
fn is_ipv4(network: Network) -> bool {
    // In a network shorter than /96 the last of these bits would be zero.
    network.prefix().bits() >> 32 == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(texts: &[&str]) -> Trusted {
        texts.iter().map(|text| text.parse::<ProxyNetwork>().expect(text)).collect()
    }

    fn contains(trusted: &Trusted, peer: &str) -> bool {
        trusted.contains(peer.parse().expect(peer))
    }

    #[test]
    fn trusts_the_networks_named() {
        let proxies = trusted(&["192.0.2.1", "198.51.100.0/30", "2001:db8::/64"]);
        for peer in
            ["192.0.2.1", "::ffff:192.0.2.1", "198.51.100.0", "198.51.100.3", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"]
        {
            assert!(contains(&proxies, peer), "{peer}");
        }
        for peer in
            ["192.0.2.2", "192.0.2.0", "198.51.100.4", "198.51.99.255", "2001:db8:0:1::", "2001:db7::1", "::1", "::192.0.2.1"]
        {
            assert!(!contains(&proxies, peer), "{peer}");
        }
    }

    #[test]
    fn without_networks_nobody_is_trusted() {
        assert!(Trusted::default().is_empty() && !trusted(&["::1"]).is_empty());
        assert!(!contains(&Trusted::default(), "::1"));
    }

    #[test]
    fn a_short_ipv6_prefix_contains_no_ipv4() {
        assert!(contains(&trusted(&["::/64"]), "::1"));
        assert!(!contains(&trusted(&["::/64"]), "192.0.2.1"));
        assert!(!contains(&trusted(&["::/1"]), "::ffff:192.0.2.1"));
        assert!(contains(&trusted(&["::ffff:192.0.2.0/120"]), "192.0.2.255"));
        assert!(contains(&trusted(&["64:ff9b::/96"]), "64:ff9b::192.0.2.1"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("", "expected the address of a proxy"),
            ("proxy.example", "expected the address of a proxy"),
            ("[2001:db8::1]", "expected the address of a proxy"),
            ("192.0.2.1:25", "expected the address of a proxy"),
            ("192.0.2.0/33", "from 1 to 32"),
            ("2001:db8::/", "from 1 to 32"),
            ("2001:db8::1/64", "expected the network \"2001:db8::/64\""),
            ("0.0.0.0/0", "every client could claim any"),
            ("::/0", "every client could claim any"),
            ("::ffff:0:0/96", "every client could claim any"),
        ] {
            let error = text.parse::<ProxyNetwork>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?}")) && error.contains(part), "{error}");
        }
        assert!("0.0.0.0/1".parse::<ProxyNetwork>().is_ok() && "::/1".parse::<ProxyNetwork>().is_ok());
    }
}

//! Addresses and networks, read, printed and read again.

use std::net::{IpAddr, Ipv6Addr};

use super::octets::Octets;
use crate::address::Address;
use crate::module::parse_address;
use crate::network::{Network, NetworkError};

/// Reads the octets as the text of an address, as that of a network, and as the bits of both:
///
/// - what is read and printed is read again as the same, with brackets and tags, too;
/// - of texts without these, an address is what the standard library takes for one;
/// - an error is one line of printable ASCII, of bounded length;
/// - a network holds its own addresses and no bits behind its prefix.
pub fn check_addresses(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    match parse_address(&text) {
        Ok(address) => check_address(address),
        Err(error) => {
            assert!(error.len() <= 200 && error.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{error:?}");
            assert!(text.parse::<IpAddr>().is_err(), "{text:?} is an address");
        }
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        assert_eq!(parse_address(&text), Ok(ip.into()), "{text:?}");
    }
    check_text_of_network(&text);
    let mut octets = Octets(octets);
    let (length, address) = (octets.octet(), octets.address());
    check_address(address);
    check_network(address, length);
}

fn check_address(address: Address) {
    let printed = address.to_string();
    let tag = if IpAddr::from(address).is_ipv4() { "" } else { "IPv6:" };
    for text in [printed.clone(), format!("[{printed}]"), format!("{tag}{printed}"), format!("[{tag}{printed}]")] {
        assert_eq!(parse_address(&text), Ok(address), "{text}");
    }
    assert_eq!(parse_address(&Ipv6Addr::from_bits(address.bits()).to_string()), Ok(address));
    assert_eq!(Address::from_words(address.words()), address);
    assert_eq!(Address::from(IpAddr::from(address)), address);
    // RFC 5952 and RFC 4291 have no capitals, no zone and nothing longer.
    assert!(
        printed.len() <= 39 && printed.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f' | b':' | b'.')),
        "{printed}"
    );
}

fn check_text_of_network(text: &str) {
    match Network::parse(text) {
        Ok(network) => {
            let (address, length) = text.split_once('/').unwrap_or((text, ""));
            let ip: IpAddr = address.parse().expect("what stands before the slash is an address");
            assert_eq!(Address::from(ip), network.prefix(), "{text}");
            let most = if ip.is_ipv4() { 32 } else { 128 };
            let length: u8 = if text.contains('/') { length.parse().expect("a number") } else { most };
            assert_eq!(length + (128 - most), network.length(), "{text}");
            check_network(network.prefix(), network.length());
        }
        Err(NetworkError::HostBits(network)) => {
            assert_eq!(Network::parse(&network.to_string()), Ok(network), "{text}: what is meant");
        }
        Err(NetworkError::Address | NetworkError::Length) => {}
    }
}

fn check_network(address: Address, length: u8) {
    let network = Network::of(address, length);
    let length = length.min(128);
    assert_eq!((network.length(), network.prefix()), (length, address.masked(length)));
    assert_eq!(Network::parse(&network.to_string()), Ok(network));
    assert!(network.contains(address) && network.contains(network.prefix()));
    let all = address.bits() | u128::MAX.checked_shr(length.into()).unwrap_or(0);
    assert!(network.contains(Address::from_bits(all)), "the last address of {network}");
    assert!(all.checked_add(1).is_none_or(|next| !network.contains(Address::from_bits(next))), "behind {network}");
    if let Some(bit) = 128_u32.checked_sub(length.into()).filter(|bit| *bit < 128) {
        assert!(!network.contains(Address::from_bits(address.bits() ^ 1 << bit)), "the neighbour of {network}");
    }
    if network.is_ipv4() {
        assert!(address.is_ipv4() && Address::from_bits(all).is_ipv4(), "{network}");
    }
}

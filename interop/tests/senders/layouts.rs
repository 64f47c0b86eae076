//! How a domain's MX records lead to IPv6 and IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smtp_fallback_demo::zone::{Kind, Zone};

/// The hosts of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layout {
    Pair,
    Ipv6Better,
    TwoPairs,
    TwoIpv6BeforeIpv4,
    DualStack,
    Ipv6Only,
}

impl Layout {
    pub(crate) const ALL: [Layout; 6] =
        [Layout::Pair, Layout::Ipv6Better, Layout::TwoPairs, Layout::TwoIpv6BeforeIpv4, Layout::DualStack, Layout::Ipv6Only];

    /// As the head of a row has it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Layout::Pair => "pair",
            Layout::Ipv6Better => "IPv6 better",
            Layout::TwoPairs => "two pairs",
            Layout::TwoIpv6BeforeIpv4 => "2 × IPv6 before IPv4",
            Layout::DualStack => "dual-stack",
            Layout::Ipv6Only => "IPv6 only",
        }
    }

    /// Preference and addresses of each host.
    pub(crate) fn hosts(self) -> &'static [(u8, &'static str)] {
        match self {
            Layout::Pair => &[(10, "6"), (10, "4")],
            Layout::Ipv6Better => &[(10, "6"), (20, "4")],
            Layout::TwoPairs => &[(10, "6"), (10, "6"), (10, "4"), (10, "4")],
            Layout::TwoIpv6BeforeIpv4 => &[(10, "6"), (10, "6"), (20, "4")],
            Layout::DualStack => &[(10, "64")],
            Layout::Ipv6Only => &[(10, "6")],
        }
    }
}

/// The domain of this number, its hosts, and their addresses, which nobody else has. With `turned` the name server gives the records
/// in the other order, as name servers do now and then.
pub(crate) fn publish(zone: &mut Zone, number: u16, layout: Layout, turned: bool) -> (String, Vec<IpAddr>) {
    let domain = domain(number);
    let mut addresses = Vec::new();
    let mut hosts: Vec<_> = layout.hosts().iter().zip(1u16..).collect();
    if turned {
        hosts.reverse();
    }
    for ((preference, families), index) in hosts {
        let name = format!("mx{index}.{domain}");
        zone.add(&domain, Kind::Mx, &format!("{preference} {name}")).unwrap();
        if families.contains('6') {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0x1000 + number, 0, 0, 0, 0, index);
            zone.add(&name, Kind::Aaaa, &address.to_string()).unwrap();
            addresses.push(address.into());
        }
        if families.contains('4') {
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 16, 0)) + 8 * u32::from(number) + u32::from(index));
            zone.add(&name, Kind::A, &address.to_string()).unwrap();
            addresses.push(address.into());
        }
    }
    (domain, addresses)
}

/// The domain of this number.
pub(crate) fn domain(number: u16) -> String {
    format!("d{number}.example")
}

//! The MX records of the receiver: the layouts that are safe with every MTA (D1 to D3).

use super::random::Random;

/// Which hosts the MX records name, at which preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One host of each family at the same preference (D2).
    Pair,
    /// The IPv6 host has the better preference: IPv6 is always tried first.
    Ipv6Better,
    /// Two pairs, one at preference 10 and one at 20.
    TwoPairs,
}

/// An MX host, single-stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Its place in the records.
    pub(super) number: u8,
    pub(super) family: Family,
}

/// The address family of a host and of the sessions with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv6,
    Ipv4,
}

impl Layout {
    /// All of them.
    pub const ALL: [Layout; 3] = [Layout::Pair, Layout::Ipv6Better, Layout::TwoPairs];

    /// As the table names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Pair => "pair",
            Layout::Ipv6Better => "IPv6 better",
            Layout::TwoPairs => "two pairs",
        }
    }

    /// The hosts in the order in which a client tries them: by preference, at random within one (RFC 5321 §5.1).
    pub(super) fn order(self, random: &mut Random) -> Vec<Host> {
        use Family::{Ipv4, Ipv6};
        let records: &[(u8, Family)] = match self {
            Layout::Pair => &[(10, Ipv6), (10, Ipv4)],
            Layout::Ipv6Better => &[(10, Ipv6), (20, Ipv4)],
            Layout::TwoPairs => &[(10, Ipv6), (10, Ipv4), (20, Ipv6), (20, Ipv4)],
        };
        let mut hosts: Vec<(u8, u64, Host)> = (0..)
            .zip(records)
            .map(|(number, &(preference, family))| (preference, random.next(), Host { number, family }))
            .collect();
        hosts.sort_by_key(|&(preference, chance, _)| (preference, chance));
        hosts.into_iter().map(|(_, _, host)| host).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_host_is_among_the_first_two() {
        let mut random = Random::new(1);
        for layout in Layout::ALL {
            let orders: Vec<Vec<Host>> = (0..50).map(|_| layout.order(&mut random)).collect();
            assert!(orders.iter().all(|hosts| hosts[..2].iter().any(|host| host.family == Family::Ipv4)), "{layout:?}");
            let first_is = |family| orders.iter().any(|hosts| hosts[0].family == family);
            assert!(first_is(Family::Ipv6), "{layout:?}");
            assert_eq!(first_is(Family::Ipv4), layout != Layout::Ipv6Better, "{layout:?}");
        }
    }
}

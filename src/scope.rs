//! Which connections the policy is about at all (P9, A18, A20, A22, A29). What is said here holds for the whole connection.

use crate::address::Address;
use crate::contract::{Connection, Listener, Reason};
use crate::network::Network;
use crate::policy::{Exempt, Policy};

/// ::1, link-local and unique local addresses (A22).
const LOCAL: [Network; 3] = [
    Network::of(Address::from_words([0, 0, 0, 1]), 128),
    Network::of(Address::from_words([0xfe80_0000, 0, 0, 0]), 10),
    Network::of(Address::from_words([0xfc00_0000, 0, 0, 0]), 7),
];

/// Why this policy has nothing to say about the connection; `None` where it has.
pub(crate) fn outside(policy: &Policy, connection: &Connection) -> Option<Reason> {
    if connection.client.is_ipv4() {
        Some(Reason::Ipv4)
    } else if connection.listener != Listener::Mx || connection.authenticated {
        Some(Reason::OutOfScope)
    } else if !connection.reachable_over_ipv4 {
        Some(Reason::NotReachableOverIpv4)
    } else if is_exempt(&policy.exempt, connection.client) {
        Some(Reason::ExemptNetwork)
    } else {
        None
    }
}

fn is_exempt(exempt: &Exempt, client: Address) -> bool {
    let within = |network: &Network| network.contains(client);
    exempt.networks.iter().any(within) || exempt.local_networks && LOCAL.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_networks_and_their_edges() {
        let exempt = Policy::default().exempt;
        let is_exempt = |text: &str| super::is_exempt(&exempt, text.parse().expect(text));
        for text in ["::1", "fe80::1", "febf::1", "fc00::1", "fdff:ffff::1"] {
            assert!(is_exempt(text), "{text}");
        }
        for text in ["::", "::2", "fe7f::1", "fec0::1", "fbff::1", "fe00::1", "2001:db8::1"] {
            assert!(!is_exempt(text), "{text}");
        }
    }
}

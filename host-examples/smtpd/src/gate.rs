//! Connections at a time, in total and for each network of clients (R11): one of them cannot take all places.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::network::Network;

/// Counts the connections that are open. Memory is bounded by their number: a network is forgotten with its last connection.
#[derive(Debug)]
pub struct Gate {
    total: usize,
    per_prefix: usize,
    ipv6_prefix: u8,
    ipv4_prefix: u8,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    open: usize,
    networks: HashMap<Network, usize>,
}

/// All places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many places there are.
    pub total: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {} connections are taken", self.total)
    }
}

impl std::error::Error for Full {}

/// The client's network has as many connections as one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// The network.
    pub network: Network,
    /// How many connections it may have.
    pub limit: usize,
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has {} connections, which is the limit for one network", self.network, self.limit)
    }
}

impl std::error::Error for Crowded {}

impl Gate {
    /// A gate for `total` connections at a time, and `per_prefix` of one network (0: no limit but the total). A network is the first
    /// `ipv6_prefix` bits of an IPv6 address (more than 128 count as 128), or `ipv4_prefix` of an IPv4 address (32).
    pub fn new(total: usize, per_prefix: usize, ipv6_prefix: u8, ipv4_prefix: u8) -> Arc<Gate> {
        Arc::new(Gate { total, per_prefix, ipv6_prefix, ipv4_prefix: ipv4_prefix.min(32), counts: Mutex::default() })
    }

    /// Takes a place for a connection whose client is not known, since a proxy is yet to tell it.
    pub fn enter(self: &Arc<Self>) -> Result<Place, Full> {
        let mut counts = self.counts();
        if counts.open >= self.total {
            return Err(Full { total: self.total });
        }
        counts.open += 1;
        Ok(Place { gate: Arc::clone(self), network: None })
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.counts().open
    }

    /// The network of a client; an IPv4-mapped address counts as IPv4.
    pub fn network(&self, client: IpAddr) -> Network {
        let client = client.to_canonical();
        let length = if client.is_ipv4() { 96 + self.ipv4_prefix } else { self.ipv6_prefix };
        Network::of(Address::from(client), length)
    }

    /// Nothing panics while it is held; if something did, the counts would still be right.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn leave(&mut self, network: Network) {
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back at once"]
pub struct Place {
    gate: Arc<Gate>,
    network: Option<Network>,
}

impl Place {
    /// Counts the connection to its client's network. After an error it still has its place in the total, as long as it takes to turn
    /// it away. A second call counts it to the new client instead, and to none if that fails.
    pub fn identify(&mut self, client: IpAddr) -> Result<(), Crowded> {
        let Place { gate, network: current } = self;
        if gate.per_prefix == 0 {
            return Ok(());
        }
        let network = gate.network(client);
        let mut counts = gate.counts();
        if let Some(former) = current.take() {
            counts.leave(former);
        }
        let count = counts.networks.get(&network).copied().unwrap_or(0);
        if count >= gate.per_prefix {
            return Err(Crowded { network, limit: gate.per_prefix });
        }
        counts.networks.insert(network, count + 1);
        drop(counts);
        *current = Some(network);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.gate.counts();
        counts.open -= 1;
        if let Some(network) = self.network {
            counts.leave(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    /// A place of this client.
    fn enter(gate: &Arc<Gate>, client: &str) -> Result<Place, Crowded> {
        let mut place = gate.enter().expect("the total is not reached");
        place.identify(ip(client)).map(|()| place)
    }

    fn networks(gate: &Gate) -> usize {
        gate.counts().networks.len()
    }

    #[test]
    fn counts_to_the_total() {
        let gate = Gate::new(2, 0, 64, 32);
        let first = gate.enter().expect("free");
        let second = gate.enter().expect("free");
        let full = gate.enter().expect_err("full");
        assert_eq!(full.to_string(), "all 2 connections are taken");
        assert_eq!(gate.open(), 2);
        drop(first);
        let third = gate.enter().expect("free again");
        assert!(gate.enter().is_err());
        drop((second, third));
        assert_eq!(gate.open(), 0);
        assert!(Gate::new(0, 0, 64, 32).enter().is_err());
    }

    #[test]
    fn counts_to_the_network() {
        let gate = Gate::new(10, 2, 64, 32);
        let first = enter(&gate, "2001:db8::1").expect("the first");
        let second = enter(&gate, "2001:db8::ffff:ffff:ffff:ffff").expect("the second");
        let crowded = enter(&gate, "2001:db8::2").expect_err("the third");
        assert_eq!(crowded.to_string(), "2001:db8::/64 has 2 connections, which is the limit for one network");
        let neighbour = enter(&gate, "2001:db8:0:1::").expect("another network");
        assert_eq!((gate.open(), networks(&gate)), (3, 2));
        drop(first);
        let third = enter(&gate, "2001:db8::2").expect("there is a place again");
        drop((second, third, neighbour));
        assert_eq!((gate.open(), networks(&gate)), (0, 0));
    }

    #[test]
    fn without_a_limit_no_network_is_counted() {
        let gate = Gate::new(3, 0, 64, 32);
        let places: Vec<_> = (0..3).map(|_| enter(&gate, "2001:db8::1").expect("no limit")).collect();
        assert_eq!((gate.open(), networks(&gate)), (3, 0));
        drop(places);
        assert_eq!(gate.open(), 0);
    }

    #[test]
    fn an_ipv4_mapped_address_is_ipv4() {
        let gate = Gate::new(10, 1, 64, 24);
        let _place = enter(&gate, "192.0.2.1").expect("the first");
        let crowded = enter(&gate, "::ffff:192.0.2.255").expect_err("the same /24");
        assert_eq!(crowded.network.to_string(), "192.0.2.0/24");
        assert!(enter(&gate, "192.0.3.0").is_ok());
        // Not one /64 with all of IPv4.
        assert!(enter(&gate, "::1").is_ok());
    }

    #[test]
    fn prefixes_have_edges() {
        for (ipv6, ipv4, one, other, same) in [
            (128, 32, "2001:db8::", "2001:db8::1", false),
            (127, 32, "2001:db8::", "2001:db8::1", true),
            (48, 32, "2001:db8:0:ffff::", "2001:db8::", true),
            (48, 32, "2001:db8:1::", "2001:db8::", false),
            (0, 32, "2001:db8::", "fe80::1", true),
            (0, 32, "2001:db8::", "192.0.2.1", false),
            (64, 31, "192.0.2.0", "192.0.2.1", true),
            (64, 32, "192.0.2.0", "192.0.2.1", false),
            (64, 0, "192.0.2.0", "198.51.100.1", true),
            (64, 0, "192.0.2.0", "2001:db8::", false),
            (255, 255, "2001:db8::", "2001:db8::1", false),
            (255, 255, "192.0.2.0", "192.0.2.1", false),
        ] {
            let gate = Gate::new(10, 1, ipv6, ipv4);
            let _place = enter(&gate, one).expect("the first");
            assert_eq!(enter(&gate, other).is_err(), same, "/{ipv6} /{ipv4}: {one} and {other}");
        }
    }

    #[test]
    fn who_is_identified_again_moves() {
        let gate = Gate::new(10, 1, 64, 32);
        let mut moving = enter(&gate, "192.0.2.1").expect("free");
        moving.identify(ip("192.0.2.1")).expect("it is its own place");
        moving.identify(ip("192.0.2.2")).expect("free");
        let _first = enter(&gate, "192.0.2.1").expect("given back");
        moving.identify(ip("192.0.2.1")).expect_err("taken");
        assert_eq!((gate.open(), networks(&gate)), (2, 1));
        drop(moving);
        assert_eq!((gate.open(), networks(&gate)), (1, 1));
    }

    #[test]
    fn threads_leave_nothing_behind() {
        const TOTAL: usize = 6;
        let gate = Gate::new(TOTAL, 2, 64, 32);
        std::thread::scope(|scope| {
            for thread in 0..8u32 {
                let gate = &gate;
                scope.spawn(move || {
                    for round in 0..2000 {
                        let Ok(mut place) = gate.enter() else { continue };
                        let _ = place.identify(IpAddr::from((0xc000_0200 + (thread + round) % 4).to_be_bytes()));
                        let counts = gate.counts();
                        assert!(counts.open <= TOTAL && counts.networks.values().all(|count| (1..=2).contains(count)));
                    }
                });
            }
        });
        assert_eq!((gate.open(), networks(&gate)), (0, 0));
    }
}

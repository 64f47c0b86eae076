//! The memory for messages that are being received: limited in all, and for each network of clients, so that one of them cannot keep
//! everybody's mail out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::network::Network;

/// How much is taken. What it keeps itself is bounded by the messages in hand: a network is forgotten when it has none.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    for_a_network: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    networks: HashMap<Network, usize>,
}

/// What one network may take.
#[derive(Clone, Debug)]
pub struct Share {
    memory: Arc<Memory>,
    network: Network,
}

impl Memory {
    /// `limit` octets in all, and `for_a_network` for one of them.
    pub fn new(limit: usize, for_a_network: usize) -> Arc<Self> {
        Arc::new(Memory { limit, for_a_network, taken: Mutex::default() })
    }

    /// The share of a client's network.
    pub fn share(self: &Arc<Self>, network: Network) -> Share {
        Share { memory: Arc::clone(self), network }
    }

    /// Nothing panics while it is held; if something did, the counts would still be right.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// One without limits, of a memory of its own: for tests.
    pub fn unlimited() -> Share {
        Memory::new(usize::MAX, usize::MAX).share(Network::of(Address::from_bits(0), 64))
    }

    /// Takes so many octets, if they are left.
    pub fn take(&self, octets: usize) -> bool {
        let Memory { limit, for_a_network, .. } = *self.memory;
        let mut taken = self.memory.taken();
        let own = taken.networks.get(&self.network).copied().unwrap_or(0);
        let sum = |taken: usize, limit: usize| taken.checked_add(octets).filter(|sum| *sum <= limit);
        match (sum(taken.in_all, limit), sum(own, for_a_network)) {
            (Some(in_all), Some(own)) => {
                taken.in_all = in_all;
                taken.networks.insert(self.network, own);
                true
            }
            _ => false,
        }
    }

    /// Gives back octets that were taken.
    pub fn give_back(&self, octets: usize) {
        let mut taken = self.memory.taken();
        taken.in_all -= octets;
        if let Some(own) = taken.networks.get_mut(&self.network) {
            *own -= octets;
            if *own == 0 {
                taken.networks.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).expect("a network")
    }

    #[test]
    fn one_network_cannot_take_all() {
        let memory = Memory::new(100, 60);
        let (one, other) = (memory.share(network("2001:db8::/64")), memory.share(network("192.0.2.1/32")));
        assert!(one.take(60) && !one.take(1), "its share");
        assert!(!other.take(41) && other.take(40), "what is left of all");
        one.give_back(10);
        assert!(one.clone().take(10) && !other.take(1));
        assert!(!other.take(usize::MAX));
        one.give_back(60);
        other.give_back(40);
        let taken = memory.taken();
        assert_eq!((taken.in_all, taken.networks.len()), (0, 0));
    }
}

//! Keyed hashes: the roll-out (A35), probes and jitter (A7), fingerprints of mails (A33).

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128 as _, SipHasher24 as SipHasher24x128};

use crate::network::Network;

/// The key of this instance's hashes, made from the host's secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashKey {
    key: [u8; 16],
    is_secret: bool,
}

/// What a hash is for: no two purposes share their hashes, so that a connection's probe says nothing about its jitter.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Rollout = 1,
    Probe = 2,
    Jitter = 3,
    Fingerprint = 4,
}

impl HashKey {
    /// From a secret of any length. It is hashed first, so that no octet of it is left out.
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mut hasher = SipHasher24x128::new_with_key(b"smtp-fallback/1 ");
        hasher.write(secret);
        HashKey { key: hasher.finish128().as_bytes(), is_secret: !secret.is_empty() }
    }

    /// Whether there was a secret at all: whoever knows the key can make mails whose fingerprints meet.
    pub(crate) fn is_secret(self) -> bool {
        self.is_secret
    }

    /// 128 bits over texts, each with its length, so that none can reach into the next. `kind` keeps fingerprints of different kinds apart.
    pub(crate) fn fingerprint(self, kind: u8, texts: &[&str]) -> u128 {
        let mut hasher = SipHasher24x128::new_with_key(&self.key);
        hasher.write(&[Purpose::Fingerprint as u8, kind]);
        for text in texts {
            hasher.write(&(text.len() as u32).to_be_bytes());
            hasher.write(text.as_bytes());
        }
        u128::from_be_bytes(hasher.finish128().as_bytes())
    }

    /// Where in the roll-out this network stands: it is included where `rollout_percent` is greater. 0 to 99, the same at every
    /// retry.
    pub(crate) fn rollout_place(self, network: Network) -> u8 {
        let mut data = [0; 17];
        data[..16].copy_from_slice(&network.prefix().bits().to_be_bytes());
        data[16] = network.length();
        (self.hash(Purpose::Rollout, &data) % 100) as u8
    }

    /// Whether this connection is a probe, as one in `one_in` is.
    pub(crate) fn is_probe(self, nonce: u32, one_in: u32) -> bool {
        one_in > 0 && self.hash(Purpose::Probe, &nonce.to_be_bytes()).is_multiple_of(u64::from(one_in))
    }

    /// A number from 0 to `below` − 1.
    pub(crate) fn jitter(self, nonce: u32, below: u32) -> u32 {
        (self.hash(Purpose::Jitter, &nonce.to_be_bytes()) % u64::from(below.max(1))) as u32
    }

    fn hash(self, purpose: Purpose, data: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&[purpose as u8]);
        hasher.write(data);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_of_the_secret_counts() {
        let place = |secret: &[u8]| (0..64).map(|n| HashKey::new(secret).jitter(n, 1000)).collect::<Vec<_>>();
        assert_ne!(place(b"0123456789abcdef0"), place(b"0123456789abcdef1"));
        assert_ne!(place(b""), place(b"\0"));
        assert_eq!(place(b"same"), place(b"same"));
    }

    #[test]
    fn fingerprints_are_of_whole_texts() {
        let key = HashKey::new(b"secret");
        assert_eq!(key.fingerprint(1, &["ab", "c"]), key.fingerprint(1, &["ab", "c"]));
        assert_ne!(key.fingerprint(1, &["ab", "c"]), key.fingerprint(1, &["a", "bc"]));
        assert_ne!(key.fingerprint(1, &["ab", "c"]), key.fingerprint(2, &["ab", "c"]));
        assert_ne!(key.fingerprint(1, &["ab", "c"]), HashKey::new(b"other").fingerprint(1, &["ab", "c"]));
        assert!(key.is_secret() && !HashKey::new(b"").is_secret());
    }

    #[test]
    fn one_in_twenty_is_a_probe() {
        let key = HashKey::new(b"secret");
        let probes = (0..20_000).filter(|&nonce| key.is_probe(nonce, 20)).count();
        assert!((900..1100).contains(&probes), "{probes}");
        assert!(!(0..1000).any(|nonce| key.is_probe(nonce, 0)));
        assert!((0..1000).all(|nonce| key.is_probe(nonce, 1)));
    }

    #[test]
    fn probes_say_nothing_about_jitter() {
        let key = HashKey::new(b"secret");
        let mean = |nonces: Vec<u32>| nonces.iter().map(|&n| f64::from(key.jitter(n, 41))).sum::<f64>() / nonces.len() as f64;
        let probes = mean((0..100_000).filter(|&n| key.is_probe(n, 20)).collect());
        assert!((probes - 20.0).abs() < 1.0, "{probes}");
    }

    #[test]
    fn the_rollout_takes_its_share_of_networks() {
        let key = HashKey::new(b"secret");
        let network = |n: u32| Network::of(crate::address::Address::from_words([0x2001_0db8, n, 0, 0]), 64);
        let share = (0..10_000).filter(|&n| key.rollout_place(network(n)) < 5).count();
        assert!((400..600).contains(&share), "{share}");
    }
}

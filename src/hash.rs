//! Keyed hashes: the roll-out (A35), probes and jitter (A7), fingerprints of mails (A33).

use siphasher::sip::SipHasher24;
use siphasher::sip128::SipHasher24 as SipHasher24x128;

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
        let hash = SipHasher24x128::new_with_key(b"smtp-fallback/1 ").hash(secret);
        HashKey { key: hash.as_bytes(), is_secret: !secret.is_empty() }
    }

    /// Whether there was a secret at all: whoever knows the key can make mails whose fingerprints meet.
    pub(crate) fn is_secret(self) -> bool {
        self.is_secret
    }

    /// 128 bits over texts. `kind` keeps fingerprints of different kinds apart.
    pub(crate) fn fingerprint(self, kind: u8, texts: &mut Texts) -> u128 {
        if let Some(header) = texts.0.first_chunk_mut() {
            *header = [Purpose::Fingerprint as u8, kind];
        }
        u128::from_be_bytes(SipHasher24x128::new_with_key(&self.key).hash(&texts.0).as_bytes())
    }

    /// Where in the roll-out this network stands: it is included where `rollout_percent` is greater. 0 to 99, the same at every
    /// retry.
    pub(crate) fn rollout_place(self, network: Network) -> u8 {
        let mut data = [Purpose::Rollout as u8; 18];
        data[1..17].copy_from_slice(&network.prefix().bits().to_be_bytes());
        data[17] = network.length();
        (self.hash(&data) % 100) as u8
    }

    /// Whether this connection is a probe, as one in `one_in` is.
    pub(crate) fn is_probe(self, nonce: u32, one_in: u32) -> bool {
        one_in > 0 && self.hash_nonce(Purpose::Probe, nonce).is_multiple_of(u64::from(one_in))
    }

    /// A number from 0 to `below` − 1.
    pub(crate) fn jitter(self, nonce: u32, below: u32) -> u32 {
        (self.hash_nonce(Purpose::Jitter, nonce) % u64::from(below.max(1))) as u32
    }

    fn hash_nonce(self, purpose: Purpose, nonce: u32) -> u64 {
        let [a, b, c, d] = nonce.to_be_bytes();
        self.hash(&[purpose as u8, a, b, c, d])
    }

    /// Of octets that begin with their purpose.
    fn hash(self, data: &[u8]) -> u64 {
        SipHasher24::new_with_key(&self.key).hash(data)
    }
}

/// Texts to make a fingerprint of, each behind its length, so that none can reach into the next. In one piece: hashing several costs twice as
/// much, and fingerprints were more than a third of a decision.
#[derive(Debug)]
pub(crate) struct Texts(Vec<u8>);

impl Texts {
    /// None yet, with room for three of so many octets together.
    pub(crate) fn with_capacity(octets: usize) -> Self {
        let mut texts = Vec::with_capacity(HEADER + 3 * LENGTH + octets);
        texts.extend_from_slice(&[0; HEADER]);
        Texts(texts)
    }

    /// One more: what `write` adds. Its length in octets.
    // Not generic: in the component each closure would have a copy.
    pub(crate) fn push(&mut self, write: &dyn Fn(&mut Vec<u8>)) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; LENGTH]);
        write(&mut self.0);
        let length = self.0.len() - start - LENGTH;
        if let Some(before) = self.0.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
            *before = (length as u32).to_be_bytes();
        }
        length
    }

    /// Leaves out all but the first, which has so many octets.
    pub(crate) fn keep_first(&mut self, length: usize) {
        self.0.truncate(HEADER + LENGTH + length);
    }
}

/// Purpose and kind.
const HEADER: usize = 2;
/// What stands before each text, in octets.
const LENGTH: usize = 4;

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

    fn fingerprint(secret: &[u8], kind: u8, texts: &[&str]) -> u128 {
        let mut all = Texts::with_capacity(0);
        for text in texts {
            assert_eq!(all.push(&|out| out.extend_from_slice(text.as_bytes())), text.len());
        }
        HashKey::new(secret).fingerprint(kind, &mut all)
    }

    #[test]
    fn fingerprints_are_of_whole_texts() {
        assert_eq!(fingerprint(b"secret", 1, &["ab", "c"]), fingerprint(b"secret", 1, &["ab", "c"]));
        assert_ne!(fingerprint(b"secret", 1, &["ab", "c"]), fingerprint(b"secret", 1, &["a", "bc"]));
        assert_ne!(fingerprint(b"secret", 1, &["ab", "c"]), fingerprint(b"secret", 2, &["ab", "c"]));
        assert_ne!(fingerprint(b"secret", 1, &["ab", "c"]), fingerprint(b"other", 1, &["ab", "c"]));
        assert!(HashKey::new(b"secret").is_secret() && !HashKey::new(b"").is_secret());
    }

    #[test]
    fn fingerprints_are_those_of_the_hosts_that_share_records() {
        assert_eq!(
            fingerprint(b"secret", 1, &["alice@example.net", "1@example.net", ""]),
            0xdd31_3e5d_6d1f_6d76_715a_5327_bb5a_1b34
        );
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

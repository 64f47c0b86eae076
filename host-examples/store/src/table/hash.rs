//! Hashing of what clients choose.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use foldhash::SharedSeed;
use foldhash::quality::{FoldHasher, SeedableRandomState};

/// Seeds that are drawn at the start of the process by the standard library, which asks the system for them.
static SEED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(random()));

/// foldhash with secret seeds: several times faster than the standard library's SipHash. It is no cryptographic hash, and withstands
/// whoever sees no hashes: nothing of them leaves the table, and what a longer chain costs, tens of nanoseconds, drowns in the network.
#[derive(Clone)]
pub(super) struct Secret(SeedableRandomState);

impl Default for Secret {
    fn default() -> Self {
        Secret(SeedableRandomState::with_seed(random(), &SEED))
    }
}

impl BuildHasher for Secret {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// Spreads a hash over so many buckets.
pub(super) fn bucket(hash: u64, buckets: usize) -> usize {
    ((u128::from(hash) * buckets as u128) >> 64) as usize
}

/// SipHash of nothing, under a random key.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

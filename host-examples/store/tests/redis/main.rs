//! The shared store with real servers: one, over TCP, TLS and a UNIX socket, and a cluster; stopped, killed, and with foreign contents.

#![allow(clippy::unwrap_used)] // A test may panic.

mod away;
mod basics;
mod cluster;
mod contention;
mod full;
mod hostile;
mod late;
mod login;
mod logs;
mod network;
mod secret;
mod server;
mod tls;

use std::time::{Duration, Instant};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate, StoredRecord};
use smtp_fallback_store::redis::{RedisSettings, RedisStore};
use smtp_fallback_store::{Health, Store, StoreError, Swap, Write};

/// Any time will do: records expire by the server's clock.
pub(crate) const NOW: u64 = 1_700_000_000;

/// Longer than any of these tests.
pub(crate) const MINUTES: u32 = 600;

/// Settings for tests that are not about time: with a limit that a busy machine does not reach.
pub(crate) fn settings(url: impl Into<String>) -> RedisSettings {
    RedisSettings { time_limit_ms: 1000, ..RedisSettings::new(url) }
}

/// The server is there, so the store begins in good health.
pub(crate) async fn connect(settings: &RedisSettings) -> RedisStore {
    let store = RedisStore::connect(settings).await.unwrap();
    assert_eq!(store.health().problem, None);
    assert!(!store.health().serves_local_copy);
    store
}

/// The network number n, of another /48 than the others.
pub(crate) fn network(n: u16) -> Key {
    let address = Address::from_words([0x2001_0db8, u32::from(n) << 16, 0, 0]);
    Key { kind: KeyKind::Network, address, prefix_length: 64 }
}

pub(crate) fn update(key: Key, value: &[u8], expires_in: u32) -> RecordUpdate {
    RecordUpdate { key, value: value.to_vec(), expires_in, weight: 1 }
}

pub(crate) async fn set(store: &dyn Store, key: Key, expected: Option<&[u8]>, value: &[u8]) -> Result<Swap, StoreError> {
    set_for(store, key, expected, value, MINUTES).await
}

pub(crate) async fn set_for(
    store: &dyn Store,
    key: Key,
    expected: Option<&[u8]>,
    value: &[u8],
    expires_in: u32,
) -> Result<Swap, StoreError> {
    let update = update(key, value, expires_in);
    store.compare_and_set(Write { expected, update: &update, source: key.address, now: NOW }).await
}

pub(crate) async fn value(store: &dyn Store, key: Key) -> Option<Vec<u8>> {
    let mut records = store.get_many(&[key], NOW).await.unwrap();
    assert!(records.len() < 2);
    records.pop().map(|StoredRecord { key: found, value }| {
        assert_eq!(found, key);
        value
    })
}

/// Looks until the health is as expected.
pub(crate) async fn until(store: &dyn Store, expected: impl Fn(&Health) -> bool) -> Health {
    let start = Instant::now();
    loop {
        let health = store.health();
        if expected(&health) {
            return health;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s: {health:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

//! The embedded store as its user sees it: it keeps records over restarts, kills and damage.

#![allow(clippy::unwrap_used)] // A test may panic.

mod damage;
mod kill;
mod restart;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate};
use smtp_fallback_store::embedded::EmbeddedStore;
use smtp_fallback_store::{Store, Swap, Write};

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Each in a /32 of its own.
fn key(n: u32) -> Key {
    Key { kind: KeyKind::Network, address: Address::from_words([0x2001_0000 + n, n, 0, 0]), prefix_length: 64 }
}

/// What is stored under the key: its number, over and over.
fn content(n: u32) -> Vec<u8> {
    n.to_be_bytes().repeat(2 + n as usize % 20)
}

async fn set(store: &EmbeddedStore, n: u32, value: &[u8]) {
    let now = now();
    let before = store.get_many(&[key(n)], now).await.unwrap().pop();
    let update = RecordUpdate { key: key(n), value: value.to_vec(), expires_in: 86_400, weight: n };
    let expected = before.as_ref().map(|record| record.value.as_slice());
    let write = Write { expected, update: &update, source: Address::from_bits(0), now };
    assert_eq!(store.compare_and_set(write).await, Ok(Swap::Stored));
}

/// The numbers of all records; each must be one that was written.
async fn numbers(store: &EmbeddedStore) -> Vec<u32> {
    let (mut numbers, mut cursor) = (Vec::new(), Default::default());
    loop {
        let page = store.scan(cursor, 10_000, now()).await.unwrap();
        for listed in page.records {
            let n = listed.weight;
            assert_eq!((listed.record.key, &listed.record.value), (key(n), &content(n)));
            numbers.push(n);
        }
        let Some(next) = page.next else { break };
        cursor = next;
    }
    numbers.sort_unstable();
    numbers
}

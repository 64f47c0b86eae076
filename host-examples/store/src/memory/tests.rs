use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{KeyKind, RecordUpdate};

use super::*;
use crate::MAX_VALUE_OCTETS;

const NOW: u64 = 1_700_000_000;

fn key(n: u128) -> Key {
    let address = Address::from_bits(0x2001_0db8 << 96 | n << 64);
    Key { kind: KeyKind::Network, address, prefix_length: 64 }
}

fn update(n: u128, value: &[u8], expires_in: u32, weight: u32) -> RecordUpdate {
    RecordUpdate { key: key(n), value: value.to_vec(), expires_in, weight }
}

async fn set(store: &MemoryStore, update: RecordUpdate, now: u64) {
    let before = value(store, &update.key, now).await;
    let swap = compare_and_set(store, before.as_deref(), &update, now).await.unwrap();
    assert_eq!(swap, Swap::Stored);
}

async fn compare_and_set(
    store: &MemoryStore,
    expected: Option<&[u8]>,
    update: &RecordUpdate,
    now: u64,
) -> Result<Swap, StoreError> {
    store.compare_and_set(Write { expected, update, source: Address::from_bits(0x2001_0db8 << 96), now }).await
}

async fn value(store: &MemoryStore, key: &Key, now: u64) -> Option<Vec<u8>> {
    store.get_many(&[*key], now).await.unwrap().pop().map(|record| record.value)
}

/// Which of the keys 0 to 31 are there.
async fn present(store: &MemoryStore, now: u64) -> Vec<u128> {
    let keys: Vec<Key> = (0..32).map(key).collect();
    let found = store.get_many(&keys, now).await.unwrap();
    (0..32).filter(|&n| found.iter().any(|record| record.key == key(n))).collect()
}

#[tokio::test]
async fn reads_what_was_written_and_nothing_else() {
    let store = MemoryStore::new(8);
    set(&store, update(1, b"one", 60, 0), NOW).await;
    set(&store, update(2, b"", 60, 0), NOW).await;
    let mut found = store.get_many(&[key(3), key(2), key(1)], NOW).await.unwrap();
    found.sort_by_key(|record| record.key);
    assert_eq!(found, [StoredRecord { key: key(1), value: b"one".to_vec() }, StoredRecord { key: key(2), value: Vec::new() }]);
    let other_kind = Key { kind: KeyKind::Budget, ..key(1) };
    let other_length = Key { prefix_length: 48, ..key(1) };
    assert_eq!(store.get_many(&[other_kind, other_length], NOW).await.unwrap(), []);
    assert_eq!(store.get_many(&[], NOW).await.unwrap(), []);
}

#[tokio::test]
async fn never_holds_more_than_its_capacity() {
    let store = MemoryStore::new(4);
    for n in 0..20 {
        set(&store, update(n, b"x", 60, n as u32 % 3), NOW).await;
        assert_eq!(store.len(), 4.min(n as usize + 1));
        assert!(value(&store, &key(n), NOW).await.is_some(), "a newcomer gets in, whatever its weight");
    }
    assert_eq!(store.evicted(), 16);
    // Changing a record that is there costs no other its place.
    let before = present(&store, NOW).await;
    set(&store, update(19, b"y", 60, 0), NOW).await;
    assert_eq!(present(&store, NOW).await, before);
    assert_eq!(MemoryStore::new(0).health().capacity, Some(1));
}

#[tokio::test]
async fn expires_at_the_second_and_not_before() {
    let store = MemoryStore::new(4);
    set(&store, update(1, b"x", 60, 0), NOW).await;
    assert!(value(&store, &key(1), NOW + 59).await.is_some());
    assert!(value(&store, &key(1), NOW + 60).await.is_none());
    // At that second it counts as absent for a write as well.
    let next = update(1, b"y", 60, 0);
    assert_eq!(compare_and_set(&store, None, &next, NOW + 59).await, Ok(Swap::Conflict));
    assert_eq!(compare_and_set(&store, Some(b"x"), &next, NOW + 60).await, Ok(Swap::Conflict));
    assert_eq!(compare_and_set(&store, None, &next, NOW + 60).await, Ok(Swap::Stored));
    assert_eq!(store.len(), 1);
    // The end of time is no overflow.
    set(&store, update(2, b"z", u32::MAX, 0), u64::MAX - 1).await;
    assert!(value(&store, &key(2), u64::MAX - 1).await.is_some());
}

#[tokio::test]
async fn writes_sweep_expired_records() {
    let store = MemoryStore::new(100);
    store.lock().own_clock.believe_callers();
    for n in 0..10 {
        set(&store, update(n, b"x", 1, 0), NOW).await;
    }
    for n in 20..23 {
        set(&store, update(n, b"x", 60, 0), NOW + 1).await;
    }
    assert_eq!(store.len(), 3, "three writes look at twelve slots");
    assert_eq!(store.evicted(), 0);
}

#[tokio::test]
async fn evicts_the_expired_then_the_weakest_class_then_the_oldest() {
    let store = MemoryStore::new(5);
    store.lock().own_clock.believe_callers();
    set(&store, update(1, b"x", 600, 64), NOW).await;
    set(&store, update(2, b"x", 600, 32), NOW).await;
    set(&store, update(3, b"x", 600, 63), NOW).await;
    set(&store, update(4, b"x", 600, 256), NOW).await;
    set(&store, update(5, b"x", 10, 99), NOW).await;
    // Written again: now the youngest of its class, though the lightest.
    set(&store, update(2, b"y", 600, 32), NOW).await;

    set(&store, update(6, b"x", 600, 128), NOW + 10).await;
    assert_eq!(present(&store, NOW + 10).await, [1, 2, 3, 4, 6], "the expired one, though it is not the weakest");
    assert_eq!(store.evicted(), 0);
    set(&store, update(7, b"x", 600, 128), NOW + 10).await;
    assert_eq!(present(&store, NOW + 10).await, [1, 2, 4, 6, 7], "of the weakest class, the one written longest ago");
    set(&store, update(8, b"x", 600, 128), NOW + 10).await;
    assert_eq!(present(&store, NOW + 10).await, [1, 4, 6, 7, 8]);
    set(&store, update(9, b"x", 600, 0), NOW + 10).await;
    assert_eq!(present(&store, NOW + 10).await, [4, 6, 7, 8, 9]);
    set(&store, update(10, b"x", 600, 0), NOW + 10).await;
    assert_eq!(present(&store, NOW + 10).await, [4, 6, 7, 8, 10], "light records cost the heavy ones one place");
    assert_eq!(store.evicted(), 4);
}

#[tokio::test]
async fn stores_only_over_the_expected_value() {
    let store = MemoryStore::new(4);
    let first = update(1, b"first", 60, 0);
    assert_eq!(compare_and_set(&store, Some(b"first"), &first, NOW).await, Ok(Swap::Conflict), "absent");
    assert_eq!(compare_and_set(&store, None, &first, NOW).await, Ok(Swap::Stored));
    assert_eq!(compare_and_set(&store, None, &first, NOW).await, Ok(Swap::Conflict), "present");
    let second = update(1, b"second", 60, 0);
    assert_eq!(compare_and_set(&store, Some(b"other"), &second, NOW).await, Ok(Swap::Conflict));
    assert_eq!(value(&store, &key(1), NOW).await.unwrap(), b"first", "a conflict changes nothing");
    assert_eq!(compare_and_set(&store, Some(b"first"), &second, NOW).await, Ok(Swap::Stored));
    assert_eq!(value(&store, &key(1), NOW).await.unwrap(), b"second");
}

#[tokio::test]
async fn an_expiry_of_0_removes() {
    let store = MemoryStore::new(4);
    set(&store, update(1, b"x", 60, 0), NOW).await;
    let removal = update(1, b"", 0, 0);
    assert_eq!(compare_and_set(&store, Some(b"y"), &removal, NOW).await, Ok(Swap::Conflict));
    assert_eq!(compare_and_set(&store, Some(b"x"), &removal, NOW).await, Ok(Swap::Stored));
    assert!(store.is_empty());
    assert_eq!(compare_and_set(&store, None, &removal, NOW).await, Ok(Swap::Stored), "absent already");
    assert!(store.is_empty());
}

#[tokio::test]
async fn refuses_a_value_that_is_too_long() {
    let store = MemoryStore::new(4);
    set(&store, update(1, &[0; MAX_VALUE_OCTETS], 60, 0), NOW).await;
    let long = update(2, &[0; MAX_VALUE_OCTETS + 1], 60, 0);
    let error = compare_and_set(&store, None, &long, NOW).await.unwrap_err();
    assert_eq!(error, StoreError::ValueTooLarge { octets: 4097 });
    assert!(error.to_string().contains("4097 octets, expected at most 4096"), "{error}");
    assert_eq!(present(&store, NOW).await, [1]);
}

#[tokio::test]
async fn survives_a_thread_that_panics_with_the_lock() {
    let store = MemoryStore::new(4);
    set(&store, update(1, b"x", 60, 0), NOW).await;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _guard = store.table.lock();
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
    });
    assert!(store.table.is_poisoned());
    assert!(value(&store, &key(1), NOW).await.is_some());
    set(&store, update(1, b"y", 60, 0), NOW).await;
}

#[tokio::test]
async fn scans_page_by_page() {
    let store = MemoryStore::new(3000);
    for n in 0..2500 {
        set(&store, RecordUpdate { key: Key { kind: KeyKind::Exact, ..key(n) }, ..update(n, b"x", 60 + n as u32, 5) }, NOW).await;
    }
    let (mut cursor, mut seen, mut pages) = (Cursor::default(), Vec::new(), 0);
    loop {
        let page = store.scan(cursor, 20, NOW + 60).await.unwrap();
        seen.extend(page.records);
        pages += 1;
        let Some(next) = page.next else { break };
        cursor = next;
    }
    assert!(pages > 1, "{pages}");
    seen.sort_by_key(|listed| listed.expires_at);
    assert_eq!(seen.len(), 64, "the share of a /48");
    assert!(seen.iter().all(|listed| listed.weight == 5 && listed.record.value == b"x" && listed.expires_at > NOW + 60));
    assert_eq!(store.scan(Cursor("nonsense".into()), 10, NOW).await, Ok(Page::default()));
    assert_eq!(store.scan(Cursor(u32::MAX.to_string()), 10, NOW).await, Ok(Page::default()));
}

#[tokio::test]
async fn has_one_secret() {
    let store = MemoryStore::new(1);
    let secret = store.secret().await.unwrap();
    assert_eq!(store.secret().await, Ok(secret));
    assert_ne!(MemoryStore::new(1).secret().await, Ok(secret));
}

#[tokio::test]
async fn a_clock_in_the_future_removes_nothing_of_others() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let store = MemoryStore::new(100);
    for n in 0..30 {
        set(&store, update(n, b"x", 86_400, 1), now).await;
    }
    // As by a program that gives milliseconds.
    for n in 100..130 {
        set(&store, update(n, b"y", 1, 1), now * 1000).await;
    }
    assert_eq!(present(&store, now).await, (0..30).collect::<Vec<_>>());
    // Where one has to go, it is the weakest, not one that has expired by that clock only.
    let store = MemoryStore::new(2);
    set(&store, update(1, b"x", 86_400, 1), now).await;
    set(&store, update(2, b"x", 600, 1000), now).await;
    set(&store, update(3, b"y", 60, 1), now + 700).await;
    assert_eq!(present(&store, now).await, [2, 3]);
    assert_eq!(store.evicted(), 1);
}

#[tokio::test]
async fn a_scan_of_many_expired_records_lets_others_work() {
    let store = MemoryStore::new(250_000);
    for n in 0..250_000 {
        let key = Key { kind: KeyKind::Network, address: Address::from_bits((0x2001_0000 + n) << 96), prefix_length: 64 };
        set(&store, RecordUpdate { key, ..update(n, b"x", 600, 1) }, NOW).await;
    }
    let mut scan = std::pin::pin!(store.scan(Cursor::default(), 1, NOW + 600));
    let mut polls = 0;
    let page = std::future::poll_fn(|context| {
        polls += 1;
        scan.as_mut().poll(context)
    });
    assert_eq!(page.await, Ok(Page::default()));
    assert_eq!(polls, 3, "after each 100,000");
}

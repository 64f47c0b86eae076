use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{KeyKind, RecordUpdate};

use super::*;

fn key(n: u32) -> Key {
    Key { kind: KeyKind::Network, address: Address::from_words([0x2001_0000 + n, n, 0, 0]), prefix_length: 64 }
}

async fn set(store: &EmbeddedStore, n: u32, value: &[u8], expires_in: u32) {
    let now = now();
    let before = value_of(store, n).await;
    let update = RecordUpdate { key: key(n), value: value.to_vec(), expires_in, weight: n };
    let write = Write { expected: before.as_deref(), update: &update, source: Address::from_bits(0), now };
    assert_eq!(store.compare_and_set(write).await, Ok(Swap::Stored));
}

async fn value_of(store: &EmbeddedStore, n: u32) -> Option<Vec<u8>> {
    store.get_many(&[key(n)], now()).await.unwrap().pop().map(|record| record.value)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn goes_on_while_the_disk_is_full_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    set(&store, 1, b"before", 600).await;
    set(&store, 2, b"goes meanwhile", 600).await;
    until("saved", || store.health().unsaved == 0);
    disk.full.store(true, Relaxed);
    set(&store, 2, b"", 0).await;
    for n in 3..100 {
        set(&store, n, b"meanwhile", 600).await;
    }
    until("the problem shows", || store.health().problem.is_some());
    let health = store.health();
    assert_eq!(health.unsaved, 98, "{health:?}");
    assert_eq!(value_of(&store, 3).await.unwrap(), b"meanwhile");
    disk.full.store(false, Relaxed);
    until("it recovers", || store.health().problem.is_none() && store.health().unsaved == 0);
    store.close().unwrap();
    let (store, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!((opened.records, opened.secret_is_new, opened.set_aside), (98, false, None));
    assert_eq!(value_of(&store, 2).await, None);
    assert_eq!(value_of(&store, 99).await.unwrap(), b"meanwhile");
}

#[tokio::test]
async fn closing_says_what_could_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    disk.full.store(true, Relaxed);
    set(&store, 1, b"lost", 600).await;
    let error = store.close().unwrap_err().to_string();
    assert!(error.contains("1 updates could not be written"), "{error}");
}

#[tokio::test]
async fn searches_the_file_for_removals_that_were_too_many_to_remember() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let (store, _) = EmbeddedStore::open(&path, Limits { records: 100_000, ..Limits::default() }).unwrap();
    for n in 0..25_000 {
        set(&store, n, b"x", 600).await;
    }
    until("saved", || store.health().unsaved == 0);
    for n in 0..24_990 {
        set(&store, n, b"", 0).await;
    }
    lock(&store.shared.table).list_all();
    store.close().unwrap();
    let (_, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!(opened.records, 10);
}

#[tokio::test]
async fn a_new_file_takes_the_place_of_one_that_was_damaged_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    let secret = store.secret().await.unwrap();
    set(&store, 1, b"one", 600).await;
    until("saved", || store.health().unsaved == 0);
    disk.full.store(true, Relaxed);
    set(&store, 2, b"two", 600).await;
    until("the problem shows", || store.health().problem.is_some());
    std::fs::write(&path, b"no database").unwrap();
    disk.full.store(false, Relaxed);
    until("it recovers", || store.health().problem.is_none() && store.health().unsaved == 0);
    store.close().unwrap();
    let (store, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!((opened.records, opened.secret_is_new), (2, false));
    assert_eq!(store.secret().await.unwrap(), secret);
}

#[tokio::test]
async fn refuses_a_newer_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let database = redb::Database::create(&path).unwrap();
    rows::begin(&database, &[7; 32]).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(rows::META).unwrap().insert("format", 2u64.to_be_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let before = std::fs::read(&path).unwrap();
    let Err(error) = EmbeddedStore::open(&path, Limits::default()) else { panic!("it opened") };
    assert!(error.to_string().contains("format 2, this version knows formats up to 1"), "{error}");
    assert_eq!(before.len(), std::fs::read(&path).unwrap().len());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "it is not set aside");
}

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
    writer::list_all(&store.shared.table);
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
async fn a_full_disk_with_a_damaged_file_is_not_filled_with_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    let damaged = || names(folder.path()).iter().filter(|name| name.contains("damaged")).count();
    disk.full.store(true, Relaxed);
    set(&store, 1, b"one", 600).await;
    until("the problem shows", || store.health().problem.is_some());
    std::fs::write(&path, [7; 8192]).unwrap();
    until("it is set aside", || damaged() == 1 && path.exists());
    // As a full disk leaves a new file: it has its length, and nothing in it.
    std::fs::write(&path, [0; 8192]).unwrap();
    until("it is made anew", || path.metadata().is_ok_and(|metadata| metadata.len() == 0));
    disk.full.store(false, Relaxed);
    until("it recovers", || store.health().problem.is_none() && store.health().unsaved == 0);
    assert_eq!(damaged(), 1);
    store.close().unwrap();
    let (_, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!((opened.records, opened.set_aside), (1, None));
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
    assert_eq!(names(folder.path()), ["records.redb", "records.redb.lock"], "it is not set aside");
}

#[tokio::test]
async fn no_other_opens_the_file_while_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    disk.full.store(true, Relaxed);
    set(&store, 1, b"one", 600).await;
    until("the problem shows", || store.health().problem.is_some());
    // The file is closed until the next try.
    let opened = EmbeddedStore::open(&path, Limits::default()).map(|(_, opened)| opened);
    assert!(matches!(opened, Err(EmbeddedError::InUse { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_file_that_was_removed_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let (store, _) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    let secret = store.secret().await.unwrap();
    set(&store, 1, b"one", 600).await;
    until("saved", || store.health().unsaved == 0);
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(folder.path().join("records.redb.lock")).unwrap();
    until("it is there again", || path.exists());
    assert_eq!(names(folder.path()), ["records.redb", "records.redb.lock"]);
    let again = EmbeddedStore::open(&path, Limits::default()).map(|(_, opened)| opened);
    assert!(matches!(again, Err(EmbeddedError::InUse { .. })), "{again:?}");
    set(&store, 2, b"two", 600).await;
    store.close().unwrap();
    let (store, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!((opened.records, opened.secret_is_new), (2, false));
    assert_eq!(store.secret().await.unwrap(), secret);
}

#[tokio::test]
async fn a_file_that_another_took_the_place_of_is_written_anew_and_the_other_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("records.redb"), folder.path().join("other.redb"));
    let (store, _) = EmbeddedStore::open(&other, Limits::default()).unwrap();
    set(&store, 7, b"another's", 600).await;
    let others_secret = store.secret().await.unwrap();
    store.close().unwrap();
    let (store, _) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    let secret = store.secret().await.unwrap();
    set(&store, 1, b"one", 600).await;
    until("saved", || store.health().unsaved == 0);
    std::fs::rename(&other, &path).unwrap();
    let kept = || names(folder.path()).into_iter().find(|name| name.starts_with("records.redb.replaced-2"));
    until("it is set aside", || kept().is_some());
    set(&store, 2, b"two", 600).await;
    store.close().unwrap();
    let (store, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!((opened.records, store.secret().await.unwrap()), (2, secret));
    let (other, opened) = EmbeddedStore::open(&folder.path().join(kept().unwrap()), Limits::default()).unwrap();
    assert_eq!((opened.records, other.secret().await.unwrap()), (1, others_secret));
}

#[tokio::test]
async fn says_when_updates_wait_for_a_slow_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    disk.slow.store(700, Relaxed);
    let end = Instant::now() + Duration::from_secs(4);
    let mut n = 0;
    while Instant::now() < end && store.health().problem.is_none() {
        set(&store, n, b"x", 600).await;
        n += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let problem = store.health().problem.unwrap();
    assert!(problem.contains("waited") && problem.contains("1 s"), "{problem}");
    disk.slow.store(0, Relaxed);
    until("it is in time again", || {
        n += 1;
        let update = RecordUpdate { key: key(n), value: vec![1], expires_in: 600, weight: 1 };
        let _ =
            lock(&store.shared.table).swap(Write { expected: None, update: &update, source: Address::from_bits(0), now: now() });
        store.health().problem.is_none()
    });
}

#[tokio::test]
async fn a_new_update_does_not_wait_for_many_removals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let (store, _) = EmbeddedStore::open(&path, Limits { records: 100_000, ..Limits::default() }).unwrap();
    for n in 0..60_000 {
        set(&store, n, b"x", 600).await;
    }
    until("saved", || store.health().unsaved == 0);
    {
        let mut table = lock(&store.shared.table);
        let mut write = |n, expected: Option<&[u8]>, expires_in| {
            let update = RecordUpdate { key: key(n), value: b"x".to_vec(), expires_in, weight: 1 };
            let write = Write { expected, update: &update, source: Address::from_bits(0), now: now() };
            assert_eq!(table.swap(write), Ok(Swap::Stored));
        };
        (0..60_000).for_each(|n| write(n, Some(b"x"), 0));
        write(60_001, None, 600);
    }
    let is_saved = || {
        let table = lock(&store.shared.table);
        table.unsaved() > 20_000 && table.waiting_since().is_none() && store.shared.state().in_flight_since.is_none()
    };
    until("it is saved while removals wait", is_saved);
    store.close().unwrap();
    let (_, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!(opened.records, 1);
}

#[tokio::test]
async fn a_new_update_does_not_wait_for_a_search() {
    update_during_a_search(0).await;
}

/// With as many removals beside it as a transaction takes.
#[tokio::test]
async fn a_new_update_does_not_wait_for_a_search_and_removals_together() {
    update_during_a_search(60_000).await;
}

/// Of 60,000 records the removals are forgotten, and so many more are removed while the file is searched for those.
async fn update_during_a_search(removed_beside: u32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let (store, _) = EmbeddedStore::open_with(&path, Limits { records: 200_000, ..Limits::default() }, &disk).unwrap();
    let all = 60_000 + removed_beside;
    for n in 0..all {
        set(&store, n, b"x", 600).await;
    }
    until("saved", || store.health().unsaved == 0);
    let syncs = || disk.syncs.load(Relaxed);
    let remove = |table: &mut Table, n| {
        let update = RecordUpdate { key: key(n), value: Vec::new(), expires_in: 0, weight: 1 };
        let write = Write { expected: Some(b"x"), update: &update, source: Address::from_bits(0), now: now() };
        assert_eq!(table.swap(write), Ok(Swap::Stored));
    };
    let before = syncs();
    disk.slow.store(30, Relaxed);
    {
        let mut table = lock(&store.shared.table);
        (0..60_000).for_each(|n| remove(&mut table, n));
        // Of a slot that has nothing any more: only the removals are forgotten.
        let _ = table.list_again(1, 1);
    }
    until("the search goes on", || syncs() > before + 3);
    (60_000..all).for_each(|n| remove(&mut lock(&store.shared.table), n));
    let began = syncs();
    set(&store, all + 1, b"new", 600).await;
    let is_saved = || lock(&store.shared.table).waiting_since().is_none() && store.shared.state().in_flight_since.is_none();
    until("it is saved", is_saved);
    let saved = syncs();
    assert!(saved - began <= 4, "after {}", saved - began);
    store.close().unwrap();
    assert!(syncs() - saved > 5, "the search was not at its end: {}", syncs() - saved);
    let (_, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!(opened.records, 1);
}

#[tokio::test]
async fn says_when_the_thread_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = EmbeddedStore::open(&folder.path().join("records.redb"), Limits::default()).unwrap();
    assert_eq!(store.health().problem, None);
    store.shared.state().closing = true;
    store.shared.wake.notify_all();
    until("it shows", || store.health().problem.is_some_and(|problem| problem.contains("has ended")));
}

#[tokio::test]
async fn goes_on_after_a_panic_that_goes_on_while_the_file_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    set(&store, 1, b"one", 600).await;
    until("saved", || store.health().unsaved == 0);
    disk.panics.store(true, Relaxed);
    set(&store, 2, b"two", 600).await;
    until("the problem shows", || store.health().problem.is_some());
    disk.panics.store(false, Relaxed);
    until("it recovers", || store.health().problem.is_none() && store.health().unsaved == 0);
    store.close().unwrap();
    let (_, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!(opened.records, 2);
}

#[tokio::test]
async fn a_clock_that_is_ahead_for_a_time_costs_no_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let disk = file::Disk::default();
    let ten_years = 3650 * 86_400;
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    for n in 0..1000 {
        set(&store, n, b"x", 86_400).await;
    }
    // It jumps while the store is open.
    disk.clock.ahead.store(ten_years, Relaxed);
    let read = async |store: &EmbeddedStore, at| store.get_many(&(0..1000).map(key).collect::<Vec<_>>(), at).await.unwrap().len();
    assert_eq!(read(&store, now() + ten_years).await, 1000, "by the table's clock they have not expired");
    // A decision that found none would write one in its place.
    let update = RecordUpdate { key: key(5), value: b"new".to_vec(), expires_in: 60, weight: 1 };
    let write = Write { expected: None, update: &update, source: Address::from_bits(0), now: now() + ten_years };
    assert_eq!(store.compare_and_set(write).await, Ok(Swap::Conflict));
    for n in 2000..3000 {
        let update = RecordUpdate { key: key(n), value: b"y".to_vec(), expires_in: 60, weight: 1 };
        let write = Write { expected: None, update: &update, source: Address::from_bits(0), now: now() + ten_years };
        assert_eq!(store.compare_and_set(write).await, Ok(Swap::Stored));
    }
    store.close().unwrap();
    // It is wrong at the start, too, twice.
    for _ in 0..2 {
        let (store, opened) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
        assert_eq!((opened.records, read(&store, now() + ten_years).await), (2000, 1000));
        std::thread::sleep(Duration::from_millis(600));
        store.close().unwrap();
    }
    disk.clock.ahead.store(0, Relaxed);
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    assert_eq!(read(&store, now()).await, 1000);
    store.close().unwrap();
    // What has expired by a clock that is believed goes.
    disk.clock.ahead.store(3000, Relaxed);
    let (store, _) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    set(&store, 1, b"short", 60).await;
    store.close().unwrap();
    let (store, opened) = EmbeddedStore::open_with(&path, Limits::default(), &disk).unwrap();
    assert_eq!(opened.records, 999, "the others lived for a minute, though they were written under the wrong clock");
    drop(store);
}

#[test]
fn others_get_the_table_while_all_is_listed() {
    let mut table = Table::new(Limits { records: 100_000, ..Limits::default() });
    table.note_changes();
    for n in 0..50_000 {
        let update = RecordUpdate { key: key(n), value: vec![1], expires_in: 600, weight: 1 };
        let write = Write { expected: None, update: &update, source: Address::from_bits(0), now: now() };
        assert_eq!(table.swap(write), Ok(Swap::Stored));
    }
    let mut batch = crate::table::Batch::default();
    while table.take_changes(&mut batch, 1000) {}
    assert!(table.waiting_since().is_none());
    let table = Mutex::new(table);
    let is_listing = std::sync::atomic::AtomicBool::new(true);
    let seen = std::thread::scope(|scope| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let is_listing = &is_listing;
        let table = &table;
        let other = scope.spawn(move || {
            ready.send(()).unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            let mut seen = std::collections::HashSet::new();
            while is_listing.load(Relaxed) && Instant::now() < end {
                seen.insert(lock(table).unsaved());
            }
            seen.len()
        });
        is_ready.recv().unwrap();
        writer::list_all(table);
        is_listing.store(false, Relaxed);
        other.join().unwrap()
    });
    assert!(seen > 10, "it was seen {seen} times how far that had come");
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

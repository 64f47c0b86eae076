use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::KeyKind;
use tokio::sync::Barrier;

use super::*;
use crate::{BoxFuture, Cursor, Health, MemoryStore, Page, Secret};

const NOW: u64 = 1_700_000_000;
const SOURCE: Address = Address::from_bits(0x2001_0db8 << 96 | 1);

fn key(kind: KeyKind) -> Key {
    Key { kind, address: Address::from_bits(0x2001_0db8 << 96), prefix_length: 64 }
}

fn counter(kind: KeyKind, records: &[StoredRecord]) -> u64 {
    let found = records.iter().find(|record| record.key == key(kind));
    found.map_or(0, |record| u64::from_le_bytes(record.value.as_slice().try_into().unwrap()))
}

fn number(kind: KeyKind, n: u64) -> RecordUpdate {
    RecordUpdate { key: key(kind), value: n.to_le_bytes().to_vec(), expires_in: 60, weight: 1 }
}

/// What `decide` does to its records, in small.
fn increment(kind: KeyKind, records: &[StoredRecord]) -> RecordUpdate {
    number(kind, counter(kind, records) + 1)
}

async fn read(store: &dyn Store, kind: KeyKind) -> Vec<StoredRecord> {
    store.get_many(&[key(kind)], NOW).await.unwrap()
}

/// Without comparing: what a store without compare-and-set would do.
async fn overwrite(store: &dyn Store, update: &RecordUpdate) {
    loop {
        let there = store.get_many(&[update.key], NOW).await.unwrap().pop().map(|record| record.value);
        if store.compare_and_set(Write { expected: there.as_deref(), update, source: SOURCE, now: NOW }).await.unwrap()
            == Swap::Stored
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_contention_each_update_is_counted_or_reported() {
    const TASKS: usize = 200;
    let store = Arc::new(MemoryStore::new(8));
    let start = Arc::new(Barrier::new(TASKS));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, start) = (store.clone(), start.clone());
            tokio::spawn(async move {
                let seen = read(&*store, KeyKind::Network).await;
                // All have read before the first writes: all but one collide.
                start.wait().await;
                let updates = vec![increment(KeyKind::Network, &seen)];
                write_back(&*store, &seen, updates, SOURCE, NOW, |fresh| vec![increment(KeyKind::Network, fresh)]).await
            })
        })
        .collect();
    let (mut stored, mut dropped) = (0, 0);
    for task in tasks {
        let done = task.await.unwrap();
        assert_eq!(done.stored + done.dropped, 1);
        stored += done.stored;
        dropped += done.dropped;
    }
    assert_eq!(stored + dropped, TASKS);
    assert_eq!(counter(KeyKind::Network, &read(&*store, KeyKind::Network).await), stored as u64);
    assert!(stored > TASKS / 2, "{dropped} of {TASKS} dropped");
}

/// The records of one decision are made together: a conflict about one says that the others may be old, too.
#[tokio::test]
async fn two_records_of_many_decisions_are_counted_alike() {
    const DECISIONS: usize = 8;
    const KINDS: [KeyKind; 2] = [KeyKind::Address, KeyKind::Network];
    let store = MemoryStore::new(8);
    let decide = |records: &[StoredRecord]| KINDS.map(|kind| increment(kind, records)).to_vec();
    // All of them have seen an empty store.
    for _ in 0..DECISIONS {
        let done = write_back(&store, &[], decide(&[]), SOURCE, NOW, |fresh| decide(fresh)).await;
        assert_eq!(done, WriteBack { stored: 2, dropped: 0 });
    }
    for kind in KINDS {
        assert_eq!(counter(kind, &read(&store, kind).await), DECISIONS as u64, "{kind:?}");
    }
}

/// The negative of the first of these tests: the same tasks with plain writes lose all but one update.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn plain_writes_lose_updates() {
    const TASKS: usize = 200;
    let store = Arc::new(MemoryStore::new(8));
    let start = Arc::new(Barrier::new(TASKS));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, start) = (store.clone(), start.clone());
            tokio::spawn(async move {
                let seen = read(&*store, KeyKind::Network).await;
                start.wait().await;
                overwrite(&*store, &increment(KeyKind::Network, &seen)).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counter(KeyKind::Network, &read(&*store, KeyKind::Network).await), 1);
}

#[tokio::test]
async fn without_a_conflict_it_asks_nobody() {
    let store = MemoryStore::new(8);
    let updates = vec![number(KeyKind::Network, 1), number(KeyKind::Address, 1)];
    let done = write_back(&store, &[], updates, SOURCE, NOW, |_| panic!("no conflict")).await;
    assert_eq!(done, WriteBack { stored: 2, dropped: 0 });
    assert_eq!(write_back(&store, &[], Vec::new(), SOURCE, NOW, |_| panic!("no conflict")).await, WriteBack::default());
}

#[tokio::test]
async fn after_a_conflict_it_takes_the_new_updates_for_what_is_not_written_yet() {
    let store = MemoryStore::new(8);
    // Another decision has counted to 5 for the network; this one has seen neither record.
    overwrite(&store, &number(KeyKind::Network, 5)).await;
    let updates = vec![number(KeyKind::Address, 1), number(KeyKind::Network, 1), number(KeyKind::Budget, 1)];
    let mut views = Vec::new();
    let done = write_back(&store, &[], updates, SOURCE, NOW, |fresh| {
        views.push((counter(KeyKind::Address, fresh), counter(KeyKind::Network, fresh)));
        vec![number(KeyKind::Address, 100), increment(KeyKind::Network, fresh), number(KeyKind::Budget, 100)]
    })
    .await;
    assert_eq!(done, WriteBack { stored: 3, dropped: 0 });
    assert_eq!(views, [(0, 5)], "its own update of the address is not part of what it sees");
    assert_eq!(counter(KeyKind::Address, &read(&store, KeyKind::Address).await), 1);
    assert_eq!(counter(KeyKind::Network, &read(&store, KeyKind::Network).await), 6);
    assert_eq!(counter(KeyKind::Budget, &read(&store, KeyKind::Budget).await), 100, "the old one was made of an old network");
}

#[tokio::test]
async fn what_was_read_anew_replaces_what_was_seen() {
    let store = MemoryStore::new(8);
    overwrite(&store, &number(KeyKind::Network, 5)).await;
    let seen = [KeyKind::Network, KeyKind::Budget].map(|kind| StoredRecord { key: key(kind), value: number(kind, 2).value });
    let mut view = Vec::new();
    let done = write_back(&store, &seen, vec![number(KeyKind::Network, 3)], SOURCE, NOW, |fresh| {
        view = fresh.to_vec();
        vec![increment(KeyKind::Network, fresh)]
    })
    .await;
    assert_eq!(done, WriteBack { stored: 1, dropped: 0 });
    assert_eq!(view, [StoredRecord { key: key(KeyKind::Network), value: number(KeyKind::Network, 5).value }]);
    assert_eq!(counter(KeyKind::Network, &read(&store, KeyKind::Network).await), 6);
}

#[tokio::test]
async fn it_is_done_when_there_is_nothing_more_to_store() {
    let store = MemoryStore::new(8);
    overwrite(&store, &number(KeyKind::Network, 5)).await;
    let done = write_back(&store, &[], vec![number(KeyKind::Network, 1)], SOURCE, NOW, |_| Vec::new()).await;
    assert_eq!(done, WriteBack::default());
    assert_eq!(counter(KeyKind::Network, &read(&store, KeyKind::Network).await), 5);
}

fn basis(asked: &[Key]) -> Basis<'_> {
    Basis { seen: &[], asked, source: SOURCE, now: NOW }
}

/// The decision was about a mail that the /48 had no record of; made anew, it takes one from the /48's budget.
#[tokio::test]
async fn what_only_the_new_decision_updates_is_stored_where_it_was_asked_for() {
    let asked = [KeyKind::Network, KeyKind::Budget].map(key);
    for (there, budget) in [(None, 1), (Some(7), 8)] {
        let store = MemoryStore::new(8);
        overwrite(&store, &number(KeyKind::Network, 5)).await;
        if let Some(there) = there {
            overwrite(&store, &number(KeyKind::Budget, there)).await;
        }
        let again = |fresh: &[StoredRecord]| Some(vec![increment(KeyKind::Network, fresh), increment(KeyKind::Budget, fresh)]);
        let done = basis(&asked).write_back(&store, vec![number(KeyKind::Network, 1)], None, again).await;
        assert_eq!(done, WriteBack { stored: 2, dropped: 0 });
        assert_eq!(counter(KeyKind::Network, &read(&store, KeyKind::Network).await), 6);
        assert_eq!(counter(KeyKind::Budget, &read(&store, KeyKind::Budget).await), budget, "there was {there:?}");
    }
}

#[tokio::test]
async fn what_nobody_asked_for_is_dropped_and_counted_once() {
    let store = MemoryStore::new(8);
    overwrite(&store, &number(KeyKind::Network, 5)).await;
    let again = |fresh: &[StoredRecord]| vec![number(KeyKind::Budget, 9), increment(KeyKind::Network, fresh)];
    let done = write_back(&store, &[], vec![number(KeyKind::Network, 1)], SOURCE, NOW, again).await;
    assert_eq!(done, WriteBack { stored: 1, dropped: 1 });
    assert_eq!(read(&store, KeyKind::Budget).await, []);

    let store = Stubborn { writes: AtomicU32::new(0), answer: Ok(Swap::Conflict), times: u32::MAX };
    let again = |_: &[StoredRecord]| vec![number(KeyKind::Budget, 9), number(KeyKind::Network, 1)];
    let done = write_back(&store, &[], vec![number(KeyKind::Network, 1)], SOURCE, NOW, again).await;
    assert_eq!(done, WriteBack { stored: 0, dropped: 2 }, "each once, though it was decided 15 times");
}

#[tokio::test]
async fn what_cannot_be_decided_anew_is_dropped_and_counted() {
    let store = MemoryStore::new(8);
    overwrite(&store, &number(KeyKind::Network, 5)).await;
    let updates = vec![number(KeyKind::Address, 1), number(KeyKind::Network, 1), number(KeyKind::Budget, 1)];
    let done = basis(&[]).write_back(&store, updates, None, |_| None).await;
    assert_eq!(done, WriteBack { stored: 1, dropped: 2 });
    assert_eq!(counter(KeyKind::Network, &read(&store, KeyKind::Network).await), 5);
    assert_eq!(read(&store, KeyKind::Budget).await, []);
}

/// Takes some writes, and gives the others no answer.
struct Tiring {
    store: MemoryStore,
    writes: AtomicU32,
}

impl Store for Tiring {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        self.store.get_many(keys, now)
    }

    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        if self.writes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            return Box::pin(std::future::pending());
        }
        self.store.compare_and_set(write)
    }

    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.store.scan(cursor, limit, now)
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        self.store.secret()
    }

    fn health(&self) -> Health {
        self.store.health()
    }
}

#[tokio::test]
async fn at_the_deadline_it_says_what_was_stored_and_what_was_not() {
    const TIME: Duration = Duration::from_millis(100);
    let updates = || [KeyKind::Address, KeyKind::Network, KeyKind::Budget].map(|kind| number(kind, 1)).to_vec();
    let store = Tiring { store: MemoryStore::new(8), writes: AtomicU32::new(2) };
    let began = Instant::now();
    let done = basis(&[]).write_back(&store, updates(), Some(began + TIME), |_| panic!("no conflict")).await;
    assert_eq!(done, WriteBack { stored: 2, dropped: 1 });
    assert!((TIME..20 * TIME).contains(&began.elapsed()), "{:?}", began.elapsed());

    // It was over before it began: nothing is begun then.
    let store = MemoryStore::new(8);
    let done = basis(&[]).write_back(&store, updates(), Some(Instant::now()), |_| panic!("no conflict")).await;
    assert_eq!(done, WriteBack { stored: 0, dropped: 3 });
    assert_eq!(read(&store, KeyKind::Address).await, []);
}

#[tokio::test]
async fn a_second_update_for_a_key_is_dropped() {
    let store = MemoryStore::new(8);
    let updates = vec![number(KeyKind::Network, 1), number(KeyKind::Network, 2)];
    let done = write_back(&store, &[], updates, SOURCE, NOW, |_| panic!("no conflict")).await;
    assert_eq!(done, WriteBack { stored: 1, dropped: 1 });
    assert_eq!(counter(KeyKind::Network, &read(&store, KeyKind::Network).await), 1);
}

/// Answers every write in the same way, and counts them.
struct Stubborn {
    writes: AtomicU32,
    /// What the first so many writes are answered; the others are stored.
    answer: Result<Swap, StoreError>,
    times: u32,
}

impl Store for Stubborn {
    fn get_many<'a>(&'a self, _: &'a [Key], _: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn compare_and_set<'a>(&'a self, _: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        let stubborn = self.writes.fetch_add(1, Ordering::Relaxed) < self.times;
        Box::pin(std::future::ready(if stubborn { self.answer.clone() } else { Ok(Swap::Stored) }))
    }

    fn scan<'a>(&'a self, _: Cursor, _: usize, _: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(std::future::ready(Ok(Page::default())))
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        Box::pin(std::future::ready(Ok(Secret::default())))
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

#[tokio::test]
async fn tries_are_counted_for_each_record() {
    // Ten conflicts of each, in turn.
    let store = Stubborn { writes: AtomicU32::new(0), answer: Ok(Swap::Conflict), times: 20 };
    let both = [KeyKind::Network, KeyKind::Budget].map(|kind| number(kind, 1));
    let mut turn = 0;
    let again = |_: &[StoredRecord]| {
        turn += 1;
        if turn % 2 == 0 { both.to_vec() } else { both.iter().rev().cloned().collect() }
    };
    let done = write_back(&store, &[], both.to_vec(), SOURCE, NOW, again).await;
    assert_eq!(done, WriteBack { stored: 2, dropped: 0 });
}

#[tokio::test]
async fn drops_after_16_tries() {
    let store = Stubborn { writes: AtomicU32::new(0), answer: Ok(Swap::Conflict), times: u32::MAX };
    let mut asked = 0;
    let done = write_back(&store, &[], vec![number(KeyKind::Network, 1)], SOURCE, NOW, |_| {
        asked += 1;
        vec![number(KeyKind::Network, 1)]
    })
    .await;
    assert_eq!(done, WriteBack { stored: 0, dropped: 1 });
    assert_eq!((store.writes.into_inner(), asked), (16, 15));
}

#[tokio::test]
async fn a_store_that_fails_drops_at_once() {
    let store = Stubborn { writes: AtomicU32::new(0), answer: Err(StoreError::Unavailable("timed out".into())), times: u32::MAX };
    let updates = vec![number(KeyKind::Network, 1), number(KeyKind::Budget, 1)];
    let done = write_back(&store, &[], updates, SOURCE, NOW, |_| panic!("no conflict")).await;
    assert_eq!(done, WriteBack { stored: 0, dropped: 2 });
    assert_eq!(store.writes.into_inner(), 2, "each is tried once");
}

#[test]
fn pauses_grow_and_differ() {
    for tried in 1..TRIES {
        let pauses: Vec<_> = (0..200).map(|_| pause(tried)).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*least >= Duration::from_millis(1) && *most <= Duration::from_millis(8 * u64::from(tried)));
        assert!(least < most, "all alike");
    }
}

//! The store in memory: bounded, and gone when the process ends.

use std::future::ready;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use smtp_fallback_policy::contract::{Key, StoredRecord};

use crate::table::{Limits, Table};
use crate::{BoxFuture, Cursor, Health, Listed, Page, Secret, Store, StoreError, Swap, Write};

/// Slots that a scan looks at before it lets others have the lock: well below a millisecond.
const SCANNED_AT_ONCE: usize = 1000;

/// And before it lets the other tasks of its thread work: some milliseconds.
const SCANNED_PER_TURN: usize = 100_000;

/// No page is longer, so that none takes much memory.
const PAGE_MAX: usize = 10_000;

/// Keeps a limited number of records in memory.
///
/// A full store makes room for a new record, and a network that has its share makes room within it: first goes what has expired,
/// then the weakest class of weights (powers of two), then the one written longest ago. A newcomer always gets in, whatever its
/// weight, so that a new network's evidence can add up; it is then among the first to go. A flood of light records costs the heavy ones nothing.
///
/// One lock guards everything, held for a few microseconds, never across an await: that is small beside a mail, and it keeps limits and
/// order exact, which shards would not. A record takes 91 octets, 32 more for each 28 octets of value beyond the first 18.
pub struct MemoryStore {
    table: Mutex<Table>,
    conflicts: std::sync::atomic::AtomicU64,
    secret: OnceLock<Secret>,
}

impl MemoryStore {
    /// An empty store for at most `capacity` records, at least one, with the default shares.
    pub fn new(capacity: usize) -> Self {
        MemoryStore::with(Limits { records: capacity, ..Limits::default() })
    }

    /// An empty store with these limits.
    pub fn with(limits: Limits) -> Self {
        MemoryStore { table: Mutex::new(Table::new(limits)), conflicts: Default::default(), secret: OnceLock::new() }
    }

    /// How many records there are, with expired ones that are not removed yet. Never more than the limit.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many unexpired records had to go since the start because the store or a network's share was full: when this rises, the
    /// limits are too low, or the store is under attack.
    pub fn evicted(&self) -> u64 {
        self.lock().evicted()
    }

    /// As [`Store::scan`], without letting others work: for a small store.
    pub(crate) fn scan_at_once(&self, cursor: &Cursor, limit: usize, now: u64) -> Page {
        let mut page = Paging::from(cursor);
        while page.turn(&self.table, limit, now) {}
        page.finish()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

/// No code that holds the lock can panic half-way through a change, so a poisoned lock guards sound data.
pub(crate) fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn values(table: &Mutex<Table>, keys: &[Key], now: u64) -> Vec<StoredRecord> {
    lock(table).values(keys, now)
}

/// The cursor is the number of a slot. One that this store cannot have given is at the end.
pub(crate) async fn page(table: &Mutex<Table>, cursor: Cursor, limit: usize, now: u64) -> Page {
    let mut page = Paging::from(&cursor);
    while page.turn(table, limit, now) {
        tokio::task::yield_now().await;
    }
    page.finish()
}

/// A page that grows.
struct Paging {
    records: Vec<Listed>,
    /// The slot to go on from.
    next: Option<u32>,
}

impl Paging {
    fn from(Cursor(cursor): &Cursor) -> Self {
        Paging { records: Vec::new(), next: if cursor.is_empty() { Some(1) } else { cursor.parse().ok() } }
    }

    /// Looks at some slots, whatever is in them. Whether the page is not full yet.
    fn turn(&mut self, table: &Mutex<Table>, limit: usize, now: u64) -> bool {
        let limit = limit.clamp(1, PAGE_MAX);
        for _ in 0..SCANNED_PER_TURN / SCANNED_AT_ONCE {
            let mut table = lock(table);
            let mut left = SCANNED_AT_ONCE;
            while let Some(from) = self.next
                && left > 0
                && self.records.len() < limit
            {
                // Each may be a record.
                let slots = left.min(limit - self.records.len());
                self.next = table.list(from, slots, now, &mut self.records);
                left -= slots;
            }
            if self.next.is_none() || self.records.len() >= limit {
                return false;
            }
        }
        true
    }

    fn finish(self) -> Page {
        Page { records: self.records, next: self.next.map(|number| Cursor(number.to_string())) }
    }
}

/// 32 random octets.
pub(crate) fn new_secret() -> Result<Secret, StoreError> {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret)
        .map_err(|error| StoreError::Unavailable(format!("the system gives no random numbers: {error}")))?;
    Ok(secret)
}

impl Store for MemoryStore {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        Box::pin(ready(Ok(values(&self.table, keys, now))))
    }

    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        let swap = self.lock().swap(write);
        if swap == Ok(Swap::Conflict) {
            self.conflicts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Box::pin(ready(swap))
    }

    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async move { Ok(page(&self.table, cursor, limit, now).await) })
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        let secret = match self.secret.get() {
            Some(secret) => Ok(*secret),
            // Of two that make one at the same time, both get the first.
            None => new_secret().map(|secret| *self.secret.get_or_init(|| secret)),
        };
        Box::pin(ready(secret))
    }

    fn health(&self) -> Health {
        let table = self.lock();
        Health {
            kind: "memory".to_owned(),
            records: Some(table.len() as u64),
            capacity: Some(table.capacity() as u64),
            evicted: table.evicted(),
            conflicts: self.conflicts.load(std::sync::atomic::Ordering::Relaxed),
            ..Health::default()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

//! The store in memory: bounded, and gone when the process ends.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smtp_fallback_policy::contract::{Key, RecordUpdate, StoredRecord};

use crate::{BoxFuture, MAX_VALUE_OCTETS, Store, StoreError, Swap};

/// Expired records that one write removes: more than it can add, so that they do not pile up, and few, so that no write is slow.
const SWEPT_PER_WRITE: usize = 4;

/// Keeps at most `capacity` records in memory.
///
/// A full store makes room for a new record: first goes what has expired, then the lowest weight, then the one written longest
/// ago. A newcomer always gets in, whatever its weight, so that a new network's evidence can add up; it is then the first to go if
/// its weight is the lowest. A flood of light records costs the heavy ones a single place.
///
/// Reading costs O(1) a key, writing O(log n). One lock guards everything, held for these steps only, never across an await: a
/// few microseconds. That is small beside a mail, and it keeps cap and order exact, which shards would not. Keys are hashed with
/// a random seed, so that no client can choose addresses that collide.
pub struct MemoryStore {
    capacity: usize,
    records: Mutex<Records>,
}

impl MemoryStore {
    /// An empty store for at most `capacity` records, at least one. Memory is taken as records come: about 360 octets each, and the
    /// value.
    pub fn new(capacity: usize) -> Self {
        MemoryStore { capacity: capacity.max(1), records: Mutex::default() }
    }

    /// How many records there are, with expired ones that no write has swept yet. Never more than the capacity.
    pub fn len(&self) -> usize {
        self.lock().by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many unexpired records had to go since the start because the store was full: when this rises, the capacity is too small.
    pub fn evicted(&self) -> u64 {
        self.lock().evicted
    }

    /// No code that holds the lock can panic half-way through a change, so a poisoned lock guards sound data.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap(&self, expected: Option<&[u8]>, update: &RecordUpdate, now: u64) -> Result<Swap, StoreError> {
        if update.value.len() > MAX_VALUE_OCTETS {
            return Err(StoreError::ValueTooLarge { octets: update.value.len() });
        }
        let mut records = self.lock();
        if records.value(&update.key, now) != expected {
            return Ok(Swap::Conflict);
        }
        records.remove(&update.key);
        records.sweep(now, SWEPT_PER_WRITE);
        if update.expires_in > 0 {
            if records.by_key.len() >= self.capacity {
                records.make_room(now);
            }
            records.insert(update, now);
        }
        Ok(Swap::Stored)
    }
}

impl Store for MemoryStore {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        let records = self.lock();
        let found = keys.iter().filter_map(|key| Some(StoredRecord { key: *key, value: records.value(key, now)?.to_vec() }));
        Box::pin(ready(Ok(found.collect())))
    }

    fn compare_and_set<'a>(
        &'a self,
        expected: Option<&'a [u8]>,
        update: &'a RecordUpdate,
        now: u64,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(ready(self.swap(expected, update, now)))
    }
}

/// The records, and the two orders in which they go. All three maps hold the same keys.
#[derive(Default)]
struct Records {
    by_key: HashMap<Key, Record>,
    /// Expiry, then number.
    by_expiry: BTreeMap<(u64, u64), Key>,
    /// Weight, then number: the lowest weight first, within it the one written longest ago.
    by_weight: BTreeMap<(u32, u64), Key>,
    /// Counts the writes, for the order of age: the clock may stand still or go back. It cannot wrap in any real time.
    number: u64,
    evicted: u64,
}

struct Record {
    value: Box<[u8]>,
    /// The first second in which it means nothing, since 1970.
    expires_at: u64,
    weight: u32,
    number: u64,
}

impl Records {
    fn value(&self, key: &Key, now: u64) -> Option<&[u8]> {
        self.by_key.get(key).filter(|record| now < record.expires_at).map(|record| &*record.value)
    }

    fn insert(&mut self, update: &RecordUpdate, now: u64) {
        self.number += 1;
        let record = Record {
            value: update.value.as_slice().into(),
            expires_at: now.saturating_add(update.expires_in.into()),
            weight: update.weight,
            number: self.number,
        };
        self.by_expiry.insert((record.expires_at, record.number), update.key);
        self.by_weight.insert((record.weight, record.number), update.key);
        self.by_key.insert(update.key, record);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(record) = self.by_key.remove(key) {
            self.by_expiry.remove(&(record.expires_at, record.number));
            self.by_weight.remove(&(record.weight, record.number));
        }
    }

    /// Removes up to `limit` expired records.
    fn sweep(&mut self, now: u64, limit: usize) {
        for _ in 0..limit {
            match self.by_expiry.first_key_value() {
                Some((&(expires_at, _), &key)) if expires_at <= now => self.remove(&key),
                _ => return,
            }
        }
    }

    /// Removes the record that matters least. The expired ones are gone already: [`MemoryStore::swap`] sweeps first, and a single
    /// place is all it needs.
    fn make_room(&mut self, now: u64) {
        if let Some((_, &key)) = self.by_weight.first_key_value() {
            self.evicted += u64::from(self.value(&key, now).is_some());
            self.remove(&key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

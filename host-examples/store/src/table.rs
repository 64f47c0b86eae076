//! A bounded table of records in memory: what the store in memory, the embedded store and the local copy of the shared one consist of.
//!
//! Which record goes when there is no room for a new one:
//!
//! 1. **Its own network first.** When a /48 has [`Limits::per_48`] records, or a /32 has [`Limits::per_32`], a new record of that
//!    network replaces one of the same network, so that no network can flush the others out. A record of an address, a network or a
//!    /48 counts for the network of its key (a key whose prefix is shorter than that: for the network that its prefix begins
//!    with), one of a mail for the network of the client that it was first written for. IPv4 has no share and is not limited.
//! 2. **Expired, weakest, oldest.** Within the share, else in the whole table, first goes what has expired, then the weakest, then
//!    what was written longest ago (what 2^32 writes missed counts as young again in a small network). Weights count in powers of
//!    two (0, 1, 2 to 3, 4 to 7, ...): weights within one class are the same, so that the order is kept without searching. Of the
//!    expired records, those are found that are the oldest of their class, in a small network all, and in a full table those that a
//!    hand meets which goes round with the writes; an expired record counts as absent at once, whether or not it is still there.
//!    Expired means by the lesser of the caller's clock and the table's (`own_clock.rs`): a clock that is wrong must not end anything.
//! 3. **A newcomer always gets in**, whatever its weight, so that a new network's evidence can add up.
//!
//! Memory does not grow beyond the capacity's: a slot of 84 octets and 7 octets of index for each record, and 32 octets more for each
//! 28 octets of value beyond the first 18. The index is made once, for the whole capacity, and never made anew: no write ever waits for that.
//! Everything takes constant time but the walk through the records of a /48 when it gets another. Keys are hashed with
//! random seeds, so that no client can choose addresses that collide.
//!
//! In a large table nearly all time goes into waiting for memory. So what a look-up reads of a record is one line of the cache, what several
//! look-ups or rows need is fetched at the same time, and chains and groups of slots have a count or a time that spares looking at
//! their records.

mod changes;
mod classes;
mod hash;
mod load;
mod own_clock;
mod shares;
mod slot;
mod slots;

use std::hash::BuildHasher;

use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate, StoredRecord};

pub(crate) use self::changes::Batch;
use self::changes::Changes;
use self::classes::Classes;
use self::hash::Secret;
pub(crate) use self::load::Loader;
pub(crate) use self::own_clock::{Noted, OwnClock, SystemClock};
use self::shares::Shares;
pub(crate) use self::slot::{Account, kind_number, kind_of_number};
use self::slot::{CLASS, Number, SAVED, Slot, class};
use self::slots::Slots;
use crate::{Listed, MAX_VALUE_OCTETS, StoreError, Swap, Write};

/// Slots that the hand looks at in one write: more than a write can fill, so that expired records do not pile up, and few, so
/// that no write is slow.
const SWEPT_PER_WRITE: usize = 4;

/// Slots that it looks at when a record has to go.
const SWEPT_WHEN_FULL: usize = 64;

/// So many keys are looked up at the same time: more than a decision has.
const READ_AT_ONCE: usize = 8;

/// More records than this are not supported: their index alone would take 3 GB.
const MAX_RECORDS: usize = 400_000_000;

/// How many records a store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all, from 1 to 400,000,000. The index takes 7 octets of address space for each at once, the rest comes with the records.
    pub records: usize,
    /// Of one /48, at least 1. A new record's time grows with it: some 5 µs for 64. At `per_32` or above it means nothing.
    pub per_48: usize,
    /// Of one /32, at least 1.
    pub per_32: usize,
}

impl Default for Limits {
    /// A million records, 64 of one /48, 4096 of one /32.
    fn default() -> Self {
        Limits { records: 1_000_000, per_48: 64, per_32: 4096 }
    }
}

/// A record as it is loaded and saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row<V = Vec<u8>> {
    pub(crate) key: Key,
    pub(crate) account: Account,
    /// The first second in which it means nothing, since 1970.
    pub(crate) expires_at: u32,
    pub(crate) weight: u32,
    pub(crate) value: V,
}

/// The table.
pub(crate) struct Table {
    capacity: usize,
    slots: Slots,
    /// The first of each chain of records whose keys hash alike.
    index: Vec<Number>,
    classes: Classes,
    shares: Shares,
    /// Where the hand that removes expired records goes on.
    hand: Number,
    evicted: u64,
    /// What has not expired by it is not removed.
    pub(crate) own_clock: OwnClock,
    changes: Option<Changes>,
    hasher: Secret,
}

impl Table {
    pub(crate) fn new(limits: Limits) -> Self {
        let capacity = limits.records.clamp(1, MAX_RECORDS);
        Table {
            capacity,
            slots: Slots::new(capacity),
            index: vec![0; capacity],
            classes: Classes::default(),
            shares: Shares::new(&limits, capacity),
            hand: 1,
            evicted: 0,
            own_clock: OwnClock::new(SystemClock::default()),
            changes: None,
            hasher: Secret::default(),
        }
    }

    /// How many records there are, with expired ones that the hand has not met yet.
    pub(crate) fn len(&self) -> usize {
        self.slots.occupied()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many unexpired records had to go since the start.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The unexpired value.
    #[cfg(test)]
    pub(crate) fn value(&mut self, key: &Key, now: u64) -> Option<Vec<u8>> {
        self.values(&[*key], now).pop().map(|record| record.value)
    }

    /// The unexpired records under these keys.
    ///
    /// In a large table, waiting for memory is most of the work. So the processor is made to fetch what is needed for all keys at the same
    /// time, step by step: the heads of the chains, their first slots, their second ones.
    pub(crate) fn values(&mut self, keys: &[Key], now: u64) -> Vec<StoredRecord> {
        let now = clock(self.own_clock.at_most(now));
        let mut records = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            let mut firsts = [0; READ_AT_ONCE];
            let mut touched = 0;
            // A mail's decision writes as well: what that reads beside the slots is fetched along with them.
            let writes = keys.iter().any(|key| key.kind == KeyKind::Exact);
            if writes {
                touched ^= self.slots.touch_free();
            }
            for (first, key) in firsts.iter_mut().zip(keys) {
                *first = self.index[self.bucket(key)];
                if writes && key.kind == KeyKind::Network {
                    touched ^= self.shares.touch(Account::of(key, key.address));
                }
            }
            let mut seconds = [(0, 0); READ_AT_ONCE];
            for ((second, &first), key) in seconds.iter_mut().zip(&firsts).zip(keys) {
                *second = self.slots.after(first, key);
                touched ^= if writes { self.slots.touch_rest(first) } else { 0 };
            }
            for (second, block) in seconds {
                touched ^= self.slots.touch(second) ^ self.slots.touch_block(block);
            }
            std::hint::black_box(touched);
            for (&first, key) in firsts.iter().zip(keys) {
                if let Some(number) = self.find_from(first, key)
                    && now < self.slots.at(number).expires_at
                {
                    records.push(StoredRecord { key: *key, value: self.slots.value(number) });
                }
            }
        }
        records
    }

    /// See [`crate::Store::compare_and_set`].
    pub(crate) fn swap(&mut self, Write { expected, update, source, now }: Write<'_>) -> Result<Swap, StoreError> {
        if update.value.len() > MAX_VALUE_OCTETS {
            return Err(StoreError::ValueTooLarge { octets: update.value.len() });
        }
        let now = self.own_clock.at_most(now);
        self.sweep(now, SWEPT_PER_WRITE);
        let now = clock(now);
        let bucket = self.bucket(&update.key);
        let found = self.find_from(self.index[bucket], &update.key);
        let present = found.filter(|&number| now < self.slots.at(number).expires_at);
        let agrees = match (present, expected) {
            (None, None) => true,
            (Some(number), Some(expected)) => self.slots.value_is(number, expected),
            _ => false,
        };
        if !agrees {
            return Ok(Swap::Conflict);
        }
        let expires_at = now.saturating_add(update.expires_in);
        match (present, found) {
            (Some(number), _) if update.expires_in > 0 => self.replace(number, &update.value, expires_at, update.weight),
            (_, found) => {
                if let Some(number) = found {
                    self.remove(number);
                }
                if update.expires_in > 0 {
                    let account = Account::of(&update.key, source);
                    let RecordUpdate { key, value, weight, .. } = update;
                    let row = Row { key: *key, account, expires_at, weight: *weight, value: value.as_slice() };
                    let number = self.insert(&row, bucket, now);
                    self.changed(number);
                }
            }
        }
        Ok(Swap::Stored)
    }

    /// The hand goes on by so many slots, at most once round, and removes the expired records it meets.
    pub(crate) fn sweep(&mut self, now: u64, slots: usize) {
        let now = clock(now);
        for _ in 0..slots.min(self.slots.end() as usize - 1) {
            self.sweep_one(now);
        }
    }

    /// The unexpired records in so many slots from this one on, and the slot to go on from; none at the end. The first is 1.
    pub(crate) fn list(&mut self, from: Number, slots: usize, now: u64, into: &mut Vec<Listed>) -> Option<Number> {
        let now = clock(self.own_clock.at_most(now));
        let from = from.max(1);
        let end = self.slots.end();
        let to = end.min(from.saturating_add(u32::try_from(slots).unwrap_or(u32::MAX)));
        for number in from..to {
            let slot = self.slots.at(number);
            if slot.is_occupied() && now < slot.expires_at {
                let record = StoredRecord { key: slot.key(), value: self.slots.value(number) };
                into.push(Listed { record, expires_at: slot.expires_at.into(), weight: self.slots.weight(number) });
            }
        }
        (to < end).then_some(to)
    }

    fn sweep_one(&mut self, now: u32) -> bool {
        if self.hand >= self.slots.end() {
            self.hand = 1;
        }
        let number = self.hand;
        self.hand += 1;
        let expired = self.slots.has_expired(number, now);
        if expired {
            self.remove(number);
        }
        expired
    }

    /// Removes what has to go before the account gets another record. Then its /32 has so many or fewer, if it is small.
    fn make_room(&mut self, account: Account, now: u32) -> usize {
        let room = self.shares.room(&self.slots, account, now);
        if let Some(number) = room.victim {
            self.evict(number, now);
        }
        if self.len() >= self.capacity
            && !(0..SWEPT_WHEN_FULL.min(self.capacity)).any(|_| self.sweep_one(now))
            && let Some(number) = self.classes.victim(&self.slots, now)
        {
            self.evict(number, now);
        }
        room.count
    }

    fn evict(&mut self, number: Number, now: u32) {
        self.evicted += u64::from(now < self.slots.at(number).expires_at);
        self.remove(number);
    }

    /// Puts in a record whose key is not there, and makes room for it before.
    fn insert(&mut self, row: &Row<&[u8]>, bucket: usize, now: u32) -> Number {
        let count = self.make_room(row.account, now);
        let mut slot = Slot::new(&row.key, row.account);
        slot.chain = self.index[bucket];
        let number = self.slots.take(slot);
        self.index[bucket] = number;
        self.slots.set_value(number, row.value);
        self.slots.set_expiry(number, row.expires_at);
        self.slots.set_weight(number, row.weight);
        self.slots.note_age(number);
        self.classes.push(&mut self.slots, CLASS, number);
        self.shares.add(&mut self.slots, number, count);
        number
    }

    fn replace(&mut self, number: Number, value: &[u8], expires_at: u32, weight: u32) {
        let class = class(weight);
        self.classes.renew(&mut self.slots, CLASS, number, class);
        self.shares.renew(&mut self.slots, number, class);
        self.slots.set_value(number, value);
        self.slots.set_expiry(number, expires_at);
        self.slots.set_weight(number, weight);
        self.slots.note_age(number);
        self.changed(number);
    }

    fn remove(&mut self, number: Number) {
        let slot = *self.slots.at(number);
        let key = slot.key();
        let bucket = self.bucket(&key);
        if self.index[bucket] == number {
            self.index[bucket] = slot.chain;
        } else {
            let mut before = self.index[bucket];
            while before != 0 && self.slots.at(before).chain != number {
                before = self.slots.at(before).chain;
            }
            self.slots.at_mut(before).chain = slot.chain;
        }
        self.classes.remove(&mut self.slots, CLASS, number);
        self.shares.remove(&mut self.slots, number);
        self.slots.give_back(number);
        if slot.has(SAVED)
            && let Some(changes) = &mut self.changes
        {
            changes.is_gone(key);
        }
    }

    fn find(&self, key: &Key) -> Option<Number> {
        self.find_from(self.index[self.bucket(key)], key)
    }

    /// The record under this key in the chain that begins here.
    fn find_from(&self, first: Number, key: &Key) -> Option<Number> {
        let mut number = first;
        while number != 0 {
            let slot = self.slots.at(number);
            if slot.is(key) {
                return Some(number);
            }
            number = slot.chain;
        }
        None
    }

    fn bucket(&self, key: &Key) -> usize {
        let rest = u16::from(kind_number(key.kind)) << 8 | u16::from(key.prefix_length);
        hash::bucket(self.hasher.hash_one((key.address.bits(), rest)), self.index.len())
    }
}

/// Seconds since 1970, in four octets: what comes after 2106-02-07 counts as that day. One less than the greatest, so that even then a
/// record can be unexpired.
pub(crate) fn clock(now: u64) -> u32 {
    u32::try_from(now).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

//! A bounded table of records in memory: what the store in memory, the embedded store and the local copy of the shared one consist of.
//!
//! Which record goes when there is no room for a new one:
//!
//! 1. **Its own network first.** When a /48 has [`Limits::per_48`] records, or a /32 has [`Limits::per_32`], a new record of that
//!    network replaces one of the same network, so that no network can flush the others out. A record of an address, a network or a
//!    /48 counts for the network of its key (a key whose prefix is shorter than that: for the network that its prefix begins
//!    with), one of a mail for the network of the client that it was first written for. IPv4 has no share and is not limited.
//! 2. **Expired, weakest, oldest.** Within the share, else in the whole table, first goes what has expired, then the weakest, then
//!    what was written longest ago. Weights count in powers of two (0, 1, 2 to 3, 4 to 7, ...): weights within one class are the
//!    same, so that the order is kept without searching. Of the expired records, those are found that are the oldest of their class, in a small
//!    network all, and in a full table those that a hand meets which goes round with the writes; an expired record counts as absent at
//!    once, whether or not it is still there.
//! 3. **A newcomer always gets in**, whatever its weight, so that a new network's evidence can add up.
//!
//! Memory does not grow beyond the capacity's: a slot of 84 octets and 7 octets of index for each record, and 32 octets more for each
//! 28 octets of value beyond the first 18. The index is made once, for the whole capacity, and never made anew: no write ever waits for that.
//! Everything takes constant time but the walk through the records of a /48 when it gets another. Keys are hashed with
//! a random seed, so that no client can choose addresses that collide.

mod changes;
mod classes;
mod shares;
mod slot;
mod slots;

use std::hash::{BuildHasher, RandomState};

use smtp_fallback_policy::contract::{Key, StoredRecord};

pub(crate) use self::changes::Batch;
use self::changes::Changes;
use self::classes::Classes;
use self::shares::Shares;
pub(crate) use self::slot::{Account, kind_number, kind_of_number};
use self::slot::{CLASS, Number, OCCUPIED, SAVED, Slot};
use self::slots::Slots;
use crate::{Listed, MAX_VALUE_OCTETS, StoreError, Swap, Write};

/// Slots that the hand looks at in one write: more than a write can fill, so that expired records do not pile up, and few, so
/// that no write is slow.
const SWEPT_PER_WRITE: usize = 4;

/// Slots that it looks at when a record has to go.
const SWEPT_WHEN_FULL: usize = 64;

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
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) account: Account,
    /// The first second in which it means nothing, since 1970.
    pub(crate) expires_at: u32,
    pub(crate) weight: u32,
    pub(crate) value: Vec<u8>,
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
    changes: Option<Changes>,
    hasher: RandomState,
}

impl Table {
    pub(crate) fn new(limits: Limits) -> Self {
        let capacity = limits.records.clamp(1, MAX_RECORDS);
        Table {
            capacity,
            slots: Slots::new(),
            index: vec![0; capacity],
            classes: Classes::default(),
            shares: Shares::new(&limits, capacity),
            hand: 1,
            evicted: 0,
            changes: None,
            hasher: RandomState::new(),
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
    pub(crate) fn value(&self, key: &Key, now: u64) -> Option<Vec<u8>> {
        self.find(key).filter(|&number| clock(now) < self.slots.at(number).expires_at).map(|number| self.slots.value(number))
    }

    /// Makes the processor fetch what is needed for these keys, all at the same time instead of one after the other: in a large
    /// table, waiting for memory is most of the work.
    pub(crate) fn touch(&self, keys: &[Key]) {
        let mut firsts = [0; 4];
        for keys in keys.chunks(firsts.len()) {
            for (first, key) in firsts.iter_mut().zip(keys) {
                *first = self.index[self.bucket(key)];
            }
            let slots = firsts.iter().filter(|&&first| first != 0).map(|&first| self.slots.at(first).chain);
            std::hint::black_box(slots.fold(0, Number::wrapping_add));
        }
    }

    /// See [`crate::Store::compare_and_set`].
    pub(crate) fn swap(&mut self, Write { expected, update, source, now }: Write<'_>) -> Result<Swap, StoreError> {
        if update.value.len() > MAX_VALUE_OCTETS {
            return Err(StoreError::ValueTooLarge { octets: update.value.len() });
        }
        self.sweep(now, SWEPT_PER_WRITE);
        let now = clock(now);
        let found = self.find(&update.key);
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
                    self.make_room(account, now);
                    let number = self.insert(&update.key, account, &update.value, expires_at, update.weight);
                    self.changed(number);
                }
            }
        }
        Ok(Swap::Stored)
    }

    /// Puts in a record that was saved earlier, by the rules for a newcomer; not if it has expired, or if there is one under its key.
    /// What has expired, or finds no room, is noted as gone.
    pub(crate) fn load(&mut self, row: &Row, now: u64) {
        let now = clock(now);
        if row.value.len() > MAX_VALUE_OCTETS || self.find(&row.key).is_some() {
            return;
        }
        if row.expires_at <= now {
            if let Some(changes) = &mut self.changes {
                changes.is_gone(row.key);
            }
            return;
        }
        self.make_room(row.account, now);
        let number = self.insert(&row.key, row.account, &row.value, row.expires_at, row.weight);
        self.slots.at_mut(number).flags |= SAVED;
    }

    /// The hand goes on by so many slots, at most once round, and removes the expired records it meets.
    pub(crate) fn sweep(&mut self, now: u64, slots: usize) {
        let now = clock(now);
        for _ in 0..slots.min(self.slots.end() as usize - 1) {
            self.sweep_one(now);
        }
    }

    /// The unexpired records in so many slots from this one on, and the slot to go on from; none at the end. The first is 1.
    pub(crate) fn list(&self, from: Number, slots: usize, now: u64, into: &mut Vec<Listed>) -> Option<Number> {
        let from = from.max(1);
        let end = self.slots.end();
        let to = end.min(from.saturating_add(u32::try_from(slots).unwrap_or(u32::MAX)));
        for number in from..to {
            let slot = self.slots.at(number);
            if slot.has(OCCUPIED) && clock(now) < slot.expires_at {
                let record = StoredRecord { key: slot.key(), value: self.slots.value(number) };
                into.push(Listed { record, expires_at: slot.expires_at.into(), weight: slot.weight });
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
        let slot = self.slots.at(number);
        let expired = slot.has(OCCUPIED) && slot.expires_at <= now;
        if expired {
            self.remove(number);
        }
        expired
    }

    /// Removes what has to go before the account gets another record.
    fn make_room(&mut self, account: Account, now: u32) {
        // The /48 first: what goes there makes room in the /32 too, unless that one's share is the smaller.
        for _ in 0..2 {
            match self.shares.victim(&self.slots, account, now) {
                Some(number) => self.evict(number, now),
                None => break,
            }
        }
        if self.len() < self.capacity {
            return;
        }
        for _ in 0..SWEPT_WHEN_FULL.min(self.capacity) {
            if self.sweep_one(now) {
                return;
            }
        }
        if let Some(number) = self.classes.victim(&self.slots, now) {
            self.evict(number, now);
        }
    }

    fn evict(&mut self, number: Number, now: u32) {
        self.evicted += u64::from(now < self.slots.at(number).expires_at);
        self.remove(number);
    }

    fn insert(&mut self, key: &Key, account: Account, value: &[u8], expires_at: u32, weight: u32) -> Number {
        let bucket = self.bucket(key);
        let mut slot = Slot::new(key, account);
        (slot.expires_at, slot.weight, slot.chain) = (expires_at, weight, self.index[bucket]);
        let number = self.slots.take(slot);
        self.index[bucket] = number;
        self.slots.set_value(number, value);
        self.classes.push(&mut self.slots, CLASS, number);
        self.shares.add(&mut self.slots, number);
        number
    }

    fn replace(&mut self, number: Number, value: &[u8], expires_at: u32, weight: u32) {
        self.classes.remove(&mut self.slots, CLASS, number);
        self.shares.lift(&mut self.slots, number);
        let slot = self.slots.at_mut(number);
        slot.expires_at = expires_at;
        slot.weight = weight;
        self.slots.set_value(number, value);
        self.classes.push(&mut self.slots, CLASS, number);
        self.shares.put_back(&mut self.slots, number);
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
        let mut number = self.index[self.bucket(key)];
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
        bucket(self.hasher.hash_one((key.address.bits(), rest)), self.index.len())
    }
}

/// Spreads a hash over so many buckets.
fn bucket(hash: u64, buckets: usize) -> usize {
    ((u128::from(hash) * buckets as u128) >> 64) as usize
}

/// Seconds since 1970, in four octets: what comes after 2106-02-07 counts as that day. One less than the greatest, so that even then a
/// record can be unexpired.
pub(crate) fn clock(now: u64) -> u32 {
    u32::try_from(now).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

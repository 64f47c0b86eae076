//! How much of the store one network may have.
//!
//! Most /32 have few records: those lie in chains by the hash of the /32, and whoever adds one walks the chain and counts. That costs
//! no memory beside the links. A /32 with more records than [`SMALL`] becomes "large": it gets lists by class of weight, so that its
//! weakest record is found at once, and its records lie in chains by the hash of the /48, which are walked in their turn.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::classes::Classes;
use super::slot::{Account, NEAR, Number, Slot, WIDE};
use super::slots::Slots;
use super::{Limits, bucket};

/// With more records than this, a /32 is large.
const SMALL: usize = 32;

/// With so few, it is small again. Well below, so that a /32 at the edge does not change at every write.
const SMALL_AGAIN: usize = 16;

/// The shares of all networks.
pub(super) struct Shares {
    per_48: usize,
    per_32: usize,
    /// The first of each chain of records of small /32.
    wide: Vec<Number>,
    /// The first of each chain of records of large /32.
    near: Vec<Number>,
    large: HashMap<u32, Large>,
    hasher: RandomState,
}

/// A /32 with many records.
#[derive(Default)]
struct Large {
    count: usize,
    classes: Classes,
}

/// What a walk through a chain found.
#[derive(Default)]
struct Found {
    count: usize,
    victim: Number,
    /// The victim's rank: expired before unexpired, then its class.
    rank: (bool, u8),
}

impl Shares {
    pub(super) fn new(limits: &Limits, capacity: usize) -> Self {
        Shares {
            per_48: limits.per_48.max(1),
            per_32: limits.per_32.max(1),
            wide: vec![0; capacity / 2 + 1],
            near: vec![0; capacity / 4 + 1],
            large: HashMap::with_hasher(RandomState::new()),
            hasher: RandomState::new(),
        }
    }

    /// The record that has to make room before this account gets another one; none while its shares have room.
    pub(super) fn victim(&self, slots: &Slots, account: Account, now: u32) -> Option<Number> {
        if account.is_exempt() {
            return None;
        }
        if let Some(large) = self.large.get(&account.wide) {
            if self.per_48 < self.per_32 {
                let near = self.near_bucket(account);
                let found = self.walk(slots, NEAR, self.near[near], now, |slot| slot.account() == account);
                if found.count >= self.per_48 {
                    return Some(found.victim);
                }
            }
            return (large.count >= self.per_32).then(|| large.classes.victim(slots, now)).flatten();
        }
        let first = self.wide[self.wide_bucket(account)];
        let found = self.walk(slots, WIDE, first, now, |slot| slot.account() == account);
        if found.count >= self.per_48 {
            return Some(found.victim);
        }
        // A small /32 has at most `SMALL` records.
        if self.per_32 > SMALL {
            return None;
        }
        let found = self.walk(slots, WIDE, first, now, |slot| slot.account().wide == account.wide);
        (found.count >= self.per_32).then_some(found.victim)
    }

    /// Counts a record that was just put in its slot.
    pub(super) fn add(&mut self, slots: &mut Slots, number: Number) {
        let account = slots.at(number).account();
        if account.is_exempt() {
            return;
        }
        if self.large.contains_key(&account.wide) {
            return self.add_to_large(slots, account, number);
        }
        let bucket = self.wide_bucket(account);
        push(slots, WIDE, &mut self.wide[bucket], number);
        let found = self.walk(slots, WIDE, number, 0, |slot| slot.account().wide == account.wide);
        if found.count > SMALL {
            self.grow(slots, account, bucket);
        }
    }

    /// Takes a record out of the lists, to be put back by [`Shares::put_back`] with another weight and as the youngest.
    pub(super) fn lift(&mut self, slots: &mut Slots, number: Number) {
        let account = slots.at(number).account();
        if account.is_exempt() {
            return;
        }
        let near = self.near_bucket(account);
        let Some(large) = self.large.get_mut(&account.wide) else {
            let bucket = self.wide_bucket(account);
            return unchain(slots, WIDE, &mut self.wide[bucket], number);
        };
        large.classes.remove(slots, WIDE, number);
        if self.per_48 < self.per_32 {
            unchain(slots, NEAR, &mut self.near[near], number);
        }
    }

    /// Ends what [`Shares::lift`] began.
    pub(super) fn put_back(&mut self, slots: &mut Slots, number: Number) {
        let account = slots.at(number).account();
        if account.is_exempt() {
            return;
        }
        let near = self.near_bucket(account);
        let Some(large) = self.large.get_mut(&account.wide) else {
            let bucket = self.wide_bucket(account);
            return push(slots, WIDE, &mut self.wide[bucket], number);
        };
        large.classes.push(slots, WIDE, number);
        if self.per_48 < self.per_32 {
            push(slots, NEAR, &mut self.near[near], number);
        }
    }

    /// Takes a record out of its account; an empty account vanishes.
    pub(super) fn remove(&mut self, slots: &mut Slots, number: Number) {
        self.lift(slots, number);
        let account = slots.at(number).account();
        if let Some(large) = self.large.get_mut(&account.wide)
            && !account.is_exempt()
        {
            large.count -= 1;
            if large.count <= SMALL_AGAIN {
                self.shrink(slots, account);
            }
        }
    }

    /// From its chain to lists of its own. The chain has the youngest first.
    fn grow(&mut self, slots: &mut Slots, account: Account, bucket: usize) {
        let chain = std::iter::successors(Some(self.wide[bucket]), |&n| Some(slots.at(n).links[WIDE].next));
        let chain = chain.take_while(|&number| number != 0);
        let mut members: Vec<Number> = chain.filter(|&number| slots.at(number).account().wide == account.wide).collect();
        members.reverse();
        for &number in &members {
            unchain(slots, WIDE, &mut self.wide[bucket], number);
        }
        self.large.insert(account.wide, Large::default());
        for number in members {
            let account = slots.at(number).account();
            self.add_to_large(slots, account, number);
        }
    }

    /// Back to the chain. The ages of records of different classes are not known any more: the heavier count as younger.
    fn shrink(&mut self, slots: &mut Slots, account: Account) {
        let Some(large) = self.large.remove(&account.wide) else { return };
        for number in large.classes.all(slots, WIDE) {
            if self.per_48 < self.per_32 {
                let near = self.near_bucket(slots.at(number).account());
                unchain(slots, NEAR, &mut self.near[near], number);
            }
            slots.at_mut(number).links[WIDE] = Default::default();
            let bucket = self.wide_bucket(account);
            push(slots, WIDE, &mut self.wide[bucket], number);
        }
    }

    fn add_to_large(&mut self, slots: &mut Slots, account: Account, number: Number) {
        if self.per_48 < self.per_32 {
            let near = self.near_bucket(account);
            push(slots, NEAR, &mut self.near[near], number);
        }
        if let Some(large) = self.large.get_mut(&account.wide) {
            large.classes.push(slots, WIDE, number);
            large.count += 1;
        }
    }

    /// Counts what belongs in a chain, and finds the one to go: expired, weakest, oldest. Chains have the youngest first.
    fn walk(&self, slots: &Slots, list: usize, first: Number, now: u32, belongs: impl Fn(&Slot) -> bool) -> Found {
        let mut found = Found::default();
        let mut number = first;
        while number != 0 {
            let slot = slots.at(number);
            if belongs(slot) {
                let rank = (slot.expires_at > now, slot.class());
                if found.count == 0 || rank <= found.rank {
                    found.victim = number;
                    found.rank = rank;
                }
                found.count += 1;
            }
            number = slot.links[list].next;
        }
        found
    }

    fn wide_bucket(&self, account: Account) -> usize {
        bucket(self.hasher.hash_one(account.wide), self.wide.len())
    }

    fn near_bucket(&self, account: Account) -> usize {
        bucket(self.hasher.hash_one((account.wide, account.near)), self.near.len())
    }
}

fn push(slots: &mut Slots, list: usize, first: &mut Number, number: Number) {
    if *first != 0 {
        slots.at_mut(*first).links[list].previous = number;
    }
    slots.at_mut(number).links[list] = super::slot::Link { previous: 0, next: *first };
    *first = number;
}

fn unchain(slots: &mut Slots, list: usize, first: &mut Number, number: Number) {
    let link = slots.unlink(list, number);
    if link.previous == 0 {
        *first = link.next;
    }
}

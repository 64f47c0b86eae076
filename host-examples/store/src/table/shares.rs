//! How much of the store one network may have.
//!
//! Most /32 have few records: those lie in chains by the hash of the /32. A chain's head counts up to [`MANY`], and while that many records
//! would be no more than the share there is nothing to look up; else whoever adds one walks the chain and counts. That costs
//! no memory beside the links. A /32 with more records than [`SMALL`] becomes "large": it gets lists by class of weight, so that its
//! weakest record is found at once, and its records lie in chains by the hash of the /48 instead, which are walked in their turn.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::classes::Classes;
use super::hash::Secret;
use super::slot::{Account, LARGE, Number, Slot};
use super::slots::Slots;
use super::{Limits, MAX_RECORDS, hash};

/// With more records than this, a /32 is large.
const SMALL: usize = 32;

/// With so few, it is small again. Well below, so that a /32 at the edge does not change at every write.
const SMALL_AGAIN: usize = 16;

/// A chain's head counts no further.
const MANY: usize = 7;

/// Bits of a number in a chain's head; the other three count.
const NUMBER_BITS: u32 = 29;

const _: () = assert!(MAX_RECORDS < 1 << NUMBER_BITS && MANY < SMALL);

/// The shares of all networks.
pub(super) struct Shares {
    per_48: usize,
    per_32: usize,
    /// The chains of the records of small /32.
    wide: Vec<Head>,
    /// The chains of the records of large /32.
    near: Vec<Head>,
    large: HashMap<u32, Large, Secret>,
    hasher: Secret,
    /// The record before the last victim in its chain, so that it need not be looked for when the victim goes.
    before: Number,
}

/// The first of a chain, and how many there are: up to [`MANY`], which stands for that many or more. In four octets, and zeroed memory is an
/// empty chain.
#[derive(Clone, Copy, Default)]
struct Head(u32);

/// A /32 with many records.
#[derive(Default)]
struct Large {
    count: usize,
    classes: Classes,
}

/// Whether an account has room for another record.
pub(super) struct Room {
    /// The record that has to go before.
    pub(super) victim: Option<Number>,
    /// Once it is gone, the account's /32 has so many records or fewer.
    pub(super) count: usize,
}

/// What a walk through a chain found of one network.
#[derive(Default)]
struct Found {
    count: usize,
    victim: Number,
    /// The record before the victim.
    before: Number,
    /// The victim's: the least is the first to go.
    rank: u64,
}

impl Shares {
    pub(super) fn new(limits: &Limits, capacity: usize) -> Self {
        Shares {
            per_48: limits.per_48.max(1),
            per_32: limits.per_32.max(1),
            wide: vec![Head(0); capacity / 2 + 1],
            // Less by what the slots keep of their expiry, so that all of it takes 7 octets a record.
            near: vec![Head(0); capacity / 4 - capacity / 32 + 1],
            large: HashMap::with_hasher(Secret::default()),
            hasher: Secret::default(),
            before: 0,
        }
    }

    /// Looks whether this account has room for another record. Nobody has more than the share, so that one victim makes room in both.
    pub(super) fn room(&mut self, slots: &Slots, account: Account, now: u32) -> Room {
        if account.is_exempt() {
            return Room { victim: None, count: 0 };
        }
        if let Some(large) = self.large.get(&account.wide) {
            let mut victim = None;
            if self.per_48 < self.per_32 {
                let head = self.near[self.near_bucket(account)];
                if head.count() >= self.per_48.min(MANY) {
                    let [near, _] = walk(slots, head, account, now);
                    if near.count >= self.per_48 {
                        (victim, self.before) = (Some(near.victim), near.before);
                    }
                }
            }
            if victim.is_none() && large.count >= self.per_32 {
                victim = large.classes.victim(slots, now);
            }
            return Room { victim, count: large.count - usize::from(victim.is_some()) };
        }
        let head = self.wide[self.wide_bucket(account)];
        if head.count() < MANY.min(self.per_48).min(self.per_32) {
            return Room { victim: None, count: head.count() };
        }
        let [near, wide] = walk(slots, head, account, now);
        let count = wide.count;
        let full = if near.count >= self.per_48 { Some(near) } else { Some(wide).filter(|wide| wide.count >= self.per_32) };
        let Some(full) = full else { return Room { victim: None, count } };
        self.before = full.before;
        Room { victim: Some(full.victim), count: count - 1 }
    }

    /// Counts a record that was just put in its slot. `count` is what [`Shares::room`] said.
    pub(super) fn add(&mut self, slots: &mut Slots, number: Number, count: usize) {
        let account = slots.at(number).account();
        if account.is_exempt() {
            return;
        }
        if self.large.contains_key(&account.wide) {
            return self.add_to_large(slots, account, number);
        }
        let bucket = self.wide_bucket(account);
        self.wide[bucket].push(slots, number);
        if count >= SMALL {
            self.grow(slots, account, bucket);
        }
    }

    /// Notes that a record is written anew, with a weight of this class.
    pub(super) fn renew(&mut self, slots: &mut Slots, number: Number, class: u8) {
        let account = slots.at(number).account();
        if let Some(large) = self.large.get_mut(&account.wide)
            && !account.is_exempt()
        {
            large.classes.renew(slots, LARGE, number, class);
        }
    }

    /// Takes a record out of its account; an empty account vanishes.
    pub(super) fn remove(&mut self, slots: &mut Slots, number: Number) {
        let account = slots.at(number).account();
        if account.is_exempt() {
            return;
        }
        let near = self.near_bucket(account);
        let Some(large) = self.large.get_mut(&account.wide) else {
            let bucket = self.wide_bucket(account);
            return self.wide[bucket].remove(slots, number, self.before);
        };
        large.classes.remove(slots, LARGE, number);
        large.count -= 1;
        let few = large.count <= SMALL_AGAIN;
        if self.per_48 < self.per_32 {
            self.near[near].remove(slots, number, self.before);
        }
        if few {
            self.shrink(slots, account);
        }
    }

    /// From its chain to lists of its own.
    fn grow(&mut self, slots: &mut Slots, account: Account, bucket: usize) {
        let head = std::mem::take(&mut self.wide[bucket]);
        let (mut members, others): (Vec<Number>, Vec<Number>) =
            chain(slots, head).partition(|&number| slots.at(number).account().wide == account.wide);
        for number in others {
            self.wide[bucket].push(slots, number);
        }
        members.sort_by_key(|&number| std::cmp::Reverse(slots.age(slots.at(number))));
        self.large.insert(account.wide, Large::default());
        for number in members {
            let account = slots.at(number).account();
            self.add_to_large(slots, account, number);
        }
    }

    /// Back to the chain.
    fn shrink(&mut self, slots: &mut Slots, account: Account) {
        let Some(large) = self.large.remove(&account.wide) else { return };
        let bucket = self.wide_bucket(account);
        for number in large.classes.all(slots, LARGE) {
            if self.per_48 < self.per_32 {
                let near = self.near_bucket(slots.at(number).account());
                self.near[near].remove(slots, number, 0);
            }
            *slots.links_mut(LARGE, number) = Default::default();
            self.wide[bucket].push(slots, number);
        }
    }

    fn add_to_large(&mut self, slots: &mut Slots, account: Account, number: Number) {
        if self.per_48 < self.per_32 {
            let near = self.near_bucket(account);
            self.near[near].push(slots, number);
        }
        if let Some(large) = self.large.get_mut(&account.wide) {
            large.classes.push(slots, LARGE, number);
            large.count += 1;
        }
    }

    /// What a write of this account will need of the table's memory: see [`super::Table::values`].
    pub(super) fn touch(&self, account: Account) -> u32 {
        self.wide[self.wide_bucket(account)].0
    }

    fn wide_bucket(&self, account: Account) -> usize {
        hash::bucket(self.hasher.hash_one(account.wide), self.wide.len())
    }

    fn near_bucket(&self, account: Account) -> usize {
        hash::bucket(self.hasher.hash_one(u64::from(account.wide) << 16 | u64::from(account.near)), self.near.len())
    }
}

impl Head {
    fn new(first: Number, count: usize) -> Self {
        Head(first | (count.min(MANY) as u32) << NUMBER_BITS)
    }

    fn first(self) -> Number {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }

    fn count(self) -> usize {
        (self.0 >> NUMBER_BITS) as usize
    }

    fn push(&mut self, slots: &mut Slots, number: Number) {
        slots.at_mut(number).neighbour = self.first();
        *self = Head::new(number, self.count() + 1);
    }

    /// `hint` may be the record before.
    fn remove(&mut self, slots: &mut Slots, number: Number, hint: Number) {
        let next = std::mem::take(&mut slots.at_mut(number).neighbour);
        let mut first = self.first();
        if first == number {
            first = next;
        } else {
            // Each slot is in one chain, so that one is before it.
            let is_before = |&before: &Number| slots.at(before).neighbour == number;
            let before = Some(hint).filter(|hint| *hint != 0 && is_before(hint));
            let Some(before) = before.or_else(|| chain(slots, *self).find(is_before)) else { return };
            slots.at_mut(before).neighbour = next;
        }
        let count = match self.count() {
            MANY => chain(slots, Head::new(first, 0)).take(MANY).count(),
            count => count - 1,
        };
        *self = Head::new(first, count);
    }
}

/// The records of a chain.
fn chain(slots: &Slots, head: Head) -> impl Iterator<Item = Number> {
    let not_0 = |number: Number| Some(number).filter(|&number| number != 0);
    std::iter::successors(not_0(head.first()), move |&number| not_0(slots.at(number).neighbour))
}

/// Counts the records of the account's /48 and of its /32 in a chain, and finds those to go: expired, weakest, oldest.
fn walk(slots: &Slots, head: Head, account: Account, now: u32) -> [Found; 2] {
    let [mut near, mut wide] = [Found::default(), Found::default()];
    let (mut before, mut number) = (0, head.first());
    while number != 0 {
        let slot = slots.at(number);
        let its = slot.account();
        if its.wide == account.wide {
            let rank = rank(slots, slot, now);
            wide.meets(number, before, rank);
            if its.near == account.near {
                near.meets(number, before, rank);
            }
        }
        (before, number) = (number, slot.neighbour);
    }
    [near, wide]
}

/// The least is the first to go: expired before unexpired, the weakest class first, then the oldest.
fn rank(slots: &Slots, slot: &Slot, now: u32) -> u64 {
    u64::from(slot.expires_at > now) << 40 | u64::from(slot.class()) << 32 | u64::from(!slots.age(slot))
}

impl Found {
    fn meets(&mut self, number: Number, before: Number, rank: u64) {
        if self.count == 0 || rank < self.rank {
            (self.victim, self.before, self.rank) = (number, before, rank);
        }
        self.count += 1;
    }
}

//! The table's rules, without its lists: each step searches everything.

use smtp_fallback_policy::contract::Key;

use super::super::slot::class;
use super::super::{Account, Limits, SWEPT_PER_WRITE, SWEPT_WHEN_FULL, clock};
use crate::{Swap, Write};

#[derive(Clone)]
struct Record {
    key: Key,
    account: Account,
    value: Vec<u8>,
    expires_at: u32,
    weight: u32,
    /// The greater, the later it was written.
    written: u64,
}

pub(super) struct Model {
    limits: Limits,
    places: Vec<Option<Record>>,
    free: Vec<usize>,
    hand: usize,
    written: u64,
    pub(super) evicted: u64,
}

impl Model {
    pub(super) fn new(limits: Limits) -> Self {
        Model { limits, places: Vec::new(), free: Vec::new(), hand: 0, written: 0, evicted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }

    pub(super) fn value(&self, key: &Key, now: u64) -> Option<Vec<u8>> {
        self.places.iter().flatten().find(|r| r.key == *key && r.expires_at > clock(now)).map(|r| r.value.clone())
    }

    pub(super) fn listed(&self, now: u64) -> Vec<(Key, Vec<u8>, u64, u32)> {
        let unexpired = self.places.iter().flatten().filter(|r| r.expires_at > clock(now));
        let mut records: Vec<_> = unexpired.map(|r| (r.key, r.value.clone(), r.expires_at.into(), r.weight)).collect();
        records.sort();
        records
    }

    pub(super) fn swap(&mut self, Write { expected, update, source, now }: Write<'_>) -> Swap {
        let clock = clock(now);
        for _ in 0..SWEPT_PER_WRITE.min(self.places.len()) {
            self.sweep_one(clock);
        }
        if self.value(&update.key, now).as_deref() != expected {
            return Swap::Conflict;
        }
        let place = self.places.iter().position(|r| r.as_ref().is_some_and(|r| r.key == update.key));
        let kept = place.and_then(|place| self.places[place].clone()).filter(|r| r.expires_at > clock && update.expires_in > 0);
        self.written += 1;
        let record = Record {
            key: update.key,
            account: kept.as_ref().map_or(Account::of(&update.key, source), |kept| kept.account),
            value: update.value.clone(),
            expires_at: clock.saturating_add(update.expires_in),
            weight: update.weight,
            written: self.written,
        };
        match (kept, place) {
            (Some(_), Some(place)) => self.places[place] = Some(record),
            (_, place) => {
                if let Some(place) = place {
                    self.remove(place);
                }
                if update.expires_in > 0 {
                    self.make_room(record.account, clock);
                    match self.free.pop() {
                        Some(place) => self.places[place] = Some(record),
                        None => self.places.push(Some(record)),
                    }
                }
            }
        }
        Swap::Stored
    }

    fn make_room(&mut self, account: Account, now: u32) {
        let Limits { records, per_48, per_32 } = self.limits;
        if !account.is_exempt() {
            let near = |r: &Record| r.account == account;
            let wide = |r: &Record| r.account.wide == account.wide;
            if self.count(near) >= per_48 {
                self.evict(self.any_expired_or_weakest(now, near), now);
            }
            if self.count(wide) >= per_32 {
                let victim =
                    if per_32 > 32 { self.oldest_expired_or_weakest(now, wide) } else { self.any_expired_or_weakest(now, wide) };
                self.evict(victim, now);
            }
        }
        if self.len() >= records {
            for _ in 0..SWEPT_WHEN_FULL.min(records) {
                if self.sweep_one(now) {
                    return;
                }
            }
            self.evict(self.oldest_expired_or_weakest(now, |_| true), now);
        }
    }

    fn count(&self, of: impl Fn(&Record) -> bool) -> usize {
        self.places.iter().flatten().filter(|r| of(r)).count()
    }

    fn any_expired_or_weakest(&self, now: u32, of: impl Fn(&Record) -> bool) -> usize {
        self.least(of, |r| (r.expires_at > now, class(r.weight), r.written))
    }

    fn oldest_expired_or_weakest(&self, now: u32, of: impl Fn(&Record) -> bool) -> usize {
        self.least(&of, |r| {
            let same = |other: &Record| of(other) && class(other.weight) == class(r.weight);
            let oldest = self.places.iter().flatten().filter(|other| same(other)).all(|other| other.written >= r.written);
            (!(oldest && r.expires_at <= now), class(r.weight), r.written)
        })
    }

    fn least<K: Ord>(&self, of: impl Fn(&Record) -> bool, rank: impl Fn(&Record) -> K) -> usize {
        let records = self.places.iter().enumerate().filter_map(|(place, r)| Some((place, r.as_ref()?)));
        records.filter(|(_, r)| of(r)).min_by_key(|(_, r)| rank(r)).unwrap().0
    }

    fn evict(&mut self, place: usize, now: u32) {
        self.evicted += u64::from(self.places[place].as_ref().unwrap().expires_at > now);
        self.remove(place);
    }

    fn remove(&mut self, place: usize) {
        self.places[place] = None;
        self.free.push(place);
    }

    fn sweep_one(&mut self, now: u32) -> bool {
        if self.hand >= self.places.len() {
            self.hand = 0;
        }
        let place = self.hand;
        self.hand += 1;
        let expired = self.places[place].as_ref().is_some_and(|r| r.expires_at <= now);
        if expired {
            self.remove(place);
        }
        expired
    }
}

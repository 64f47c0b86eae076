//! The local copy: what the server was last seen to have, and what has been changed here since it gave no answer.

mod unanswered;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate, StoredRecord};
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::{Record, exempt};

use crate::{Cursor, MemoryStore, Page, Store, StoreError, Swap, Write};
use unanswered::Unanswered;

/// The weight of a record that was read: its own is unknown. More than a newcomer's, so that a flood of these does not flush what the
/// server is known to have; less than that of a penalty that was written here.
const WEIGHT_OF_READ: u32 = 100;

/// So many changes are looked at when one is made, for those whose record has had to go.
const LOOKED_AT: usize = 2;

/// Bounded: records by the store in memory, changes to twice as many (a removal has no record).
pub(super) struct Local {
    records: MemoryStore,
    changes: HashMap<Key, Change>,
    /// The keys of all changes, and some that are settled.
    order: VecDeque<Key>,
    capacity: usize,
    /// Changes that were lost, since their records had to go.
    evicted: u64,
    /// What the server may have done of records that are not changed here.
    unanswered: Unanswered,
}

/// What is to be done on the server for one key.
struct Change {
    /// What the server was last known to have.
    base: Option<Vec<u8>>,
    /// Values that this host wrote without an answer: if the server has one of these, nobody else has changed the record.
    unanswered: Vec<Vec<u8>>,
    /// So many updates are in it.
    updates: u64,
    /// Counts them as well, and tells one change from the next.
    version: u64,
    expires_in: u32,
    now: u64,
    made: Instant,
}

impl Change {
    /// Seconds until the record expires; 0 if it has, or was removed.
    fn left(&self) -> u32 {
        self.expires_in.saturating_sub(u32::try_from(self.made.elapsed().as_secs()).unwrap_or(u32::MAX))
    }

    /// Whether the server cannot have anything of it.
    fn is_unknown_there(&self) -> bool {
        self.base.is_none() && self.unanswered.is_empty()
    }

    /// The time by the clock of whoever made it.
    fn present(&self) -> u64 {
        self.now.saturating_add(self.made.elapsed().as_secs())
    }
}

/// A change, ready for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replay {
    pub(super) key: Key,
    pub(super) base: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    /// 0 removes.
    pub(super) expires_in: u32,
    version: u64,
}

/// What becomes of a change that the server did not take, with the number of its updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// The server has it already.
    InForce(u64),
    /// It is to be replayed, since nobody else has changed the record.
    Again,
    /// Others have changed the record.
    Lost(u64),
    /// They have, and an operator's word is to be replayed, on top of theirs. So many other updates are lost.
    Word(u64),
}

impl Local {
    pub(super) fn new(capacity: usize) -> Self {
        Local {
            records: MemoryStore::new(capacity),
            changes: HashMap::new(),
            order: VecDeque::new(),
            capacity,
            evicted: 0,
            unanswered: Unanswered::default(),
        }
    }

    pub(super) fn read(&self, keys: &[Key], now: u64) -> Result<Vec<StoredRecord>, StoreError> {
        at_once(self.records.get_many(keys, now))
    }

    pub(super) fn scan(&self, cursor: Cursor, limit: usize, now: u64) -> Result<Page, StoreError> {
        Ok(self.records.scan_at_once(&cursor, limit, now))
    }

    /// Whether the server does not know this record's newest state.
    pub(super) fn is_changed(&self, key: &Key) -> bool {
        self.changes.contains_key(key)
    }

    /// Records of which the server does not know the newest state.
    pub(super) fn waiting(&self) -> u64 {
        self.changes.len() as u64
    }

    /// Updates that were lost since this was last asked, since their records had to go.
    pub(super) fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// What the server was seen to have, with the seconds that it lives. What was changed here stays.
    pub(super) fn learn(&mut self, key: Key, found: Option<(&[u8], u32)>, source: Address, now: u64) {
        if self.is_changed(&key) {
            return;
        }
        self.unanswered.take(&key);
        let there = self.value(&key, now);
        if there.as_deref() == found.map(|(value, _)| value) {
            return; // With its weight, if it was written here.
        }
        let (value, expires_in) = found.map_or((Vec::new(), 0), |(value, expires_in)| (value.to_vec(), expires_in));
        self.put(&RecordUpdate { key, value, expires_in, weight: WEIGHT_OF_READ }, there.as_deref(), source, now);
    }

    /// What was stored on the server.
    pub(super) fn wrote(&mut self, Write { update, source, now, .. }: Write<'_>) {
        if !self.is_changed(&update.key) {
            self.unanswered.take(&update.key);
            let there = self.value(&update.key, now);
            self.put(update, there.as_deref(), source, now);
        }
    }

    /// The server may have stored this value, or may do it yet. (If it may have removed the record, there is nothing to remember: no
    /// record is taken for ours as well.)
    pub(super) fn not_answered(&mut self, key: Key, value: &[u8]) {
        match self.changes.get_mut(&key) {
            Some(change) => {
                unanswered::add(&mut change.unanswered, value.to_vec());
            }
            None => self.unanswered.add(key, value.to_vec()),
        }
    }

    /// Changes the copy alone, if it has the expected value, and remembers that the server is to be told.
    pub(super) fn change(&mut self, write: Write<'_>) -> Result<Swap, StoreError> {
        let Write { update, now, .. } = write;
        self.look_for_evicted();
        let known = self.is_changed(&update.key);
        if !known && self.order.len() >= 2 * self.capacity {
            return Err(StoreError::Unavailable("the local copy cannot keep more changes".to_owned()));
        }
        let base = if known { None } else { self.value(&update.key, now) };
        if at_once(self.records.compare_and_set(write))? == Swap::Conflict {
            return Ok(Swap::Conflict);
        }
        let change = self.changes.entry(update.key).or_insert_with(|| {
            self.order.push_back(update.key);
            let unanswered = self.unanswered.take(&update.key);
            Change { base, unanswered, updates: 0, version: 0, expires_in: 0, now: 0, made: Instant::now() }
        });
        change.updates += 1;
        change.version += 1;
        change.expires_in = update.expires_in;
        change.now = now;
        change.made = Instant::now();
        Ok(Swap::Stored)
    }

    /// Up to `limit` changes, for the server. Changes with nothing to do are settled: their number of updates is the second part.
    pub(super) fn replays(&mut self, limit: usize) -> (Vec<Replay>, u64) {
        let mut settled = 0;
        let mut replays = Vec::new();
        while replays.len() < limit
            && let Some(key) = self.order.pop_front()
        {
            let Some(change) = self.changes.get(&key) else { continue };
            if replays.iter().any(|replay: &Replay| replay.key == key) {
                continue; // Settled once and changed again: it is there twice.
            }
            let left = change.left();
            let value = if left == 0 { None } else { self.value(&key, change.present()) };
            if left > 0 && value.is_none() {
                self.evicted += self.changes.remove(&key).map_or(0, |change| change.updates);
            } else if value.is_none() && change.is_unknown_there() {
                settled += self.changes.remove(&key).map_or(0, |change| change.updates);
            } else {
                self.order.push_back(key);
                replays.push(Replay {
                    key,
                    base: change.base.clone(),
                    value: value.unwrap_or_default(),
                    expires_in: left,
                    version: change.version,
                });
            }
            // Those that were put back come round again.
            if replays.len() >= self.changes.len() {
                break;
            }
        }
        (replays, settled)
    }

    /// The server has taken a replay. Returns how many updates are in force by that.
    pub(super) fn replayed(&mut self, replay: Replay) -> u64 {
        let Some(change) = self.changes.get_mut(&replay.key) else { return 0 };
        if change.version == replay.version {
            return self.changes.remove(&replay.key).map_or(0, |change| change.updates);
        }
        // Meanwhile there are more: they go on from there.
        let later = change.version - replay.version;
        let done = change.updates.saturating_sub(later);
        change.updates = later;
        change.base = (replay.expires_in > 0).then_some(replay.value);
        done
    }

    /// The server did not do a replay, since it has something else than was expected: this, or no record.
    pub(super) fn conflicted(&mut self, replay: Replay, there: Option<&[u8]>) -> Conflict {
        let Some(change) = self.changes.get_mut(&replay.key) else { return Conflict::InForce(0) };
        let Some(there) = there else {
            if replay.expires_in == 0 {
                return Conflict::InForce(self.replayed(replay));
            }
            // What the change was made of has expired meanwhile, or was lost with all else that the server had.
            change.base = None;
            return Conflict::Again;
        };
        if !change.unanswered.iter().any(|value| value == there) {
            let Some(update) = word_on(there, &replay, change.present()) else {
                return Conflict::Lost(self.forget(&replay.key));
            };
            change.base = Some(there.to_vec());
            change.expires_in = update.expires_in;
            change.made = Instant::now();
            change.version += 1;
            let lost = std::mem::replace(&mut change.updates, 1) - 1;
            let now = change.present();
            let here = self.value(&replay.key, now);
            self.put(&update, here.as_deref(), replay.key.address, now);
            return Conflict::Word(lost);
        }
        if replay.expires_in > 0 && there == replay.value {
            return Conflict::InForce(self.replayed(replay));
        }
        change.base = Some(there.to_vec());
        Conflict::Again
    }

    /// The server has another value: the change is lost, and what is here with it. Returns how many updates that are.
    pub(super) fn forget(&mut self, key: &Key) -> u64 {
        let Some(change) = self.changes.remove(key) else { return 0 };
        let now = change.present();
        let there = self.value(key, now);
        self.put(&RecordUpdate { key: *key, value: Vec::new(), expires_in: 0, weight: 0 }, there.as_deref(), key.address, now);
        change.updates
    }

    /// Forgets all changes. Returns how many updates that are.
    pub(super) fn forget_all(&mut self) -> u64 {
        let keys: Vec<Key> = self.changes.keys().copied().collect();
        keys.iter().map(|key| self.forget(key)).sum()
    }

    /// After each write there is at most one more change, and two fewer whose record is gone: they do not pile up.
    fn look_for_evicted(&mut self) {
        for _ in 0..LOOKED_AT.min(self.order.len()) {
            let Some(key) = self.order.pop_front() else { return };
            let Some(change) = self.changes.get(&key) else { continue };
            let removal = change.left() == 0;
            if removal && change.is_unknown_there() {
                self.changes.remove(&key); // Nothing is to be done.
            } else if removal || self.value(&key, change.present()).is_some() {
                self.order.push_back(key);
            } else {
                self.evicted += self.changes.remove(&key).map_or(0, |change| change.updates);
            }
        }
    }

    fn value(&self, key: &Key, now: u64) -> Option<Vec<u8>> {
        self.read(std::slice::from_ref(key), now).ok()?.pop().map(|record| record.value)
    }

    /// The copy is under one lock, so nothing has come between reading `there` and this.
    fn put(&mut self, update: &RecordUpdate, there: Option<&[u8]>, source: Address, now: u64) {
        let write = Write { expected: there, update, source, now };
        if let Err(error) = at_once(self.records.compare_and_set(write)) {
            tracing::debug!(key = ?update.key, %error, "not in the local copy");
        }
    }
}

/// What an operator said meanwhile of a network, that it is let in or is so no longer (P15), on top of what others made of its record. None
/// where nobody said anything: an operator is told that it holds, all else is evidence that others have as well.
fn word_on(there: &[u8], replay: &Replay, now: u64) -> Option<RecordUpdate> {
    if replay.key.kind != KeyKind::Network {
        return None;
    }
    let word = |value: &[u8]| match Record::read(&StoredRecord { key: replay.key, value: value.to_vec() }) {
        Some(Record::Network(record)) => record.let_in.filter(|let_in| let_in.by_operator),
        _ => None,
    };
    let (before, after) = (replay.base.as_deref().and_then(word), word(&replay.value));
    if before == after {
        return None;
    }
    let seconds = after.map_or(0, |let_in| let_in.until.saturating_sub(now));
    let network = Network::of(replay.key.address, replay.key.prefix_length);
    exempt(network, Some(there), now, u32::try_from(seconds).unwrap_or(u32::MAX)).ok()
}

/// For whose share of the copy the records under these keys count: the client's, where one of them names it.
pub(super) fn source(keys: &[Key]) -> Address {
    let named = keys.iter().find(|key| matches!(key.kind, KeyKind::Address | KeyKind::Network | KeyKind::Budget));
    named.or(keys.first()).map_or(Address::from_bits(0), |key| key.address)
}

/// The store in memory has its answers at once.
fn at_once<T>(future: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(StoreError::Unavailable("the local copy gave no answer at once".to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

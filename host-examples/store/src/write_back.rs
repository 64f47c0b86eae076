//! Writing the records of a decision back, though other decisions do the same at the same time.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate, StoredRecord};
use smtp_fallback_policy::network::Network;
use tokio::time::{Instant, timeout_at};

use crate::{Store, StoreError, Swap, Write};

/// How often a record is tried, the first time included, before it is dropped.
pub const TRIES: u32 = 16;

/// What became of the updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "what was dropped is to be counted"]
pub struct WriteBack {
    /// So many are in the store.
    pub stored: usize,
    /// So many are lost: the store failed, others were faster [`TRIES`] times, the time was over, or the decision could not be made anew. A
    /// host counts them.
    pub dropped: usize,
}

/// Stores the updates of a decision as [`Basis::write_back`] does, without a deadline, for a host that asked for no keys but those whose
/// records it saw, and whose decision can always be made anew.
pub async fn write_back(
    store: &dyn Store,
    seen: &[StoredRecord],
    updates: Vec<RecordUpdate>,
    source: Address,
    now: u64,
    mut again: impl FnMut(&[StoredRecord]) -> Vec<RecordUpdate>,
) -> WriteBack {
    let basis = Basis { seen, asked: &[], source, now };
    basis.write_back(store, updates, None, |records| Some(again(records))).await
}

/// What a decision was made of.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// The records that were passed to `decide`.
    pub seen: &'a [StoredRecord],
    /// The keys that the host wanted the records of, whether there were any. Those of `seen` need not be among them.
    pub asked: &'a [Key],
    /// The client.
    pub source: Address,
    /// The time that `decide` was given, in seconds since 1970.
    pub now: u64,
}

impl Basis<'_> {
    /// Stores the updates of the decision, each only if its record is still the one that the decision saw; where it saw none, only if there
    /// is none.
    ///
    /// `updates` are those of the decision's answer, at most one for each key: of several, the first is stored and the others are dropped.
    ///
    /// When a record has changed meanwhile, the records that are not written yet are read again, with all that were asked for, and `again` is
    /// to decide anew with them; its updates take the place of all that are not written yet, since each was made of records that may be old by
    /// now. What it gives no update for needs none. One that it gives for a key that was neither asked for nor updated before is dropped:
    /// nobody knows what is there. With `None` it says that the decision cannot be made anew, and all that is not written yet is dropped.
    /// `again` does not see this decision's own updates that are already stored, but what they replaced: otherwise it would count its mail
    /// twice.
    ///
    /// At the `deadline` it stops, also in the middle of a call of the store, and drops what is left; an update that the store was being given
    /// may be in force all the same. Without one it takes as long as the store does, which has time limits of its own, and as the pauses:
    /// between two tries it sleeps for a random time, 1 ms up to 8 ms more with each try, so that those who collided drift apart, at most 1 s
    /// for one record.
    ///
    /// Needs a tokio runtime with its timer on. Use it off the reply's path.
    pub async fn write_back(
        &self,
        store: &dyn Store,
        updates: Vec<RecordUpdate>,
        deadline: Option<Instant>,
        mut again: impl FnMut(&[StoredRecord]) -> Option<Vec<RecordUpdate>>,
    ) -> WriteBack {
        let mut done = WriteBack::default();
        // As the decision is to see them: what is stored under the keys, without this decision's own updates.
        let mut view = self.seen.to_vec();
        // The keys that are not written yet.
        let seen = self.seen.iter().map(|record| record.key);
        let mut open: Vec<Key> = self.asked.iter().copied().chain(seen).chain(updates.iter().map(|update| update.key)).collect();
        open.sort_unstable();
        open.dedup();
        // Those that were stored or dropped: what is decided anew for them is no news.
        let mut settled: Vec<Key> = Vec::new();
        let mut updates = VecDeque::from(updates);
        // How often each key was tried: after a conflict, another may come first.
        let mut tries: BTreeMap<Key, u32> = BTreeMap::new();
        // Bounded: each turn either takes a key off `open`, which never grows, or an update off the queue, or is one of its key's 16 tries.
        while let Some(update) = updates.front() {
            let key = update.key;
            let Ok(position) = open.binary_search(&key) else {
                updates.pop_front();
                settled.push(key);
                done.dropped += 1;
                tracing::warn!(event = "records-dropped", key = name(key), "a second one, or one that was not asked for");
                continue;
            };
            let tried = tries.entry(key).and_modify(|tried| *tried += 1).or_insert(1);
            match in_time(deadline, self.write_one(store, &mut view, &open, update, *tried)).await {
                None => {
                    done.dropped += updates.len();
                    tracing::warn!(event = "records-dropped", key = name(key), records = updates.len(), "the time is over");
                    return done;
                }
                Some(Ok(Outcome::Stored)) => done.stored += 1,
                Some(Ok(Outcome::Conflict)) => {
                    let Some(anew) = again(&view) else {
                        done.dropped += updates.len();
                        return done;
                    };
                    updates = anew.into();
                    updates.retain(|update| !settled.contains(&update.key));
                    continue;
                }
                Some(Ok(Outcome::OutOfTries)) => {
                    done.dropped += 1;
                    tracing::warn!(event = "records-dropped", key = name(key), tries = TRIES, "others changed it at every try");
                }
                Some(Err(error)) => {
                    done.dropped += 1;
                    tracing::warn!(event = "records-dropped", key = name(key), %error, "the store did not take it");
                }
            }
            updates.pop_front();
            open.remove(position);
            settled.push(key);
        }
        done
    }

    async fn write_one(
        &self,
        store: &dyn Store,
        view: &mut Vec<StoredRecord>,
        open: &[Key],
        update: &RecordUpdate,
        tried: u32,
    ) -> Result<Outcome, StoreError> {
        let Basis { source, now, .. } = *self;
        let expected = view.iter().find(|record| record.key == update.key).map(|record| record.value.as_slice());
        if store.compare_and_set(Write { expected, update, source, now }).await? == Swap::Stored {
            return Ok(Outcome::Stored);
        }
        if tried >= TRIES {
            return Ok(Outcome::OutOfTries); // Without a pause that nothing follows.
        }
        // The pause comes before the reading, so that little time passes between reading and writing.
        tokio::time::sleep(pause(tried)).await;
        let fresh = store.get_many(open, now).await?;
        view.retain(|record| open.binary_search(&record.key).is_err());
        view.extend(fresh);
        Ok(Outcome::Conflict)
    }
}

/// For the log: "network 2001:db8::/64".
fn name(key: Key) -> String {
    let kind = match key.kind {
        KeyKind::Address => "address",
        KeyKind::Network => "network",
        KeyKind::Budget => "budget",
        KeyKind::Exact => "exact",
        KeyKind::Inferred => "inferred",
    };
    format!("{kind} {}", Network::of(key.address, key.prefix_length))
}

/// What the future gives before the deadline. After it, the future is not begun.
async fn in_time<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        None => Some(future.await),
        Some(deadline) if Instant::now() >= deadline => None,
        Some(deadline) => timeout_at(deadline, future).await.ok(),
    }
}

enum Outcome {
    Stored,
    /// Another was faster; the view is fresh again.
    Conflict,
    OutOfTries,
}

/// 1 ms to 8 ms after the first try, 1 ms to 16 ms after the second, and so on. Each `RandomState` has another seed: random enough
/// to part those who collided.
fn pause(tried: u32) -> Duration {
    Duration::from_millis(1 + RandomState::new().hash_one(tried) % (8 * u64::from(tried)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

//! Writing the records of a decision back, though other decisions do the same at the same time.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, RecordUpdate, StoredRecord};

use crate::{Store, StoreError, Swap, Write};

/// How often a record is tried, the first time included, before it is dropped.
pub const TRIES: u32 = 16;

/// What became of the updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "what was dropped is to be counted"]
pub struct WriteBack {
    /// So many are in the store.
    pub stored: usize,
    /// So many are lost: the store failed, or others were faster [`TRIES`] times. A host counts them.
    pub dropped: usize,
}

/// Stores the updates of a decision, each only if its record is still the one that the decision saw.
///
/// `seen` are the records that were passed to `decide`, `updates` those of its answer, at most one for each key (of several, the
/// first is stored and the others are dropped), `source` the client, `now` the time that `decide` was given, in seconds since 1970.
///
/// When a record has changed meanwhile, the records that are not written yet are read again, and `again` is to decide anew with them;
/// its updates take the place of all that are not written yet, since each was made of records that may be old by now. What it gives no
/// update for needs none. `again` does not see this decision's own updates that are already stored, but what they replaced:
/// otherwise it would count its mail twice.
///
/// Between two tries it sleeps for a random time, 1 ms up to 8 ms more with each try, so that those who collided drift apart: at most
/// 1 s for one record. Needs a tokio runtime with its timer on. Use it off the reply's path.
pub async fn write_back(
    store: &dyn Store,
    seen: &[StoredRecord],
    updates: Vec<RecordUpdate>,
    source: Address,
    now: u64,
    mut again: impl FnMut(&[StoredRecord]) -> Vec<RecordUpdate>,
) -> WriteBack {
    let mut done = WriteBack::default();
    // As the decision is to see them: what is stored under the keys, without this decision's own updates.
    let mut view = seen.to_vec();
    // The keys that are not written yet.
    let mut open: Vec<Key> = seen.iter().map(|record| record.key).chain(updates.iter().map(|update| update.key)).collect();
    open.sort_unstable();
    open.dedup();
    let mut updates = VecDeque::from(updates);
    let mut tried = 0;
    // Bounded: each turn either takes a key off `open`, which never grows, or an update off the queue, or is one of the 16 tries.
    while let Some(update) = updates.front() {
        let key = update.key;
        let Ok(position) = open.binary_search(&key) else {
            updates.pop_front();
            done.dropped += 1;
            continue;
        };
        tried += 1;
        match write_one(store, &mut view, &open, update, tried, (source, now)).await {
            Ok(Outcome::Stored) => done.stored += 1,
            Ok(Outcome::Conflict) => {
                updates = again(&view).into();
                updates.retain(|update| open.binary_search(&update.key).is_ok());
                continue;
            }
            Ok(Outcome::OutOfTries) => {
                done.dropped += 1;
                tracing::warn!(?key, tries = TRIES, "record dropped: others changed it at every try");
            }
            Err(error) => {
                done.dropped += 1;
                tracing::warn!(?key, %error, "record dropped");
            }
        }
        updates.pop_front();
        open.remove(position);
        tried = 0;
    }
    done
}

enum Outcome {
    Stored,
    /// Another was faster; the view is fresh again.
    Conflict,
    OutOfTries,
}

async fn write_one(
    store: &dyn Store,
    view: &mut Vec<StoredRecord>,
    open: &[Key],
    update: &RecordUpdate,
    tried: u32,
    (source, now): (Address, u64),
) -> Result<Outcome, StoreError> {
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

/// 1 ms to 8 ms after the first try, 1 ms to 16 ms after the second, and so on. Each `RandomState` has another seed: random enough
/// to part those who collided.
fn pause(tried: u32) -> Duration {
    Duration::from_millis(1 + RandomState::new().hash_one(tried) % (8 * u64::from(tried)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

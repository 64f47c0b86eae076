//! Which records differ from those on disk.

use std::collections::VecDeque;
use std::time::Instant;

use smtp_fallback_policy::contract::Key;

use super::slot::{LISTED, Number, SAVED};
use super::{Row, Table};

/// So many removals are remembered. There are more only while the disk takes nothing; then it is searched for them instead.
const GONE_MAX: usize = 1 << 18;

/// So many removals at most go in one batch while records wait: what has expired or was evicted can wait, since nothing is lost with it.
const GONE_FIRST: usize = 5000;

/// What changed since the last save. Bounded: a slot is listed once, however often it is written, and the removals are counted.
#[derive(Default)]
pub(super) struct Changes {
    /// Slots whose record is to be written: what they hold then, if anything. First come, first served.
    listed: VecDeque<Number>,
    waiting: Waiting,
    /// Keys that are on disk and no longer here.
    gone: Vec<Key>,
    /// There were too many to remember: the disk may have any number of records that are no longer here.
    lost_count: bool,
}

/// Since when the listed changes wait: to be exact, all came after `since`.
#[derive(Default)]
struct Waiting {
    since: Option<Instant>,
    /// After so many have been taken, those left came after `then`.
    left: usize,
    then: Option<Instant>,
}

impl Waiting {
    fn taken(&mut self, count: usize, still_listed: usize) {
        if still_listed == 0 {
            *self = Waiting::default();
        } else if count < self.left {
            self.left -= count;
        } else {
            *self = Waiting { since: self.then.or(self.since), left: still_listed, then: Some(Instant::now()) };
        }
    }
}

/// Changes on their way to the disk: the removals come first.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) gone: Vec<Key>,
    pub(crate) rows: Vec<Row>,
    /// All these changes came after it.
    pub(crate) since: Option<Instant>,
    /// Removals that were taken, with those of keys that have come back.
    removals: usize,
    /// The removals are not known: the disk is to be searched for rows that are no longer in the table.
    pub(crate) search: bool,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.rows.is_empty() && !self.search
    }
}

impl Changes {
    pub(super) fn is_gone(&mut self, key: Key) {
        if self.gone.len() >= GONE_MAX {
            self.lost_count = true;
            self.gone = Vec::new();
        }
        if !self.lost_count {
            self.gone.push(key);
        }
    }

    #[cfg(test)]
    pub(super) fn lost_removals(&self) -> bool {
        self.lost_count
    }

    #[cfg(test)]
    pub(super) fn removals(&self) -> usize {
        self.gone.len()
    }
}

impl Table {
    /// From now on, changes are noted.
    pub(crate) fn note_changes(&mut self) {
        self.changes = Some(Changes::default());
    }

    /// How many changes are not taken yet.
    pub(crate) fn unsaved(&self) -> usize {
        self.changes.as_ref().map_or(0, |changes| changes.listed.len() + changes.gone.len())
    }

    /// Since when the oldest of the listed changes waits, or somewhat longer. Removals alone do not count.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.changes.as_ref().and_then(|changes| changes.waiting.since)
    }

    /// Says so of changes that were given back.
    pub(crate) fn waits_since(&mut self, since: Option<Instant>) {
        if let Some(changes) = &mut self.changes
            && let Some(since) = since
            && !changes.listed.is_empty()
        {
            let since = changes.waiting.since.map_or(since, |other| other.min(since));
            changes.waiting = Waiting { since: Some(since), left: changes.listed.len(), then: Some(Instant::now()) };
        }
    }

    /// Whether there is anything to take.
    pub(crate) fn has_changes(&self) -> bool {
        self.changes.as_ref().is_some_and(|changes| changes.lost_count || !changes.listed.is_empty() || !changes.gone.is_empty())
    }

    /// Moves up to so many removals, or if there are none, up to so many changed records, into the batch. Whether to ask again. Of the
    /// removals, the latest come first, and while records wait, no more than a batch's part.
    ///
    /// Removals come first on disk, so that a batch that has records takes no more of them: such a record may be among them.
    pub(crate) fn take_changes(&mut self, batch: &mut Batch, limit: usize) -> bool {
        let Some(changes) = &mut self.changes else { return false };
        batch.search |= std::mem::take(&mut changes.lost_count);
        let part =
            if changes.listed.is_empty() { usize::MAX } else { GONE_FIRST.saturating_sub(batch.gone.len().max(batch.removals)) };
        if !changes.gone.is_empty() && batch.rows.is_empty() && part > 0 {
            let from = changes.gone.len().saturating_sub(limit.min(part));
            let keys: Vec<Key> = changes.gone.drain(from..).collect();
            batch.removals += keys.len();
            // What came back meanwhile is listed, or was written since.
            batch.gone.extend(keys.into_iter().filter(|key| !self.keeps_row(key)));
            return true;
        }
        batch.since = batch.since.or(changes.waiting.since);
        let take = limit.min(changes.listed.len());
        for number in changes.listed.drain(..take) {
            let slot = self.slots.at_mut(number);
            slot.clear(LISTED);
            if slot.is_occupied() {
                slot.set(SAVED);
                let (key, account, expires_at) = (slot.key(), slot.account(), slot.expires_at);
                let (weight, value) = (self.slots.weight(number), self.slots.value(number));
                batch.rows.push(Row { key, account, expires_at, weight, value });
            }
        }
        changes.waiting.taken(take, changes.listed.len());
        if changes.listed.is_empty() && changes.listed.capacity() > 1 << 20 {
            changes.listed = VecDeque::new(); // Memory of a time when the disk was behind.
        }
        !changes.listed.is_empty()
    }

    /// Notes the changes of a batch again: the disk did not take them.
    pub(crate) fn give_changes_back(&mut self, gone: &[Key], rows: &[Row], search: bool) {
        for row in rows {
            if let Some(number) = self.find(&row.key) {
                self.changed(number);
            }
        }
        if let Some(changes) = &mut self.changes {
            changes.lost_count |= search;
            gone.iter().for_each(|key| changes.is_gone(*key));
        }
    }

    /// Lists the records in so many slots from this one on, and gives the slot to go on from: the disk is to get them all, after which it
    /// is searched for what is not here. The first is 1.
    pub(crate) fn list_again(&mut self, from: Number, slots: usize) -> Option<Number> {
        if let Some(changes) = &mut self.changes {
            changes.gone = Vec::new();
            changes.lost_count = true;
        }
        let end = self.slots.end();
        let to = end.min(from.saturating_add(u32::try_from(slots).unwrap_or(u32::MAX)));
        for number in from..to {
            if self.slots.at(number).is_occupied() {
                self.changed(number);
            }
        }
        (to < end).then_some(to)
    }

    pub(super) fn changed(&mut self, number: Number) {
        let slot = self.slots.at_mut(number);
        if let Some(changes) = &mut self.changes
            && !slot.has(LISTED)
        {
            slot.set(LISTED);
            if changes.listed.is_empty() {
                changes.waiting.since = Some(Instant::now());
            }
            changes.listed.push_back(number);
        }
    }

    /// Whether there is a record under this key, so that its row on disk is left there. When the record goes, so must the row, even if this
    /// record was never written.
    pub(crate) fn keeps_row(&mut self, key: &Key) -> bool {
        let found = self.find(key);
        if let Some(number) = found {
            self.slots.at_mut(number).set(SAVED);
        }
        found.is_some()
    }

    /// Whether there is a record under this key, expired or not.
    #[cfg(test)]
    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.find(key).is_some()
    }
}

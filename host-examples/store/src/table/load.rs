//! Filling a new table with what was saved.

use std::hint::black_box;

use smtp_fallback_policy::contract::Key;

use super::slot::SAVED;
use super::{Limits, Row, Table, clock, kind_number};
use crate::MAX_VALUE_OCTETS;

/// So many rows are looked ahead for at the same time.
const AT_ONCE: usize = 64;

/// A table that is being filled.
pub(crate) struct Loader {
    pub(super) table: Table,
    /// The greatest key so far, in the file's order.
    last: Option<(u8, u8, u128)>,
    now: u32,
}

impl Loader {
    /// An empty table that notes changes: rows that are not loaded are to go from the file too, which else would only grow.
    pub(crate) fn new(limits: Limits, now: u64) -> Self {
        let mut table = Table::new(limits);
        table.note_changes();
        Loader { table, last: None, now: clock(now) }
    }

    /// Puts in records that were saved earlier, by the rules for newcomers. What has expired, or finds no room, is noted as gone. Of two under one
    /// key, the first stays.
    pub(crate) fn load(&mut self, rows: &[Row<&[u8]>]) {
        for rows in rows.chunks(AT_ONCE) {
            // Makes the processor fetch all that they need at the same time instead of one after the other.
            let mut buckets = [0; AT_ONCE];
            let mut touched = 0;
            for (bucket, row) in buckets.iter_mut().zip(rows) {
                *bucket = self.table.bucket(&row.key);
                touched ^= self.table.index[*bucket] ^ self.table.shares.touch(row.account);
            }
            black_box(touched);
            for (&bucket, row) in buckets.iter().zip(rows) {
                self.load_one(row, bucket);
            }
        }
    }

    /// The table, filled.
    pub(crate) fn finish(self) -> Table {
        self.table
    }

    fn load_one(&mut self, row: &Row<&[u8]>, bucket: usize) {
        let table = &mut self.table;
        let place = Some(place(&row.key));
        // In ascending order, as a file has them, no key is there already: the table was empty.
        let is_new = self.last < place;
        self.last = self.last.max(place);
        if row.value.len() > MAX_VALUE_OCTETS || !is_new && table.find(&row.key).is_some() {
            return;
        }
        if row.expires_at <= self.now {
            if let Some(changes) = &mut table.changes {
                changes.is_gone(row.key);
            }
            return;
        }
        let number = table.insert(row, bucket, self.now);
        table.slots.at_mut(number).set(SAVED);
    }
}

/// Where a key stands in the file.
fn place(key: &Key) -> (u8, u8, u128) {
    (kind_number(key.kind), key.prefix_length, key.address.bits())
}

//! Looking for rows whose removal could not be remembered.

use std::sync::Mutex;

use redb::{Database, ReadableDatabase};
use smtp_fallback_policy::contract::Key;

use super::rows::{RECORDS, decode_key};
use crate::memory::lock;
use crate::table::Table;

/// A place in the file.
pub(super) type Place = [u8; 18];

/// Where it begins.
pub(super) const START: Place = [0; 18];

/// Rows that are looked at in one step: some milliseconds.
const STEP: usize = 5000;

/// Rows that are looked for in the table while it is locked.
const LOOKED_UP_AT_ONCE: usize = 1000;

/// Looks at some rows, and adds those that are not in the table to what is gone. Gives the place to go on from; none at the end.
pub(super) fn step(
    database: &Database,
    from: Place,
    table: &Mutex<Table>,
    gone: &mut Vec<Key>,
) -> Result<Option<Place>, redb::Error> {
    let mut places = Vec::with_capacity(STEP);
    {
        let transaction = database.begin_read()?;
        let records = transaction.open_table(RECORDS)?;
        for row in records.range(from..)?.take(STEP) {
            places.push(row?.0.value());
        }
    }
    for places in places.chunks(LOOKED_UP_AT_ONCE) {
        let mut table = lock(table);
        gone.extend(places.iter().filter_map(decode_key).filter(|key| !table.keeps_row(key)));
    }
    Ok(if places.len() < STEP { None } else { places.last().copied().and_then(successor) })
}

/// The next key.
fn successor(key: Place) -> Option<Place> {
    let mut next = key;
    for octet in next.iter_mut().rev() {
        match octet.checked_add(1) {
            Some(sum) => {
                *octet = sum;
                return Some(next);
            }
            None => *octet = 0,
        }
    }
    None
}

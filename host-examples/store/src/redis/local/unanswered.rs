//! Writes that had no answer, though the server may have done them, or may do them yet.

use std::collections::{HashMap, VecDeque};

use smtp_fallback_policy::contract::Key;

/// So many are remembered: about as many as are on their way at once when the server falls silent. The oldest make room.
const REMEMBERED: usize = 1024;

/// So many of one record. The server does the first of those that expect the same.
const OF_ONE: usize = 16;

/// Their values, until the server has told what it has.
#[derive(Default)]
pub(super) struct Unanswered {
    values: HashMap<Key, Vec<Vec<u8>>>,
    /// The key of each value, and of some that are settled.
    order: VecDeque<Key>,
}

impl Unanswered {
    pub(super) fn add(&mut self, key: Key, value: Vec<u8>) {
        if add(self.values.entry(key).or_default(), value) {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    pub(super) fn take(&mut self, key: &Key) -> Vec<Vec<u8>> {
        self.values.remove(key).unwrap_or_default()
    }
}

/// Whether it is one more.
pub(super) fn add(values: &mut Vec<Vec<u8>>, value: Vec<u8>) -> bool {
    let new = values.len() < OF_ONE && !values.contains(&value);
    if new {
        values.push(value);
    }
    new
}

#[cfg(test)]
impl Unanswered {
    /// So many values and keys are kept, whichever are more.
    pub(super) fn len(&self) -> usize {
        self.values.values().map(Vec::len).sum::<usize>().max(self.order.len())
    }
}

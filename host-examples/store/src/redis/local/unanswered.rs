//! Writes that had no answer, though the server may have done them, or may do them yet.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use smtp_fallback_policy::contract::Key;

/// So many are remembered: about as many as are on their way at once when the server falls silent. The oldest make room.
const REMEMBERED: usize = 1024;

/// So many of one record. The server does the first of those that expect the same.
const OF_ONE: usize = 16;

/// Their values, until the server has told what it has.
#[derive(Default)]
pub(super) struct Unanswered {
    /// Each with its number.
    values: HashMap<Key, Vec<(u64, Vec<u8>)>>,
    /// The number and key of each value, and of some that are settled.
    order: VecDeque<(u64, Key)>,
    numbers: u64,
}

impl Unanswered {
    pub(super) fn add(&mut self, key: Key, value: Vec<u8>) {
        let values = self.values.entry(key).or_default();
        if values.len() < OF_ONE && values.iter().all(|(_, there)| *there != value) {
            self.numbers += 1;
            values.push((self.numbers, value));
            self.order.push_back((self.numbers, key));
        }
        if self.order.len() > REMEMBERED
            && let Some((number, oldest)) = self.order.pop_front()
            && let Entry::Occupied(mut values) = self.values.entry(oldest)
        {
            values.get_mut().retain(|(there, _)| *there != number);
            if values.get().is_empty() {
                values.remove();
            }
        }
    }

    pub(super) fn take(&mut self, key: &Key) -> Vec<Vec<u8>> {
        self.values.remove(key).unwrap_or_default().into_iter().map(|(_, value)| value).collect()
    }
}

/// One more value of a record that is changed here.
pub(super) fn add(values: &mut Vec<Vec<u8>>, value: Vec<u8>) {
    if values.len() < OF_ONE && !values.contains(&value) {
        values.push(value);
    }
}

#[cfg(test)]
impl Unanswered {
    /// So many values and keys are kept, whichever are more.
    pub(super) fn len(&self) -> usize {
        self.values.values().map(Vec::len).sum::<usize>().max(self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use smtp_fallback_policy::address::Address;
    use smtp_fallback_policy::contract::KeyKind;

    use super::*;

    fn key(n: u128) -> Key {
        Key { kind: KeyKind::Network, address: Address::from_bits(n << 64), prefix_length: 64 }
    }

    #[test]
    fn what_was_settled_takes_no_later_value_along() {
        let mut unanswered = Unanswered::default();
        unanswered.add(key(0), vec![1]);
        assert_eq!(unanswered.take(&key(0)), [[1]]);
        unanswered.add(key(0), vec![2]);
        // The first makes room now, which is settled; and then the second.
        (1..REMEMBERED as u128).for_each(|n| unanswered.add(key(n), vec![3]));
        assert_eq!(unanswered.values.get(&key(0)).map(Vec::len), Some(1));
        unanswered.add(key(REMEMBERED as u128), vec![3]);
        assert_eq!(unanswered.take(&key(0)), Vec::<Vec<u8>>::new());
    }
}

//! Records in the order in which they go: by class of weight, within a class by age.

use super::slot::Number;
use super::slots::Slots;

/// The two ends of a list.
#[derive(Clone, Copy, Default)]
struct Ends {
    /// Written longest ago.
    first: Number,
    /// Written last.
    last: Number,
}

/// A list for each class that has records, the weakest class first.
#[derive(Default)]
pub(super) struct Classes(Vec<(u8, Ends)>);

impl Classes {
    /// Adds a record as the youngest of its class. `list` says which of the slot's links to use.
    pub(super) fn push(&mut self, slots: &mut Slots, list: usize, number: Number) {
        let class = slots.at(number).class();
        self.push_to(slots, list, number, class);
    }

    /// Makes a record the youngest of a class, which may be another than the one that it was added with.
    pub(super) fn renew(&mut self, slots: &mut Slots, list: usize, number: Number, class: u8) {
        if slots.at(number).class() == class && slots.links(list, number).next == 0 {
            return;
        }
        self.remove(slots, list, number);
        self.push_to(slots, list, number, class);
    }

    fn push_to(&mut self, slots: &mut Slots, list: usize, number: Number, class: u8) {
        let position = match self.0.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(position) => position,
            Err(position) => {
                self.0.insert(position, (class, Ends::default()));
                position
            }
        };
        let ends = &mut self.0[position].1;
        slots.links_mut(list, number).previous = ends.last;
        if ends.last == 0 {
            ends.first = number;
        } else {
            slots.links_mut(list, ends.last).next = number;
        }
        ends.last = number;
    }

    /// Takes a record out. Its weight is still the one that it was added with.
    pub(super) fn remove(&mut self, slots: &mut Slots, list: usize, number: Number) {
        let class = slots.at(number).class();
        let link = slots.unlink(list, number);
        let Ok(position) = self.0.binary_search_by_key(&class, |(class, _)| *class) else { return };
        let ends = &mut self.0[position].1;
        if link.previous == 0 {
            ends.first = link.next;
        }
        if link.next == 0 {
            ends.last = link.previous;
        }
        if ends.first == 0 {
            self.0.remove(position);
        }
    }

    /// The record that is to go: an expired one, if it is the oldest of its class; else the oldest of the weakest class.
    pub(super) fn victim(&self, slots: &Slots, now: u32) -> Option<Number> {
        let mut oldest = self.0.iter().map(|(_, ends)| ends.first);
        oldest.clone().find(|&number| slots.at(number).expires_at <= now).or_else(|| oldest.next())
    }

    /// All records, the weakest class first, within it the oldest.
    pub(super) fn all(&self, slots: &Slots, list: usize) -> Vec<Number> {
        let firsts = self.0.iter().map(|(_, ends)| ends.first);
        firsts
            .flat_map(|first| std::iter::successors(Some(first), |&n| Some(slots.links(list, n).next).filter(|&n| n != 0)))
            .collect()
    }
}

//! What happens next, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events by their time; of those at the same time, the one that was added first comes first.
#[derive(Debug)]
pub(super) struct Events<E> {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    /// By their number. Each is taken once.
    events: Vec<Option<E>>,
}

impl<E> Events<E> {
    pub(super) fn new() -> Self {
        Events { heap: BinaryHeap::new(), events: Vec::new() }
    }

    pub(super) fn add(&mut self, at: u64, event: E) {
        self.heap.push(Reverse((at, self.events.len() as u64)));
        self.events.push(Some(event));
    }

    /// The next event and its time; `None` when nothing is left to happen.
    pub(super) fn next(&mut self) -> Option<(u64, E)> {
        let Reverse((at, number)) = self.heap.pop()?;
        let event = self.events[number as usize].take().expect("a number is in the heap once");
        Some((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_and_then_by_age() {
        let mut events = Events::new();
        for (at, event) in [(5, "c"), (3, "a"), (5, "d"), (4, "b")] {
            events.add(at, event);
        }
        let order: Vec<_> = std::iter::from_fn(|| events.next()).collect();
        assert_eq!(order, [(3, "a"), (4, "b"), (5, "c"), (5, "d")]);
    }
}

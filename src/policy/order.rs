//! Sorting, once for all types: the standard library's sort is compiled anew for each of them, 5 kB in the component each time.

use std::cmp::Ordering;

/// Sorts; of two that compare alike, the earlier stays earlier.
pub(super) fn sort<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    for (one, other) in swaps(items.len(), &|one, other| compare(&items[one], &items[other])) {
        items.swap(one, other);
    }
}

/// Sorted texts, each once.
pub(super) fn unique(mut texts: Vec<String>) -> Vec<String> {
    sort(&mut texts, |one, other| one.cmp(other));
    texts.dedup();
    texts
}

/// The swaps that sort, one after the other. Binary insertion moves at most 10,000 numbers of 4 octets for each entry, as long as the
/// longest list of a policy is.
fn swaps(length: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = Vec::with_capacity(length);
    for new in 0..length {
        let at = order.partition_point(|&old| compare(old, new) != Ordering::Greater);
        order.insert(at, new);
    }
    // Each place gets its item from `from`, which in turn gets its own, until the item that was in the first place is wanted.
    let mut swaps = Vec::with_capacity(length);
    for first in 0..length {
        let mut place = first;
        while let Some(slot) = order.get_mut(place) {
            let from = std::mem::replace(slot, place);
            if from == first {
                break;
            }
            swaps.push((place, from));
            place = from;
        }
    }
    swaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_the_standard_library_does() {
        let mut items: Vec<(u32, u32)> = (0..1000).map(|n: u32| (n.wrapping_mul(2_654_435_761) % 50, n)).collect();
        let mut ours = items.clone();
        sort(&mut ours, |one, other| one.0.cmp(&other.0));
        items.sort_by_key(|item| item.0);
        assert_eq!(ours, items);
        assert_eq!(unique(["b", "a", "b"].map(String::from).to_vec()), ["a", "b"]);
    }
}

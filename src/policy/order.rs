//! Sorting, once for all types: the standard library's sort is compiled anew for each of them, 5 kB in the component each time.

use std::cmp::Ordering;

/// Sorts; of two that compare alike, the earlier stays earlier. Binary insertion moves at most 10,000 numbers of 4 octets for each
/// entry, as long as the longest list of a policy is.
pub(super) fn sorted<T>(items: Vec<T>, compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let order = order(items.len(), &|one, other| compare(&items[one], &items[other]));
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| items.get_mut(at as usize).and_then(Option::take)).collect()
}

/// Sorted texts, each once.
pub(super) fn unique(texts: Vec<String>) -> Vec<String> {
    let mut texts = sorted(texts, |one, other| one.cmp(other));
    texts.dedup();
    texts
}

fn order(length: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<u32> {
    let mut order: Vec<u32> = Vec::with_capacity(length);
    for new in 0..length {
        let at = order.partition_point(|&old| compare(old as usize, new) != Ordering::Greater);
        order.insert(at, new as u32);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_the_standard_library_does() {
        let mut items: Vec<(u32, u32)> = (0..1000).map(|n: u32| (n.wrapping_mul(2_654_435_761) % 50, n)).collect();
        let ours = sorted(items.clone(), |one, other| one.0.cmp(&other.0));
        items.sort_by_key(|item| item.0);
        assert_eq!(ours, items);
        assert_eq!(unique(["b", "a", "b"].map(String::from).to_vec()), ["a", "b"]);
    }
}

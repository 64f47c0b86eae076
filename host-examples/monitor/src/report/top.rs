//! The first entries of a list in some order, without keeping the rest.

use super::Listing;

/// Takes entries in any order, and keeps the first `limit` of them by key. Memory: twice as many.
pub(super) struct Top<K, T> {
    limit: usize,
    /// Once `shrunk`, the first `limit` are in order, and what comes after the last of them cannot be among the first.
    kept: Vec<(K, T)>,
    shrunk: bool,
    seen: u64,
}

impl<K: Ord, T> Top<K, T> {
    /// `limit` is at least one.
    pub(super) fn new(limit: usize) -> Self {
        Top { limit: limit.max(1), kept: Vec::new(), shrunk: false, seen: 0 }
    }

    /// Adds an entry; the smallest key comes first. The entry is made only if it may be among the first.
    pub(super) fn add(&mut self, key: K, entry: impl FnOnce() -> T) {
        self.seen += 1;
        if self.shrunk && self.kept[self.limit - 1].0 <= key {
            return;
        }
        self.kept.push((key, entry()));
        if self.kept.len() >= 2 * self.limit {
            self.shrink();
            self.shrunk = true;
        }
    }

    /// The entries in order.
    pub(super) fn finish(self) -> Listing<T> {
        let (kept, seen) = self.into_parts();
        let more = seen - kept.len() as u64;
        Listing { entries: kept.into_iter().map(|(_, entry)| entry).collect(), more }
    }

    /// The entries in order, each with its key, and how many were added in all.
    pub(super) fn into_parts(mut self) -> (Vec<(K, T)>, u64) {
        self.shrink();
        (self.kept, self.seen)
    }

    fn shrink(&mut self) {
        self.kept.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.kept.truncate(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_in_whatever_order_they_come() {
        for limit in [1, 2, 3, 10, 49, 50, 51, 99, 100, 101] {
            // Each step is prime to 100: all numbers below it come once.
            for step in [1, 37, 99] {
                let mut top = Top::new(limit);
                for n in 0..100 {
                    let key = n * step % 100;
                    top.add(key, || key);
                }
                let listing = top.finish();
                let expected: Vec<usize> = (0..limit.min(100)).collect();
                assert_eq!(listing.entries, expected, "{limit} {step}");
                assert_eq!(listing.more, 100 - limit.min(100) as u64);
            }
        }
    }
}

//! Which known name a misspelt one may stand for.

/// The known name nearest to `text`, if one is near: at most a third of its letters differ. Case and hyphens hardly count.
pub(super) fn nearest(text: &str, known: &'static [&'static str]) -> Option<&'static str> {
    // No name here has more than 20 letters.
    if text.len() > 40 {
        return None;
    }
    let text = text.to_ascii_lowercase().replace('-', "_");
    if text.len() >= 4
        && let Some(name) = known.iter().find(|name| name.starts_with(&text) || text.starts_with(**name))
    {
        return Some(name);
    }
    let near = |name: &&'static str| (distance(text.as_bytes(), name.as_bytes()), *name);
    let (distance, name) = known.iter().map(near).min_by_key(|&(distance, _)| distance)?;
    (distance <= name.len().div_ceil(3).min(4)).then_some(name)
}

/// Edits that turn one into the other: insert, remove, replace an octet, swap two neighbours.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let width = other.len() + 1;
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..width).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1; width];
        for (j, b) in other.iter().enumerate() {
            let mut best = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            next[j + 1] = best;
        }
        before = std::mem::replace(&mut row, next);
    }
    row[width - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_near() {
        const KNOWN: &[&str] = &["mode", "penalty", "half_life", "temporary_errors", "url", "spf"];
        let cases = [
            ("penatly", Some("penalty")),
            ("Penalty", Some("penalty")),
            ("half-life", Some("half_life")),
            ("halfLife", Some("half_life")),
            ("temporary", Some("temporary_errors")),
            ("uri", Some("url")),
            ("spf1", Some("spf")),
            ("greylisting", None),
            ("x", None),
            ("", None),
        ];
        for (text, name) in cases {
            assert_eq!(nearest(text, KNOWN), name, "{text}");
        }
        let long = |letters: usize| nearest(&format!("penalty{}", "x".repeat(letters - 7)), KNOWN);
        assert_eq!((long(40), long(41)), (Some("penalty"), None));
        assert_eq!(nearest("penalty", &[]), None);
    }

    #[test]
    fn edits_are_counted() {
        for (one, other, edits) in [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("abc", "acb", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), edits, "{one} {other}");
        }
    }
}

//! Lists of domain names.

/// A list of domain names: `example.org` stands for that name alone, `.example.org` for every name below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainList {
    /// In lower case, without a final dot; sorted.
    entries: Vec<String>,
}

impl DomainList {
    /// Reads one entry: letters, digits, hyphens and underscores between dots, at most 253 octets (RFC 1035 §2.3.4); a name in
    /// another script in its ASCII form (RFC 5890). The entry comes back in lower case and without a final dot.
    pub fn parse_entry(text: &str) -> Option<String> {
        let name = text.strip_prefix('.').unwrap_or(text);
        let name = name.strip_suffix('.').unwrap_or(name);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let valid = name.len() <= 253 && name.split('.').all(label);
        valid.then(|| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())
    }

    /// From entries that [`DomainList::parse_entry`] gave.
    pub fn new(entries: Vec<String>) -> Self {
        DomainList { entries: super::order::unique(entries) }
    }

    /// Whether the list stands for this name. Case and a final dot make no difference; nothing stands for the empty name.
    pub fn contains(&self, name: &str) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let listed = |entry: &str| self.entries.binary_search_by(|listed| listed.as_str().cmp(entry)).is_ok();
        // An entry never starts with two dots nor is it one dot, so odd names ("", ".", "..a") match nothing.
        listed(&name) && !name.starts_with('.')
            || name.match_indices('.').filter(|&(at, _)| at > 0).any(|(at, _)| name.get(at..).is_some_and(listed))
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, sorted.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> DomainList {
        DomainList::new(entries.iter().map(|entry| DomainList::parse_entry(entry).expect(entry)).collect())
    }

    #[test]
    fn a_name_alone_or_all_names_below_it() {
        let list = list(&["Example.org", ".example.net."]);
        assert!(list.contains("example.ORG"));
        assert!(list.contains("example.org."));
        assert!(!list.contains("mail.example.org"));
        assert!(!list.contains("xexample.org"));
        assert!(list.contains("a.b.example.net"));
        assert!(!list.contains("example.net"));
        for odd in ["", ".", "..", ".example.net", ".example.org"] {
            assert!(!list.contains(odd), "{odd:?}");
        }
    }

    #[test]
    fn entries_are_names() {
        for text in ["", ".", "..", "a..b", "-a.b", "a-.b", "bücher.example", "a b", "a\r\n", "*.example.org", &"a.".repeat(127)]
        {
            assert_eq!(DomainList::parse_entry(text).is_some(), text.len() > 200 && text.len() - 1 <= 253, "{text:?}");
        }
        assert!(DomainList::parse_entry(&"a".repeat(64)).is_none());
    }
}

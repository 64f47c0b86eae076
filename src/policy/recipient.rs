//! Recipients that are exempt (A16).

/// Recipients: `postmaster` stands for that local part at any domain or none, `user@example.org` for one mailbox,
/// `@example.org` for every mailbox of the domain. Case makes no difference, also in the local part: an exemption is a courtesy,
/// and Postmaster is one in any case (RFC 5321 §4.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientList {
    /// In lower case.
    entries: Vec<String>,
}

impl Default for RecipientList {
    fn default() -> Self {
        RecipientList { entries: vec!["abuse".into(), "postmaster".into()] }
    }
}

impl RecipientList {
    /// Reads one entry: printable ASCII without spaces, at most 320 octets, with something on one side of its `@` and a domain
    /// name behind it, whose final dot is left out.
    pub fn parse_entry(text: &str) -> Option<String> {
        let printable =
            !text.is_empty() && text.len() <= 320 && text.bytes().all(|b| b.is_ascii_graphic() && !b"<>,;\"".contains(&b));
        let domain_ok = text.rsplit_once('@').is_none_or(|(local, domain)| {
            !domain.starts_with('.') && super::DomainList::parse_entry(domain).is_some() && !local.contains('@')
        });
        let text = if text.contains('@') { text.strip_suffix('.').unwrap_or(text) } else { text };
        (printable && domain_ok).then(|| text.to_ascii_lowercase())
    }

    /// From entries that [`RecipientList::parse_entry`] gave.
    pub fn new(entries: Vec<String>) -> Self {
        RecipientList { entries: super::order::unique(entries) }
    }

    /// Whether the list stands for this recipient, as in RCPT TO without angle brackets.
    pub fn contains(&self, recipient: &str) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let recipient = recipient.to_ascii_lowercase();
        let listed = |entry: &str| self.entries.binary_search_by(|listed| listed.as_str().cmp(entry)).is_ok();
        listed(&recipient)
            || recipient
                .rfind('@')
                .and_then(|at| recipient.split_at_checked(at))
                .is_some_and(|(local, domain)| !local.is_empty() && listed(local) || listed(domain))
    }

    /// The entries, sorted.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_for_mailboxes_local_parts_and_domains() {
        let entries = ["postmaster", "Help@example.org.", "@example.net"];
        let list = RecipientList::new(entries.iter().map(|entry| RecipientList::parse_entry(entry).expect(entry)).collect());
        for recipient in ["Postmaster", "postmaster@any.example", "help@EXAMPLE.org", "x@example.net"] {
            assert!(list.contains(recipient), "{recipient}");
        }
        for recipient in ["", "@", "help", "help@example.com", "x@example.org", "x@sub.example.net", "example.net"] {
            assert!(!list.contains(recipient), "{recipient}");
        }
    }

    #[test]
    fn entries_are_recipients() {
        for text in ["", "a b", "a@", "@", "a@b@c.example", "a@.example.org", "<a@example.org>", "é@example.org"] {
            assert!(RecipientList::parse_entry(text).is_none(), "{text:?}");
        }
    }
}

//! Whom the From field names (RFC 5322 §3.6.2, RFC 7489 §6.6.1).
//!
//! A mail program may read a malformed field in its own way, and show another author than the one that DMARC was checked for. So the
//! field is read twice, by mail-auth and here, and here to the letter; where the two do not see the same addresses, there is no author.

use mail_auth::AuthenticatedMessage;

use crate::names::{domain_name, squeezed};

/// Whom the From field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// Addresses of one domain.
    Domain(String),
    /// No domain that could publish anything, such as in a group without members: ignored (RFC 7489 §6.6.1).
    Nobody,
    /// No From field, two of them, one that is malformed, or addresses of several domains: such a message cannot be told to be
    /// anybody's (RFC 7489 §6.6.1).
    Unclear,
}

impl Author {
    pub(crate) fn of(message: &AuthenticatedMessage<'_>) -> Author {
        let Some(addresses) = addresses(message) else { return Author::Unclear };
        let mut domains = addresses.iter().map(|address| domain_name(domain(address)));
        let Some(first) = domains.next() else { return Author::Nobody };
        match first {
            _ if domains.any(|other| other != first) => Author::Unclear,
            Some(domain) => Author::Domain(domain),
            None => Author::Nobody,
        }
    }
}

/// The addresses of the one From field, each with one `@`, in lower case; absent where there is not exactly one field, or where it is
/// malformed. Empty where there is no address in it.
pub(crate) fn addresses<'a>(message: &'a AuthenticatedMessage<'_>) -> Option<Vec<&'a str>> {
    // As mail-auth takes it, which knows white space in a name from RFC 822.
    let mut fields = message.headers().iter().filter(|(name, _)| squeezed(name).eq(*b"from"));
    let (Some((name, value)), None) = (fields.next(), fields.next()) else { return None };
    if !name.trim_ascii_end().eq_ignore_ascii_case(b"From") {
        return None;
    }
    let ours = read(value)?;
    let theirs: Vec<&str> = message.from_addresses().iter().map(String::as_str).filter(|address| address.contains('@')).collect();
    let same = ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|(ours, theirs)| is_address(theirs) && ours.to_lowercase() == *theirs);
    same.then_some(theirs)
}

/// What is after the `@`.
pub(crate) fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// The addresses of a field's value; absent where it is not an address list of RFC 5322 §3.4.
fn read(value: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(value);
    let mut reader = Reader::default();
    let mut characters = text.chars();
    // How deep in comments, which nest.
    let mut comments = 0_usize;
    let mut quoted = false;
    while let Some(c) = characters.next() {
        if comments > 0 {
            match c {
                '\\' => drop(characters.next()),
                '(' => comments += 1,
                ')' => comments -= 1,
                _ => {}
            }
        } else if quoted {
            reader.push(c)?;
            match c {
                '\\' => reader.push(characters.next()?)?,
                '"' => quoted = false,
                _ => {}
            }
        } else {
            match c {
                '"' => {
                    quoted = true;
                    reader.push(c)?;
                }
                // A comment in the middle of an address: nobody writes that.
                '(' if reader.in_brackets => return None,
                '(' => comments = 1,
                _ => reader.special(c)?,
            }
        }
    }
    if comments > 0 || quoted { None } else { reader.finish() }
}

#[derive(Default)]
struct Reader {
    addresses: Vec<String>,
    /// Mailboxes that have no address.
    nameless: usize,
    /// The mailbox that is being read: what is not in angle brackets, and what is.
    outside: String,
    inside: Option<String>,
    in_brackets: bool,
    in_group: bool,
    /// After a group, until the next comma.
    group_ended: bool,
}

impl Reader {
    /// Outside of comments and quotes.
    fn special(&mut self, c: char) -> Option<()> {
        match c {
            '<' if self.inside.is_none() && !self.group_ended => {
                self.inside = Some(String::new());
                self.in_brackets = true;
            }
            '>' if self.in_brackets => self.in_brackets = false,
            ',' if !self.in_brackets => {
                self.mailbox()?;
                self.group_ended = false;
            }
            ':' if !self.in_brackets => {
                if self.in_group || self.group_ended || self.inside.is_some() || self.outside.contains('@') {
                    return None;
                }
                self.outside.clear();
                self.in_group = true;
            }
            ';' if !self.in_brackets && self.in_group => {
                self.mailbox()?;
                (self.in_group, self.group_ended) = (false, true);
            }
            '<' | '>' | ',' | ';' => return None,
            _ => self.push(c)?,
        }
        Some(())
    }

    fn push(&mut self, c: char) -> Option<()> {
        match &mut self.inside {
            Some(inside) if self.in_brackets => inside.push(c),
            _ if c.is_ascii_whitespace() => self.outside.push(' '),
            None if !self.group_ended => self.outside.push(c),
            // After the angle brackets, or after a group.
            _ => return None,
        }
        Some(())
    }

    /// The mailbox is at its end.
    fn mailbox(&mut self) -> Option<()> {
        let outside = std::mem::take(&mut self.outside);
        let address = match self.inside.take() {
            Some(inside) => inside,
            None if outside.contains('@') => outside,
            None => {
                // An encoded word may show as an address.
                if outside.contains("=?") {
                    return None;
                }
                self.nameless += usize::from(!outside.trim().is_empty());
                return Some(());
            }
        };
        let address = address.trim();
        if !is_address(address) {
            return None;
        }
        self.addresses.push(address.to_owned());
        Some(())
    }

    fn finish(mut self) -> Option<Vec<String>> {
        if self.in_brackets || self.in_group {
            return None;
        }
        self.mailbox()?;
        // A mailbox without an address may hide that there is another that has one.
        (self.nameless == 0 || (self.nameless == 1 && self.addresses.is_empty())).then_some(self.addresses)
    }
}

/// Whether `text` has one `@` and is no two things to two readers.
fn is_address(text: &str) -> bool {
    let is_clear = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '@' | '<' | '>' | ',');
    let Some((local_part, domain)) = text.split_once('@') else { return false };
    let quotes = local_part.matches('"').count();
    let is_quoted = quotes == 0 || (quotes == 2 && local_part.starts_with('"') && local_part.ends_with('"'));
    is_quoted && local_part.chars().all(is_clear) && domain.chars().all(|c| is_clear(c) && c != '"')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use super::*;

    fn author(header: &str) -> Author {
        let message = format!("{header}\r\n\r\n");
        Author::of(&AuthenticatedMessage::parse(message.as_bytes()).unwrap())
    }

    #[test]
    fn an_address_is_one_thing_to_everybody() {
        for text in ["a@b.example", "\"a\"@b.example"] {
            assert!(is_address(text), "{text}");
        }
        for text in
            ["", "a", "a@b@c", "a b@c", "a@b c", "a<b@c", "a@b>", "a,b@c", "a@b,c", "a\t@b", "\"a@b", "a\"b\"@c", "a@\"b\""]
        {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn one_domain_or_none() {
        let domain = |domain: &str| Author::Domain(domain.to_owned());
        for (header, expected) in [
            ("From: A <a@Sub.Example.COM>", domain("sub.example.com")),
            ("From:a@one.example", domain("one.example")),
            ("From : a@one.example", domain("one.example")),
            ("From: a@one.example (A, of B)", domain("one.example")),
            ("From: a@one.example, b@One.example", domain("one.example")),
            ("From: a@one.example,\r\n b@one.example,", domain("one.example")),
            ("From: \"x@victim.example\" <a@one.example>", domain("one.example")),
            ("From: \"x \\\" <x@victim.example>\" <a@one.example>", domain("one.example")),
            ("From: x@victim.example <a@one.example>", domain("one.example")),
            ("From: =?utf-8?q?x=40victim.example?= <a@one.example>", domain("one.example")),
            ("From: \u{c9}. <a@one.example>", domain("one.example")),
            ("From: A: a@one.example, B <b@one.example>;", domain("one.example")),
            ("From: a@b\u{fc}cher.example", domain("xn--bcher-kva.example")),
            ("From: a@one.example, b@two.example", Author::Unclear),
            ("From: a@one.example\r\nFrom: a@one.example", Author::Unclear),
            ("From: a@one.example\r\nfrom : a@one.example", Author::Unclear),
            ("From: a@one.example\r\nF rom: a@one.example", Author::Unclear),
            ("F\trom: a@one.example", Author::Unclear),
            ("Subject: x", Author::Unclear),
            ("From: ", Author::Nobody),
            ("From: undisclosed:;", Author::Nobody),
            ("From: MAILER-DAEMON", Author::Nobody),
            ("From: Mail Delivery System (x@victim.example)", Author::Nobody),
            ("From: root@localhost", Author::Nobody),
            ("From: a@[192.0.2.1]", Author::Nobody),
            ("From: a@one.example, b@localhost", Author::Unclear),
        ] {
            assert_eq!(author(header), expected, "{header}");
        }
    }

    #[test]
    fn what_two_readers_may_read_in_two_ways_is_unclear() {
        for value in [
            "<x@victim.example> <a@one.example>",
            "<x@victim.example>a@one.example",
            "a@one.example<x@victim.example>, ",
            "<x@victim.example @one.example>",
            "<x@victim.example,@one.example>",
            "x@victim.example a@one.example",
            "x@victim.example@one.example",
            "=?utf-8?q?x=40victim.example?=, a@one.example",
            "=?utf-8?q?x=40victim.example?=",
            "<=?utf-8?q?x=40victim.example?=>, a@one.example",
            "=?utf-8?q?x=40victim.example?=@one.example x",
            "x@victim.example <>, a@one.example",
            "x@victim.example <>",
            "<>",
            "Somebody, a@one.example",
            "\"x@victim.example\", a@one.example",
            "\"x@victim.example",
            "(x@victim.example, a@one.example",
            "<x@victim.example",
            "x@victim.example>",
            "<<x@victim.example>>",
            "<@victim.example:a@one.example>",
            "x@victim.example: a@one.example;",
            "x: a@one.example",
            "x: y: a@one.example;;",
            "x:; a@one.example",
            "a@one.example; x@victim.example",
            "\"a\"b@one.example",
            "\"a@b\"@one.example",
            "<a(x@victim.example)@one.example>",
            "a@one.example\"x@victim.example\"",
        ] {
            let read = author(&format!("From: {value}"));
            // Not malformed, but two readers agree on who it is.
            if value == "a@one.example<x@victim.example>, " {
                assert_eq!(read, Author::Domain("victim.example".to_owned()));
            } else {
                assert!(matches!(read, Author::Unclear | Author::Nobody), "{value}: {read:?}");
                assert!(read == Author::Unclear || !value.contains("one.example"), "{value}: {read:?}");
            }
        }
    }
}

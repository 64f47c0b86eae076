//! The words of a header field: comments, folding, quoted strings and tokens (RFC 5322 §3.2, RFC 2045 §5.1, RFC 6532).

use std::borrow::Cow;

/// Comments nest this deep at most; a deeper one voids the field.
pub(super) const MAX_COMMENT_DEPTH: usize = 16;

/// Reads a field from left to right. It never goes back, so reading takes linear time. `None` from a method: the field is
/// malformed, and nothing that was read of it may be used.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts on the text of one field, folded or not. `None` when it holds a control character, or a line break that is no
    /// folding: what follows such a break would be another field.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        is_one_field(text.as_bytes()).then_some(Scanner { text, at: 0 })
    }

    /// The next octet.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether everything was read.
    pub(super) fn at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Takes this octet, if it is the next one.
    pub(super) fn take(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.at += usize::from(found);
        found
    }

    /// Takes this word in any case, if it is next.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let found = self.text.get(self.at..end).is_some_and(|next| next.eq_ignore_ascii_case(word));
        if found {
            self.at = end;
        }
        found
    }

    /// Takes white space, folding and comments; says whether there were any.
    pub(super) fn cfws(&mut self) -> Option<bool> {
        let start = self.at;
        loop {
            self.run(is_space);
            if self.peek() != Some(b'(') {
                return Some(self.at > start);
            }
            self.comment()?;
        }
    }

    /// A `Keyword` (RFC 8601 §2.2): letters, digits and hyphens.
    pub(super) fn keyword(&mut self) -> Option<&'a str> {
        let word = self.run(|b| b.is_ascii_alphanumeric() || b == b'-');
        (!word.is_empty()).then_some(word)
    }

    /// One or more digits.
    pub(super) fn digits(&mut self) -> Option<&'a str> {
        let digits = self.run(|b| b.is_ascii_digit());
        (!digits.is_empty()).then_some(digits)
    }

    /// A `value`: a token, in which characters other than ASCII are allowed (RFC 8601 §5), or a quoted string.
    pub(super) fn value(&mut self) -> Option<Cow<'a, str>> {
        if self.peek() == Some(b'"') {
            return self.quoted_string().map(Cow::Owned);
        }
        let token = self.run(|b| is_plain(b) && !br#"<>@,:/[]?="#.contains(&b));
        (!token.is_empty()).then_some(Cow::Borrowed(token))
    }

    /// The value of a property: a quoted string, an address whose local part may be one, or a run of characters.
    ///
    /// The run is wider than the grammar's: well-known writers leave IPv6 addresses and base64 unquoted. It ends nowhere but at
    /// white space, a comment, a semicolon or the end of the field, so that nothing can hide in it.
    pub(super) fn property_value(&mut self) -> Option<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            let run = self.run(is_plain);
            return (!run.is_empty()).then_some(Cow::Borrowed(run));
        }
        let mut value = self.quoted_string()?;
        if self.peek() == Some(b'@') {
            value.push_str(self.run(is_plain));
        }
        Some(Cow::Owned(value))
    }

    /// A quoted string without its quotes and backslashes; folding goes, the white space of it stays (RFC 5322 §3.2.4).
    fn quoted_string(&mut self) -> Option<String> {
        let mut content = String::new();
        self.at += 1;
        loop {
            content.push_str(self.run(|b| !matches!(b, b'"' | b'\\' | b'\r' | b'\n')));
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(content);
                }
                b'\\' => content.push_str(self.quoted_pair()?),
                _ => self.at += 1,
            }
        }
    }

    /// A comment with those inside it (RFC 5322 §3.2.2). Nothing in it means anything.
    fn comment(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            match self.peek()? {
                b'(' if depth == MAX_COMMENT_DEPTH => return None,
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => {
                    self.quoted_pair()?;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// The character behind a backslash, which is no line break.
    fn quoted_pair(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        let character = self.text.get(start..)?.chars().next()?;
        self.at = start + character.len_utf8();
        if is_line_break(character) { None } else { self.text.get(start..self.at) }
    }

    /// The octets from here on that belong. The predicates treat all octets of a character alike, so the run ends where a
    /// character does.
    fn run(&mut self, belongs: fn(u8) -> bool) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.bytes().position(|b| !belongs(b)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }
}

/// No control character but tabs and folding: CRLF or LF before white space, or one at the very end.
fn is_one_field(octets: &[u8]) -> bool {
    octets.iter().enumerate().all(|(at, &octet)| {
        let next = octets.get(at + 1).copied();
        match octet {
            b'\t' => true,
            b'\r' => next == Some(b'\n'),
            b'\n' => matches!(next, None | Some(b' ' | b'\t')),
            0..=0x1F | 0x7F => false,
            // U+0080 to U+009F in UTF-8: the control characters of ISO 8859.
            0xC2 => next.is_none_or(|next| next >= 0xA0),
            _ => true,
        }
    })
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_line_break(character: char) -> bool {
    matches!(character, '\r' | '\n')
}

/// Neither white space nor one of those that begin or end something else.
fn is_plain(octet: u8) -> bool {
    !is_space(octet) && !matches!(octet, b'(' | b')' | b';' | b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(text: &str) -> Scanner<'_> {
        Scanner::new(text).expect(text)
    }

    #[test]
    fn a_field_ends_where_its_folding_does() {
        for text in ["", "a", "a\tb", "a\r\n b", "a\n\tb", "a\r\n", "a\n", "a\r\n \r\n b", "\r\n a", "gr\u{fc}\u{df}e", "\u{a0}"]
        {
            assert!(Scanner::new(text).is_some(), "{text:?}");
        }
        for text in
            ["a\rb", "a\r", "a\nb", "a\r\nb", "a\r\n\r\n", "a\n\n b", "a\r\r\n b", "\0", "a\u{b}b", "\u{7f}", "\u{85}", "\u{9f}"]
        {
            assert!(Scanner::new(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn comments_nest_and_close() {
        for text in [
            "(a)",
            " (a) ( b\r\n c )\t",
            "(a(b)c)",
            r"(\))",
            r"(\\)",
            "()",
            "(\"quotes mean nothing)",
            "((((((((((((((((x))))))))))))))))",
        ] {
            let mut scanner = scanner(text);
            assert_eq!(scanner.cfws(), Some(true), "{text}");
            assert!(scanner.at_end(), "{text}");
        }
        for text in ["(", "(a", "(a(b)", r"(\)", r"(a\", "(((((((((((((((((x)))))))))))))))))", "(\\\r\n )"] {
            assert_eq!(scanner(text).cfws(), None, "{text}");
        }
        assert_eq!(scanner("a (b)").cfws(), Some(false));
        assert_eq!(scanner(") ").cfws(), Some(false));
    }

    #[test]
    fn quoted_strings_lose_quotes_backslashes_and_folding() {
        let value = |text: &str| scanner(text).value().map(Cow::into_owned);
        assert_eq!(value(r#""a b;(c)""#).as_deref(), Some("a b;(c)"));
        assert_eq!(value(r#""a\"\\\b""#).as_deref(), Some("a\"\\b"));
        assert_eq!(value("\"a\r\n b\"").as_deref(), Some("a b"));
        assert_eq!(value("\"\\\u{fc}\u{fc}\"").as_deref(), Some("\u{fc}\u{fc}"));
        assert_eq!(value("\"\"").as_deref(), Some(""));
        for text in ["\"", "\"a", r#""a\""#, r#""a\"#, "\"a\\\r\n b\"", "", "=", "@a", "(a)"] {
            assert_eq!(value(text), None, "{text}");
        }
        assert_eq!(value("mx.example.org:25").as_deref(), Some("mx.example.org"));
        assert_eq!(value("b\u{fc}cher.example;").as_deref(), Some("b\u{fc}cher.example"));
    }

    #[test]
    fn property_values_end_at_white_space_comment_or_semicolon() {
        let value = |text: &str| scanner(text).property_value().map(Cow::into_owned);
        for text in ["2001:db8::1", "a=b@c.example", "A/b+c==", "<>", "a,b", "[192.0.2.1]", "b\u{fc}cher.example"] {
            for end in ["", " x", "\tx", "\r\n x", ";x", "(x)"] {
                assert_eq!(value(&[text, end].concat()).as_deref(), Some(text));
            }
        }
        assert_eq!(value(r#""a b"@c.example d"#).as_deref(), Some("a b@c.example"));
        assert_eq!(value(r#""a"b"#).as_deref(), Some("a"));
        for text in ["", ";", " a", "(a)", r#"\a"#, "\"a"] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn words_in_any_case() {
        let mut scanner = scanner("Reason-1=01");
        assert!(!scanner.take_word("reasons"));
        assert!(scanner.take_word("REASON"));
        assert_eq!(scanner.keyword(), Some("-1"));
        assert_eq!(scanner.keyword(), None);
        assert!(!scanner.take(b'0') && scanner.take(b'='));
        assert_eq!(scanner.digits(), Some("01"));
        assert_eq!(scanner.digits(), None);
        assert!(scanner.at_end() && scanner.peek().is_none() && !scanner.take_word("x"));
    }
}

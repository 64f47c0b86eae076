//! JSON (RFC 8259) with positions: every value is a slice of the document, so its place is the distance between two pointers.
//!
//! The document is checked whole before anything in it is read; objects and lists are then split on demand. A reader of our own, since
//! a policy's errors need the place and the expectation of each, and since serde_json would be an eighth of the whole component. Tests
//! hold the two together.

use std::borrow::Cow;

use super::syntax::{self, Flaw};

/// The longest policy, in octets: 1 MiB.
pub(super) const MAX_OCTETS: usize = 1 << 20;
/// The deepest nesting of objects and lists.
pub(super) const MAX_DEPTH: usize = 64;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    List,
    String,
    Number,
    Boolean,
    Null,
}

/// Checks the document and gives its value, without the space around it.
pub(super) fn document(text: &str) -> Result<&str, Flaw> {
    if text.len() > MAX_OCTETS {
        return Err(Flaw::new(0, format!("{} octets", text.len()), "at most 1048576 octets (1 MiB)", "shorten the policy"));
    }
    if text.starts_with('\u{feff}') {
        return Err(Flaw::new(0, "a byte order mark", "a JSON object", "save the file as UTF-8 without a byte order mark (BOM)"));
    }
    let mut scanner = Scanner { text, at: 0 };
    scanner.space();
    let start = scanner.at;
    scanner.value(0)?;
    let whole = text.get(start..scanner.at).unwrap_or_default();
    scanner.space();
    if scanner.at < text.len() {
        return Err(scanner.unexpected("the end of the text"));
    }
    if kind(whole) != Kind::Object {
        let advice = "write the settings inside { and }; {} alone stands for the defaults";
        return Err(Flaw::new(start, syntax::shorten(whole), "a JSON object", advice));
    }
    Ok(whole)
}

/// Where a part of the text begins, in octets.
pub(super) fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// What this value is, told by its first octet.
pub(super) fn kind(value: &str) -> Kind {
    match value.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::List,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

/// Gives each field of an object, its name still in quotes, in the order they stand.
pub(super) fn members<'a>(object: &'a str, each: &mut dyn FnMut(&'a str, &'a str)) {
    let mut name = None;
    split(object, &mut |part| match name.take() {
        None => name = Some(part),
        Some(name) => each(name, part),
    });
}

/// Gives each entry of a list, `limit` of them at most, and returns how many there are.
pub(super) fn items<'a>(list: &'a str, limit: usize, each: &mut dyn FnMut(&'a str)) -> usize {
    let mut count = 0;
    split(list, &mut |item| {
        if count < limit {
            each(item);
        }
        count += 1;
    });
    count
}

/// What a string stands for, its escapes resolved.
pub(super) fn string(value: &str) -> Cow<'_, str> {
    let inner = value.get(1..value.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at_checked(at).unwrap_or_default();
        text.push_str(before);
        let bytes = escape.as_bytes();
        let (c, length) = match (bytes.get(1), unit(bytes), unit(bytes.get(6..).unwrap_or_default())) {
            (_, Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                (char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12)
            }
            (_, Some(unit), _) => (char::from_u32(unit), 6),
            (Some(b'b'), ..) => (Some('\u{8}'), 2),
            (Some(b'f'), ..) => (Some('\u{c}'), 2),
            (Some(b'n'), ..) => (Some('\n'), 2),
            (Some(b'r'), ..) => (Some('\r'), 2),
            (Some(b't'), ..) => (Some('\t'), 2),
            (byte, ..) => (byte.map(|&byte| char::from(byte)), 2),
        };
        text.extend(c);
        rest = escape.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The UTF-16 unit of a `\u` escape at the beginning of these octets.
fn unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.get(..6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &b| Some(unit << 4 | (b as char).to_digit(16)?))
}

/// Gives the values of a list, or in turn the names and values of an object, of a document that was checked.
fn split<'a>(outer: &'a str, part: &mut dyn FnMut(&'a str)) {
    let bytes = outer.as_bytes();
    let mut at = 1;
    // The last octet is the closing bracket.
    while let Some(&byte) = bytes.get(at).filter(|_| at + 1 < bytes.len()) {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') {
            at += 1;
            continue;
        }
        let end = end_of_value(bytes, at);
        part(outer.get(at..end).unwrap_or_default());
        at = end;
    }
}

/// Where the value that begins here ends.
fn end_of_value(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut in_string, mut at) = (0_usize, false, start);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            // The bracket of the value around.
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
        if depth == 0 && !in_string && matches!(byte, b'"' | b'}' | b']') {
            return at;
        }
    }
    at.min(bytes.len())
}

/// Checks the grammar of RFC 8259.
struct Scanner<'a> {
    text: &'a str,
    /// In octets.
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &'static str) -> Flaw {
        syntax::unexpected(self.text, self.at, expected)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Flaw> {
        match self.peek() {
            Some(bracket @ (b'{' | b'[')) if depth == MAX_DEPTH => {
                let expected = "at most 64 objects and lists inside each other";
                let advice = "no setting needs such nesting; look for a stray bracket";
                Err(Flaw::new(self.at, char::from(bracket), expected, advice))
            }
            Some(b'{') => self.entries(b'}', "a comma or }", depth),
            Some(b'[') => self.entries(b']', "a comma or ]", depth),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// What stands in a list or an object, from its opening to its closing bracket.
    fn entries(&mut self, close: u8, separator: &'static str, depth: usize) -> Result<(), Flaw> {
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            if close == b'}' {
                if self.peek() != Some(b'"') {
                    return Err(self.unexpected("a field name in double quotes"));
                }
                self.string()?;
                self.space();
                if self.peek() != Some(b':') {
                    return Err(self.unexpected("a colon after the field name"));
                }
                self.at += 1;
                self.space();
            }
            self.value(depth + 1)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(end) if end == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.unexpected(separator)),
            }
            self.space();
        }
    }

    fn string(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return Err(syntax::control_character(self.text, self.at)),
                Some(_) => self.at += 1,
                None => return Err(self.unexpected("the end of the string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Flaw> {
        let bytes = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += match (bytes.get(1), unit(bytes)) {
            (Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'), _) => 2,
            (_, Some(0xd800..=0xdbff)) if matches!(bytes.get(6..).and_then(unit), Some(0xdc00..=0xdfff)) => 12,
            (_, Some(0xd800..=0xdfff)) => {
                let found = self.text.get(self.at..self.at + 6).unwrap_or_default();
                let advice = "write the character itself, or both \\u escapes of its surrogate pair";
                return Err(Flaw::new(self.at, found, "a whole character", advice));
            }
            (_, Some(_)) => 6,
            _ => {
                self.at += 1;
                return Err(self.unexpected("an escape that JSON knows"));
            }
        };
        Ok(())
    }

    fn number(&mut self) -> Result<(), Flaw> {
        self.at += usize::from(self.peek() == Some(b'-'));
        let zero = self.peek() == Some(b'0');
        let digits = self.digits()?;
        if zero && digits > 1 {
            self.at -= digits - 1;
            return Err(self.unexpected("a number in plain digits"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit; how many there are.
    fn digits(&mut self) -> Result<usize, Flaw> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a number in plain digits")) } else { Ok(self.at - start) }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Flaw> {
        if self.text.get(self.at..).is_none_or(|rest| !rest.starts_with(word)) {
            return Err(self.unexpected("true, false or null"));
        }
        self.at += word.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_place() {
        let text = " {\"a\" : [ 1,\"\\u00e9\" ] , \"\\u0062\":{} } ";
        let whole = document(text).expect("valid");
        let mut seen = Vec::new();
        members(whole, &mut |name, value| seen.push((offset(text, name), string(name), offset(text, value), kind(value), value)));
        assert_eq!(seen[0], (2, "a".into(), 8, Kind::List, "[ 1,\"\\u00e9\" ]"));
        assert_eq!(seen[1], (25, "b".into(), 34, Kind::Object, "{}"));
        let mut entries = Vec::new();
        assert_eq!(items(seen[0].4, 9, &mut |item| entries.push((offset(text, item), item))), 2);
        assert_eq!(entries, [(10, "1"), (12, "\"\\u00e9\"")]);
        assert_eq!(string(entries[1].1), "é");
        let mut first = Vec::new();
        assert_eq!(items("[1,2,3]", 1, &mut |item| first.push(item)), 3);
        assert_eq!(first, ["1"]);
    }

    #[test]
    fn size_depth_and_half_characters_stand_alone() {
        let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
        assert!(document(&padded(MAX_OCTETS)).is_ok());
        assert_eq!(document(&padded(MAX_OCTETS + 1)).expect_err("too long").found, "1048577 octets");

        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(document(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(document(&nested(MAX_DEPTH + 1)).expect_err("too deep").offset, 5 + MAX_DEPTH - 1);
        assert!(document(&"[".repeat(MAX_OCTETS)).is_err());
        assert!(document(&format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(99))).is_ok(), "brackets in strings are text");

        assert!(document(r#"{"\ud83d\ude00":"\ud83d\ude00"}"#).is_ok());
        for (half, at) in [(r#"{"\ud83d":1}"#, 2), (r#"{"a":"\ud83d\u0041"}"#, 6), (r#"{"a":"x\ude00"}"#, 7)] {
            assert_eq!(document(half).expect_err(half).offset, at);
        }
    }

    /// Whether a document is JSON, what it holds and what its strings stand for: as serde_json has it.
    fn agrees(text: &str) {
        use serde_json::Value;
        fn tree(value: &str) -> Value {
            match kind(value) {
                Kind::Object => {
                    let mut fields = serde_json::Map::new();
                    members(value, &mut |name, value| {
                        fields.insert(string(name).into_owned(), tree(value));
                    });
                    Value::Object(fields)
                }
                Kind::List => {
                    let mut list = Vec::new();
                    items(value, usize::MAX, &mut |item| list.push(tree(item)));
                    Value::Array(list)
                }
                Kind::String => Value::String(string(value).into_owned()),
                _ => serde_json::from_str(value).unwrap_or_else(|error| panic!("{value}: {error}")),
            }
        }
        // What only serde_json minds: numbers that no f64 holds.
        match (document(text), serde_json::from_str::<Value>(text)) {
            (Ok(whole), Ok(value)) => assert_eq!(tree(whole), value, "{text}"),
            (Ok(_), Err(error)) => assert!(error.to_string().contains("number out of range"), "{text}: {error}"),
            (Err(flaw), Ok(value)) => assert!(!value.is_object(), "{text}: {flaw:?}"),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn reads_what_serde_json_reads() {
        let sound =
            r#"{"a": [1, -0.5e+3, "x\u00e9\ud83d\ude00\n\"\\\/\b\f\r\t", true, false, null, {}, [], {"b": [[]]}], "é": ""}"#;
        agrees(sound);
        // Each octet left out, doubled, or another one.
        for at in (0..sound.len()).filter(|&at| sound.is_char_boundary(at)) {
            for end in (at..sound.len().min(at + 4)).filter(|&end| sound.is_char_boundary(end)) {
                for piece in ["", "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "-", ".", "e", "t", "\u{1}", " ", "é", "\\ud800"]
                {
                    agrees(&[&sound[..at], piece, &sound[end..]].concat());
                }
            }
        }
        for text in ["", " ", "{", "[", "\"", "nul", "-", "0.", "1e", "{} {}", "{\"a\":1e999}", "{\"a\":00}", "[1]", "1"] {
            agrees(text);
        }
    }
}

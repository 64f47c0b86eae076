//! Errors that stand alone: the document is no JSON, or not one that can be read.

use crate::contract::PolicyError;

/// What is wrong with the document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// In octets.
    pub(super) offset: usize,
    pub(super) found: String,
    expected: String,
    advice: String,
}

impl Flaw {
    pub(super) fn new(offset: usize, found: impl Into<String>, expected: &str, advice: &str) -> Flaw {
        Flaw { offset, found: found.into(), expected: expected.into(), advice: advice.into() }
    }

    pub(super) fn into_error(self, text: &str) -> PolicyError {
        let (line, column) = Lines::of(text).position(self.offset);
        let Flaw { offset, found, expected, advice } = self;
        PolicyError { pointer: String::new(), line, column, offset: offset as u32, found, expected, advice }
    }
}

/// Turns offsets, in ascending order, into lines and columns; the text is gone through once.
pub(super) struct Lines<'a> {
    rest: &'a str,
    at: usize,
    line: u32,
    column: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Lines { rest: text, at: 0, line: 1, column: 1 }
    }

    /// Line and column of this offset, both from 1; an offset inside a character counts as behind it.
    pub(super) fn position(&mut self, offset: usize) -> (u32, u32) {
        let mut chars = self.rest.chars();
        while self.at < offset
            && let Some(c) = chars.next()
        {
            self.at += c.len_utf8();
            (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.rest = chars.as_str();
        (self.line, self.column)
    }
}

/// A piece of the document for people: at most 40 characters, each of them visible, runs of space as one.
pub(super) fn shorten(raw: &str) -> String {
    const LONGEST: usize = 40;
    let mut short = String::new();
    let mut length = 0;
    let mut spaces = false;
    for c in raw.chars() {
        let space = c.is_ascii_whitespace();
        if space && spaces {
            continue;
        }
        spaces = space;
        // Invisible characters, and those that turn the direction of the text, are shown as JSON escapes.
        let hidden = matches!(c as u32, 0..0x20 | 0x7f..=0xa0 | 0xad | 0x61c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f)
            || matches!(c as u32, 0xe000..=0xf8ff | 0xfe00..=0xfe0f | 0xfeff | 0xfff9..=0xffff | 0xe0000..);
        let shown = match c {
            _ if space => " ".into(),
            _ if hidden => format!("\\u{:04x}", c as u32),
            _ => c.to_string(),
        };
        length += if hidden { shown.len() } else { 1 };
        if length > LONGEST {
            while short.chars().count() > LONGEST - 3 {
                short.pop();
            }
            short.push_str("...");
            break;
        }
        short.push_str(&shown);
    }
    short
}

/// Something else than what has to stand here.
pub(super) fn unexpected(text: &str, offset: usize, expected: &'static str) -> Flaw {
    let rest = text.get(offset..).unwrap_or_default();
    let Some(next) = rest.chars().next() else {
        if text.trim_start().is_empty() {
            return Flaw::new(text.len(), "an empty document", "a JSON object", "write {} for the defaults");
        }
        let advice = "the text ends too early: close what is still open, with \", ] or }";
        return Flaw::new(text.trim_end().len(), "the end of the text", "the rest of the object", advice);
    };
    let before = text.get(..offset).unwrap_or_default().trim_end().chars().next_back();
    Flaw::new(offset, shorten(token(rest)), expected, advice(expected, next, before))
}

/// A control character in a string, which JSON writes as an escape.
pub(super) fn control_character(text: &str, offset: usize) -> Flaw {
    let found = match text.as_bytes().get(offset) {
        Some(b'\n' | b'\r') => "the end of the line",
        Some(b'\t') => "a tab",
        _ => "a control character",
    };
    let advice = "close the string before the line ends; write \\n or \\t for such a character";
    Flaw::new(offset, found, "a string on one line", advice)
}

/// What to do: from what was expected, what stands there and what stands before it.
fn advice(expected: &str, next: char, before: Option<char>) -> &'static str {
    match next {
        _ if expected == "an escape that JSON knows" => "write \\\\ for a backslash",
        '/' | '#' => "JSON has no comments: remove it",
        '}' | ']' if before == Some(',') => "remove the comma before it",
        '\'' => "write strings and field names in double quotes",
        '\u{201c}'..='\u{201e}' => "write straight double quotes, not typographic ones",
        ',' if matches!(before, Some(',' | '[' | '{')) => "remove this comma",
        _ => match expected {
            "the end of the text" => "remove what follows the closing brace",
            "a field name in double quotes" => "put the field name in double quotes",
            "a colon after the field name" => "write fields as \"name\": value",
            "a comma or ]" | "a comma or }" => "separate entries by commas; look also for a missing quote or bracket before it",
            "a number in plain digits" => "write numbers without a sign in front, leading zeros or units",
            "true, false or null" => "write true, false or null in lower case; other words need double quotes",
            _ if next.is_ascii_alphabetic() => "put words in double quotes; true and false are written in lower case",
            _ if matches!(next, '+' | '.' | '0'..='9') => "write numbers without a sign in front, leading zeros or units",
            _ => "put a value here: a string, a number, true, false, a list or an object",
        },
    }
}

/// The word, string or character at the beginning.
fn token(rest: &str) -> &str {
    let end = match rest.as_bytes().first() {
        Some(b'"') => rest.bytes().skip(1).position(|b| matches!(b, b'"' | b'\n')).map_or(rest.len(), |at| at + 2),
        Some(b) if b.is_ascii_alphanumeric() => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len()),
        _ => rest.chars().next().map_or(0, char::len_utf8),
    };
    rest.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    fn error(text: &str) -> PolicyError {
        json::document(text).expect_err(text).into_error(text)
    }

    #[test]
    fn syntax_errors_say_where_and_what_to_do() {
        let cases: [(&str, u32, u32, u32, &str, &str); 22] = [
            ("", 1, 1, 0, "an empty document", "write {} for"),
            (" \n ", 2, 2, 3, "an empty document", "write {} for"),
            ("{\"é\":1,}", 1, 8, 8, "}", "remove the comma"),
            ("{\"a\":[1,\n ]}", 2, 2, 10, "]", "remove the comma"),
            ("// x\n{}", 1, 1, 0, "/", "no comments"),
            ("{\n# x\n}", 2, 1, 2, "#", "no comments"),
            ("{\"a\":1 /* x */}", 1, 8, 7, "/", "no comments"),
            ("{'a':1}", 1, 2, 1, "'", "double quotes"),
            ("{a:1}", 1, 2, 1, "a", "in double quotes"),
            ("{\"a\":b}", 1, 6, 5, "b", "in double quotes"),
            ("{\"a\":True}", 1, 6, 5, "True", "lower case"),
            ("{\"a\" 1}", 1, 6, 5, "1", "\"name\": value"),
            ("{\"a\":1 \"b\":2}", 1, 8, 7, "\"b\"", "commas"),
            ("{\"a\":[1 2]}", 1, 9, 8, "2", "commas"),
            ("{}x", 1, 3, 2, "x", "closing brace"),
            ("{\"a\":1", 1, 7, 6, "the end of the text", "close what"),
            ("{\"a\":\"\n", 1, 7, 6, "the end of the line", "before the line ends"),
            ("{\"a\":\"x", 1, 8, 7, "the end of the text", "close what"),
            ("{\"ä\":\"b\tc\"}", 1, 8, 8, "a tab", "\\t"),
            ("{\"a\":\"\\x\"}", 1, 8, 7, "x", "backslash"),
            ("{\"a\":01}", 1, 7, 6, "1", "leading zeros"),
            ("{\"a\":+1}", 1, 6, 5, "+", "sign"),
        ];
        for (text, line, column, offset, found, advice) in cases {
            let error = error(text);
            assert_eq!((error.line, error.column, error.offset), (line, column, offset), "{text:?}: {error}");
            assert_eq!(error.found, found, "{text:?}");
            assert!(error.advice.contains(advice), "{text:?}: {error}");
            assert_eq!(error.pointer, "");
        }
    }

    #[test]
    fn other_documents_that_are_no_policy() {
        assert!(error("\u{feff}{}").advice.contains("BOM"));
        let list = error(" [1]");
        assert_eq!((list.offset, list.found.as_str(), list.expected.as_str()), (1, "[1]", "a JSON object"));
    }

    #[test]
    fn what_was_found_is_short_and_visible() {
        assert_eq!(shorten("{\n  \"a\":\t1\r\n}"), "{ \"a\": 1 }");
        assert_eq!(shorten("\"b\u{fc}cher\""), "\"b\u{fc}cher\"");
        assert_eq!(shorten("\"\u{202e}x\u{7f}\""), "\"\\u202ex\\u007f\"");
        assert_eq!(shorten(&"é".repeat(40)), "é".repeat(40));
        assert_eq!(shorten(&"é".repeat(41)), format!("{}...", "é".repeat(37)));
    }
}

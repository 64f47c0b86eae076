//! Tag lists (RFC 6376 §3.2), of which mail-auth reads more than there should be.

use std::collections::HashMap;

/// A list with more tags than this is none; RFC 6376, RFC 8617 and their extensions know some twenty.
const MAX_TAGS: usize = 64;

/// The tags of a list, each of which may come once.
pub(crate) struct Tags<'a>(HashMap<&'a str, &'a str>);

impl<'a> Tags<'a> {
    /// Absent where `value` is no tag list.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Tags<'a>> {
        let text = std::str::from_utf8(value).ok()?.trim_ascii_end();
        let mut tags = HashMap::new();
        for tag in text.strip_suffix(';').unwrap_or(text).split(';') {
            let (name, value) = tag.split_once('=')?;
            let name = name.trim_ascii();
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_name || tags.len() == MAX_TAGS || tags.insert(name, value.trim_ascii()).is_some() {
                return None;
            }
        }
        Some(Tags(tags))
    }

    /// Whether all of these are there.
    pub(crate) fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.0.contains_key(name))
    }

    /// Whether the tag, if it is there, has a time of RFC 6376 §3.5: one to twelve digits.
    pub(crate) fn has_time(&self, name: &str) -> bool {
        self.0.get(name).is_none_or(|text| (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_tags(value: &[u8], names: &[&str]) -> bool {
        Tags::parse(value).is_some_and(|tags| tags.has(names))
    }

    #[test]
    fn a_tag_list_is_read_to_the_letter() {
        for value in [" i=1; a=x", "i=1;a=x;", "\r\n\ti = 1 ;\r\n a = x ; x=;", " a=; i=; x_1=y=z;\r\n"] {
            assert!(has_tags(value.as_bytes(), &["a", "i"]), "{value}");
        }
        for value in [
            "",
            "i=1",
            "i=1; a=x; i=2",
            "i=1;; a=x",
            "i=1; a=x;;",
            "i=1; A=x",
            "i=1; a=x; y",
            "i=1; a=x; =y",
            "i=1; a=x; 1=y",
            "i=1; a=x; _x=y",
            ";i=1; a=x",
        ] {
            assert!(!has_tags(value.as_bytes(), &["a", "i"]), "{value}");
        }
        assert!(!has_tags(b"i=1; a=\xff", &["a", "i"]));
        let many = |count: usize| (0..count).map(|number| format!("x{number}=;")).collect::<String>();
        assert!(has_tags(many(MAX_TAGS).as_bytes(), &["x0"]));
        assert!(!has_tags(many(MAX_TAGS + 1).as_bytes(), &["x0"]));
    }

    #[test]
    fn a_time_is_a_number() {
        for (value, is_time) in [("a=", true), ("x=0", true), ("x= 999999999999 ", true), ("x=", false), ("x=1 2", false)] {
            assert_eq!(Tags::parse(value.as_bytes()).is_some_and(|tags| tags.has_time("x")), is_time, "{value}");
        }
        for value in ["x=-1", "x=+1", "x=1000000000000", "x=1x"] {
            assert!(Tags::parse(value.as_bytes()).is_some_and(|tags| !tags.has_time("x")), "{value}");
        }
    }
}

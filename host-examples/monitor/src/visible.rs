//! Text that a client chose, made safe to look at.

use std::fmt::{self, Write as _};

/// The text with everything that could act on what shows it written out as `\u{…}`: control characters, which act on terminals, and what
/// changes the order of a line or cannot be seen (bidirectional controls, zero-width characters, combining marks). Of characters beyond
/// ASCII only letters and digits stay as they are. A backslash is doubled, so that no text can look like another.
///
/// It is not escaped for HTML: templates do that.
pub fn visible(text: &str) -> impl fmt::Display + '_ {
    Visible(text)
}

struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                ' '..='~' => f.write_char(c)?,
                c if !c.is_ascii() && c.is_alphanumeric() => f.write_char(c)?,
                c => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            }
        }
        Ok(())
    }
}

/// JSON with all characters beyond ASCII, and DEL, as `\uXXXX` (RFC 8259 §7): the same JSON, which no terminal acts on.
pub(crate) fn ascii_json(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            ascii.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(ascii, "\\u{unit:04x}").expect("writing to a String does not fail");
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_reader_is_written_out() {
        for (text, expected) in [
            ("mail.example.net", "mail.example.net"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("grüße.example", "grüße.example"),
            ("דואר.example", "דואר.example"),
            ("", ""),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("\r\n\t\0\x7f\u{9b}", "\\u{d}\\u{a}\\u{9}\\u{0}\\u{7f}\\u{9b}"),
            ("a\u{202e}b\u{2066}\u{200f}\u{61c}", "a\\u{202e}b\\u{2066}\\u{200f}\\u{61c}"),
            ("a\u{200b}b\u{feff}\u{ad}\u{2028}\u{e0041}", "a\\u{200b}b\\u{feff}\\u{ad}\\u{2028}\\u{e0041}"),
            ("e\u{301}\u{a0}", "e\\u{301}\\u{a0}"),
            ("\\u{1b}", "\\\\u{1b}"),
            ("<script>\"'&", "<script>\"'&"),
        ] {
            assert_eq!(visible(text).to_string(), expected);
        }
    }

    #[test]
    fn ascii_json_is_the_same_json() {
        for text in ["mail", "grüße", "\u{202e}\u{7f}\u{9b}\u{1b}", "\u{1f4e7}\"\\"] {
            let json = serde_json::to_string(text).expect("a string");
            let ascii = ascii_json(&json);
            assert!(ascii.bytes().all(|b| (b' '..=b'~').contains(&b)), "{ascii}");
            assert_eq!(serde_json::from_str::<String>(&ascii).expect("JSON"), text);
        }
    }
}

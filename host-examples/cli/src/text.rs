//! Texts that a client chose, on a terminal.

use std::fmt::Write as _;

/// The text with all that could act on a terminal, or hide what is there, as `\u{…}`.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            _ if is_harmful(c) => write!(out, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String does not fail"),
            _ => out.push(c),
        }
        out
    })
}

/// The same for JSON, which stays JSON: outside its strings there is nothing harmful.
pub(crate) fn escape_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("writing to a String does not fail");
            }
        } else {
            out.push(c);
        }
        out
    })
}

/// Control characters; what changes the direction of writing; what cannot be seen; line ends of Unicode.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(escape("mail.example\u{1b}[2J\r\n\u{7f}\u{9b}31m"), r"mail.example\u{1b}[2J\u{d}\u{a}\u{7f}\u{9b}31m");
        assert_eq!(escape("moc\u{202e}elpmaxe\u{2066}\u{200b}"), r"moc\u{202e}elpmaxe\u{2066}\u{200b}");
        assert_eq!(escape("bücher.example 例え"), "bücher.example 例え");
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::Value::from("\u{7f}\u{9b}\u{202e}\u{e0001}\u{1b}ü\"");
        let escaped = escape_json(&value.to_string());
        assert_eq!(escaped, "\"\\u007f\\u009b\\u202e\\udb40\\udc01\\u001bü\\\"\"");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("JSON"), value);
    }
}

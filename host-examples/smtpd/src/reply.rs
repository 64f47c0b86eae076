//! What the server says: replies with their enhanced codes (RFC 5321 §4.2, RFC 2034).

use std::borrow::Cow;

use smtp_fallback_policy::contract;

/// The longest reply line, with code and CRLF (RFC 5321 §4.5.3.1.5).
const LINE_MAX: usize = 512;

/// A reply to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code.
    pub code: u16,
    /// The enhanced status code, which stands on every line (A39). Absent on the greeting, on the replies to EHLO and HELO, and on 354.
    pub enhanced: Option<Cow<'static, str>>,
    /// The text of each line; at least one.
    pub lines: Vec<Cow<'static, str>>,
    /// The connection is closed after it, in good order (A4).
    pub close: bool,
}

impl Reply {
    /// A reply of one line with an enhanced code, after which the session goes on.
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Reply { code, enhanced: Some(enhanced.into()), lines: vec![text.into()], close: false }
    }

    /// A reply of one line without an enhanced code.
    pub fn bare(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Reply { code, enhanced: None, lines: vec![text.into()], close: false }
    }

    /// The same reply, after which the connection is closed.
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Whether it says that the client did something wrong.
    pub fn is_error(&self) -> bool {
        self.code >= 500
    }

    /// Writes all lines. What could end a line or is not ASCII is replaced, and what is too long is cut: such text is a mistake of
    /// ours, and the client must still be able to read the reply.
    pub fn write_to(&self, output: &mut Vec<u8>) {
        for (index, text) in self.lines.iter().enumerate() {
            let separator = if index + 1 == self.lines.len() { ' ' } else { '-' };
            let start = output.len();
            output.extend_from_slice(format!("{:03}{separator}", self.code).as_bytes());
            if let Some(enhanced) = &self.enhanced {
                output.extend(enhanced.bytes().map(printable));
                output.push(b' ');
            }
            output.extend(text.chars().map(|c| if c.is_ascii() { printable(c as u8) } else { b'?' }));
            output.truncate(start + LINE_MAX - 2);
            output.extend_from_slice(b"\r\n");
        }
    }
}

impl From<contract::Reply> for Reply {
    fn from(reply: contract::Reply) -> Self {
        let contract::Reply { code, enhanced_code, lines, close } = reply;
        Reply { code, enhanced: Some(enhanced_code.into()), lines: lines.into_iter().map(Cow::Owned).collect(), close }
    }
}

fn printable(octet: u8) -> u8 {
    if matches!(octet, b' '..=b'~') { octet } else { b'?' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut output = Vec::new();
        reply.write_to(&mut output);
        String::from_utf8(output).expect("ASCII")
    }

    #[test]
    fn a39_every_line_carries_both_codes() {
        let mut reply = Reply::new(456, "4.4.8", "first");
        assert_eq!(written(&reply), "456 4.4.8 first\r\n");
        reply.lines.push("second".into());
        assert_eq!(written(&reply), "456-4.4.8 first\r\n456 4.4.8 second\r\n");
    }

    #[test]
    fn no_enhanced_code_where_there_is_none() {
        let mut reply = Reply::bare(250, "mx.example");
        reply.lines.push("PIPELINING".into());
        assert_eq!(written(&reply), "250-mx.example\r\n250 PIPELINING\r\n");
    }

    #[test]
    fn text_never_ends_a_line() {
        assert_eq!(written(&Reply::new(550, "5.0.0", "a\r\n250 ok\0é\x1b")), "550 5.0.0 a??250 ok???\r\n");
    }

    #[test]
    fn a_line_is_512_octets_at_most() {
        let fits = "x".repeat(512 - "550 5.0.0 ".len() - 2);
        assert_eq!(written(&Reply::new(550, "5.0.0", fits.clone())).len(), 512);
        assert_eq!(written(&Reply::new(550, "5.0.0", fits + "y")), written(&Reply::new(550, "5.0.0", "x".repeat(600))));
    }
}

//! What the server says: replies with their enhanced codes (RFC 5321 §4.2, RFC 2034).

use std::borrow::Cow;

use smtp_fallback_policy::contract;

/// The longest reply line, with code and CRLF (RFC 5321 §4.5.3.1.5).
const LINE_MAX: usize = 512;

/// What the client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientReads {
    /// Enhanced codes; without, they are left out (R6).
    pub enhanced: bool,
    /// UTF-8, since it uses SMTPUTF8 (RFC 6531 §3.7.4.2); without, what is not ASCII is replaced.
    pub utf8: bool,
}

impl ClientReads {
    /// What a client is taken to read that has not said anything yet.
    pub const BEFORE_EHLO: ClientReads = ClientReads { enhanced: true, utf8: false };

    fn can_read(self, character: char) -> bool {
        matches!(character, ' '..='~' | '\t') || (self.utf8 && !character.is_ascii() && !character.is_control())
    }
}

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
    /// Whose words they are.
    pub by: By,
}

/// Who made a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This server.
    Server,
    /// The policy.
    Policy,
    /// Another server, whose reply is passed on word for word. Its enhanced code is part of the text.
    Upstream,
}

impl Reply {
    /// A reply of one line with an enhanced code, after which the session goes on.
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Reply { code, enhanced: Some(enhanced.into()), lines: vec![text.into()], close: false, by: By::Server }
    }

    /// A reply of one line without an enhanced code.
    pub fn bare(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Reply { code, enhanced: None, lines: vec![text.into()], close: false, by: By::Server }
    }

    /// Another server's reply. `lines` are what follows the code, without line ends and control characters. After a 421 there is nothing
    /// more to be had from that server (RFC 5321 §3.8), and the session ends, too.
    pub fn relayed(code: u16, lines: impl IntoIterator<Item = String>) -> Self {
        let lines = lines.into_iter().map(Cow::Owned).collect();
        Reply { code, enhanced: None, lines, close: code == 421, by: By::Upstream }
    }

    /// The same reply, after which the connection is closed.
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Whether it says that the command was done.
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether it says that the client did something wrong.
    pub fn is_error(&self) -> bool {
        self.code >= 500
    }

    /// Writes all lines. What could end a line is replaced. In a reply of this server what is too long is cut: such text is a mistake of
    /// ours, and the client must still be able to read the reply.
    pub fn write_to(&self, output: &mut Vec<u8>, client: ClientReads) {
        // This server's own texts are ASCII: anything else is a mistake.
        let client = ClientReads { utf8: client.utf8 && self.by == By::Upstream, ..client };
        for (index, text) in self.lines.iter().enumerate() {
            let separator = if index + 1 == self.lines.len() { ' ' } else { '-' };
            let start = output.len();
            output.extend_from_slice(format!("{:03}{separator}", self.code).as_bytes());
            if let Some(enhanced) = self.enhanced.as_ref().filter(|_| client.enhanced) {
                output.extend(enhanced.bytes().map(printable));
                output.push(b' ');
            }
            let text: String = text.chars().map(|c| if client.can_read(c) { c } else { '?' }).collect();
            output.extend_from_slice(text.as_bytes());
            if self.by != By::Upstream {
                output.truncate(start + LINE_MAX - 2);
            }
            output.extend_from_slice(b"\r\n");
        }
    }
}

impl From<contract::Reply> for Reply {
    fn from(reply: contract::Reply) -> Self {
        let contract::Reply { code, enhanced_code, lines, close } = reply;
        Reply {
            code,
            enhanced: Some(enhanced_code.into()),
            lines: lines.into_iter().map(Cow::Owned).collect(),
            close,
            by: By::Policy,
        }
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
        reply.write_to(&mut output, ClientReads { enhanced: true, utf8: true });
        String::from_utf8(output).expect("UTF-8")
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
    fn r6_the_enhanced_code_can_be_left_out() {
        let mut output = Vec::new();
        Reply::new(451, "4.3.0", "no").write_to(&mut output, ClientReads { enhanced: false, utf8: false });
        assert_eq!(output, b"451 no\r\n");
    }

    #[test]
    fn anothers_reply_is_passed_on_word_for_word() {
        let long = format!("5.7.1 {}", "x".repeat(600));
        let reply = Reply::relayed(550, ["5.7.1 schön".to_owned(), long.clone(), String::new()]);
        assert_eq!(written(&reply), format!("550-5.7.1 schön\r\n550-{long}\r\n550 \r\n"));
        assert!(!reply.close && Reply::relayed(421, []).close);
        assert_eq!(written(&Reply::relayed(250, ["a\r\n\u{85}b\0".to_owned()])), "250 a???b?\r\n");
        let mut output = Vec::new();
        Reply::relayed(250, ["schön".to_owned()]).write_to(&mut output, ClientReads::BEFORE_EHLO);
        assert_eq!(output, b"250 sch?n\r\n", "a client without SMTPUTF8 reads ASCII");
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

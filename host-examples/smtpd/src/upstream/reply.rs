//! What upstream answers (RFC 5321 §4.2).
//!
//! It is passed on to the client, so what could end a line there, or is no text, is never taken for a reply.

use std::fmt;

/// The longest reply line with its CRLF. RFC 5321 §4.5.3.1.5 allows 512; this is generous.
const LINE_MAX: usize = 4096;
/// The lines of the longest reply.
const LINES_MAX: usize = 100;
/// Service not available, closing transmission channel.
const CLOSING: u16 = 421;

/// A reply of upstream, word for word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code: 200 to 599.
    pub code: u16,
    /// What follows the code and the separator on each line; at least one. Printable, with tabs at most; control characters, and octets
    /// that are no UTF-8, are replaced. Not ASCII only: UTF-8 is for clients that use SMTPUTF8 (RFC 6531 §3.7.4.2).
    pub lines: Vec<String>,
}

impl Reply {
    /// 2yz: done.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz: more is wanted.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4yz or 5yz.
    pub fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// 4yz: try again later.
    pub fn is_temporary(&self) -> bool {
        self.code / 100 == 4
    }

    /// 421: upstream closes the connection, whatever the command was.
    pub fn is_closing(&self) -> bool {
        self.code == CLOSING
    }
}

/// In one line, for a log.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

/// Makes replies of octets, however they are cut.
#[derive(Debug, Default)]
pub(super) struct Reader {
    input: Vec<u8>,
    /// The lines so far of a reply that has more.
    code: u16,
    lines: Vec<String>,
}

impl Reader {
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    /// Whether there is nothing, not even the start of a reply.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_empty() && self.lines.is_empty()
    }

    /// Whether there is nothing, or what can be the start of a reply 421.
    pub(super) fn may_be_closing(&self) -> bool {
        let code = CLOSING.to_string();
        let start = &self.input[..self.input.len().min(code.len())];
        self.lines.is_empty() && code.as_bytes().starts_with(start)
    }

    /// The next reply, once it is complete; or what is wrong with it.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, &'static str> {
        while let Some(lf) = self.input.iter().position(|octet| *octet == b'\n') {
            let (code, last, text) = line(&self.input[..=lf])?;
            if self.lines.is_empty() {
                self.code = code;
            } else if code != self.code {
                return Err("the lines of a reply differ in their codes");
            }
            if self.lines.len() == LINES_MAX {
                return Err("a reply of more than 100 lines");
            }
            self.lines.push(text);
            self.input.drain(..=lf);
            if last {
                return Ok(Some(Reply { code, lines: std::mem::take(&mut self.lines) }));
            }
        }
        if self.input.len() >= LINE_MAX { Err(TOO_LONG) } else { Ok(None) }
    }
}

const TOO_LONG: &str = "a line of more than 4096 octets";

/// The code, whether it is the last line, and the text.
fn line(line: &[u8]) -> Result<(u16, bool, String), &'static str> {
    if line.len() > LINE_MAX {
        return Err(TOO_LONG);
    }
    let line = line.strip_suffix(b"\r\n").ok_or("a line that ends with a bare LF")?;
    let (digits, rest) = line.split_at_checked(3).ok_or("a line without a reply code")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err("a line without a reply code");
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    if !(200..600).contains(&code) {
        return Err("a reply code outside 200 to 599");
    }
    let (last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return Err("neither a space nor a hyphen after the reply code"),
    };
    if text.contains(&b'\r') {
        return Err("a bare CR in a text");
    }
    // Code and lines are beyond doubt, and they decide about the message: what is no text is only not shown.
    let text = String::from_utf8_lossy(text).chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect();
    Ok((code, last, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All replies in `octets`, pushed in pieces of each of several sizes.
    fn read(octets: &[u8]) -> Result<Vec<Reply>, &'static str> {
        let read = |piece: usize| {
            let mut reader = Reader::default();
            let mut replies = Vec::new();
            for part in octets.chunks(piece) {
                reader.push(part);
                while let Some(reply) = reader.next()? {
                    replies.push(reply);
                }
            }
            Ok(replies)
        };
        let whole = read(usize::MAX);
        for piece in [1, 2, 3, 7] {
            assert_eq!(read(piece), whole, "pieces of {piece}");
        }
        whole
    }

    fn reply(code: u16, lines: &[&str]) -> Reply {
        Reply { code, lines: lines.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn reads_what_is_a_reply() {
        assert_eq!(read(b"250 2.1.0 Ok\r\n"), Ok(vec![reply(250, &["2.1.0 Ok"])]));
        assert_eq!(read(b"250-a\r\n250-\r\n250 b\r\n"), Ok(vec![reply(250, &["a", "", "b"])]));
        assert_eq!(read(b"354\r\n599 \r\n200 -\t \r\n"), Ok(vec![reply(354, &[""]), reply(599, &[""]), reply(200, &["-\t "])]));
        assert_eq!(read("550 grüße\r\n".as_bytes()), Ok(vec![reply(550, &["grüße"])]));
        assert_eq!(read(b"250-a\r\n250"), Ok(vec![]), "not complete");
    }

    #[test]
    fn refuses_what_is_none() {
        for (octets, fault) in [
            (&b"250 ok\n"[..], "a line that ends with a bare LF"),
            (b"\n", "a line that ends with a bare LF"),
            (b"\r\n", "a line without a reply code"),
            (b"25\r\n", "a line without a reply code"),
            (b"2a0 ok\r\n", "a line without a reply code"),
            (b"+50 ok\r\n", "a line without a reply code"),
            ("٢٥٠ ok\r\n".as_bytes(), "a line without a reply code"),
            (b"199 ok\r\n", "a reply code outside 200 to 599"),
            (b"600 ok\r\n", "a reply code outside 200 to 599"),
            (b"2500 ok\r\n", "neither a space nor a hyphen after the reply code"),
            (b"250\tok\r\n", "neither a space nor a hyphen after the reply code"),
            (b"250-a\r\n251 b\r\n", "the lines of a reply differ in their codes"),
            (b"250 a\rb\r\n", "a bare CR in a text"),
            (b"250 a\r\r\n", "a bare CR in a text"),
        ] {
            assert_eq!(read(octets), Err(fault), "{:?}", String::from_utf8_lossy(octets));
        }
    }

    #[test]
    fn a_line_has_a_limit() {
        let longest = "x".repeat(LINE_MAX - 6);
        assert_eq!(read(format!("250 {longest}\r\n").as_bytes()), Ok(vec![reply(250, &[&longest])]));
        assert_eq!(read(format!("250 {longest}y\r\n").as_bytes()), Err(TOO_LONG));
        assert_eq!(read("x".repeat(LINE_MAX).as_bytes()), Err(TOO_LONG), "without waiting for its end");
    }

    #[test]
    fn a_reply_has_a_limit() {
        let longest = "250-x\r\n".repeat(LINES_MAX - 1);
        assert_eq!(read(format!("{longest}250 y\r\n").as_bytes()).expect("fits")[0].lines.len(), LINES_MAX);
        assert_eq!(read(format!("{longest}250-y\r\n250 z\r\n").as_bytes()), Err("a reply of more than 100 lines"));
    }

    #[test]
    fn knows_what_may_become_421() {
        for (octets, expected) in
            [("", true), ("4", true), ("421", true), ("421-x", true), ("4x", false), ("25", false), ("422 ", false)]
        {
            let mut reader = Reader::default();
            reader.push(octets.as_bytes());
            assert_eq!(reader.may_be_closing(), expected, "{octets:?}");
        }
    }

    #[test]
    fn shown_in_one_line() {
        let replies = read(b"550-5.7.1 first\r\n550-\r\n550 5.7.1 last\r\n").expect("a reply");
        assert_eq!(replies[0].to_string(), "550 5.7.1 first /  / 5.7.1 last");
    }

    #[test]
    fn what_is_no_text_costs_the_text_and_not_the_reply() {
        assert_eq!(read(b"250 gr\xfc\xdfe\x1b[2J\0\r\n"), Ok(vec![reply(250, &["gr\u{fffd}\u{fffd}e?[2J?"])]));
    }
}

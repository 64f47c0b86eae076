//! The text of a message after DATA (RFC 5321 §4.5.2), and the replies to it.

use super::{Error, Reply};

/// What upstream said to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The replies: one, or with LMTP one for each recipient, in the order in which they were accepted.
    pub replies: Vec<Reply>,
}

impl Delivered {
    /// The same reply for all.
    pub(super) fn alike(reply: Reply, expected: usize) -> Self {
        Delivered { replies: vec![reply; expected] }
    }

    /// One reply for all recipients, for a client that gets only one (SMTP in front of LMTP).
    ///
    /// If all are 2yz, the first. If one is 4yz, the first such: the client comes back. If all are 5yz, the first. What remains is that some
    /// recipients have the message and others never will, and SMTP has no reply for that: 2yz would lose the message for the others
    /// without a word, 5yz would return it for all. It is 451, so that nothing is lost: the client comes back until its queue time
    /// is over, and those who have the message get it again each time. A session avoids this by taking one recipient for a
    /// transaction when upstream speaks LMTP.
    pub fn combined(&self) -> Reply {
        let first = |wanted: fn(&Reply) -> bool| self.replies.iter().find(|reply| wanted(reply)).cloned();
        let accepted = first(Reply::is_positive);
        let refused = first(Reply::is_temporary).or_else(|| first(Reply::is_refusal));
        match (accepted, refused) {
            (Some(accepted), None) => accepted,
            (Some(_), Some(refused)) if !refused.is_temporary() => Reply {
                code: 451,
                lines: vec!["4.3.0 accepted for some of the recipients, not for all; try again later".to_owned()],
            },
            (_, Some(refused)) => refused,
            (None, None) => Reply { code: 451, lines: vec!["4.3.0 no answer from the mail system; try again later".to_owned()] },
        }
    }
}

/// Refuses a text that upstream may take for more than one message (SMTP smuggling): one with a bare CR or a bare LF, also where two
/// parts meet; or with NUL. Others should have seen it before; this is the last place where it can be seen.
pub(super) fn check(parts: &[&[u8]]) -> Result<(), Error> {
    let mut after_cr = false;
    for octet in parts.iter().copied().flatten() {
        match octet {
            b'\n' if !after_cr => return Err(Error::Unsendable("the text of the message has a bare LF")),
            b'\n' => {}
            _ if after_cr => return Err(Error::Unsendable("the text of the message has a bare CR")),
            0 => return Err(Error::Unsendable("the text of the message has NUL")),
            _ => {}
        }
        after_cr = *octet == b'\r';
    }
    if after_cr { Err(Error::Unsendable("the text of the message has a bare CR")) } else { Ok(()) }
}

/// Protects the dots at the start of lines.
#[derive(Debug)]
pub(super) struct Stuffer {
    line_start: bool,
}

impl Default for Stuffer {
    fn default() -> Self {
        Stuffer { line_start: true }
    }
}

impl Stuffer {
    /// Writes a piece of the text, cut anywhere.
    pub(super) fn push(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        for line in piece.split_inclusive(|octet| *octet == b'\n') {
            if self.line_start && line.starts_with(b".") {
                output.push(b'.');
            }
            output.extend_from_slice(line);
            self.line_start = line.ends_with(b"\n");
        }
    }

    /// Writes the end: CRLF, where the text has none there, and the dot.
    pub(super) fn finish(self, output: &mut Vec<u8>) {
        if !self.line_start {
            output.extend_from_slice(b"\r\n");
        }
        output.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_line_ends_are_sent() {
        for parts in [&[&b""[..]][..], &[], &[b"a\r\nb"], &[b"a\r", b"\n"], &[b"a\r", b"", b"\nb\r\n"], &[b"\r\n\r\n"]] {
            assert!(check(parts).is_ok(), "{parts:?}");
        }
        for (parts, fault) in [
            (&[&b"a\nb"[..]][..], "LF"),
            (&[b"\n"], "LF"),
            (&[b"a\r\n\n.\r\n"], "LF"),
            (&[b"a", b"\n"], "LF"),
            (&[b"a\rb"], "CR"),
            (&[b"a\r"], "CR"),
            (&[b"a\r", b""], "CR"),
            (&[b"a\r", b"b"], "CR"),
            (&[b"a\r\r\n"], "CR"),
            (&[b"a\r\0\n"], "CR"),
            (&[b"a\0"], "NUL"),
        ] {
            let error = check(parts).expect_err("refused").to_string();
            assert!(error.ends_with(fault), "{parts:?}: {error}");
        }
    }

    fn stuffed(text: &[u8]) -> Vec<u8> {
        let stuff = |piece: usize| {
            let mut stuffer = Stuffer::default();
            let mut output = Vec::new();
            text.chunks(piece).for_each(|piece| stuffer.push(piece, &mut output));
            stuffer.finish(&mut output);
            output
        };
        let whole = stuff(usize::MAX);
        for piece in 1..5 {
            assert_eq!(stuff(piece), whole, "pieces of {piece}");
        }
        whole
    }

    #[test]
    fn dots_are_protected() {
        assert_eq!(stuffed(b""), b".\r\n");
        assert_eq!(stuffed(b"a\r\n"), b"a\r\n.\r\n");
        assert_eq!(stuffed(b"a"), b"a\r\n.\r\n");
        assert_eq!(stuffed(b"."), b"..\r\n.\r\n");
        assert_eq!(stuffed(b".\r\n..\r\na.b\r\n\r\n.c"), b"..\r\n...\r\na.b\r\n\r\n..c\r\n.\r\n");
    }

    #[test]
    fn combined_loses_nothing() {
        for (codes, expected) in [
            (&[250][..], 250),
            (&[250, 251], 250),
            (&[550], 550),
            (&[550, 552], 550),
            (&[452], 452),
            (&[550, 452], 452),
            (&[250, 452], 452),
            (&[250, 550, 452], 452),
            (&[421, 452], 421),
            (&[250, 550], 451),
            (&[550, 250, 250], 451),
            (&[], 451),
        ] {
            let replies =
                codes.iter().enumerate().map(|(index, code)| Reply { code: *code, lines: vec![index.to_string()] }).collect();
            let delivered = Delivered { replies };
            let combined = delivered.combined();
            assert_eq!(combined.code, expected, "{codes:?}");
            let said = codes.iter().position(|code| *code == expected);
            assert_eq!(said.is_some(), delivered.replies.contains(&combined), "word for word where it was said");
            assert!(said.is_none_or(|index| combined.lines[0] == index.to_string()), "the first");
        }
    }
}

//! A message after DATA (RFC 5321 §4.1.1.4 and §4.5.2).
//!
//! Only CRLF "." CRLF ends it. A bare CR, a bare LF or NUL does not, and spoils it: the text is read to its end and refused.

use crate::text::{Builder, Fault, Text};
use smtp_fallback_daemon::memory::Share;

/// Reads a message piece by piece.
#[derive(Debug)]
pub struct Decoder {
    text: Builder,
    state: State,
    /// There was a line end that others may read otherwise, or NUL, whether or not the message had another fault before.
    ambiguous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After CRLF, or at the start.
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot at the start of a line, and CR.
    DotCr,
    /// Inside a line.
    Inside,
    /// After CR inside a line.
    Cr,
    /// After CRLF "." CRLF.
    Done,
}

impl Decoder {
    /// `limit` is the size of the longest message, in octets.
    pub fn new(limit: usize, memory: &Share) -> Self {
        Decoder { text: Builder::new(limit, memory), state: State::LineStart, ambiguous: false }
    }

    /// Takes octets up to the end of the message, and says how many it took.
    pub fn push(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            let octet = input[at];
            match (self.state, octet) {
                (State::LineStart, b'.') => self.state = State::Dot,
                (State::Dot, b'\r') => self.state = State::DotCr,
                (State::DotCr, b'\n') => self.state = State::Done,
                // The dot was alone on its line with a bare CR.
                (State::DotCr, _) => {
                    self.spoil(Fault::BareCr);
                    continue;
                }
                (State::Cr, b'\n') => {
                    self.text.end_line();
                    self.state = State::LineStart;
                }
                (State::Cr, _) => {
                    self.spoil(Fault::BareCr);
                    continue;
                }
                (_, b'\r') => self.state = State::Cr,
                (_, b'\n') => self.spoil(Fault::BareLf),
                (_, 0) => self.spoil(Fault::Nul),
                _ => {
                    let rest = &input[at..];
                    let run = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0)).unwrap_or(rest.len());
                    self.text.part(&rest[..run]);
                    self.state = State::Inside;
                    at += run;
                    continue;
                }
            }
            at += 1;
        }
        at
    }

    /// Whether the end of the message was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether so much of a spoiled message was thrown away that it is not worth waiting for its end.
    pub fn is_exhausted(&self) -> bool {
        self.text.is_exhausted()
    }

    /// Whether a bare CR, a bare LF or NUL was read: another server may have seen the end of the message there.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// The message, or why it is refused: the first thing that was wrong.
    pub fn finish(self) -> Result<Text, Fault> {
        self.text.finish()
    }

    fn spoil(&mut self, fault: Fault) {
        self.text.spoil(fault);
        self.ambiguous = true;
        self.state = State::Inside;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::LINE_MAX;
    use proptest::prelude::*;

    const LIMIT: usize = 100_000;

    /// The message and what was left over, with the input cut into pieces of each of several sizes.
    fn decoded(input: &[u8]) -> (Result<Vec<u8>, Fault>, usize) {
        let read = |piece: usize| {
            let memory = Share::unlimited();
            let mut decoder = Decoder::new(LIMIT, &memory);
            let mut used = 0;
            for part in input.chunks(piece) {
                let taken = decoder.push(part);
                used += taken;
                if taken < part.len() {
                    break;
                }
            }
            assert!(decoder.is_done(), "{:?} has no end", String::from_utf8_lossy(input));
            (decoder.finish().map(|text| text.octets().to_vec()), input.len() - used)
        };
        let whole = read(usize::MAX);
        for piece in 1..5 {
            assert_eq!(read(piece), whole, "pieces of {piece}");
        }
        whole
    }

    fn text(input: &str) -> Vec<u8> {
        decoded(input.as_bytes()).0.expect(input)
    }

    fn fault(input: &str) -> Fault {
        let (result, left) = decoded(input.as_bytes());
        assert_eq!(left, 0, "{input:?} ended too early");
        result.expect_err(input)
    }

    #[test]
    fn ends_at_crlf_dot_crlf() {
        assert_eq!(text("Subject: a\r\n\r\nb\r\n.\r\n"), b"Subject: a\r\n\r\nb\r\n");
        assert_eq!(text(".\r\n"), b"");
        assert_eq!(text("\r\n.\r\n"), b"\r\n");
        assert_eq!(decoded(b"a\r\n.\r\nMAIL").1, 4);
    }

    #[test]
    fn takes_the_protecting_dots_away() {
        assert_eq!(text("..\r\n...\r\n.a\r\na.\r\n.\r\n"), b".\r\n..\r\na\r\na.\r\n");
        assert_eq!(text("..\r\r\n.\r\n".replace("\r\r", "\r").as_str()), b".\r\n");
    }

    #[test]
    fn nothing_else_ends_it() {
        assert_eq!(fault("a\n.\n\r\n.\r\n"), Fault::BareLf);
        assert_eq!(fault("a\n.\r\n\r\n.\r\n"), Fault::BareLf);
        assert_eq!(fault("a\r\n.\nb\r\n.\r\n"), Fault::BareLf);
        assert_eq!(fault("a\r.\r\r\n.\r\n"), Fault::BareCr);
        assert_eq!(fault("a\r.\r\nb\r\n.\r\n"), Fault::BareCr);
        assert_eq!(fault("a\r\n.\rb\r\n.\r\n"), Fault::BareCr);
        assert_eq!(fault("a\r\n.\r\r\n.\r\n"), Fault::BareCr);
        assert_eq!(fault("\n.\r\n\r\n.\r\n"), Fault::BareLf);
        assert_eq!(fault("a\r\n\n.\r\nb\r\n.\r\n"), Fault::BareLf);
        assert_eq!(fault("a\r\n\0.\r\nb\r\n.\r\n"), Fault::Nul);
        assert_eq!(fault("a\r\0\n.\r\n\r\n.\r\n"), Fault::BareCr);
        assert_eq!(fault("a\0\r\n.\r\n"), Fault::Nul);
        assert_eq!(fault(".\0\r\n.\r\n"), Fault::Nul);
    }

    #[test]
    fn a_line_has_a_limit() {
        let longest = "x".repeat(LINE_MAX - 2);
        assert_eq!(text(&format!("{longest}\r\n{longest}\r\n.\r\n")).len(), 2 * LINE_MAX);
        assert_eq!(fault(&format!("a\r\n{longest}y\r\n.\r\n")), Fault::LineTooLong);
    }

    #[test]
    fn a_message_has_a_limit() {
        let lines = |octets: usize| format!("{}\r\n.\r\n", "x\r\n".repeat(octets / 3) + &"y".repeat(octets % 3));
        assert_eq!(text(&lines(LIMIT - 2)).len(), LIMIT);
        assert_eq!(fault(&lines(LIMIT - 1)), Fault::TooLarge);
    }

    #[test]
    fn a_message_without_end_exhausts() {
        let memory = Share::unlimited();
        let mut decoder = Decoder::new(LIMIT, &memory);
        let mut pushed = 0;
        while !decoder.is_exhausted() {
            decoder.push(b"a line of text\r\n");
            pushed += 16;
            assert!(pushed < 3 << 20, "read on for ever");
        }
        assert!(pushed > LIMIT);
    }

    /// Octets that matter here, mostly.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"\r\n\r\n...a\0".to_vec()), 0..40)
    }

    proptest! {
        #[test]
        fn only_the_true_end_ends_it(mut input in hostile()) {
            input.extend_from_slice(b"\r\n.\r\n");
            let end = if input.starts_with(b".\r\n") {
                3
            } else {
                input.windows(5).position(|octets| octets == b"\r\n.\r\n").expect("appended") + 5
            };
            let (result, left) = decoded(&input);
            prop_assert_eq!(input.len() - left, end);
            // What is kept could be sent again: its line ends are whole.
            if let Ok(text) = result {
                let text = String::from_utf8(text).expect("ASCII");
                prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
                prop_assert!(text.is_empty() || text.ends_with("\r\n"));
            }
        }
    }
}

//! The text of a message as it comes after DATA (RFC 5321 §4.1.1.4 and §4.5.2).
//!
//! Only CRLF "." CRLF ends it. A bare CR, a bare LF or NUL does not, and spoils it: the text is read to its end and refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest line of a message with its CRLF. RFC 5321 §4.5.3.1.6 asks for 1000; real mail has more.
pub const LINE_MAX: usize = 8192;

/// What is reserved of the memory at once.
const STEP: usize = 64 * 1024;

/// The memory that all messages being received may take together.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    taken: AtomicUsize,
}

impl Memory {
    /// `limit` in octets.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Memory { limit, taken: AtomicUsize::new(0) })
    }

    fn take(&self, octets: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(octets).filter(|sum| *sum <= self.limit);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// A message as it was sent, without the dots that protected its lines. Gives its memory back when dropped.
#[derive(Debug)]
pub struct Text {
    octets: Vec<u8>,
    reserved: usize,
    memory: Arc<Memory>,
}

impl Text {
    /// The octets; each line ends with CRLF.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.reserved, Ordering::Relaxed);
    }
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A CR without LF.
    BareCr,
    /// An LF without CR.
    BareLf,
    /// A NUL octet.
    Nul,
    /// A line longer than [`LINE_MAX`].
    LineTooLong,
    /// The message is longer than its limit.
    TooLarge,
    /// The memory for all messages is in use.
    OutOfMemory,
}

/// Reads a message piece by piece.
#[derive(Debug)]
pub struct Decoder {
    text: Text,
    limit: usize,
    state: State,
    /// Octets of the current line so far, as sent.
    line: usize,
    /// Octets of a spoiled message that were thrown away.
    discarded: usize,
    fault: Option<Fault>,
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
    pub fn new(limit: usize, memory: &Arc<Memory>) -> Self {
        Decoder {
            text: Text { octets: Vec::new(), reserved: 0, memory: Arc::clone(memory) },
            limit,
            state: State::LineStart,
            line: 0,
            discarded: 0,
            fault: None,
        }
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
                    self.state = State::Inside;
                    continue;
                }
                (State::Cr, b'\n') => {
                    self.keep(b"\r\n");
                    self.line = 0;
                    self.state = State::LineStart;
                }
                (State::Cr, _) => {
                    self.spoil(Fault::BareCr);
                    self.state = State::Inside;
                    continue;
                }
                (_, b'\r') => self.state = State::Cr,
                (_, b'\n') => {
                    self.spoil(Fault::BareLf);
                    self.state = State::Inside;
                }
                (_, 0) => {
                    self.spoil(Fault::Nul);
                    self.state = State::Inside;
                }
                _ => {
                    let rest = &input[at..];
                    let run = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0)).unwrap_or(rest.len());
                    self.keep(&rest[..run]);
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
        self.discarded > self.limit.max(1 << 20)
    }

    /// The message, or why it is refused: the first thing that was wrong.
    pub fn finish(self) -> Result<Text, Fault> {
        match self.fault {
            None => Ok(self.text),
            Some(fault) => Err(fault),
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        self.line += octets.len();
        let longest = if octets == b"\r\n" { LINE_MAX } else { LINE_MAX - 2 };
        if self.line > longest {
            self.spoil(Fault::LineTooLong);
        }
        let size = self.text.octets.len() + octets.len();
        if size > self.limit {
            self.spoil(Fault::TooLarge);
        } else if self.fault.is_none() && size > self.text.reserved {
            let step = (size - self.text.reserved).max(STEP);
            if self.text.memory.take(step) {
                self.text.reserved += step;
            } else {
                self.spoil(Fault::OutOfMemory);
            }
        }
        if self.fault.is_some() {
            self.discarded += octets.len();
        } else {
            self.text.octets.extend_from_slice(octets);
        }
    }

    fn spoil(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
        self.discarded += 1;
        self.text.octets = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 100_000;

    /// The message and what was left over, with the input cut into pieces of each of several sizes.
    fn decoded(input: &[u8]) -> (Result<Vec<u8>, Fault>, usize) {
        let read = |piece: usize| {
            let memory = Memory::new(usize::MAX);
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
        let memory = Memory::new(usize::MAX);
        let mut decoder = Decoder::new(LIMIT, &memory);
        let mut pushed = 0;
        while !decoder.is_exhausted() {
            decoder.push(b"a line of text\r\n");
            pushed += 16;
            assert!(pushed < 3 << 20, "read on for ever");
        }
        assert!(pushed > LIMIT);
    }

    #[test]
    fn messages_share_the_memory_and_give_it_back() {
        let memory = Memory::new(3 * STEP);
        let message = |memory: &Arc<Memory>| {
            let mut decoder = Decoder::new(10 * STEP, memory);
            decoder.push("0123456789abcd\r\n".repeat(2 * STEP / 16).as_bytes());
            decoder.push(b".\r\n");
            decoder.finish()
        };
        let first = message(&memory).expect("there is room for one");
        assert_eq!(message(&memory).expect_err("there is none for two"), Fault::OutOfMemory);
        drop(first);
        message(&memory).expect("there is room again");
        assert_eq!(memory.taken.load(Ordering::Relaxed), 0);
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

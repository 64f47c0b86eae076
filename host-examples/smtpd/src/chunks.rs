//! A message in chunks, after BDAT (RFC 3030 §2).
//!
//! Nothing in a chunk ends it: its size is named before. Its lines are held to the same rules as after DATA, since what reads the
//! message later finds its lines by their ends, too.

use crate::text::{Builder, Fault, Text};
use smtp_fallback_daemon::memory::Share;

/// Puts the chunks of one message together.
#[derive(Debug)]
pub struct Chunks {
    text: Builder,
    /// The last octet was CR.
    after_cr: bool,
}

impl Chunks {
    /// `limit` is the size of the longest message, in octets.
    pub fn new(limit: usize, memory: &Share) -> Self {
        Chunks { text: Builder::new(limit, memory), after_cr: false }
    }

    /// Says that a chunk of `size` octets comes. One that makes the message too long spoils it at once, so that none of it is kept.
    pub fn announce(&mut self, size: u64) {
        if !self.text.has_room_for(size) {
            self.text.spoil(Fault::TooLarge);
        }
    }

    /// Takes octets of a chunk.
    pub fn push(&mut self, mut input: &[u8]) {
        while let Some(&octet) = input.first() {
            let mut used = 1;
            match octet {
                b'\n' if self.after_cr => self.text.end_line(),
                _ if self.after_cr => {
                    self.text.spoil(Fault::BareCr);
                    used = 0;
                }
                b'\r' => {}
                b'\n' => self.text.spoil(Fault::BareLf),
                0 => self.text.spoil(Fault::Nul),
                _ => {
                    used = input.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0)).unwrap_or(input.len());
                    self.text.part(&input[..used]);
                }
            }
            self.after_cr = octet == b'\r' && used == 1;
            input = &input[used..];
        }
    }

    /// What is wrong so far.
    pub fn fault(&self) -> Option<Fault> {
        self.text.fault()
    }

    /// The message, after the last chunk. Its last line gets its CRLF where the client left it out; a message that ends in a bare CR is
    /// refused.
    pub fn finish(mut self) -> Result<Text, Fault> {
        if self.after_cr {
            self.text.spoil(Fault::BareCr);
        } else if self.text.is_inside_line() {
            self.text.end_line();
        }
        self.text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::LINE_MAX;
    use proptest::prelude::*;

    const LIMIT: usize = 100_000;

    /// The message, with the input cut into pieces of each of several sizes.
    fn read(input: &[u8]) -> Result<Vec<u8>, Fault> {
        let read = |piece: usize| {
            let mut chunks = Chunks::new(LIMIT, &Share::unlimited());
            input.chunks(piece).for_each(|part| chunks.push(part));
            chunks.finish().map(|text| text.octets().to_vec())
        };
        let whole = read(usize::MAX);
        for piece in 1..5 {
            assert_eq!(read(piece), whole, "pieces of {piece}");
        }
        whole
    }

    #[test]
    fn keeps_whole_lines_as_they_are() {
        for text in ["", "a\r\n", "a\r\n\r\nb\r\n", ".\r\n", "..a\r\n.\r\n"] {
            assert_eq!(read(text.as_bytes()), Ok(text.as_bytes().to_vec()));
        }
        assert_eq!(read(b"a\r\nb"), Ok(b"a\r\nb\r\n".to_vec()), "the last line gets its end");
    }

    #[test]
    fn refuses_line_ends_that_others_may_read_otherwise() {
        for (input, fault) in [
            (&b"a\nb\r\n"[..], Fault::BareLf),
            (b"a\r\n.\nb\r\n", Fault::BareLf),
            (b"\n", Fault::BareLf),
            (b"a\rb\r\n", Fault::BareCr),
            (b"a\r\r\n", Fault::BareCr),
            (b"a\r\0\n", Fault::BareCr),
            (b"a\r", Fault::BareCr),
            (b"a\r\n.\r", Fault::BareCr),
            (b"a\0\r\n", Fault::Nul),
        ] {
            assert_eq!(read(input), Err(fault), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn lines_and_messages_have_limits() {
        let line = |length: usize| [vec![b'x'; length - 2], b"\r\n".to_vec()].concat();
        assert_eq!(read(&line(LINE_MAX)).map(|text| text.len()), Ok(LINE_MAX));
        assert_eq!(read(&line(LINE_MAX + 1)), Err(Fault::LineTooLong));
        let message = line(1000).repeat(LIMIT / 1000);
        assert_eq!(read(&message).map(|text| text.len()), Ok(LIMIT));
        assert_eq!(read(&[&message[..], b"x"].concat()), Err(Fault::TooLarge));
        assert_eq!(read(&[&message[..LIMIT - 2], b"x"].concat()), Err(Fault::TooLarge), "its CRLF counts");
    }

    #[test]
    fn a_chunk_is_refused_before_it_comes() {
        for (announced, fault) in
            [(LIMIT as u64, None), (LIMIT as u64 + 1, Some(Fault::TooLarge)), (u64::MAX, Some(Fault::TooLarge))]
        {
            let mut chunks = Chunks::new(LIMIT, &Share::unlimited());
            chunks.announce(announced);
            assert_eq!(chunks.fault(), fault, "{announced}");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_has_whole_line_ends(input in prop::collection::vec(prop::sample::select(b"\r\n\r\n..a\0".to_vec()), 0..40)) {
            if let Ok(text) = read(&input) {
                let text = String::from_utf8(text).expect("ASCII");
                prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
                prop_assert!(text.is_empty() || text.ends_with("\r\n"));
            }
        }
    }
}

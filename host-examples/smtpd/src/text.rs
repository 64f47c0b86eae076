//! The text of a message while it is received: within its limits, and with whole line ends only.

use smtp_fallback_daemon::memory::Share;

/// The longest line of a message with its CRLF. RFC 5321 §4.5.3.1.6 asks for 1000; real mail has more.
pub const LINE_MAX: usize = 8192;

/// What is reserved of the memory at once.
const STEP: usize = 64 * 1024;
/// So much of a spoiled message is read on at least, so that its client gets the reply after its end.
const SKIP_LEAST: usize = 1 << 20;

/// A message as it was sent, without what protected it on its way. Gives its memory back when dropped.
#[derive(Debug)]
pub struct Text {
    octets: Vec<u8>,
    reserved: usize,
    memory: Share,
}

impl Text {
    /// The octets; each line ends with CRLF, and there is no other CR, no other LF and no NUL.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.memory.give_back(self.reserved);
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
    /// The memory for all messages, or the share of the client's network, is in use.
    OutOfMemory,
}

/// Puts a [`Text`] together. The first fault spoils it: from then on nothing is kept, only counted.
#[derive(Debug)]
pub struct Builder {
    text: Text,
    limit: usize,
    /// Octets of the current line so far.
    line: usize,
    /// Octets of a spoiled message that were thrown away.
    discarded: usize,
    fault: Option<Fault>,
}

impl Builder {
    /// `limit` is the size of the longest message, in octets.
    pub fn new(limit: usize, memory: &Share) -> Self {
        let text = Text { octets: Vec::new(), reserved: 0, memory: memory.clone() };
        Builder { text, limit, line: 0, discarded: 0, fault: None }
    }

    /// Adds a part of a line: octets that are neither CR nor LF nor NUL.
    pub fn part(&mut self, octets: &[u8]) {
        self.keep(octets, LINE_MAX - 2);
    }

    /// Ends the line.
    pub fn end_line(&mut self) {
        self.keep(b"\r\n", LINE_MAX);
        self.line = 0;
    }

    /// Whether octets were added since the last line end.
    pub fn is_inside_line(&self) -> bool {
        self.line > 0
    }

    /// Notes what is wrong with an octet, which is thrown away, and with it all that was kept.
    pub fn spoil(&mut self, fault: Fault) {
        self.discarded += 1;
        self.give_up(fault);
    }

    fn give_up(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
        self.text.octets = Vec::new();
        self.text.memory.give_back(std::mem::take(&mut self.text.reserved));
    }

    /// What is wrong so far.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether a message of `more` octets more could still be kept.
    pub fn has_room_for(&self, more: u64) -> bool {
        (self.text.octets.len() as u64).saturating_add(more) <= self.limit as u64
    }

    /// Whether so much of a spoiled message was thrown away that it is not worth waiting for its end.
    pub fn is_exhausted(&self) -> bool {
        self.discarded > skipped_at_most(self.limit)
    }

    /// The message, or why it is refused: the first thing that was wrong.
    pub fn finish(self) -> Result<Text, Fault> {
        match self.fault {
            None => Ok(self.text),
            Some(fault) => Err(fault),
        }
    }

    fn keep(&mut self, octets: &[u8], longest: usize) {
        self.line += octets.len();
        if self.line > longest {
            self.give_up(Fault::LineTooLong);
        }
        let size = self.text.octets.len() + octets.len();
        if size > self.limit {
            self.give_up(Fault::TooLarge);
        } else if self.fault.is_none() && size > self.text.reserved {
            let step = (size - self.text.reserved).max(STEP);
            if self.text.memory.take(step) {
                self.text.reserved += step;
            } else {
                self.give_up(Fault::OutOfMemory);
            }
        }
        if self.fault.is_some() {
            self.discarded += octets.len();
        } else {
            self.text.octets.extend_from_slice(octets);
        }
    }
}

/// How much of a message that is refused is read before the server gives up, for a limit of `limit` octets.
pub fn skipped_at_most(limit: usize) -> usize {
    limit.max(SKIP_LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp_fallback_daemon::memory::Memory;
    use smtp_fallback_policy::address::Address;
    use smtp_fallback_policy::network::Network;

    #[test]
    fn messages_share_the_memory_and_give_it_back() {
        let share = Memory::new(3 * STEP, 3 * STEP).share(Network::of(Address::from_bits(0), 64));
        let message = || {
            let mut builder = Builder::new(10 * STEP, &share);
            for _ in 0..2 * STEP / 16 {
                builder.part(b"0123456789abcd");
                builder.end_line();
            }
            builder
        };
        let first = message().finish().expect("there is room for one");
        let second = message();
        assert!(share.take(STEP), "what is spoiled takes none");
        share.give_back(STEP);
        assert_eq!(second.finish().expect_err("there is none for two"), Fault::OutOfMemory);
        drop(first);
        message().finish().expect("there is room again");
        assert!(share.take(3 * STEP), "nothing is kept");
    }

    #[test]
    fn what_is_refused_is_read_on_for_a_while() {
        let mut builder = Builder::new(10, &Share::unlimited());
        builder.part(&[b'x'; 10]);
        assert_eq!((builder.fault(), builder.has_room_for(0), builder.has_room_for(1)), (None, true, false));
        builder.part(b"y");
        assert_eq!(builder.fault(), Some(Fault::TooLarge));
        for _ in 0..SKIP_LEAST / 1024 - 1 {
            builder.part(&[b'x'; 1024]);
        }
        assert!(!builder.is_exhausted());
        builder.part(&[b'x'; 1024]);
        assert!(builder.is_exhausted());
    }
}

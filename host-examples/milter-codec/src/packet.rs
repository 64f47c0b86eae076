//! Packets: a length of four octets, most significant first, and so many octets, the first of which is the command.

/// Octets of data behind a command, at most.
///
/// A packet is a whole header field, or a chunk of a body. Chunks have 65,535 octets at most. Postfix sends a field up to
/// `header_size_limit`, 102,400 octets unless it is set higher; Sendmail sends up to `Milter.maxdatasize`, which ends at this number. So
/// it is all that Sendmail can send, and ten times what Postfix does.
pub const MAX_DATA: usize = 1024 * 1024 - 1;

/// Octets of the length.
const LENGTH: usize = 4;
/// An empty buffer that is larger is given back: a long header field must not occupy memory as long as its connection lives.
const KEPT: usize = 128 * 1024;

/// One packet.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// The command, an ASCII letter.
    pub command: u8,
    /// What belongs to it.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}' \"{}\"", self.command.escape_ascii(), self.data.escape_ascii())
    }
}

/// What comes is no packet. Nothing that follows can be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The length is zero, so that there is no command.
    #[error("a packet of length 0; expected a command")]
    Empty,
    /// The length is over the limit.
    #[error(
        "a packet of {0} octets is announced; expected {max} at most. Is it an MTA that speaks the milter protocol? Sendmail's \
         Milter.maxdatasize and Postfix's header_size_limit must not be larger",
        max = MAX_DATA + 1
    )]
    Huge(u32),
    /// The connection ended within a packet.
    #[error("the connection ended within a packet, after {0} octets of it")]
    CutOff(usize),
}

/// Cuts octets into packets, however they arrive.
///
/// It keeps what was given to it and not yet taken, and no more: the length that a packet announces reserves nothing.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where in `buffer` the next packet begins.
    start: usize,
}

impl Decoder {
    /// One that has received nothing.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Takes octets that arrived.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer().extend_from_slice(octets);
    }

    /// Where octets that arrive are to be appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
        &mut self.buffer
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The next packet that is there as a whole. `None` asks for more octets.
    ///
    /// # Errors
    ///
    /// The length is none that a packet can have. It stays so.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, PacketError> {
        let Some((length, rest)) = self.rest().split_first_chunk::<LENGTH>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*length);
        let length = match usize::try_from(announced) {
            Ok(0) => return Err(PacketError::Empty),
            Ok(length) if length <= MAX_DATA + 1 => length,
            _ => return Err(PacketError::Huge(announced)),
        };
        let Some((&command, data)) = rest.get(..length).and_then(<[u8]>::split_first) else { return Ok(None) };
        let packet = Packet { command, data: data.to_vec() };
        self.start += LENGTH + length;
        Ok(Some(packet))
    }

    /// Whether a packet has begun and is not there yet.
    pub fn is_within_packet(&self) -> bool {
        !self.rest().is_empty()
    }

    /// To be called when no more octets will come.
    ///
    /// # Errors
    ///
    /// A packet has begun.
    pub fn finish(&self) -> Result<(), PacketError> {
        if self.is_within_packet() { Err(PacketError::CutOff(self.rest().len())) } else { Ok(()) }
    }
}

/// A packet on its way. What this package sends stays far below the limit.
pub(crate) fn encode(command: u8, data: &[&[u8]]) -> Vec<u8> {
    let length = 1 + data.iter().map(|part| part.len()).sum::<usize>();
    let mut octets = Vec::with_capacity(LENGTH + length);
    octets.extend_from_slice(&u32::try_from(length).expect("replies are bounded").to_be_bytes());
    octets.push(command);
    data.iter().for_each(|part| octets.extend_from_slice(part));
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<Packet> {
        std::iter::from_fn(|| decoder.next_packet().expect("whole packets")).collect()
    }

    fn packet(command: u8, data: &[u8]) -> Packet {
        Packet { command, data: data.to_vec() }
    }

    #[test]
    fn packets_come_in_any_pieces() {
        let octets = b"\0\0\0\x01Q\0\0\0\x03Hab\0\0\0\x01A";
        let expected = [packet(b'Q', b""), packet(b'H', b"ab"), packet(b'A', b"")];
        for piece in 1..=octets.len() {
            let mut decoder = Decoder::new();
            let mut found = Vec::new();
            for part in octets.chunks(piece) {
                decoder.push(part);
                found.append(&mut all(&mut decoder));
            }
            assert_eq!(found, expected, "in pieces of {piece}");
            assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn a_connection_ends_between_packets_or_within() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.finish(), Ok(()));
        decoder.push(b"\0\0\0\x03H");
        assert_eq!(decoder.next_packet(), Ok(None));
        assert_eq!(decoder.finish(), Err(PacketError::CutOff(5)));
        decoder.push(b"ab");
        assert_eq!(decoder.next_packet(), Ok(Some(packet(b'H', b"ab"))));
        assert_eq!(decoder.finish(), Ok(()));
        decoder.push(b"\0");
        assert_eq!(decoder.finish(), Err(PacketError::CutOff(1)), "within a length");
    }

    #[test]
    fn lengths_have_bounds() {
        let attempt = |length: u32| {
            let mut decoder = Decoder::new();
            decoder.push(&length.to_be_bytes());
            decoder.next_packet()
        };
        assert_eq!(attempt(0), Err(PacketError::Empty));
        assert_eq!(attempt(1), Ok(None));
        assert_eq!(attempt(1 << 20), Ok(None), "the most that Sendmail sends");
        assert_eq!(attempt((1 << 20) + 1), Err(PacketError::Huge((1 << 20) + 1)));
        assert_eq!(attempt(u32::MAX), Err(PacketError::Huge(u32::MAX)));
        let mut decoder = Decoder::new();
        decoder.push(b"GET / HTTP/1.1\r\n");
        assert!(matches!(decoder.next_packet(), Err(PacketError::Huge(_))));
        decoder.push(b"\0\0\0\x01Q");
        assert!(matches!(decoder.next_packet(), Err(PacketError::Huge(_))), "an error stays");
    }

    #[test]
    fn the_largest_packet_passes() {
        let mut decoder = Decoder::new();
        decoder.push(&encode(b'B', &[&vec![b'x'; MAX_DATA]]));
        assert_eq!(decoder.next_packet().expect("within the limit").expect("whole").data.len(), MAX_DATA);
    }

    #[test]
    fn memory_is_for_what_was_received() {
        let mut decoder = Decoder::new();
        decoder.push(&(1u32 << 20).to_be_bytes());
        assert_eq!(decoder.next_packet(), Ok(None));
        assert!(decoder.buffer.capacity() < 100, "what is announced reserves nothing");
        decoder.push(&vec![b'B'; 1 << 20]);
        assert!(decoder.next_packet().expect("whole").is_some());
        decoder.push(b"");
        assert!(decoder.buffer.capacity() <= KEPT, "a large packet is given back");
    }

    #[test]
    fn what_is_encoded_can_be_read() {
        let octets = encode(b'O', &[b"abc", b"", b"d"]);
        assert_eq!(octets, b"\0\0\0\x05Oabcd");
        let mut decoder = Decoder::new();
        decoder.push(&octets);
        assert_eq!(all(&mut decoder), [packet(b'O', b"abcd")]);
    }
}

//! An MTA's side of the protocol, as Postfix 3.7 and Sendmail 8.17 speak it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an MTA offers: version, actions, and flags of the protocol.
pub(crate) const POSTFIX: [u32; 3] = [6, 0x1ff, 0x1f_ffff];
/// The same of an old one, which waits for a reply at every stage and takes the space behind a colon away.
pub(crate) const OLD: [u32; 3] = [2, 0x3f, 0x7f];

/// A reply of the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Continue,
    Accept,
    /// The octets as they were sent, without the NUL at their end.
    Refuse(String),
    /// The connection is closed.
    Closed,
}

impl Reply {
    /// The reply code.
    pub(crate) fn code(&self) -> &str {
        match self {
            Reply::Refuse(text) => &text[..3],
            _ => "250",
        }
    }
}

trait Io: Read + Write + Send {
    /// Says that nothing more comes; what was said can still be answered.
    fn end(&self) -> std::io::Result<()>;
}

impl Io for UnixStream {
    fn end(&self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Io for TcpStream {
    fn end(&self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// A connection of the MTA to the filter.
pub(crate) struct Mta {
    stream: Box<dyn Io>,
    /// Commands that get no reply.
    silent: Vec<u8>,
    leading_space: bool,
}

impl Mta {
    /// Connects to a socket as the log names it, and agrees on what is asked.
    pub(crate) fn connect(socket: &str, offer: [u32; 3]) -> Mta {
        Mta::try_connect(socket, offer).expect("the filter negotiates")
    }

    /// The same, unless the filter closes the connection.
    pub(crate) fn try_connect(socket: &str, offer: [u32; 3]) -> Option<Mta> {
        let mut mta = Mta::silent(socket);
        mta.negotiate(offer)?;
        Some(mta)
    }

    /// Connects without a word.
    pub(crate) fn silent(socket: &str) -> Mta {
        let stream: Box<dyn Io> = match socket.split_once(':').unwrap() {
            ("unix", path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            (_, address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
        };
        Mta { stream, silent: Vec::new(), leading_space: false }
    }

    fn negotiate(&mut self, offer: [u32; 3]) -> Option<()> {
        let data: Vec<u8> = offer.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.send_raw(&packet(b'O', &data));
        let (command, data) = self.packet()?;
        assert_eq!(command, b'O');
        let number = |index: usize| u32::from_be_bytes(data[4 * index..4 * index + 4].try_into().unwrap());
        assert!(number(0) <= offer[0] && number(1) & !offer[1] == 0 && number(2) & !offer[2] == 0, "{data:?}");
        let flags = [(0x80, b'L'), (0x8000, b'R'), (0x2_0000, b'U'), (0x8_0000, b'B')];
        self.silent = flags.into_iter().filter(|(flag, _)| number(2) & flag != 0).map(|(_, command)| command).collect();
        self.leading_space = number(2) & 0x10_0000 != 0;
        Some(())
    }

    /// Sends a packet.
    pub(crate) fn send(&mut self, command: u8, data: &[u8]) {
        self.stream.write_all(&packet(command, data)).unwrap();
    }

    /// Sends octets that may be none.
    pub(crate) fn send_raw(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    /// Says no more, and takes what comes until the filter closes the connection.
    pub(crate) fn end(mut self) {
        self.stream.end().unwrap();
        while self.packet().is_some() {}
    }

    fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut packet).unwrap();
        let data = packet.split_off(1);
        Some((packet[0], data))
    }

    /// The next reply.
    pub(crate) fn reply(&mut self) -> Reply {
        match self.packet() {
            None => Reply::Closed,
            Some((b'c', _)) => Reply::Continue,
            Some((b'a', _)) => Reply::Accept,
            Some((b'y', text)) => {
                let text = text.strip_suffix(b"\0").expect("NUL at its end: else Sendmail says 554");
                Reply::Refuse(String::from_utf8(text.to_vec()).unwrap())
            }
            // Above all no SMFIR_SHUTDOWN, by which Postfix accepts what was to be refused, and no discarding.
            Some((other, data)) => panic!("reply {:?} {data:?}", other as char),
        }
    }

    /// Sends a command, and its reply where there is one.
    pub(crate) fn command(&mut self, command: u8, data: &[u8]) -> Reply {
        self.send(command, data);
        if self.silent.contains(&command) { Reply::Continue } else { self.reply() }
    }

    /// The same with strings, each ended by NUL.
    pub(crate) fn strings(&mut self, command: u8, strings: &[&str]) -> Reply {
        let data: Vec<u8> = strings.iter().flat_map(|string| [string.as_bytes(), b"\0"].concat()).collect();
        self.command(command, &data)
    }

    /// Macros for the command that follows.
    pub(crate) fn macros(&mut self, stage: u8, macros: &[(&str, &str)]) {
        let values = macros.iter().flat_map(|(name, value)| [name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        let data: Vec<u8> = std::iter::once(stage).chain(values).collect();
        self.send(b'D', &data);
    }

    /// A client connects, from an address as Postfix writes it or as Sendmail does (`IPv6:2001:db8:0:0:0:0:0:1`).
    pub(crate) fn client(&mut self, address: &str) -> Reply {
        let family = if address.contains(':') { b'6' } else { b'4' };
        let data = [b"unknown\0".as_slice(), &[family], &40_000_u16.to_be_bytes(), address.as_bytes(), b"\0"].concat();
        self.command(b'C', &data)
    }

    /// The same by a service of the MTA.
    pub(crate) fn client_of(&mut self, address: &str, daemon: &str, port: &str) -> Reply {
        self.macros(b'C', &[("j", "mx.demo.example"), ("{daemon_name}", daemon), ("{daemon_port}", port)]);
        self.client(address)
    }

    pub(crate) fn helo(&mut self, name: &str) -> Reply {
        self.strings(b'H', &[name])
    }

    pub(crate) fn mail(&mut self, sender: &str) -> Reply {
        self.strings(b'M', &[&format!("<{sender}>"), "SIZE=100"])
    }

    pub(crate) fn rcpt(&mut self, recipient: &str) -> Reply {
        self.strings(b'R', &[&format!("<{recipient}>")])
    }

    /// From DATA to the end of a message, which has a queue id then. The message has CRLF line ends.
    pub(crate) fn text(&mut self, queue_id: &str, message: &[u8]) -> Reply {
        assert_eq!(self.command(b'T', b""), Reply::Continue);
        let split = message.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap();
        let (header, body) = (&message[..split + 2], &message[split + 4..]);
        for (name, value) in fields(std::str::from_utf8(header).unwrap()) {
            let value = if self.leading_space { value.as_str() } else { value.trim_start_matches([' ', '\t']) };
            assert_eq!(self.strings(b'L', &[&name, value]), Reply::Continue);
        }
        for chunk in body.chunks(7) {
            assert_eq!(self.command(b'B', chunk), Reply::Continue);
        }
        self.macros(b'E', &[("i", queue_id)]);
        self.command(b'E', b"")
    }

    /// A message for one recipient, whose MAIL and RCPT are taken.
    pub(crate) fn message(&mut self, sender: &str, queue_id: &str, message: &[u8]) -> Reply {
        assert_eq!(self.mail(sender), Reply::Continue);
        assert_eq!(self.rcpt("jones@demo.example"), Reply::Continue);
        self.text(queue_id, message)
    }

    /// The client is gone, and the connection ends.
    pub(crate) fn quit(mut self) {
        self.send(b'Q', b"");
        assert_eq!(self.reply(), Reply::Closed);
    }
}

/// A command and its data as octets.
fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap().to_be_bytes();
    [&length[..], &[command], data].concat()
}

/// Names and values of the fields of a header, as an MTA gives them to a filter: LF between the lines of a value.
fn fields(header: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.split_terminator("\r\n") {
        match fields.last_mut() {
            Some((_, value)) if line.starts_with([' ', '\t']) => *value = format!("{value}\n{line}"),
            _ => {
                let (name, value) = line.split_once(':').unwrap();
                fields.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    fields
}

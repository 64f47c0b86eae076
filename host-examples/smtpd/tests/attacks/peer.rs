//! A client that sends octets as they are, in pieces of its choice, and reads replies strictly.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smtp_fallback_demo::client::Reply;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::server::{RECIPIENT, Server, Setting};

/// How long to wait for a reply, the end of the connection, or for octets to be taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two pieces, so that they are read one after the other.
const PAUSE: Duration = Duration::from_millis(2);
/// The longest line of a reply (RFC 5321 §4.5.3.1.5).
const LINE_MAX: usize = 512;

/// Nothing is refused by policy.
pub(crate) const OBSERVE: &str = r#"{"mode": "observe"}"#;
/// MAIL and RCPT that are taken.
pub(crate) const ENVELOPE: &str = "MAIL FROM:<first@plain.example>\r\nRCPT TO:<jones@demo.example>\r\n";

/// One connection.
pub(crate) struct Peer<S = TcpStream> {
    stream: S,
    input: Vec<u8>,
}

/// A server that refuses nothing by policy, with these tables.
pub(crate) async fn observing(tables: &str) -> Server {
    let tables = format!("[policy_limits]\ndeadline = \"10s\"\n{tables}");
    Server::start(Setting { policy: OBSERVE, tables, ..Setting::default() }).await
}

impl Peer {
    /// Connects, and reads the greeting.
    pub(crate) async fn greeted(server: SocketAddr) -> Peer {
        let mut peer = Peer::new(TcpStream::connect(server).await.unwrap());
        assert_eq!(peer.reply().await.code, 220);
        peer
    }

    /// After EHLO.
    pub(crate) async fn introduced(server: SocketAddr) -> Peer {
        let mut peer = Peer::greeted(server).await;
        assert_eq!(peer.command("EHLO client.example").await.code, 250);
        peer
    }

    /// Connects from this address of the machine; nothing is read.
    pub(crate) async fn connected_from(source: IpAddr, server: SocketAddr) -> Peer {
        let socket = if source.is_ipv4() { TcpSocket::new_v4().unwrap() } else { TcpSocket::new_v6().unwrap() };
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        Peer::new(timeout(PATIENCE, socket.connect(server)).await.expect("connected in time").unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).unwrap();
        Peer::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn over(stream: S) -> Peer<S> {
        Peer { stream, input: Vec::new() }
    }

    /// The connection, of which everything that came was read.
    pub(crate) fn into_stream(self) -> S {
        assert_eq!(self.input, b"", "more than was read");
        self.stream
    }

    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(octets.as_ref())).await.expect("taken in time").expect("the connection is open");
        self.stream.flush().await.unwrap();
    }

    /// Sends as much as is taken before the connection breaks.
    pub(crate) async fn send_what_is_taken(&mut self, octets: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(octets)).await.expect("taken or refused in time");
    }

    /// Sends in pieces, each in a segment of its own.
    pub(crate) async fn send_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            self.send(piece).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a line, and reads the reply.
    pub(crate) async fn command(&mut self, line: impl AsRef<[u8]>) -> Reply {
        self.send([line.as_ref(), b"\r\n"].concat()).await;
        self.reply().await
    }

    /// Sends lines one by one; the codes of the replies.
    pub(crate) async fn codes(&mut self, lines: &[&str]) -> Vec<u16> {
        let mut codes = Vec::new();
        for line in lines {
            codes.push(self.command(line).await.code);
        }
        codes
    }

    /// MAIL, RCPT and DATA; then the octets, which end by a dot or not, and the reply.
    pub(crate) async fn message(&mut self, octets: &[u8]) -> Reply {
        let rcpt = format!("RCPT TO:<{RECIPIENT}>");
        assert_eq!(self.codes(&["MAIL FROM:<first@plain.example>", &rcpt, "DATA"]).await, [250, 250, 354]);
        self.send(octets).await;
        self.reply().await
    }

    /// The next reply, which must be there and in order.
    pub(crate) async fn reply(&mut self) -> Reply {
        self.next().await.expect("a reply, not the end of the connection")
    }

    /// That nothing has come but what was read.
    pub(crate) fn has_no_more(&self) -> bool {
        self.input.is_empty()
    }

    /// All replies up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.next().await {
            replies.push(reply);
        }
        replies
    }

    /// That the connection ends here, in good order.
    pub(crate) async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// The codes of [`Peer::rest`].
    pub(crate) async fn closing_codes(&mut self) -> Vec<u16> {
        self.rest().await.iter().map(|reply| reply.code).collect()
    }

    async fn next(&mut self) -> Option<Reply> {
        let mut lines = Vec::new();
        let mut code = None;
        loop {
            let line = self.line().await;
            if line.is_none() && lines.is_empty() {
                return None;
            }
            let (this, last, text) = strictly(&line.expect("the rest of the reply"));
            assert_eq!(*code.get_or_insert(this), this, "the lines of a reply have one code");
            lines.push(text);
            if last {
                return Some(Reply { code: this, lines });
            }
        }
    }

    /// Up to LF, with it; none at the end of the connection.
    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(lf) = self.input.iter().position(|octet| *octet == b'\n') {
                return Some(self.input.drain(..=lf).collect());
            }
            assert!(self.input.len() <= LINE_MAX, "a reply line without end: {}", self.input.escape_ascii());
            match timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await.expect("a reply in time") {
                Ok(0) => {
                    assert_eq!(self.input, b"", "an incomplete reply line");
                    return None;
                }
                Ok(_) => {}
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
    }
}

/// Code, whether the line is the last, and the text of what can only be a reply line: printable ASCII and CRLF, 512 octets at most.
fn strictly(line: &[u8]) -> (u16, bool, String) {
    let shown = line.escape_ascii();
    assert!(line.len() <= LINE_MAX, "{} octets: {shown}", line.len());
    let line = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no CRLF: {shown}"));
    assert!(line.iter().all(|octet| matches!(octet, b' '..=b'~')), "not printable: {shown}");
    let text = std::str::from_utf8(line).unwrap();
    let (code, rest) = text.split_at_checked(3).unwrap_or_else(|| panic!("no code: {shown}"));
    let code: u16 = code.parse().unwrap_or_else(|_| panic!("no code: {shown}"));
    assert!((200..600).contains(&code), "{shown}");
    let last = match rest.as_bytes().first() {
        Some(b' ') => true,
        Some(b'-') => false,
        _ => panic!("neither space nor hyphen behind the code: {shown}"),
    };
    (code, last, rest[1..].to_owned())
}

/// What /proc says of the process, in kB: `VmRSS` now, `VmHWM` at its highest.
pub(crate) fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_else(|| panic!("no {what:?}:\n{status}"))
}

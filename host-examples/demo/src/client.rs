//! A small SMTP client that keeps a transcript.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long to wait for a connection, a line or the end of the connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest line that is read: more than RFC 5321 §4.5.3.1.5 allows a reply.
const MAX_LINE: u64 = 4096;
/// The most lines that one reply may have.
const MAX_LINES: usize = 200;

/// A connection to an SMTP server.
pub struct Client {
    stream: BufReader<TcpStream>,
    transcript: Vec<String>,
}

/// A reply of the server (RFC 5321 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code.
    pub code: u16,
    /// What follows the code, line for line, with the enhanced code where there is one.
    pub lines: Vec<String>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection where a reply was due.
    #[error("the server closed the connection; a reply was expected")]
    Closed,
    /// The server said nothing for too long.
    #[error("the server said nothing for {} s", PATIENCE.as_secs())]
    TimedOut,
    /// The server sent what is no reply.
    #[error("the server sent {0:?}, which is no line of an SMTP reply")]
    NoReply(String),
    /// The server sent something where it should have closed the connection.
    #[error("the server sent {0:?}; it should have closed the connection")]
    NotClosed(String),
}

impl Client {
    /// Connects. The greeting is the first [`Client::reply`].
    pub async fn connect(server: SocketAddr) -> Result<Client, ClientError> {
        Client::new(TcpStream::connect(server), server).await
    }

    /// Connects from this address of the machine, such as 127.0.0.2.
    pub async fn connect_from(source: IpAddr, server: SocketAddr) -> Result<Client, ClientError> {
        let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(source, 0))?;
        Client::new(socket.connect(server), server).await
    }

    async fn new(connect: impl Future<Output = io::Result<TcpStream>>, server: SocketAddr) -> Result<Client, ClientError> {
        let stream = timeout(PATIENCE, connect).await.map_err(|_| ClientError::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(Client { stream: BufReader::new(stream), transcript: vec![format!("C: <connects to {server}>")] })
    }

    /// Reads a reply: the greeting, or one to a command that [`Client::send`] has sent.
    pub async fn reply(&mut self) -> Result<Reply, ClientError> {
        let mut lines = Vec::new();
        while lines.len() < MAX_LINES {
            let line = self.line().await?.ok_or(ClientError::Closed)?;
            let Some((code, last, text)) = reply_line(&line) else { return Err(ClientError::NoReply(line)) };
            lines.push(text.to_owned());
            if last {
                return Ok(Reply { code, lines });
            }
        }
        Err(ClientError::NoReply(format!("{MAX_LINES} lines without an end")))
    }

    /// Sends a command, which gets its CRLF here, and reads the reply.
    pub async fn command(&mut self, line: &str) -> Result<Reply, ClientError> {
        self.transcript.push(format!("C: {line}"));
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Sends the octets as they are, such as several commands in a group.
    pub async fn send(&mut self, octets: &[u8]) -> Result<(), ClientError> {
        let text = String::from_utf8_lossy(octets);
        self.transcript.extend(text.lines().map(|line| format!("C: {line}")));
        self.write(octets).await
    }

    /// After DATA was answered 354: sends the message (CRLF line ends) with dot-stuffing (RFC 5321 §4.5.2) and the final dot,
    /// and reads the reply.
    pub async fn message(&mut self, message: &[u8]) -> Result<Reply, ClientError> {
        self.transcript.push(format!("C: [message of {} octets]", message.len()));
        self.transcript.push("C: .".to_owned());
        self.write(&stuffed(message)).await?;
        self.reply().await
    }

    /// MAIL, one RCPT, DATA and the message, each sent when the one before was accepted; the first reply that is not as it
    /// should be for that, or else the last.
    pub async fn transaction(&mut self, sender: &str, recipient: &str, message: &[u8]) -> Result<Reply, ClientError> {
        let commands =
            [(format!("MAIL FROM:<{sender}>"), 250), (format!("RCPT TO:<{recipient}>"), 250), ("DATA".to_owned(), 354)];
        for (command, code) in commands {
            let reply = self.command(&command).await?;
            if reply.code != code {
                return Ok(reply);
            }
        }
        self.message(message).await
    }

    /// Waits until the server closes the connection in good order: anything else than its end is an error, a reset too.
    pub async fn closed(&mut self) -> Result<(), ClientError> {
        match self.line().await? {
            None => Ok(()),
            Some(line) => Err(ClientError::NotClosed(line)),
        }
    }

    /// What was said so far: lines that begin with `C: ` (this client) or `S: ` (the server).
    pub fn transcript(&self) -> &[String] {
        &self.transcript
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), ClientError> {
        timeout(PATIENCE, self.stream.write_all(octets)).await.map_err(|_| ClientError::TimedOut)?.map_err(ClientError::Io)
    }

    /// A line without its CRLF; none at the end of the connection.
    async fn line(&mut self) -> Result<Option<String>, ClientError> {
        let mut line = Vec::new();
        let mut stream = (&mut self.stream).take(MAX_LINE);
        match timeout(PATIENCE, stream.read_until(b'\n', &mut line)).await.map_err(|_| ClientError::TimedOut)? {
            Ok(0) => {
                self.transcript.push("S: <disconnect>".to_owned());
                Ok(None)
            }
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let complete = text.ends_with("\r\n");
                let text = text.trim_end_matches(['\r', '\n']).to_owned();
                self.transcript.push(format!("S: {text}"));
                if complete { Ok(Some(text)) } else { Err(ClientError::NoReply(text)) }
            }
            Err(error) => {
                self.transcript.push(format!("S: <{error}>"));
                Err(error.into())
            }
        }
    }
}

impl Reply {
    /// Whether a line of an EHLO reply announces this keyword.
    pub fn announces(&self, keyword: &str) -> bool {
        // The first line greets.
        let mut keywords = self.lines.iter().skip(1).filter_map(|line| line.split_whitespace().next());
        keywords.any(|word| word.eq_ignore_ascii_case(keyword))
    }

    /// Whether each line has this enhanced code (A39).
    pub fn has_enhanced_code(&self, code: &str) -> bool {
        self.lines.iter().all(|line| line.split(' ').next() == Some(code))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

/// Code, whether it is the last line, and the text (RFC 5321 §4.2).
fn reply_line(line: &str) -> Option<(u16, bool, &str)> {
    let (code, rest) = line.split_at_checked(3)?;
    let number: u16 = code.parse().ok().filter(|code| (200..600).contains(code))?;
    match rest.as_bytes().first() {
        None => Some((number, true, "")),
        Some(b' ') => Some((number, true, &rest[1..])),
        Some(b'-') => Some((number, false, &rest[1..])),
        Some(_) => None,
    }
}

/// The message as it goes over the wire, with the final dot.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that says each of these, and before each but the first reads up to the given end of what the client sends.
    async fn scripted(script: &'static [(&'static str, &'static str)]) -> (Client, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            for (until, say) in script {
                let start = heard.len();
                while !heard[start..].ends_with(until.as_bytes()) {
                    heard.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(say.as_bytes()).await.unwrap();
            }
            String::from_utf8(heard).unwrap()
        });
        (Client::connect(address).await.unwrap(), server)
    }

    #[tokio::test]
    async fn a_session_and_its_transcript() {
        let (mut client, server) = scripted(&[
            ("", "220 mx ready\r\n"),
            ("EHLO a\r\n", "250-mx greets\r\n250-SIZE 100\r\n250 IPV6-IPV4-FALLBACK\r\n"),
            ("MAIL FROM:<a@b>\r\n", "250 2.1.0 OK\r\n"),
            ("RCPT TO:<c@d>\r\n", "250 2.1.5 OK\r\n"),
            ("DATA\r\n", "354 go on\r\n"),
            ("\r\n.\r\n", "421-4.4.8 no\r\n421 4.4.8 SPF\r\n"),
        ])
        .await;
        assert_eq!(client.reply().await.unwrap(), Reply { code: 220, lines: vec!["mx ready".into()] });
        let ehlo = client.command("EHLO a").await.unwrap();
        assert!(ehlo.announces("ipv6-ipv4-fallback") && ehlo.announces("SIZE") && !ehlo.announces("mx"));
        let refusal = client.transaction("a@b", "c@d", b"Subject: x\r\n\r\n.dot\r\n..\r\nend").await.unwrap();
        assert_eq!(refusal.to_string(), "421 4.4.8 no / 4.4.8 SPF");
        assert!(refusal.has_enhanced_code("4.4.8") && !refusal.has_enhanced_code("4.4.7"));
        client.closed().await.unwrap();
        let heard = server.await.unwrap();
        assert!(heard.ends_with("DATA\r\nSubject: x\r\n\r\n..dot\r\n...\r\nend\r\n.\r\n"), "{heard}");
        let transcript = client.transcript();
        assert!(transcript[0].starts_with("C: <connects to 127.0.0.1:"));
        assert_eq!(transcript[1..4], ["S: 220 mx ready", "C: EHLO a", "S: 250-mx greets"]);
        assert_eq!(
            transcript[transcript.len() - 5..],
            ["C: [message of 27 octets]", "C: .", "S: 421-4.4.8 no", "S: 421 4.4.8 SPF", "S: <disconnect>"]
        );
    }

    #[tokio::test]
    async fn a_transaction_stops_at_the_first_refusal() {
        let (mut client, server) = scripted(&[("", "220 mx\r\n"), ("\r\n", "250 OK\r\n"), ("\r\n", "550 5.1.1 no\r\n")]).await;
        client.reply().await.unwrap();
        assert_eq!(client.transaction("a@b", "c@d", b"x\r\n").await.unwrap().code, 550);
        assert_eq!(server.await.unwrap(), "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    }

    #[tokio::test]
    async fn commands_in_a_group_get_their_replies_in_order() {
        let (mut client, server) = scripted(&[("", "220 mx\r\n"), ("QUIT\r\n", "250 OK\r\n221\r\n")]).await;
        client.reply().await.unwrap();
        client.send(b"RSET\r\nQUIT\r\n").await.unwrap();
        assert_eq!(client.reply().await.unwrap().code, 250);
        assert_eq!(client.reply().await.unwrap(), Reply { code: 221, lines: vec!["".into()] });
        server.await.unwrap();
        assert_eq!(client.transcript()[2..4], ["C: RSET", "C: QUIT"]);
    }

    #[tokio::test]
    async fn what_is_no_reply_is_an_error() {
        for (said, error) in [
            ("hello\r\n", "\"hello\", which is no line"),
            ("99\r\n", "\"99\", which is no line"),
            ("999 x\r\n", "\"999 x\", which is no line"),
            ("2200 x\r\n", "\"2200 x\", which is no line"),
            ("é20 x\r\n", "\"é20 x\", which is no line"),
            ("220 x\n", "\"220 x\", which is no line"),
            ("220-x\r\n", "closed the connection"),
            ("220 x", "\"220 x\", which is no line"),
            ("", "closed the connection"),
        ] {
            let (mut client, _server) = scripted(Box::leak(Box::new([("", said)]))).await;
            let message = client.reply().await.unwrap_err().to_string();
            assert!(message.contains(error), "{said:?}: {message}");
        }
        let (mut client, _server) = scripted(&[("", "421 bye\r\n")]).await;
        assert!(matches!(client.closed().await.unwrap_err(), ClientError::NotClosed(line) if line == "421 bye"));
    }

    #[tokio::test]
    async fn the_source_address_can_be_chosen() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::connect_from([127, 0, 0, 2].into(), listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        client.unwrap();
        assert_eq!(accepted.unwrap().1.ip().to_string(), "127.0.0.2");
    }

    #[test]
    fn dots_are_stuffed() {
        for (message, wire) in
            [("", ".\r\n"), (".", "..\r\n.\r\n"), ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"), ("a.b", "a.b\r\n.\r\n")]
        {
            assert_eq!(String::from_utf8(stuffed(message.as_bytes())).unwrap(), wire);
        }
    }
}

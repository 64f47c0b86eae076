//! One connection of a client.

use std::error::Error;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpSocket, TcpStream};

use super::place::SERVER;

/// What is read and written at once of commands and replies. A message is longer, and is not copied.
const ROOM: usize = 512;

/// A connection to a server at [`SERVER`].
pub(crate) struct Client(BufStream<TcpStream>);

impl Client {
    /// From this address to this port.
    pub(crate) async fn connect(from: Ipv6Addr, port: u16) -> io::Result<Client> {
        let socket = TcpSocket::new_v6()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(SocketAddr::from((SERVER, port))).await?;
        stream.set_nodelay(true)?;
        Ok(Client(BufStream::with_capacity(ROOM, ROOM, stream)))
    }

    /// Sends a line, and reads the reply, which is an error unless it begins so.
    pub(crate) async fn command(&mut self, line: &str, class: &str) -> Result<(), Box<dyn Error>> {
        self.send(line.as_bytes(), class).await
    }

    /// The same with any octets.
    pub(crate) async fn send(&mut self, octets: &[u8], class: &str) -> Result<(), Box<dyn Error>> {
        self.0.write_all(octets).await?;
        self.0.flush().await?;
        self.expect(class).await
    }

    /// Reads a reply, which is an error unless it begins so.
    pub(crate) async fn expect(&mut self, class: &str) -> Result<(), Box<dyn Error>> {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.0.read_line(&mut reply).await? == 0 {
                return Err(format!("the connection has ended after {reply:?}").into());
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                break;
            }
        }
        if reply.starts_with(class) { Ok(()) } else { Err(reply.into()) }
    }

    /// Whether the server closes the connection in place of a greeting, with these words or, where they are empty, with none; where it greets, the
    /// client takes its leave. Another refusal is an error.
    pub(crate) async fn refused(mut self, expected: &str) -> io::Result<bool> {
        let mut words = String::new();
        self.0.read_line(&mut words).await?;
        let greeted = words.starts_with('2');
        let is_expected = if expected.is_empty() { words.is_empty() } else { words.contains(expected) };
        if !greeted && !is_expected {
            return Err(io::Error::other(format!("found {words:?} in place of a greeting, expected {expected:?}")));
        }
        if greeted {
            self.0.write_all(b"QUIT\r\n").await?;
            self.0.flush().await?;
        }
        self.0.read_to_string(&mut words).await?;
        Ok(!greeted)
    }
}

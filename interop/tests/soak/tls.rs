//! A client that uses STARTTLS and believes every server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use smtp_fallback_demo::client::{Client, ClientError, Reply};
use smtp_fallback_demo::tls;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// For a whole session.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session of one message over TLS: the reply to it, or the first that refuses.
pub(crate) async fn send(address: SocketAddr, source: &str, sender: &str, message: &[u8]) -> Result<Reply, ClientError> {
    let session = session(address, source, sender, message);
    tokio::time::timeout(PATIENCE, session).await.map_err(|_| ClientError::TimedOut)?
}

async fn session(address: SocketAddr, source: &str, sender: &str, message: &[u8]) -> Result<Reply, ClientError> {
    let mut plain = BufReader::new(TcpStream::connect(address).await?);
    plain.write_all(format!("PROXY TCP6 {source} ::1 4711 25\r\n").as_bytes()).await?;
    for (command, code) in [("", 220), ("EHLO client.example\r\n", 250), ("STARTTLS\r\n", 220)] {
        plain.write_all(command.as_bytes()).await?;
        let reply = reply(&mut plain).await?;
        if reply.code != code {
            return Ok(reply);
        }
    }
    let name = ServerName::try_from("mx.demo.example").expect("a name");
    let stream = tls::connector(None).expect("a configuration").connect(name, plain.into_inner()).await?;
    let mut stream = BufReader::new(stream);
    for command in ["EHLO client.example", &format!("MAIL FROM:<{sender}>"), "RCPT TO:<jones@demo.example>"] {
        let reply = say(&mut stream, format!("{command}\r\n").as_bytes()).await?;
        if reply.code != 250 {
            return Ok(reply);
        }
    }
    let last = say(&mut stream, &[format!("BDAT {} LAST\r\n", message.len()).as_bytes(), message].concat()).await?;
    if last.code == 250 {
        let _ = say(&mut stream, b"QUIT\r\n").await;
    }
    Ok(last)
}

async fn say(stream: &mut BufReader<TlsStream<TcpStream>>, octets: &[u8]) -> Result<Reply, ClientError> {
    stream.write_all(octets).await?;
    stream.flush().await?;
    reply(stream).await
}

async fn reply(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Reply, ClientError> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(ClientError::Closed);
        }
        let (code, text) = line.split_at_checked(3).ok_or_else(|| io::Error::other(format!("{line:?} is no reply")))?;
        lines.push(text.get(1..).unwrap_or_default().trim_end().to_owned());
        if !text.starts_with('-') {
            let code = code.parse().map_err(|_| io::Error::other(format!("{line:?} is no reply")))?;
            return Ok(Reply { code, lines });
        }
    }
}

/// A client that asks for TLS, and says something else then.
pub(crate) async fn nonsense(client: &mut Client) -> Result<(), ClientError> {
    client.command("EHLO client.example").await?;
    client.command("STARTTLS").await?;
    client.send(b"\x16\x03\x01\x00\x05hello, this is no handshake\r\n").await
}

//! A mail server that takes everything and keeps nothing, in the process of the clients.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Where it listens.
pub(crate) const ADDRESS: &str = "127.0.0.1:2600";

/// It takes mail from now on.
pub(crate) async fn start() -> io::Result<()> {
    let listener = TcpListener::bind(ADDRESS).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection that ends otherwise has an end on the other side, which says so.
            tokio::spawn(serve(stream));
        }
    });
    Ok(())
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink.example ESMTP\r\n").await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-sink.example\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE\r\n",
            b"DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                line.clear();
                while line != b".\r\n" {
                    line.clear();
                    if stream.read_until(b'\n', &mut line).await? == 0 {
                        return Ok(());
                    }
                }
                b"250 2.0.0 OK\r\n"
            }
            b"QUIT" => b"221 2.0.0 closing\r\n",
            _ => b"250 2.0.0 OK\r\n",
        };
        stream.write_all(reply).await?;
        if verb == b"QUIT" {
            return Ok(());
        }
    }
}

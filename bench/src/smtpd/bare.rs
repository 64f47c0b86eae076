//! The least that any server does for a connection: what a refusal is measured by.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::inside::place::SERVER;

/// As long as smtpd waits for the client's end.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Accepts a connection, closes it, and accepts the next one: two system calls for each.
pub(crate) fn close(port: u16) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async { listener(port)?.into_std() })?;
    listener.set_nonblocking(false)?;
    loop {
        drop(listener.accept()?);
    }
}

/// Whose queue holds all clients that may come at once: one that finds it full is lost, since it waits for the server's words.
fn listener(port: u16) -> std::io::Result<tokio::net::TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket.bind((SERVER, port).into())?;
    socket.listen(4096)
}

/// Says a line and closes in good order (A4), with a task for each connection as smtpd does it; nothing is decided and nothing logged.
pub(crate) fn close_orderly(port: u16) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = listener(port)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // The other side may be gone already.
            tokio::spawn(refuse(stream));
        }
    })
}

async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"451 4.4.8 come back over IPv4\r\n").await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    let drained = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = timeout(DRAIN_TIME, drained).await;
    Ok(())
}

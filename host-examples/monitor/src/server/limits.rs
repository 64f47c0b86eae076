//! Connections at a time, and how long one may take.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Connections that are open at a time; more wait in the system's queue.
pub(super) const CONNECTIONS: usize = 32;
/// How long a connection may take from its first octet to the last of the answer: it serves one request.
pub(super) const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Accepts connections, not too many at a time.
pub(super) struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    time: Duration,
}

impl Limited {
    /// At most `connections` at a time, each for `time` at most.
    pub(super) fn new(listener: TcpListener, connections: usize, time: Duration) -> Self {
        Limited { listener, places: Arc::new(Semaphore::new(connections)), time }
    }
}

impl axum::serve::Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        // axum's own: logs errors, and tries again after a pause.
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        (Connection { stream, deadline: Box::pin(sleep(self.time)), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with a deadline. It gives its place back when it is dropped.
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// An error once the time is over. Wakes the task then.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    async fn serve(connections: usize, time: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/", get(|| async { "here" }));
        tokio::spawn(axum::serve(Limited::new(listener, connections, time), router).into_future());
        address
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer));
        read.await.expect("it ends in time").expect("it ends");
        answer
    }

    #[tokio::test]
    async fn one_more_waits_until_another_ends() {
        let address = serve(2, Duration::from_secs(60)).await;
        let mut open = Vec::new();
        for _ in 0..2 {
            open.push(TcpStream::connect(address).await.expect("accepted"));
        }
        // Both are served, so both have their places.
        for stream in &mut open {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
            stream.read_exact(&mut [0; 12]).await.expect("an answer begins");
        }
        let mut third = TcpStream::connect(address).await.expect("in the system's queue");
        third.write_all(REQUEST).await.expect("written");
        let early = tokio::time::timeout(Duration::from_millis(100), third.read_u8()).await;
        assert!(early.is_err(), "there is no place: {early:?}");
        open.pop();
        assert!(answer(&mut third).await.ends_with("here"));
    }

    #[tokio::test]
    async fn a_connection_has_its_time_and_no_more() {
        let address = serve(1, Duration::from_millis(200)).await;
        let mut slow = TcpStream::connect(address).await.expect("accepted");
        slow.write_all(b"GET / HTTP/1.1\r\nHost: local").await.expect("written");
        assert_eq!(answer(&mut slow).await, "", "closed without an answer");
        let mut next = TcpStream::connect(address).await.expect("accepted");
        next.write_all(REQUEST).await.expect("written");
        assert!(answer(&mut next).await.ends_with("here"), "it has its place");
    }
}

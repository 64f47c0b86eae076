//! Taking the MTA's connections, and shutting down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_milter_codec::ConnectionError;
use smtp_fallback_store::control::SocketFile;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::session::{Service, serve};
use crate::socket::Bound;

/// How long messages in hand have to be finished after the signal.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// The pause after a failed accept (no file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bound sockets with the service behind them.
pub struct Server {
    sockets: Vec<Listening>,
    service: Arc<Service>,
}

enum Listening {
    Unix(UnixListener, #[expect(dead_code, reason = "the file goes when it is dropped")] SocketFile),
    Inet(TcpListener),
}

impl Server {
    /// Puts the service behind the sockets. Needs a tokio runtime.
    ///
    /// # Errors
    /// The runtime cannot watch them.
    pub fn new(sockets: Vec<Bound>, service: Arc<Service>) -> io::Result<Server> {
        let watched = |bound| match bound {
            Bound::Unix(listener, file) => Ok(Listening::Unix(UnixListener::from_std(listener)?, file)),
            Bound::Inet(listener) => TcpListener::from_std(listener).map(Listening::Inet),
        };
        Ok(Server { sockets: sockets.into_iter().map(watched).collect::<io::Result<_>>()?, service })
    }

    /// Serves until `shutdown`. Then connections without a message in hand are closed, and the others have 30 s to come to its end; a second
    /// `shutdown` ends that time.
    ///
    /// # Errors
    /// A socket failed, which ends the others, too.
    pub async fn run(self, mut shutdown: impl AsyncFnMut()) -> io::Result<()> {
        let (stop, stopping) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(self.service.limits.connections));
        let mut accepting = JoinSet::new();
        for socket in self.sockets {
            let acceptor =
                Acceptor { service: Arc::clone(&self.service), permits: Arc::clone(&permits), stopping: stopping.clone() };
            accepting.spawn(acceptor.run(socket));
        }
        let ended = tokio::select! {
            () = shutdown() => Ok(()),
            // They end by the shutdown only: one that does not has panicked.
            Some(ended) = accepting.join_next() => {
                report(ended);
                Err(io::Error::other("a socket ended by a fault of the filter"))
            }
        };
        tracing::info!(event = "shutdown", "finishing what is in hand");
        let _ = stop.send(true);
        let finished = async {
            while let Some(ended) = accepting.join_next().await {
                report(ended);
            }
        };
        tokio::select! {
            () = finished => {}
            () = tokio::time::sleep(DRAIN_TIME) => tracing::warn!(event = "shutdown", "sessions were cut off"),
            () = shutdown() => tracing::warn!(event = "shutdown", "sessions were cut off"),
        }
        ended
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(event = "internal-error", %error, "a session ended by a fault of the server");
    }
}

struct Acceptor {
    service: Arc<Service>,
    permits: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl Acceptor {
    /// Accepts until the shutdown, and returns when all sessions have ended.
    async fn run(self, socket: Listening) {
        let mut stopping = self.stopping.clone();
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stopping) => break,
                Some(ended) = sessions.join_next() => report(ended),
                accepted = accept(&socket) => match accepted {
                    Ok((stream, peer)) => self.connected(&mut sessions, stream, peer),
                    Err(error) => {
                        tracing::warn!(event = "accept-failure", %error, "no connection was accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Whoever connects from now on is to find nobody, and do without the filter at once.
        drop(socket);
        while let Some(ended) = sessions.join_next().await {
            report(ended);
        }
    }

    fn connected(&self, sessions: &mut JoinSet<()>, stream: Stream, peer: Option<SocketAddr>) {
        let limit = self.service.limits.connections;
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => {
                sessions.spawn(session(Arc::clone(&self.service), stream, peer, self.stopping.clone(), permit));
            }
            Err(_) => tracing::warn!(
                event = "too-many-connections",
                limit,
                peer = peer.map(tracing::field::display),
                "a connection of the MTA was closed"
            ),
        }
    }
}

/// Until the filter shuts down.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error says that the server is gone, without a word.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// A connection of either kind.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}
type Stream = Box<dyn Io>;

/// A connection, and where it is from if not from this machine's file system.
async fn accept(socket: &Listening) -> io::Result<(Stream, Option<SocketAddr>)> {
    match socket {
        Listening::Unix(listener, _) => Ok((Box::new(listener.accept().await?.0), None)),
        Listening::Inet(listener) => {
            let (stream, peer) = listener.accept().await?;
            // Replies are written whole, and the MTA waits for each: to wait for more delays a message by a tenth of a second.
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), Some(peer)))
        }
    }
}

async fn session(
    service: Arc<Service>,
    stream: Stream,
    peer: Option<SocketAddr>,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    match serve(service, stream, stopping).await {
        Ok(()) => {}
        // Its client is gone, and so is the process of the MTA.
        Err(ConnectionError::Io(error)) => tracing::debug!(event = "connection-lost", %error),
        Err(error) => {
            let error = error.to_string();
            tracing::error!(
                event = "mta-failure",
                peer = peer.map(tracing::field::display),
                error,
                "the MTA does what it is configured to do without the filter"
            );
        }
    }
}

//! Listening, and shutting down.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_policy::contract::Listener as Kind;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{self, Config};
use crate::reply::Reply;
use crate::session::{Origin, Service, serve};
use crate::wire::{Phase, Wire};

/// How long sessions may finish their transaction after the signal.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How long sessions then have to say farewell.
const STOP_TIME: Duration = Duration::from_secs(2);
/// Connections over the limit that are told so at a time; more are closed without a word.
const TURNED_AWAY: usize = 64;
/// How long a connection over the limit is written to.
const TURN_AWAY_TIME: Duration = Duration::from_secs(5);
/// The pause after a failed accept (no file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the system may queue for a listener.
const BACKLOG: i32 = 1024;

/// Bound listeners with the service behind them.
pub struct Server {
    listeners: Vec<(TcpListener, Listener)>,
    service: Arc<Service>,
    connections: Arc<Semaphore>,
}

/// A listener cannot be opened.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there: stop it, or choose another port",
            io::ErrorKind::PermissionDenied => "ports below 1024 need the right to bind them (CAP_NET_BIND_SERVICE)",
            _ => "check `address` of this listener in the configuration",
        };
        write!(f, "cannot listen on {}: {}; {advice}", self.address, self.error)
    }
}

impl std::error::Error for BindError {}

#[derive(Clone, Copy)]
struct Listener {
    kind: Kind,
    offers: bool,
}

impl Server {
    /// Binds all listeners of the configuration. Needs a tokio runtime.
    pub fn bind(config: &Config, service: Service) -> Result<Server, BindError> {
        let bound = |listener: &config::Listener| {
            let socket = bind(listener.address).map_err(|error| BindError { address: listener.address, error })?;
            let offers = listener.extension && listener.address.is_ipv6();
            Ok((socket, Listener { kind: listener.kind, offers }))
        };
        let listeners = config.listeners.iter().map(bound).collect::<Result<_, _>>()?;
        let connections = Arc::new(Semaphore::new(config.limits.connections.min(Semaphore::MAX_PERMITS)));
        Ok(Server { listeners, service: Arc::new(service), connections })
    }

    /// Where it listens, with the ports that the system chose, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.listeners.iter().map(|(socket, _)| socket.local_addr().unwrap_or(unknown)).collect()
    }

    /// Serves until `shutdown`, then finishes what is in hand: sessions without a transaction are closed with 421, the others have 30 s
    /// to come to its end. A second `shutdown` ends that time.
    pub async fn run(self, mut shutdown: impl AsyncFnMut()) {
        let Server { listeners, service, connections } = self;
        let (phase, watched) = watch::channel(Phase::Serving);
        let mut accepting = JoinSet::new();
        for (socket, listener) in listeners {
            let acceptor = Acceptor {
                listener,
                service: Arc::clone(&service),
                connections: Arc::clone(&connections),
                turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
                phase: watched.clone(),
            };
            accepting.spawn(acceptor.run(socket));
        }
        shutdown().await;
        tracing::info!(event = "shutdown", "finishing what is in hand");
        // Sessions end by this, and acceptors when theirs have ended.
        let _ = phase.send(Phase::Draining);
        tokio::select! {
            _ = finished(&mut accepting) => return,
            _ = tokio::time::sleep(DRAIN_TIME) => {}
            _ = shutdown() => {}
        }
        let _ = phase.send(Phase::Stopping);
        if tokio::time::timeout(STOP_TIME, finished(&mut accepting)).await.is_err() {
            tracing::warn!(event = "shutdown", "sessions were cut off");
        }
    }
}

async fn finished(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(event = "internal-error", %error, "a session ended by a fault of the server");
    }
}

/// An IPv6 socket takes IPv6 only: IPv4 clients have their own listeners, which do not announce the extension (A23).
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // So that a restart need not wait for the old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

struct Acceptor {
    listener: Listener,
    service: Arc<Service>,
    connections: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    phase: watch::Receiver<Phase>,
}

impl Acceptor {
    /// Accepts until the shutdown, and returns when all sessions have ended.
    async fn run(mut self, socket: TcpListener) {
        let mut sessions = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = self.phase.wait_for(|phase| *phase > Phase::Serving) => break,
                Some(ended) = sessions.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => self.connected(&mut sessions, stream, client),
                Err(error) => {
                    tracing::warn!(event = "accept-failure", %error, "no connection was accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Who connects from now on is to be refused by the system, and try another host.
        drop(socket);
        finished(&mut sessions).await;
    }

    fn connected(&self, sessions: &mut JoinSet<()>, stream: TcpStream, client: SocketAddr) {
        // Replies are written whole: waiting for more only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(event = "connection-lost", %client, %error);
            return;
        }
        let phase = self.phase.clone();
        if let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() {
            let origin = Origin { client: client.ip(), kind: self.listener.kind, offers: self.listener.offers };
            let service = Arc::clone(&self.service);
            sessions.spawn(async move {
                serve(service, origin, stream, phase).await;
                drop(permit);
            });
        } else {
            tracing::warn!(event = "too-many-connections", client = %client.ip());
            if let Ok(permit) = Arc::clone(&self.turned_away).try_acquire_owned() {
                sessions.spawn(turn_away(stream, phase, permit));
            }
        }
    }
}

async fn turn_away(stream: TcpStream, phase: watch::Receiver<Phase>, permit: OwnedSemaphorePermit) {
    let mut wire = Wire::new(stream, TURN_AWAY_TIME, phase);
    Reply::new(421, "4.3.2", "too many connections; try again later").write_to(wire.output());
    wire.close().await;
    drop(permit);
}

//! Listening, and shutting down.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_daemon::trusted::Trusted;
use smtp_fallback_policy::contract::Listener as Kind;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{self, Config};
use crate::gate::{Gate, Place};
use crate::loopback::LoopbackWatch;
use crate::proxy::{self, Header, ProxyError};
use crate::reply::{ClientReads, Reply};
use crate::session::{Origin, Service, serve};
use crate::wire::{Patience, Phase, Wire};

/// How long sessions may finish their transaction after the signal.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How long sessions then have to say farewell.
const STOP_TIME: Duration = Duration::from_secs(2);
/// Connections over the limit that are told so at a time; more are closed without a word.
const TURNED_AWAY: usize = 64;
/// How long a connection over the limit is written to.
const TURN_AWAY_TIME: Duration = Duration::from_secs(5);
/// How long a proxy may take for its header.
const PROXY_TIME: Duration = Duration::from_secs(5);
/// The pause after a failed accept (no file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the system may queue for a listener.
const BACKLOG: i32 = 1024;

/// Bound listeners, which take no connection yet. They are bound before anything else is done, since ports below 1024 take rights that
/// the server then gives up.
pub struct Listeners(Vec<(std::net::TcpListener, Listener)>);

/// Listeners with the service behind them.
pub struct Server {
    listeners: Vec<(TcpListener, Listener)>,
    service: Arc<Service>,
    gate: Arc<Gate>,
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

#[derive(Clone)]
struct Listener {
    kind: Kind,
    offers: bool,
    proxies: Trusted,
}

impl Listeners {
    /// Binds all listeners of the configuration.
    pub fn bind(config: &Config) -> Result<Listeners, BindError> {
        let bound = |listener: &config::Listener| {
            let socket = bind(listener.address).map_err(|error| BindError { address: listener.address, error })?;
            Ok((socket, Listener { kind: listener.kind, offers: listener.extension, proxies: listener.proxy_from.clone() }))
        };
        config.listeners.iter().map(bound).collect::<Result<_, _>>().map(Listeners)
    }
}

impl Server {
    /// Puts the service behind the listeners. Needs a tokio runtime.
    pub fn new(listeners: Listeners, service: Arc<Service>) -> io::Result<Server> {
        let tokio = |(socket, listener): (std::net::TcpListener, Listener)| Ok((TcpListener::from_std(socket)?, listener));
        let listeners = listeners.0.into_iter().map(tokio).collect::<io::Result<_>>()?;
        let limits = &service.limits;
        let gate = Gate::new(limits.connections, limits.connections_per_prefix, limits.ipv6_prefix, limits.ipv4_prefix);
        Ok(Server { listeners, service, gate })
    }

    /// Where it listens, with the ports that the system chose, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.listeners.iter().map(|(socket, _)| socket.local_addr().unwrap_or(unknown)).collect()
    }

    /// Serves until `shutdown`, then finishes what is in hand: sessions without a transaction are closed with 421, the others have 30 s
    /// to come to its end. A second `shutdown` ends that time. An error says that a listener failed, which ends the others, too.
    pub async fn run(self, mut shutdown: impl AsyncFnMut()) -> io::Result<()> {
        let Server { listeners, service, gate } = self;
        let clients = Arc::new(LoopbackWatch::default());
        let (phase, watched) = watch::channel(Phase::Serving);
        let mut accepting = JoinSet::new();
        for (socket, listener) in listeners {
            let acceptor = Acceptor {
                listener,
                service: Arc::clone(&service),
                gate: Arc::clone(&gate),
                clients: Arc::clone(&clients),
                turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
                phase: watched.clone(),
            };
            accepting.spawn(acceptor.run(socket));
        }
        let ended = tokio::select! {
            () = shutdown() => Ok(()),
            // They end by the shutdown only: one that does not has panicked.
            Some(ended) = accepting.join_next() => {
                report(ended);
                Err(io::Error::other("a listener ended by a fault of the server"))
            }
        };
        tracing::info!(event = "shutdown", "finishing what is in hand");
        // Sessions end by this, and acceptors when theirs have ended.
        let _ = phase.send(Phase::Draining);
        tokio::select! {
            _ = finished(&mut accepting) => return ended,
            _ = tokio::time::sleep(DRAIN_TIME) => {}
            _ = shutdown() => {}
        }
        let _ = phase.send(Phase::Stopping);
        if tokio::time::timeout(STOP_TIME, finished(&mut accepting)).await.is_err() {
            tracing::warn!(event = "shutdown", "sessions were cut off");
        }
        ended
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
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // So that a restart need not wait for the old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[derive(Clone)]
struct Acceptor {
    listener: Listener,
    service: Arc<Service>,
    gate: Arc<Gate>,
    clients: Arc<LoopbackWatch>,
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

    fn connected(&self, sessions: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr) {
        // Replies are written whole: waiting for more only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(event = "connection-lost", client = %peer.ip(), %error);
            return;
        }
        match self.gate.enter() {
            Ok(place) => {
                sessions.spawn(self.clone().session(stream, peer, place));
            }
            Err(full) => {
                tracing::warn!(event = "too-many-connections", client = %peer.ip(), limit = full.total);
                let reply = Reply::new(421, "4.3.2", "too many connections; try again later");
                sessions.spawn(turn_away(stream, reply, Arc::clone(&self.turned_away), self.phase.clone()));
            }
        }
    }

    /// Finds out who the client is, and serves it if its network has a place left.
    async fn session(self, mut stream: TcpStream, peer: SocketAddr, mut place: Place) {
        let local = stream.local_addr().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        let (client, local, known) = if self.listener.proxies.contains(peer.ip()) {
            match proxy::read(&mut stream, PROXY_TIME).await {
                Ok(Header { client: Some((client, local)) }) => {
                    self.clients.saw(client.ip());
                    (client, local, !client.ip().is_loopback())
                }
                // The connection is the proxy's own, or the proxy does not know whose.
                Ok(Header { client: None }) => (peer, local, false),
                // It looks whether the port is open.
                Err(ProxyError::Closed(0)) => return,
                Err(error) => {
                    let error = error.to_string();
                    tracing::warn!(event = "proxy-failure", proxy = %peer.ip(), error, "the connection was closed");
                    return;
                }
            }
        } else {
            self.clients.saw(peer.ip());
            (peer, local, !peer.ip().to_canonical().is_loopback())
        };
        if let Err(crowded) = place.identify(client.ip()) {
            tracing::warn!(event = "too-many-connections", client = %client.ip(), network = %crowded.network, limit = crowded.limit);
            let reply = Reply::new(421, "4.7.0", "too many connections from your network; try again later");
            drop(place);
            return turn_away(stream, reply, self.turned_away, self.phase).await;
        }
        let network = self.gate.network(client.ip());
        let origin = Origin { client, known, network, local, kind: self.listener.kind, offers: self.listener.offers };
        serve(self.service, origin, stream, self.phase).await;
        drop(place);
    }
}

/// Says why there is no session, unless many are being told already.
async fn turn_away(stream: TcpStream, reply: Reply, at_a_time: Arc<Semaphore>, phase: watch::Receiver<Phase>) {
    let Ok(_permit) = at_a_time.try_acquire() else { return };
    let mut wire = Wire::new(stream, Patience { command: TURN_AWAY_TIME, block: TURN_AWAY_TIME }, phase);
    reply.write_to(wire.output(), ClientReads::BEFORE_EHLO);
    wire.close().await;
}

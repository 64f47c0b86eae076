//! An upstream that misbehaves as it is told, on a TCP port or a UNIX socket.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Where in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Hello,
    Mail,
    Rcpt,
    Data,
    /// In the middle of the text.
    Text,
    /// After the dot. Unless it refuses by a reply, the message was taken by then.
    Dot,
}

/// What is done there in place of the usual reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Close,
    /// Closes so that the other side hears of a reset.
    Reset,
    /// Says nothing, and closes nothing.
    Hang,
    Garbage,
    Giant,
    /// The usual reply, and another one.
    Twice,
    Say(u16),
}

pub(super) type Wrong = Option<(Stage, Action)>;

/// What is in its replies by [`Action::Say`].
pub(super) const WORDS: &str = "upstream says so";

/// What goes wrong on the next connection.
type Plan = Box<dyn FnMut() -> Wrong + Send>;

struct Shared {
    plan: Mutex<Plan>,
    taken: Mutex<Vec<Vec<u8>>>,
    /// Connections begin with a line of the PROXY protocol.
    proxied: bool,
}

/// A running upstream.
pub(super) struct Double {
    shared: Arc<Shared>,
    running: JoinSet<()>,
    stop: Arc<Notify>,
}

impl Double {
    /// On a TCP port; its sessions begin with a PROXY line.
    pub(super) async fn tcp(address: SocketAddr) -> (Double, SocketAddr) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut double = Double::new(true);
        double.serve(listener);
        (double, address)
    }

    /// On a socket at this path.
    pub(super) fn unix(path: &Path) -> Double {
        let listener = UnixListener::bind(path).unwrap();
        let mut double = Double::new(false);
        double.serve(listener);
        double
    }

    fn new(proxied: bool) -> Double {
        let shared = Shared { plan: Mutex::new(Box::new(|| None)), taken: Mutex::default(), proxied };
        Double { shared: Arc::new(shared), running: JoinSet::new(), stop: Arc::default() }
    }

    fn serve(&mut self, listener: impl Listener) {
        let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&self.stop));
        self.running.spawn(async move {
            let mut sessions = JoinSet::new();
            loop {
                let connection = tokio::select! {
                    _ = stop.notified() => break,
                    connection = listener.next() => connection.unwrap(),
                };
                let wrong = shared.plan.lock().unwrap()();
                let stream = BufReader::new(connection);
                let mut session = Session { shared: Arc::clone(&shared), stream, wrong, in_transaction: false };
                sessions.spawn(async move {
                    // However it ends: the connection goes with it.
                    let _ = session.run().await;
                });
            }
            drop(listener);
            sessions.shutdown().await;
        });
    }

    /// Ends it with all its connections; what it took.
    pub(super) async fn stop(mut self) -> Vec<Vec<u8>> {
        self.stop.notify_one();
        while self.running.join_next().await.is_some() {}
        self.taken()
    }

    /// What goes wrong on each connection from now on.
    pub(super) fn plan(&self, plan: impl FnMut() -> Wrong + Send + 'static) {
        *self.shared.plan.lock().unwrap() = Box::new(plan);
    }

    /// The messages that were taken since this was asked before.
    #[allow(dead_code, reason = "the soak test uses it")]
    pub(super) fn drain(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.shared.taken.lock().unwrap())
    }

    /// The messages that were taken, as they came.
    pub(super) fn taken(&self) -> Vec<Vec<u8>> {
        self.shared.taken.lock().unwrap().clone()
    }
}

trait Listener: Send + Sync + 'static {
    type Connection: Connection + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Listener for TcpListener {
    type Connection = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listener for UnixListener {
    type Connection = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {
    /// The end of the connection is to be a reset, where there is such a thing.
    fn reset(&self);
}

impl Connection for TcpStream {
    fn reset(&self) {
        socket2::SockRef::from(self).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Connection for UnixStream {
    fn reset(&self) {}
}

struct Session<C> {
    shared: Arc<Shared>,
    stream: BufReader<C>,
    wrong: Wrong,
    in_transaction: bool,
}

/// Why a session ended does not matter.
struct Ended;

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Ended
    }
}

impl<C: Connection> Session<C> {
    async fn run(&mut self) -> Result<(), Ended> {
        if self.shared.proxied {
            let line = self.line().await?;
            assert!(line.starts_with(b"PROXY TCP"), "{}", String::from_utf8_lossy(&line));
        }
        self.answer(Stage::Greeting, "220 upstream ready").await?;
        loop {
            let line = self.line().await?;
            match line.get(..4).unwrap_or_default() {
                b"EHLO" | b"LHLO" => {
                    self.answer(Stage::Hello, "250-upstream\r\n250-SIZE 50000000\r\n250 ENHANCEDSTATUSCODES").await?;
                }
                // As Postfix does: a refusal of DATA does not end the transaction.
                b"MAIL" if self.in_transaction => self.say("503 5.5.1 Error: nested MAIL command").await?,
                b"MAIL" => self.in_transaction = self.answer(Stage::Mail, "250 2.1.0 Ok").await?,
                b"RCPT" => {
                    self.answer(Stage::Rcpt, "250 2.1.5 Ok").await?;
                }
                b"DATA" => {
                    if self.answer(Stage::Data, "354 go on").await? {
                        self.text().await?;
                    }
                }
                b"RSET" => {
                    self.in_transaction = false;
                    self.say("250 2.0.0 Ok").await?;
                }
                b"NOOP" => self.say("250 2.0.0 Ok").await?,
                b"QUIT" => return self.say("221 2.0.0 Bye").await,
                _ => self.say("502 5.5.2 what?").await?,
            }
        }
    }

    async fn text(&mut self) -> Result<(), Ended> {
        let mut message = Vec::new();
        loop {
            let line = self.line().await?;
            if line == b".\r\n" {
                break;
            }
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if matches!(self.wrong, Some((Stage::Text, _))) && message.len() > 300 {
                self.answer(Stage::Text, "250 2.0.0 taken before its end").await?;
                // It has had enough.
                return self.ignore().await;
            }
        }
        self.in_transaction = false;
        if !matches!(self.wrong, Some((Stage::Dot, Action::Say(_)))) {
            self.shared.taken.lock().unwrap().push(message);
        }
        self.answer(Stage::Dot, "250 2.0.0 taken").await?;
        Ok(())
    }

    /// Answers, or does what is to go wrong here. Whether it said the usual.
    async fn answer(&mut self, stage: Stage, usual: &str) -> Result<bool, Ended> {
        let Some((_, action)) = self.wrong.take_if(|(at, _)| *at == stage) else {
            self.say(usual).await?;
            return Ok(true);
        };
        match action {
            Action::Close => Err(Ended),
            Action::Reset => {
                self.stream.get_ref().reset();
                Err(Ended)
            }
            Action::Hang => self.ignore().await.and(Err(Ended)),
            Action::Garbage => {
                self.say("\u{1}\u{2}\u{fffd} garbage").await?;
                self.ignore().await.and(Err(Ended))
            }
            Action::Giant => {
                self.say(&format!("250 {}", "x".repeat(1 << 20))).await?;
                self.ignore().await.and(Err(Ended))
            }
            Action::Twice => {
                self.say(&format!("{usual}\r\n250 2.0.0 and once more")).await?;
                Ok(true)
            }
            Action::Say(code) => {
                self.say(&format!("{code}-{}.7.9 {stage:?}:\r\n{code} {}.7.9 {WORDS}", code / 100, code / 100)).await?;
                if code == 421 { Err(Ended) } else { Ok(false) }
            }
        }
    }

    async fn say(&mut self, reply: &str) -> Result<(), Ended> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        Ok(())
    }

    /// Reads on until the other side closes.
    async fn ignore(&mut self) -> Result<(), Ended> {
        let mut octets = [0; 4096];
        while self.stream.read(&mut octets).await? > 0 {}
        Err(Ended)
    }

    async fn line(&mut self) -> Result<Vec<u8>, Ended> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).await? == 0 || !line.ends_with(b"\n") {
            return Err(Ended);
        }
        Ok(line)
    }
}

//! Answering at the control socket.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::protocol::{
    About, AboutGiven, Answer, HealthGiven, JsonKey, JsonSwap, Keys, MAX_KEYS, MAX_LINE_OCTETS, MAX_SCAN, Octets, Records,
    Request, Scanned, SecretGiven, Swapped,
};
use super::{Control, ControlError, Socket};
use crate::{MAX_VALUE_OCTETS, Store, StoreError, Swap, Write};

/// How long a connection may take for its next request, where a host sets nothing else.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(60);

/// What clients may take of the host. The default is what the [module](super) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are served at once. Each may take some 2 MB, for as long as its answer takes.
    pub connections: usize,
    /// How long a connection may take for its next request, from the last answer on. [`ControlStore`](super::ControlStore) goes by
    /// 60 s: with less, its writes may fail after a pause.
    pub idle_time: Duration,
    /// How long the store may take for one request.
    pub store_time: Duration,
    /// How long a client may take to receive an answer.
    pub answer_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Limits { connections: 64, idle_time: IDLE_TIME, store_time: ten, answer_time: ten }
    }
}

/// How many records a `scan` gives that does not say.
const USUAL_SCAN: usize = 100;

/// What a client that is sent away may still say, so that its own sending does not keep it from reading why.
const FAREWELL_OCTETS: u64 = 1024 * 1024;
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// What a host is asked besides its records.
pub trait ControlHost: Send + Sync {
    /// The keys of an address under the policy in force: its own, its network's and its /48's. None where the policy keeps nothing.
    fn keys_of(&self, address: Address) -> Vec<Key>;

    /// Which program it is, and which component it runs.
    fn about(&self) -> About;
}

impl Control {
    /// Answers until the future is dropped, which closes all connections and removes the socket. It ends by itself only when it cannot
    /// begin, and gives back why. Needs a tokio runtime with I/O and time.
    ///
    /// No client can harm the host: each has limits (see the [module](super)), and a panic in the store or in `asked` ends the
    /// connection that met it.
    pub async fn serve(self, store: Arc<dyn Store>, asked: Arc<dyn ControlHost>) -> ControlError {
        let Control { socket: Socket { listener, file }, limits } = self;
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return ControlError::Open { path: file.path().into(), step: "watching it", error },
        };
        let host = Arc::new(Host { store, asked, limits });
        let mut connections = JoinSet::new();
        // Bounded by its being dropped.
        loop {
            tokio::select! {
                Some(ended) = connections.join_next() => if let Err(error) = ended && error.is_panic() {
                    tracing::error!(%error, "a request at the control socket met a fault of the host");
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() < limits.connections => {
                        connections.spawn(serve_one(stream, Arc::clone(&host)));
                    }
                    Ok((stream, _)) => {
                        tracing::warn!(limit = limits.connections, "too many connections to the control socket");
                        send_away(&stream, limits.connections);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the control socket takes no connections for a moment");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

/// At once, if the client's buffer takes it, as an empty one does: nobody waits for one client too many.
fn send_away(stream: &UnixStream, limit: usize) {
    let error = format!("{limit} connections are open, and that is the limit; close some, or try again later");
    let _ = stream.try_write(&line(&Answer::<()>::Error { error }));
}

/// Serves one connection to its end; how it ends is the client's business.
async fn serve_one(mut stream: UnixStream, host: Arc<Host>) {
    if let Err(error) = answer_all(&mut stream, &host).await {
        tracing::debug!(%error, "a connection to the control socket broke");
    }
}

async fn answer_all(stream: &mut UnixStream, host: &Host) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut request = Vec::new();
    let Limits { idle_time, store_time, answer_time, .. } = host.limits;
    // Bounded by the client: each turn is one request, which has its time.
    loop {
        request.clear();
        let Ok(outcome) = timeout(idle_time, read_line(&mut read, &mut request)).await else {
            let error = format!("no request came within {idle_time:?}; the connection is closed");
            return send(&mut write, &failure(error), answer_time).await;
        };
        let error = match outcome? {
            Line::Whole => {
                let answer = timeout(store_time, host.answer(&request)).await.unwrap_or_else(|_| {
                    failure(format!("the store gave no answer within {store_time:?}; whether something was written is not known"))
                });
                send(&mut write, &answer, answer_time).await?;
                continue;
            }
            Line::End => return Ok(()),
            Line::Cut => "the request was cut off: expected a line feed (octet 10) at its end".into(),
            Line::TooLong => {
                format!(
                    "the request is longer than {MAX_LINE_OCTETS} octets; expected one JSON object on one line; the connection is closed"
                )
            }
        };
        send(&mut write, &failure(error), answer_time).await?;
        write.shutdown().await?;
        let _ = timeout(FAREWELL_TIME, tokio::io::copy(&mut read.take(FAREWELL_OCTETS), &mut tokio::io::sink())).await;
        return Ok(());
    }
}

enum Line {
    Whole,
    /// The client has said all.
    End,
    /// It ended in the middle.
    Cut,
    TooLong,
}

/// Reads a line of at most [`MAX_LINE_OCTETS`].
async fn read_line(read: &mut (impl AsyncBufRead + Unpin), into: &mut Vec<u8>) -> io::Result<Line> {
    let length = read.take(MAX_LINE_OCTETS as u64).read_until(b'\n', into).await?;
    Ok(match into.last() {
        None => Line::End,
        Some(b'\n') => Line::Whole,
        Some(_) if length == MAX_LINE_OCTETS => Line::TooLong,
        Some(_) => Line::Cut,
    })
}

async fn send(write: &mut (impl AsyncWrite + Unpin), answer: &[u8], time: Duration) -> io::Result<()> {
    timeout(time, write.write_all(answer)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// An answer with its end of line.
fn line(answer: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).expect("answers have text keys only, and go into memory");
    line.push(b'\n');
    line
}

fn failure(error: String) -> Vec<u8> {
    line(&Answer::<()>::Error { error })
}

/// What requests are answered from.
struct Host {
    store: Arc<dyn Store>,
    asked: Arc<dyn ControlHost>,
    limits: Limits,
}

impl Host {
    async fn answer(&self, request: &[u8]) -> Vec<u8> {
        match self.answer_to(request).await {
            Ok(answer) => answer,
            Err(error) => failure(error),
        }
    }

    async fn answer_to(&self, request: &[u8]) -> Result<Vec<u8>, String> {
        let store = self.store.as_ref();
        match parse(request)? {
            Request::Get { keys, now } => {
                if keys.is_empty() || keys.len() > MAX_KEYS {
                    return Err(format!("`keys` has {} keys; expected 1 to {MAX_KEYS}", keys.len()));
                }
                let keys: Vec<Key> = keys.into_iter().map(|JsonKey(key)| key).collect();
                let records = store.get_many(&keys, now.unwrap_or_else(clock)).await.map_err(in_words)?;
                Ok(line(&Records { records: records.into_iter().map(Into::into).collect() }))
            }
            Request::CompareAndSet { key: JsonKey(key), expected, value: Octets(value), expires_in, weight, source, now } => {
                if value.len() > MAX_VALUE_OCTETS {
                    return Err(format!("`value` has {} octets; expected at most {MAX_VALUE_OCTETS}", value.len()));
                }
                let (source, now) = (source_of(&key, source)?, time_of(now)?);
                let update = RecordUpdate { key, value, expires_in, weight };
                let expected = expected.as_ref().map(|Octets(octets)| octets.as_slice());
                let write = Write { expected, update: &update, source, now };
                let swap = match store.compare_and_set(write).await.map_err(in_words)? {
                    Swap::Stored => JsonSwap::Stored,
                    Swap::Conflict => JsonSwap::Conflict,
                };
                Ok(line(&Swapped { swap }))
            }
            Request::Scan { cursor, limit, now } => {
                let limit = limit.unwrap_or(USUAL_SCAN);
                if !(1..=MAX_SCAN).contains(&limit) {
                    return Err(format!("`limit` is {limit}; expected 1 to {MAX_SCAN}"));
                }
                let page = store.scan(cursor, limit, now.unwrap_or_else(clock)).await.map_err(in_words)?;
                Ok(line(&Scanned { records: page.records.into_iter().map(Into::into).collect(), next: page.next }))
            }
            Request::Keys { address } => Ok(line(&Keys { keys: self.asked.keys_of(address).into_iter().map(JsonKey).collect() })),
            Request::Secret {} => Ok(line(&SecretGiven { secret: Octets(store.secret().await.map_err(in_words)?.to_vec()) })),
            Request::Health {} => Ok(line(&HealthGiven { health: store.health() })),
            Request::About {} => Ok(line(&AboutGiven { about: self.asked.about() })),
        }
    }
}

fn parse(request: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(request).map_err(|error| {
        // What a request is made of tells more than a column of a line that a program wrote.
        let error = error.to_string();
        let what = error.rsplit_once(" at line ").map_or(error.as_str(), |(what, _)| what);
        let begins = request.trim_ascii_start().first() == Some(&b'{');
        if begins { what.to_owned() } else { format!("{what}; expected a JSON object such as {{\"request\":\"health\"}}") }
    })
}

/// So far a writer's clock may be ahead of the host's, in seconds.
const AHEAD_AT_MOST: u64 = 24 * 3600;

/// The client that a record is about.
fn source_of(key: &Key, source: Option<Address>) -> Result<Address, String> {
    match (source, key.kind) {
        (Some(source), _) => Ok(source),
        (None, KeyKind::Address | KeyKind::Network | KeyKind::Budget) => Ok(key.address),
        (None, KeyKind::Exact | KeyKind::Inferred) => {
            Err("`source` is missing; expected the client's address with the key of a mail, as in \"source\":\"2001:db8::25\""
                .into())
        }
    }
}

/// When a record is written. One from the future would last that much longer than it should.
fn time_of(now: Option<u64>) -> Result<u64, String> {
    let own = clock();
    let now = now.unwrap_or(own);
    if now > own.saturating_add(AHEAD_AT_MOST) {
        return Err(format!(
            "`now` is {now}; expected seconds since 1970 (not milliseconds), a day from the host's {own} at most"
        ));
    }
    Ok(now)
}

fn in_words(error: StoreError) -> String {
    error.to_string()
}

/// The host's clock, in seconds since 1970.
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

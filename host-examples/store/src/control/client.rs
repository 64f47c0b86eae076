//! The store of another process, through its control socket.

use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, StoredRecord};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::ControlError;
use super::protocol::{
    About, AboutGiven, Answer, HealthGiven, JsonKey, JsonSwap, Keys, MAX_KEYS, MAX_SCAN, Octets, Records, Request, Scanned,
    SecretGiven, Swapped,
};
use super::serve::IDLE_TIME;
use crate::{BoxFuture, Cursor, Health, MAX_VALUE_OCTETS, Page, Secret, Store, StoreError, Swap, Write};

/// How long a call may take, with waiting for those before it, connecting, and trying again.
const CALL_TIME: Duration = Duration::from_secs(5);

/// The pause before the next attempt to connect to a host whose queue of connections is full: the system does not wait for a place.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// An idle connection is used for so long: half of what the host gives it, so that it is never closed under a request.
const FRESH_TIME: Duration = Duration::from_secs(IDLE_TIME.as_secs() / 2);

/// The longest answer: a store may give more records than it was asked for, but not that many.
const MAX_ANSWER_OCTETS: u64 = 16 * 1024 * 1024;

/// The store of a running host, for another process on the same machine: see the [module](super).
///
/// One connection, made when it is needed, and used for one call after the other. When the host was restarted meanwhile, the call
/// connects anew, once. A write that was sent and got no answer is not sent again: it may be in force, and would be counted twice; it
/// fails, and [`write_back`](crate::write_back) reports it as dropped. A call takes at most 5 s.
#[derive(Debug)]
pub struct ControlStore {
    path: PathBuf,
    /// Taken out for a call, and put back when its answer was read whole: a call that is given up takes its connection with it.
    connection: Mutex<Option<Connection>>,
    health: StdMutex<Health>,
}

impl ControlStore {
    /// Connects to the host that listens at this path. The error says which host or right is missing.
    pub async fn connect(path: impl Into<PathBuf>) -> Result<ControlStore, ControlError> {
        let path = path.into();
        let connection = match timeout(CALL_TIME, Connection::new(&path)).await {
            Ok(connection) => connection?,
            Err(_) => return Err(ControlError::Time { path, request: None, seconds: CALL_TIME.as_secs() }),
        };
        let health = StdMutex::new(Health { kind: "control".to_owned(), ..Health::default() });
        Ok(ControlStore { path, connection: Mutex::new(Some(connection)), health })
    }

    /// The keys of an address's own record, its network's and its /48's, under the policy that the host has in force. None where that
    /// policy keeps nothing about it: IPv4, an exempt network, no policy.
    pub async fn keys_of(&self, address: Address) -> Result<Vec<Key>, ControlError> {
        let Keys { keys } = self.call(&Request::Keys { address }).await?;
        Ok(keys.into_iter().map(|JsonKey(key)| key).collect())
    }

    /// How the host's store does. ([`Store::health`] tells of this connection, since it answers at once.)
    pub async fn host_health(&self) -> Result<Health, ControlError> {
        let HealthGiven { health } = self.call(&Request::Health {}).await?;
        Ok(health)
    }

    /// Which program the host is, and which component it runs.
    pub async fn about(&self) -> Result<About, ControlError> {
        let AboutGiven { about } = self.call(&Request::About {}).await?;
        Ok(about)
    }

    /// Where it is connected to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ControlError> {
        let answer = match timeout(CALL_TIME, self.try_call(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(ControlError::Time { path: self.path.clone(), request: Some(request.name()), seconds: CALL_TIME.as_secs() })
            }
        };
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.timeouts += u64::from(matches!(answer, Err(ControlError::Time { .. })));
        // What the host answers itself shows that it does.
        health.problem =
            answer.as_ref().err().filter(|error| !matches!(error, ControlError::Refused(_))).map(ToString::to_string);
        answer
    }

    async fn try_call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ControlError> {
        let mut line = serde_json::to_vec(request).expect("requests have text keys only, and go into memory");
        line.push(b'\n');
        let mut place = self.connection.lock().await;
        let (mut connection, mut new) = match place.take().filter(Connection::is_alive) {
            Some(connection) => (connection, false),
            None => (Connection::new(&self.path).await?, true),
        };
        // Twice at most.
        let answer = loop {
            match connection.exchange(&line).await {
                Ok(answer) => break answer,
                Err(Broken { sent: true, .. }) if matches!(request, Request::CompareAndSet { .. }) => {
                    return Err(ControlError::Unknown { path: self.path.clone() });
                }
                Err(_) if !new => (connection, new) = (Connection::new(&self.path).await?, true),
                Err(Broken { error, .. }) => return Err(ControlError::Broken { path: self.path.clone(), error }),
            }
        };
        *place = Some(connection);
        drop(place);
        match serde_json::from_slice(&answer) {
            Ok(Answer::Done(done)) => Ok(done),
            Ok(Answer::Error { error }) => Err(ControlError::Refused(error)),
            // It may hold the secret, which has no business in a log.
            Err(_) if matches!(request, Request::Secret {}) => Err(self.foreign("it answers with something that is no secret")),
            Err(_) => {
                let begin: String = String::from_utf8_lossy(&answer).chars().take(60).collect();
                Err(self.foreign(format!("its answer begins {begin:?}")))
            }
        }
    }

    fn foreign(&self, what: impl Into<String>) -> ControlError {
        ControlError::Foreign { path: self.path.clone(), what: what.into() }
    }
}

impl Store for ControlStore {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        Box::pin(async move {
            let mut found = Vec::new();
            for keys in keys.chunks(MAX_KEYS) {
                let keys = keys.iter().copied().map(JsonKey).collect();
                let Records { records } = self.call(&Request::Get { keys, now: Some(now) }).await?;
                found.extend(records.into_iter().map(StoredRecord::from));
            }
            Ok(found)
        })
    }

    fn compare_and_set<'a>(
        &'a self,
        Write { expected, update, source, now }: Write<'a>,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async move {
            let octets = update.value.len();
            if octets > MAX_VALUE_OCTETS {
                return Err(StoreError::ValueTooLarge { octets });
            }
            if expected.is_some_and(|expected| expected.len() > MAX_VALUE_OCTETS) {
                return Ok(Swap::Conflict); // No store has such a value.
            }
            let request = Request::CompareAndSet {
                key: JsonKey(update.key),
                expected: expected.map(|octets| Octets(octets.to_vec())),
                value: Octets(update.value.clone()),
                expires_in: update.expires_in,
                weight: update.weight,
                source: Some(source),
                now: Some(now),
            };
            let Swapped { swap } = self.call(&request).await?;
            Ok(match swap {
                JsonSwap::Stored => Swap::Stored,
                JsonSwap::Conflict => {
                    self.health.lock().unwrap_or_else(PoisonError::into_inner).conflicts += 1;
                    Swap::Conflict
                }
            })
        })
    }

    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async move {
            let limit = Some(limit.clamp(1, MAX_SCAN));
            let Scanned { records, next } = self.call(&Request::Scan { cursor, limit, now: Some(now) }).await?;
            Ok(Page { records: records.into_iter().map(Into::into).collect(), next })
        })
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        Box::pin(async move {
            let SecretGiven { secret: Octets(secret) } = self.call(&Request::Secret {}).await?;
            let length = secret.len();
            let secret = secret.try_into().map_err(|_| self.foreign(format!("its secret has {length} octets, expected 32")))?;
            Ok(secret)
        })
    }

    /// Of this connection, `kind` "control": its conflicts and time-outs, and what was wrong at the last call.
    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<UnixStream>,
    /// The same socket, for a look at it that does not depend on what the runtime has noticed yet.
    look: StdStream,
    used: Instant,
}

/// An exchange that failed.
struct Broken {
    /// The whole request had left.
    sent: bool,
    error: io::Error,
}

impl Connection {
    async fn new(path: &Path) -> Result<Connection, ControlError> {
        let connected = async {
            let stream = Connection::in_queue(path).await?.into_std()?;
            let look = stream.try_clone()?;
            Ok(Connection { stream: BufReader::new(UnixStream::from_std(stream)?), look, used: Instant::now() })
        };
        connected.await.map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NoHost { path: path.into() },
            io::ErrorKind::PermissionDenied => {
                let owner = std::fs::metadata(path).ok();
                let owner = owner.map(|found| (found.uid(), found.gid(), found.permissions().mode() & 0o7777));
                ControlError::NoRight { path: path.into(), owner }
            }
            _ => ControlError::Broken { path: path.into(), error },
        })
    }

    /// Bounded by the time of the call.
    async fn in_queue(path: &Path) -> io::Result<UnixStream> {
        loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_PAUSE).await,
                connected => return connected,
            }
        }
    }

    /// Whether the host still waits for a request: nothing is to be read, and it has not closed the connection.
    fn is_alive(&self) -> bool {
        let nothing = || (&self.look).read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.used.elapsed() < FRESH_TIME && self.stream.buffer().is_empty() && nothing()
    }

    /// Sends a request and reads its answer, without the end of line.
    async fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, Broken> {
        let sent = self.stream.write_all(request).await;
        let mut answer = Vec::new();
        // After a failure too: a host that sends a client away says why.
        let read = (&mut self.stream).take(MAX_ANSWER_OCTETS).read_until(b'\n', &mut answer).await;
        self.used = Instant::now();
        match read {
            Ok(_) if answer.pop_if(|octet| *octet == b'\n').is_some() => Ok(answer),
            _ if let Err(error) = sent => Err(Broken { sent: false, error }),
            Ok(_) => {
                let what = if answer.len() as u64 >= MAX_ANSWER_OCTETS {
                    "its answer is too long"
                } else {
                    "it ended before its answer"
                };
                Err(Broken { sent: true, error: io::Error::new(io::ErrorKind::UnexpectedEof, what) })
            }
            Err(error) => Err(Broken { sent: true, error }),
        }
    }
}

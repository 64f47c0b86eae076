//! What the calls and the task share: the breaker, the connection, the local copy, all under one lock that is held for microseconds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::RedisError;
use super::breaker::{Breaker, Call, Trouble};
use super::keys::Names;
use super::link::{Client, Found, Link};
use super::local::{Conflict, Local, Replay};
use super::settings::Checked;
use super::watch::Replayed;
use crate::{Health, Secret};

/// What is wrong then, and what to do.
pub(super) const SECRET_DIFFERS: &str =
    "holds another secret than this host started with: mails are not recognised across hosts; start all hosts anew";

pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) names: Names,
    /// Where the server is, for messages.
    pub(super) address: String,
    pub(super) time_limit: Duration,
    /// Of this store, at random: for a key of its own.
    pub(super) number: u64,
    /// So many rounds a recovery may have.
    pub(super) rounds: usize,
    pub(super) state: Mutex<State>,
    pub(super) wake: Arc<Notify>,
    pub(super) conflicts: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) dropped: AtomicU64,
    /// Whether the server was asked what it does when it is full.
    pub(super) eviction_asked: AtomicBool,
}

pub(super) struct State {
    pub(super) breaker: Breaker,
    /// Absent while the breaker is open.
    pub(super) link: Option<Numbered>,
    /// For reading alone, while the breaker is open: the server refuses writes, being full or a replica.
    pub(super) reading: Option<Numbered>,
    pub(super) links: u64,
    pub(super) local: Local,
    /// The latest time that a caller named, in seconds since 1970.
    pub(super) now: u64,
    pub(super) secret: Option<Secret>,
    /// Whether the server has another one.
    pub(super) secret_differs: bool,
    pub(super) foreign_logged: Option<Instant>,
    pub(super) said_away: bool,
}

/// A connection with its number: what happens to an older one does not matter any more.
#[derive(Clone)]
pub(super) struct Numbered {
    pub(super) link: Link,
    pub(super) number: u64,
}

impl Shared {
    /// The breaker is open; the local copy is empty.
    pub(super) fn new(checked: Checked) -> Result<Shared, RedisError> {
        let mut breaker = Breaker::default();
        breaker.open("not connected so far".to_owned());
        Ok(Shared {
            client: Client::new(&checked)?,
            names: Names::new(&checked.prefix),
            address: checked.address,
            time_limit: checked.time_limit,
            number: getrandom::u64().unwrap_or_default(),
            // A change may need a second one, after a conflict with a value of our own.
            rounds: checked.local_records.saturating_mul(2),
            state: Mutex::new(State {
                breaker,
                link: None,
                reading: None,
                links: 0,
                local: Local::new(checked.local_records),
                now: 0,
                secret: None,
                secret_differs: false,
                foreign_logged: None,
                said_away: false,
            }),
            wake: Arc::default(),
            conflicts: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            eviction_asked: AtomicBool::new(false),
        })
    }

    /// No code that holds the lock can panic half-way through a change, so a poisoned lock guards sound data.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, unless the server is left alone.
    pub(super) fn link(&self) -> Option<Numbered> {
        self.lock().link.clone()
    }

    /// The connection to read over: also that of a server that takes no writes.
    pub(super) fn link_to_read(&self) -> Option<Numbered> {
        let state = self.lock();
        state.link.clone().or_else(|| state.reading.clone())
    }

    /// One call to the server, within a time limit. What comes of it decides whether more calls go there.
    pub(super) async fn call<T, F: Future<Output = Result<T, Trouble>>>(
        &self,
        Numbered { link, number }: Numbered,
        call: Call,
        limit: Duration,
        work: impl FnOnce(Link) -> F,
    ) -> Result<T, Trouble> {
        let outcome = timeout(limit, work(link)).await.unwrap_or(Err(Trouble::TimedOut));
        if matches!(outcome, Err(Trouble::TimedOut)) {
            self.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        let mut state = self.lock();
        if state.link.as_ref().is_none_or(|link| link.number != number) {
            // A probe finds another connection for reading within a second; nothing is to wait for this one meanwhile.
            let refused_write = call == Call::Write && matches!(outcome, Err(Trouble::Refused(_)));
            if outcome.is_err() && !refused_write {
                state.reading.take_if(|link| link.number == number);
            }
            return outcome;
        }
        match &outcome {
            Ok(_) => state.breaker.succeeded(call),
            Err(trouble) => {
                if state.breaker.failed(call, trouble) {
                    let link = state.link.take();
                    state.reading = link.filter(|_| call == Call::Write && matches!(trouble, Trouble::Refused(_)));
                    drop(state);
                    self.log_away();
                    self.wake.notify_one();
                }
            }
        }
        outcome
    }

    /// Said once, until the server is in use again.
    pub(super) fn log_away(&self) {
        let Some(problem) = self.problem() else { return };
        if !std::mem::replace(&mut self.lock().said_away, true) {
            tracing::warn!(event = "store-away", %problem, "the local copy of the shared store serves");
        }
    }

    /// What is wrong, for people.
    pub(super) fn problem(&self) -> Option<String> {
        let state = self.lock();
        let address = &self.address;
        match (state.breaker.problem(), state.local.waiting()) {
            (Some(why), _) if state.breaker.is_open() && state.reading.is_none() => {
                Some(format!("the store at {address} cannot be used: {why}"))
            }
            (Some(why), _) => Some(format!("the store at {address} refuses writes: {why}")),
            (None, 0) => state
                .secret_differs
                .then(|| format!("the key {} of the store at {address} {SECRET_DIFFERS}", self.names.secret())),
            (None, waiting) => Some(format!("{waiting} records that were changed here wait for the store at {address}")),
        }
    }

    /// The server is not back. Over `link` it could be read.
    pub(super) fn still_away(&self, trouble: Trouble, link: Option<&Link>) {
        let mut state = self.lock();
        state.link = None;
        state.links += 1;
        let number = state.links;
        state.reading =
            link.filter(|_| matches!(trouble, Trouble::Refused(_))).map(|link| Numbered { link: link.clone(), number });
        state.breaker.open(match trouble {
            Trouble::TimedOut => "no answer in time".to_owned(),
            Trouble::Lost(why) | Trouble::Refused(why) => why,
        });
    }

    /// Calls go over this connection from now on, but for those about records that were changed here: of them, the server is told first.
    pub(super) fn use_link(&self, link: &Link) {
        let mut state = self.lock();
        state.breaker.close();
        state.links += 1;
        state.link = Some(Numbered { link: link.clone(), number: state.links });
        state.reading = None;
    }

    /// Whether the server is in use again, if nothing has gone wrong meanwhile.
    pub(super) fn is_back(&self) -> bool {
        let mut state = self.lock();
        state.said_away &= state.link.is_none();
        state.link.is_some()
    }

    /// Changes for the server; none when it knows all.
    pub(super) fn replays(&self, limit: usize, done: &mut Replayed) -> Vec<Replay> {
        let mut state = self.lock();
        let (replays, settled) = state.local.replays(limit);
        done.replayed += settled;
        done.dropped += self.count_evicted(&mut state);
        replays
    }

    /// The changes that are left are lost.
    pub(super) fn give_up(&self) -> u64 {
        let lost = self.lock().local.forget_all();
        self.dropped.fetch_add(lost, Ordering::Relaxed);
        lost
    }

    /// The server has taken a change. Returns its updates.
    pub(super) fn replayed(&self, replay: Replay) -> u64 {
        self.lock().local.replayed(replay)
    }

    /// The server did not take a change, since it has something else than was expected. Where others have changed the record, ours is
    /// dropped, and it goes on from theirs.
    pub(super) fn conflicted(&self, replay: Replay, found: &Found, done: &mut Replayed) {
        let mut state = self.lock();
        let (key, there) = (replay.key, found.record());
        match state.local.conflicted(replay, there.map(|(value, _)| value)) {
            Conflict::InForce(updates) => done.replayed += updates,
            Conflict::Again => {}
            Conflict::Word(lost) => {
                self.dropped.fetch_add(lost, Ordering::Relaxed);
                done.dropped += lost;
            }
            Conflict::Lost(updates) => {
                self.dropped.fetch_add(updates, Ordering::Relaxed);
                done.dropped += updates;
                let now = state.now;
                state.local.learn(key, there, key.address, now);
            }
        }
    }

    /// What the full local copy let go is lost.
    pub(super) fn count_evicted(&self, state: &mut State) -> u64 {
        let evicted = state.local.take_evicted();
        self.dropped.fetch_add(evicted, Ordering::Relaxed);
        evicted
    }

    pub(super) fn health(&self) -> Health {
        let problem = self.problem();
        let state = self.lock();
        Health {
            kind: "redis".to_owned(),
            problem,
            serves_local_copy: state.breaker.is_open() || state.local.waiting() > 0,
            unsaved: state.local.waiting(),
            conflicts: self.conflicts.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            ..Health::default()
        }
    }
}

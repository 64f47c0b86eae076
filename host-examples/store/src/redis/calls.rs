//! What a store is asked for: over the connection, or from the local copy.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use smtp_fallback_policy::contract::{Key, RecordUpdate, StoredRecord};
use tokio::time::timeout;

use super::breaker::{Call, Trouble};
use super::link::{Found, Link, Place};
use super::local;
use super::script::Swapped;
use super::state::{Numbered, SECRET_DIFFERS, Shared, State};
use crate::{Cursor, Listed, MAX_VALUE_OCTETS, Page, Secret, StoreError, Swap, Write};

/// How long a call may take that no decision waits for: reports, and the secret.
const UNHURRIED: Duration = Duration::from_secs(2);

/// Foreign values are logged this often at most.
const FOREIGN_LOG: Duration = Duration::from_secs(60);

/// Parts that one scan asks for until it finds a record: a server with millions of keys of others is not read in one call.
const SCAN_PARTS: usize = 1000;

/// Keys that the server looks at for one part.
const SCAN_COUNT: usize = 1000;

/// Begins the cursor of a scan of the local copy.
const LOCAL_CURSOR: &str = "local:";

/// Begins the cursor of a scan that has read all that the server has, and goes on with what was changed here.
const CHANGED_CURSOR: &str = "changed:";

impl Shared {
    pub(super) async fn read(&self, keys: &[Key], now: u64) -> Result<Vec<StoredRecord>, StoreError> {
        let (link, changed) = {
            let mut state = self.lock();
            state.now = state.now.max(now);
            let changed: Vec<Key> = keys.iter().filter(|key| state.local.is_changed(key)).copied().collect();
            match state.link.as_ref().or(state.reading.as_ref()) {
                Some(link) if !keys.is_empty() => (link.clone(), changed),
                _ => return state.local.read(keys, now),
            }
        };
        let names = keys.iter().map(|key| self.names.of(key)).collect();
        let found = self.call(link, Call::Read, self.time_limit, |link| async move { link.read(names).await }).await;
        let mut state = self.lock();
        let Ok(found) = found else { return state.local.read(keys, now) };
        let source = local::source(keys);
        let mut records = Vec::with_capacity(found.len());
        for (key, found) in keys.iter().zip(found) {
            // What was told the server meanwhile may have come to it after the question.
            if changed.contains(key) || state.local.is_changed(key) {
                records.extend(state.local.read(std::slice::from_ref(key), now)?);
                continue;
            }
            state.local.learn(*key, found.record(), source, now);
            match found {
                Found::Value(value, _) => records.push(StoredRecord { key: *key, value }),
                Found::Foreign(what) => self.log_foreign(&mut state, key, what),
                Found::Nothing => {}
            }
        }
        Ok(records)
    }

    pub(super) async fn swap(&self, write: Write<'_>) -> Result<Swap, StoreError> {
        let octets = write.update.value.len();
        if octets > MAX_VALUE_OCTETS {
            return Err(StoreError::ValueTooLarge { octets });
        }
        // A record of no octets is none, here as on the server.
        let removal = RecordUpdate { expires_in: 0, ..write.update.clone() };
        let update = if octets == 0 { &removal } else { write.update };
        let write = Write { update, expected: write.expected.filter(|expected| !expected.is_empty()), ..write };
        let link = {
            let mut state = self.lock();
            state.now = state.now.max(write.now);
            let link = state.link.clone().filter(|_| !state.local.is_changed(&update.key));
            let Some(link) = link else {
                let swap = state.local.change(write);
                self.count_evicted(&mut state);
                if swap == Ok(Swap::Conflict) {
                    self.conflicts.fetch_add(1, Ordering::Relaxed);
                }
                return swap;
            };
            link
        };
        let name = self.names.of(&update.key);
        let swapped = self.call(link, Call::Write, self.time_limit, |link| async move {
            link.swap(&name, write.expected, &update.value, update.expires_in).await
        });
        match swapped.await {
            Ok(Swapped::Stored) => {
                self.lock().local.wrote(write);
                Ok(Swap::Stored)
            }
            Ok(Swapped::Conflict) => {
                self.conflicts.fetch_add(1, Ordering::Relaxed);
                Ok(Swap::Conflict)
            }
            Err(Trouble::Refused(why)) => Err(StoreError::Unavailable(why)),
            Err(Trouble::TimedOut) => {
                self.not_answered(update);
                let limit = self.time_limit.as_millis();
                Err(StoreError::Unavailable(format!(
                    "nothing within {limit} ms: the update counts as lost, though it may be done yet"
                )))
            }
            Err(Trouble::Lost(why)) => {
                self.not_answered(update);
                Err(StoreError::Unavailable(format!("{why}: the update counts as lost, though it may have been done")))
            }
        }
    }

    /// Its caller is told that it is lost. If it was done all the same, that is no conflict with what is changed here from now on.
    fn not_answered(&self, update: &RecordUpdate) {
        if update.expires_in > 0 {
            self.lock().local.not_answered(update.key, &update.value);
        }
    }

    pub(super) async fn scan(&self, cursor: Cursor, limit: usize, now: u64) -> Result<Page, StoreError> {
        for which in [LOCAL_CURSOR, CHANGED_CURSOR] {
            if let Some(rest) = cursor.0.strip_prefix(which) {
                return self.scan_local(which, rest, limit, now);
            }
        }
        let (link, mut place) = match self.link_to_read() {
            None if cursor.0.is_empty() => return self.scan_local(LOCAL_CURSOR, "", limit, now),
            None => return Err(self.unavailable()),
            Some(link) => (link, Place::read(&cursor.0)?),
        };
        let pattern = self.names.pattern();
        let mut count = limit.clamp(10, SCAN_COUNT);
        for _ in 0..SCAN_PARTS {
            let (pattern, at) = (pattern.clone(), place);
            let ask = |link: Link| async move { link.names(&pattern, at, count).await };
            let part = self.call(link.clone(), Call::Read, UNHURRIED, ask).await.map_err(|_| self.unavailable())?;
            let mut keys: Vec<Key> = part.names.iter().filter_map(|name| self.names.read(name)).collect();
            let changed = {
                let state = self.lock();
                keys.retain(|key| !state.local.is_changed(key));
                (state.local.waiting() > 0).then(|| Cursor(CHANGED_CURSOR.to_owned()))
            };
            let next = part.next.as_ref().map(|place| Cursor(place.to_string())).or(changed);
            let records = self.listed(&link, keys, now).await?;
            match part.next {
                Some(next) if records.is_empty() => place = next,
                _ => return Ok(Page { records, next }),
            }
            count = SCAN_COUNT; // Many keys of others: larger parts.
        }
        Ok(Page { records: Vec::new(), next: Some(Cursor(place.to_string())) })
    }

    pub(super) async fn secret(&self) -> Result<Secret, StoreError> {
        if let Some(secret) = self.lock().secret {
            return Ok(secret);
        }
        let Some(link) = self.link_to_read() else { return Err(self.unavailable()) };
        let mut secret = Secret::default();
        getrandom::fill(&mut secret)
            .map_err(|error| StoreError::Unavailable(format!("the system gives no random octets for the secret: {error}")))?;
        let (name, text) = (self.names.secret(), hexadecimal(&secret));
        let ask = |link: Link| async move { link.keep_first(&name, &text).await };
        let found = self.call(link, Call::Write, UNHURRIED, ask).await.map_err(|_| self.unavailable())?;
        let secret = read_secret(&found).ok_or_else(|| {
            let name = self.names.secret();
            StoreError::Unavailable(format!(
                "the key {name} holds no 64 hexadecimal digits in lower case; delete it, then start all hosts anew"
            ))
        })?;
        self.lock().secret = Some(secret);
        Ok(secret)
    }

    /// A server that has lost it gets the secret back, so that a host that starts now has the same as the others.
    pub(super) async fn keep_secret(&self, link: &Link) {
        let Some(secret) = self.lock().secret else { return };
        let name = self.names.secret();
        let Ok(Ok(found)) = timeout(UNHURRIED, link.keep_first(&name, &hexadecimal(&secret))).await else { return };
        let differs = read_secret(&found) != Some(secret);
        if differs && !std::mem::replace(&mut self.lock().secret_differs, differs) {
            tracing::error!(event = "store-secret-changed", key = name, "{SECRET_DIFFERS}");
        }
        self.lock().secret_differs = differs;
    }

    /// Of all that is here, or of what was changed here.
    fn scan_local(&self, which: &str, rest: &str, limit: usize, now: u64) -> Result<Page, StoreError> {
        let state = self.lock();
        let mut page = state.local.scan(Cursor(rest.to_owned()), limit, now)?;
        page.records.retain(|listed| which == LOCAL_CURSOR || state.local.is_changed(&listed.record.key));
        page.next = page.next.map(|next| Cursor(format!("{which}{}", next.0)));
        Ok(page)
    }

    async fn listed(&self, link: &Numbered, keys: Vec<Key>, now: u64) -> Result<Vec<Listed>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let names = keys.iter().map(|key| self.names.of(key)).collect();
        let ask = |link: Link| async move { link.read(names).await };
        let found = self.call(link.clone(), Call::Read, UNHURRIED, ask).await.map_err(|_| self.unavailable())?;
        let listed = keys.into_iter().zip(&found).filter_map(|(key, found)| {
            let (value, left) = found.record()?;
            let record = StoredRecord { key, value: value.to_vec() };
            Some(Listed { record, expires_at: now.saturating_add(left.into()), weight: 0 })
        });
        Ok(listed.collect())
    }

    fn unavailable(&self) -> StoreError {
        StoreError::Unavailable(self.problem().unwrap_or_else(|| format!("a call to {} failed", self.address)))
    }

    fn log_foreign(&self, state: &mut State, key: &Key, what: &str) {
        if state.foreign_logged.is_none_or(|last| last.elapsed() >= FOREIGN_LOG) {
            state.foreign_logged = Some(Instant::now());
            tracing::warn!(
                event = "store-foreign",
                key = self.names.of(key),
                "found {what}, which no host writes; it counts as no record: does something else use this prefix?"
            );
        }
    }
}

impl Found {
    /// The value, and the seconds that it lives.
    pub(super) fn record(&self) -> Option<(&[u8], u32)> {
        match self {
            // Rounded up, as the server counts in milliseconds: what is there lives for some time.
            Found::Value(value, Some(left)) => {
                Some((value.as_slice(), u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)))
            }
            Found::Value(value, None) => Some((value.as_slice(), u32::MAX)),
            Found::Nothing | Found::Foreign(_) => None,
        }
    }
}

impl Place {
    fn read(cursor: &str) -> Result<Place, StoreError> {
        if cursor.is_empty() {
            return Ok(Place::default());
        }
        let (number, node) = cursor.split_once('@').unwrap_or((cursor, ""));
        match number.parse() {
            Ok(cursor) => Ok(Place { cursor, node: node.to_owned() }),
            Err(_) => Err(StoreError::Unavailable("the cursor is none that this store gave; begin without one".to_owned())),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.node.is_empty() { write!(f, "{}", self.cursor) } else { write!(f, "{}@{}", self.cursor, self.node) }
    }
}

fn hexadecimal(secret: &Secret) -> String {
    secret.iter().fold(String::with_capacity(64), |mut text, octet| {
        let _ = write!(text, "{octet:02x}"); // Writing to a string cannot fail.
        text
    })
}

fn read_secret(found: &Found) -> Option<Secret> {
    let Found::Value(text, _) = found else { return None };
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let octets = text.chunks(2).map(|pair| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    octets.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

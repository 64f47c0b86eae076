//! The store of one host: in memory, and written behind to a file.
//!
//! All records lie in a table in memory (see [`MemoryStore`](crate::MemoryStore) for its limits and its order of eviction), so that reading and
//! writing never wait for the disk. A thread writes what has changed to a redb database, about three times a second, each time in
//! one durable transaction of at most 10,000 changes. After kill -9 or a power failure nothing is corrupt, and the last second's updates are
//! missing at most, if
//!
//! - the disk syncs within some 100 ms and does not lie about it. A transaction takes two syncs, and an update may have to wait for the
//!   transaction before its own: where a sync takes 700 ms, the last 4 s may be missing. [`Health::problem`] says so when an update has
//!   waited for more than a second;
//! - there are fewer than some 20,000 updates a second. Again, `problem` says so;
//! - the disk took updates until then.
//!
//! That a record has expired or was evicted may be written later: rows of those come back, and go again. There is one exception, after a
//! failure of the disk: see below.
//!
//! While the disk takes nothing (full, broken), the store goes on in memory: [`Health::problem`] says what is wrong, [`Health::unsaved`]
//! counts, and the thread tries again, for as long as it takes. What it has to remember is bounded: a mark for each record, and a quarter
//! of a million removals; if there are more, it searches the file for them once it can, some thousand rows in each transaction. A record
//! that was removed by an update meanwhile comes back if the power fails before the search has come to it.
//!
//! A file that is removed or replaced while the store is open is written anew, and what took its place is renamed to
//! `NAME.replaced-YYYYMMDDTHHMMSSZ`. `NAME.lock` is locked for the life of the store and stays when it ends: a second process is refused,
//! also while the file is closed after a failure. The folder has to be writable, for all of these.
//!
//! Expiry, weight and account of a record are in the file. Its age is not: after a restart, "written longest ago" starts anew.
//!
//! Records that have expired are removed by the clocks of both the caller and the system, and not by a clock that has jumped: the file says
//! when it was written last, and where the system's clock is an hour or more off that, or jumps while the store is open, the time that passes
//! counts until the clock has stayed so for a day. Until then, what it says has expired is there and takes room.

mod error;
mod file;
mod lock;
mod rows;
mod search;
mod writer;

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::contract::{Key, StoredRecord};

pub use self::error::EmbeddedError;
use crate::memory::{lock, page, values};
use crate::table::{Limits, Table};
use crate::{BoxFuture, Cursor, Health, Page, Secret, Store, StoreError, Swap, Write};

/// An update that waits for longer than this until it is on disk is late.
const LATE: Duration = Duration::from_secs(1);

/// So long a late one is shown, unless a later one was in time.
const LATE_SHOWN: Duration = Duration::from_secs(60);

/// Keeps records in memory and in a file.
///
/// Dropping it writes what is left; [`EmbeddedStore::close`] does the same and says whether it worked.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    secret: Secret,
    writer: Option<JoinHandle<()>>,
}

/// What [`EmbeddedStore::open`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// So many records were loaded.
    pub records: u64,
    /// The secret was made just now: mails that were refused earlier are not recognised any more (A33), and another part of the
    /// networks takes part in a roll-out (A35). Expected at the first start only.
    pub secret_is_new: bool,
    /// The file was damaged, and is now called this; the store began empty.
    pub set_aside: Option<PathBuf>,
}

/// What callers and the writing thread share.
struct Shared {
    table: Mutex<Table>,
    conflicts: AtomicU64,
    /// Changes that are on their way to the disk.
    in_flight: AtomicU64,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    closing: bool,
    /// What is wrong with the disk.
    problem: Option<String>,
    /// Since when changes wait that are on their way to the disk.
    in_flight_since: Option<Instant>,
    /// When an update was late, and how long it had waited.
    late: Option<(Instant, Duration)>,
}

impl EmbeddedStore {
    /// Opens the file, or makes it if there is none (mode 0600; its folder must exist), and loads its records. Takes 2 to 4 s for
    /// 10 million.
    ///
    /// A damaged file is renamed to `NAME.damaged-YYYYMMDDTHHMMSSZ`, and the store begins empty, with a new secret. Every page is checked: what
    /// is served was written.
    ///
    /// # Errors
    /// See [`EmbeddedError`]. The file is left as it is.
    pub fn open(path: &Path, limits: Limits) -> Result<(EmbeddedStore, Opened), EmbeddedError> {
        EmbeddedStore::open_with(path, limits, &file::Disk::default())
    }

    fn open_with(path: &Path, limits: Limits, disk: &file::Disk) -> Result<(EmbeddedStore, Opened), EmbeddedError> {
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(file::no_file(path));
        }
        let lock = lock::Lock::take(path)?;
        let mut opened = Opened::default();
        let mut loaded = rows::load(path, limits, disk);
        if let Err(EmbeddedError::Damaged { reason, .. }) = &loaded {
            let aside = file::set_aside(path, "damaged")?;
            tracing::warn!(
                event = "store-damaged", path = %path.display(), set_aside = %aside.display(), %reason,
                "the store's file is damaged and was set aside; the store begins empty, with a new secret"
            );
            opened.set_aside = Some(aside);
            loaded = rows::load(path, limits, disk);
        }
        let rows::Loaded { database, file, table, secret, secret_is_new } = loaded?;
        opened.records = table.len() as u64;
        opened.secret_is_new = secret_is_new;
        let shared = Arc::new(Shared {
            table: Mutex::new(table),
            conflicts: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let writer = writer::Writer::new(Arc::clone(&shared), path, disk, lock, (database, file), secret);
        let writer = std::thread::Builder::new().name("store-writer".into()).spawn(|| writer.run());
        let writer = writer.map_err(|source| EmbeddedError::Io { path: path.to_owned(), doing: "start a thread for", source })?;
        Ok((EmbeddedStore { shared, secret, writer: Some(writer) }, opened))
    }

    /// Writes what is left and closes the file.
    ///
    /// # Errors
    /// What is wrong, if not everything could be written.
    pub fn close(mut self) -> Result<(), EmbeddedError> {
        self.finish();
        match self.shared.state().problem.take() {
            Some(problem) => Err(EmbeddedError::Unsaved { updates: self.shared.unsaved(), problem }),
            None => Ok(()),
        }
    }

    /// What is wrong, in words.
    fn problem(&self) -> Option<String> {
        if self.writer.as_ref().is_none_or(JoinHandle::is_finished) {
            return Some(
                "the thread that writes the store's file has ended, by a fault of this program: updates are in memory only; restart it"
                    .to_owned(),
            );
        }
        let waiting = lock(&self.shared.table).waiting_since();
        let state = self.shared.state();
        if state.problem.is_some() {
            return state.problem.clone();
        }
        let waits = [waiting, state.in_flight_since].into_iter().flatten().map(|since| since.elapsed()).max();
        let waited = state.late.filter(|(at, _)| at.elapsed() < LATE_SHOWN).map(|(_, waited)| waited);
        waits.max(waited).filter(|&wait| wait > LATE).map(|wait| {
            format!(
                "the disk is slow: an update has waited for it for {:.1} s, expected at most 1 s; a power failure costs as much; see what else uses the disk",
                wait.as_secs_f64()
            )
        })
    }

    fn finish(&mut self) {
        self.shared.state().closing = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            self.shared.state().problem.get_or_insert("the writing thread panicked".into());
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsaved(&self) -> u64 {
        lock(&self.table).unsaved() as u64 + self.in_flight.load(Ordering::Relaxed)
    }
}

impl Store for EmbeddedStore {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        Box::pin(ready(Ok(values(&self.shared.table, keys, now))))
    }

    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        let swap = lock(&self.shared.table).swap(write);
        if swap == Ok(Swap::Conflict) {
            self.shared.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(ready(swap))
    }

    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async move { Ok(page(&self.shared.table, cursor, limit, now).await) })
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        Box::pin(ready(Ok(self.secret)))
    }

    fn health(&self) -> Health {
        let problem = self.problem();
        let unsaved = self.shared.unsaved();
        let table = lock(&self.shared.table);
        Health {
            kind: "embedded".to_owned(),
            problem,
            records: Some(table.len() as u64),
            capacity: Some(table.capacity() as u64),
            evicted: table.evicted(),
            unsaved,
            conflicts: self.shared.conflicts.load(Ordering::Relaxed),
            ..Health::default()
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

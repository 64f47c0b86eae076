//! The store of one host: in memory, and written behind to a file.
//!
//! All records lie in a table in memory (see [`MemoryStore`](crate::MemoryStore) for its limits and its order of eviction), so that reading and
//! writing never wait for the disk. A thread writes what has changed to a redb database, about three times a second, each time in
//! one durable transaction: after kill -9 or a power failure at most the last second's updates are missing, and nothing is corrupt.
//!
//! While the disk takes nothing (full, broken), the store goes on in memory: [`Health::problem`] says what is wrong, [`Health::unsaved`]
//! counts, and the thread tries again, for as long as it takes. What it has to remember is bounded: a mark for each record, and a quarter
//! of a million removals; if there are more, it searches the file for them once it can.
//!
//! Expiry, weight and account of a record are in the file. Its age is not: after a restart, "written longest ago" starts anew.

mod error;
mod file;
mod rows;
mod writer;

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::contract::{Key, StoredRecord};

pub use self::error::EmbeddedError;
use crate::memory::{lock, page, values};
use crate::table::{Limits, Table};
use crate::{BoxFuture, Cursor, Health, Page, Secret, Store, StoreError, Swap, Write};

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
}

impl EmbeddedStore {
    /// Opens the file, or makes it if there is none (mode 0600; its folder must exist), and loads its records. Takes 3 s for 10
    /// million.
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
        let mut opened = Opened::default();
        let mut loaded = rows::load(path, limits, disk);
        if let Err(EmbeddedError::Damaged { reason, .. }) = &loaded {
            let aside = file::set_aside(path)?;
            tracing::warn!(
                event = "store-damaged", path = %path.display(), set_aside = %aside.display(), %reason,
                "the store's file is damaged and was set aside; the store begins empty, with a new secret"
            );
            opened.set_aside = Some(aside);
            loaded = rows::load(path, limits, disk);
        }
        let rows::Loaded { database, table, secret, secret_is_new } = loaded?;
        opened.records = table.len() as u64;
        opened.secret_is_new = secret_is_new;
        let shared = Arc::new(Shared {
            table: Mutex::new(table),
            conflicts: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let writer = writer::Writer::new(Arc::clone(&shared), path, disk, database, secret);
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
        Box::pin(ready(Ok(page(&self.shared.table, &cursor, limit, now))))
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        Box::pin(ready(Ok(self.secret)))
    }

    fn health(&self) -> Health {
        let problem = self.shared.state().problem.clone();
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

//! The thread that writes changes to the disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase};

use super::file::{Disk, Identity, close, open_file, set_aside, unpanicked};
use super::lock::Lock;
use super::rows::{begin, write};
use super::search::{self, Place};
use super::{EmbeddedError, LATE, Shared};
use crate::Secret;
use crate::memory::lock;
use crate::table::{Batch, Table};

/// From the end of one transaction to the beginning of the next.
const INTERVAL: Duration = Duration::from_millis(250);

/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// What lasts is logged this often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Without changes, the time is written this often.
const QUIET: Duration = Duration::from_secs(3600);

/// By so many seconds the clock is off that the operator should know of it: by more than a restart takes.
const NOTABLE: u64 = 86_400;

/// Changes that are taken, or given back, while the table is locked: some 100 µs.
const TAKEN_AT_ONCE: usize = 1000;

/// Changes in one transaction: it takes some 250 ms in a database of 10 million.
const TRANSACTION: usize = 10_000;

/// Slots that the hand goes on by in each turn: a store with a million records is swept in four minutes.
const SWEPT: usize = 1000;

pub(super) struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    disk: Disk,
    /// Absent after a failure, until the file is open again.
    database: Option<Database>,
    /// The file that was opened last.
    file: Identity,
    /// It has its tables and its secret.
    is_begun: bool,
    lock: Lock,
    secret: Secret,
    /// Where the search for rows that are not in the table goes on.
    search: Option<Place>,
    /// When the file took something last.
    written: Instant,
    logged_failure: Option<Instant>,
    logged_lateness: Option<Instant>,
    logged_clock: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        path: &Path,
        disk: &Disk,
        lock: Lock,
        (database, file): (Database, Identity),
        secret: Secret,
    ) -> Self {
        Writer {
            shared,
            path: path.to_owned(),
            disk: disk.clone(),
            database: Some(database),
            file,
            is_begun: true,
            lock,
            secret,
            search: None,
            written: Instant::now(),
            logged_failure: None,
            logged_lateness: None,
            logged_clock: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut pause = INTERVAL;
        loop {
            let closing = self.wait(pause);
            self.sweep();
            // In turns, each of bounded size, until all is written; at the end, one failure is enough.
            let mut saved = self.save(closing);
            while closing && saved.is_ok() && (self.search.is_some() || lock(&self.shared.table).has_changes()) {
                saved = self.save(closing);
            }
            let behind = self.search.is_some() || lock(&self.shared.table).unsaved() > TRANSACTION;
            pause = match &saved {
                Ok(_) if behind => Duration::ZERO,
                Ok(_) => INTERVAL,
                Err(_) => RETRY,
            };
            self.report(saved);
            if closing {
                return self.close();
            }
        }
    }

    /// Whether the store closes.
    fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.shared.state();
        while !state.closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.wake.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        state.closing
    }

    /// In proportion to the table, so that a quiet store is swept within minutes whatever its size.
    fn sweep(&mut self) {
        let turns = lock(&self.shared.table).len() / 1_000_000 + 1;
        for _ in 0..turns {
            let mut table = lock(&self.shared.table);
            let now = table.own_clock.read();
            table.sweep(now, SWEPT);
        }
        let lead = lock(&self.shared.table).own_clock.doubted_lead();
        match lead {
            Some(ahead) if ahead.unsigned_abs() > NOTABLE && !self.logged_clock => {
                self.logged_clock = true;
                tracing::warn!(
                    event = "store-clock", path = %self.path.display(), seconds_ahead = ahead,
                    "the system's clock is far from the time of the newest update in the store's file, or has jumped; for a day no record \
                     ends by it"
                );
            }
            None if self.logged_clock => {
                self.logged_clock = false;
                tracing::info!(event = "store-clock-believed", path = %self.path.display(), "the store goes by the system's clock again");
            }
            _ => {}
        }
    }

    /// Writes a part of what has changed. How long the oldest change of it had waited.
    fn save(&mut self, closing: bool) -> Result<Duration, String> {
        if self.database.is_some() && !self.file.is_at(&self.path) {
            tracing::warn!(
                event = "store-gone", path = %self.path.display(),
                "the store's file was removed or replaced; all records are written to a new one"
            );
            self.close();
        }
        if self.database.is_none() {
            let path = self.path.clone();
            let opened = unpanicked(&path, || self.reopen()).map_err(|error| error.to_string())?;
            self.database = Some(opened?);
        } else if self.search.is_none() && !lock(&self.shared.table).has_changes() && !closing && self.written.elapsed() < QUIET {
            return Ok(Duration::ZERO);
        }
        let Some(database) = &self.database else { return Ok(Duration::ZERO) };
        let mut batch = Batch::default();
        let written = unpanicked(&self.path, || self.save_batch(database, &mut batch));
        let written = written.map_err(|error| error.to_string()).and_then(|result| result.map_err(|error| error.to_string()));
        let waited = batch.since.map_or(Duration::ZERO, |since| since.elapsed());
        let outcome = match written {
            Ok(next) => {
                self.search = if batch.search { Some(search::START) } else { next };
                self.written = Instant::now();
                Ok(waited)
            }
            // Only the time is not written.
            Err(_) if closing && batch.is_empty() && self.search.is_none() => Ok(waited),
            Err(problem) => {
                self.give_back(&batch);
                // After an error, redb refuses all further work until the file is opened anew.
                self.close();
                Err(problem)
            }
        };
        self.shared.in_flight.store(0, Ordering::Relaxed);
        self.shared.state().in_flight_since = None;
        outcome
    }

    /// One transaction. Where the search goes on.
    fn save_batch(&self, database: &Database, batch: &mut Batch) -> Result<Option<Place>, redb::Error> {
        let next = match self.search {
            Some(from) => search::step(database, from, &self.shared.table, &mut batch.gone)?,
            None => None,
        };
        self.take(batch);
        let noted = lock(&self.shared.table).own_clock.noted();
        write(database, batch, noted)?;
        Ok(next)
    }

    /// Takes removals, then changed records, up to the size of a transaction.
    fn take(&self, batch: &mut Batch) {
        let since = lock(&self.shared.table).waiting_since();
        self.shared.state().in_flight_since = since;
        loop {
            let mut table = lock(&self.shared.table);
            let more = table.take_changes(batch, TAKEN_AT_ONCE);
            let taken = batch.gone.len() + batch.rows.len();
            self.shared.in_flight.store(taken as u64, Ordering::Relaxed);
            // The filter of removals may leave few of many: they are bounded as a whole, so this ends.
            if !more || taken >= TRANSACTION {
                return;
            }
        }
    }

    /// Notes the changes of a batch again, in parts, so that nobody waits long for the table.
    fn give_back(&self, batch: &Batch) {
        for rows in batch.rows.chunks(TAKEN_AT_ONCE) {
            lock(&self.shared.table).give_changes_back(&[], rows, false);
            give_way();
        }
        let mut table = lock(&self.shared.table);
        table.give_changes_back(&batch.gone, &[], batch.search);
        table.waits_since(batch.since);
    }

    /// Opens the file again. If it is damaged, gone or another, all records go into a new one.
    fn reopen(&mut self) -> Result<Database, String> {
        let in_words = |error: EmbeddedError| error.to_string();
        if !self.lock.is_there() {
            self.lock = Lock::take(&self.path).map_err(in_words)?;
        }
        if !self.file.is_at(&self.path) {
            if self.path.symlink_metadata().is_ok() {
                let aside = set_aside(&self.path, "replaced").map_err(in_words)?;
                tracing::warn!(
                    event = "store-replaced", path = %self.path.display(), set_aside = %aside.display(),
                    "the file that took the place of the store's own was set aside"
                );
            }
            self.make().map_err(in_words)?;
        }
        let opened = match self.disk.open(&self.path) {
            Err(EmbeddedError::Damaged { reason, .. }) => {
                if self.is_begun {
                    let aside = set_aside(&self.path, "damaged").map_err(in_words)?;
                    tracing::warn!(
                        event = "store-damaged", path = %self.path.display(), set_aside = %aside.display(), %reason,
                        "the store's file is damaged and was set aside; all records are written to a new one"
                    );
                } else {
                    // The beginning of a file that a full disk did not take.
                    std::fs::remove_file(&self.path).map_err(|error| error.to_string())?;
                }
                self.make().map_err(in_words)?;
                self.disk.open(&self.path)
            }
            other => other,
        };
        let (database, file) = opened.map_err(in_words)?;
        let read = database.begin_read().map_err(|error| error.to_string())?;
        let tables = read.list_tables().map_err(|error| error.to_string())?.count();
        drop(read);
        if tables == 0 {
            begin(&database, &self.secret).map_err(|error| error.to_string())?;
            list_all(&self.shared.table);
        }
        self.is_begun = true;
        self.file = file;
        Ok(database)
    }

    /// An empty file is a new one.
    fn make(&mut self) -> Result<(), EmbeddedError> {
        (self.file, self.is_begun) = (open_file(&self.path)?.1, false);
        Ok(())
    }

    fn close(&mut self) {
        if let Some(database) = self.database.take() {
            close(&self.path, database);
        }
    }

    fn report(&mut self, saved: Result<Duration, String>) {
        let due = |logged: &Option<Instant>| logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        let mut state = self.shared.state();
        match saved {
            Ok(waited) => {
                let recovered = state.problem.take().is_some();
                if recovered {
                    self.logged_failure = None;
                    tracing::info!(event = "store-recovered", path = %self.path.display(), "the store's file takes updates again");
                }
                // What waited for it to recover is no sign of a slow disk.
                let late = !recovered && waited > LATE;
                state.late = late.then(|| (Instant::now(), waited));
                if late && due(&self.logged_lateness) {
                    self.logged_lateness = Some(Instant::now());
                    tracing::warn!(
                        event = "store-slow", path = %self.path.display(), ?waited,
                        "the disk is slow: updates wait for longer than a second until they are in the store's file"
                    );
                }
            }
            Err(problem) => {
                if due(&self.logged_failure) {
                    self.logged_failure = Some(Instant::now());
                    tracing::error!(
                        event = "store-failure", path = %self.path.display(), %problem,
                        "the store's file takes no updates; the store goes on in memory and tries again"
                    );
                }
                state.problem = Some(problem);
            }
        }
    }
}

/// Lists every record as changed, in parts, so that nobody waits long for the table. Whatever else the file has is searched for.
pub(super) fn list_all(table: &Mutex<Table>) {
    let mut next = Some(1);
    while let Some(from) = next {
        next = lock(table).list_again(from, TAKEN_AT_ONCE);
        give_way();
    }
}

/// Lets go of the processor: who releases a lock and takes it at once is faster than those who wait for it.
fn give_way() {
    std::thread::sleep(Duration::from_micros(50));
}

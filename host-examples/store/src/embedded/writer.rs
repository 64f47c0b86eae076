//! The thread that writes changes to the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase};

use super::file::{Disk, set_aside, unpanicked};
use super::rows::{META, RECORDS, begin, decode_key, encode_key, encode_value};
use super::{EmbeddedError, Shared};
use crate::Secret;
use crate::memory::lock;
use crate::table::Batch;

/// From the end of one transaction to the beginning of the next.
const INTERVAL: Duration = Duration::from_millis(250);

/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// A failure that lasts is logged this often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Changes that are taken while the table is locked: some 100 µs.
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
    secret: Secret,
    logged: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, path: &Path, disk: &Disk, database: Database, secret: Secret) -> Self {
        Writer { shared, path: path.to_owned(), disk: disk.clone(), database: Some(database), secret, logged: None }
    }

    pub(super) fn run(mut self) {
        let mut pause = INTERVAL;
        loop {
            let closing = self.wait(pause);
            self.sweep();
            // In turns, each of bounded size, until all is written; at the end, one failure is enough.
            let mut saved = self.save();
            while closing && saved.is_ok() && lock(&self.shared.table).has_changes() {
                saved = self.save();
            }
            let behind = lock(&self.shared.table).unsaved() > TRANSACTION;
            pause = match &saved {
                Ok(()) if behind => Duration::ZERO,
                Ok(()) => INTERVAL,
                Err(_) => RETRY,
            };
            self.report(saved);
            if closing {
                return;
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
    fn sweep(&self) {
        let turns = lock(&self.shared.table).len() / 1_000_000 + 1;
        for _ in 0..turns {
            lock(&self.shared.table).sweep(super::now(), SWEPT);
        }
    }

    fn save(&mut self) -> Result<(), String> {
        if !lock(&self.shared.table).has_changes() && self.database.is_some() {
            return Ok(());
        }
        if self.database.is_none() {
            let opened = unpanicked(&self.path, || self.reopen()).map_err(|error| error.to_string())?;
            self.database = Some(opened?);
        }
        let batch = self.take();
        let Some(database) = &self.database else { return Ok(()) };
        let written = unpanicked(&self.path, || write(database, &batch)).map_err(|error| error.to_string());
        let mut result = written.and_then(|result| result.map_err(|error| error.to_string()));
        if result.is_ok() && batch.search {
            result = unpanicked(&self.path, || self.search(database))
                .map_err(|e| e.to_string())
                .and_then(|r| r.map_err(|e| e.to_string()));
        }
        if result.is_err() {
            lock(&self.shared.table).give_changes_back(&batch.gone, &batch.rows, batch.search);
            // After an error, redb refuses all further work until the file is opened anew.
            self.database = None;
        }
        self.shared.in_flight.store(0, Ordering::Relaxed);
        result
    }

    /// Takes the removals, then changed records, up to the size of a transaction.
    fn take(&self) -> Batch {
        let mut batch = Batch::default();
        loop {
            let mut table = lock(&self.shared.table);
            let more = table.take_changes(&mut batch, TAKEN_AT_ONCE);
            let taken = batch.gone.len() + batch.rows.len();
            self.shared.in_flight.store(taken as u64, Ordering::Relaxed);
            // The filter of removals may leave few of many: they are bounded as a whole, so this ends.
            if !more || taken >= TRANSACTION {
                return batch;
            }
        }
    }

    /// Opens the file again. If it is damaged or gone, all records go into a new one.
    fn reopen(&self) -> Result<Database, String> {
        let mut whole = false;
        let database = match self.disk.open(&self.path) {
            Err(EmbeddedError::Damaged { reason, .. }) => {
                let aside = set_aside(&self.path).map_err(|error| error.to_string())?;
                tracing::warn!(
                    event = "store-damaged", path = %self.path.display(), set_aside = %aside.display(), %reason,
                    "the store's file is damaged and was set aside; all records are written to a new one"
                );
                whole = true;
                self.disk.open(&self.path)
            }
            other => other,
        };
        let database = database.map_err(|error| error.to_string())?;
        let read = database.begin_read().map_err(|error| error.to_string())?;
        let tables = read.list_tables().map_err(|error| error.to_string())?.count();
        drop(read);
        if tables == 0 || whole {
            begin(&database, &self.secret).map_err(|error| error.to_string())?;
            lock(&self.shared.table).list_all();
        }
        Ok(database)
    }

    /// Removes the rows that are not in the table: their removal could not be remembered.
    fn search(&self, database: &Database) -> Result<(), redb::Error> {
        let mut from = [0; 18];
        loop {
            let mut keys = Vec::new();
            let mut last = None;
            {
                let transaction = database.begin_read()?;
                let records = transaction.open_table(RECORDS)?;
                for row in records.range(from..)?.take(TRANSACTION) {
                    let key = row?.0.value();
                    last = Some(key);
                    keys.push(key);
                }
            }
            for keys in keys.chunks_mut(TAKEN_AT_ONCE) {
                let mut table = lock(&self.shared.table);
                keys.iter_mut()
                    .filter(|key| decode_key(key).is_some_and(|key| table.keeps_row(&key)))
                    .for_each(|key| *key = [0xff; 18]);
            }
            keys.retain(|key| *key != [0xff; 18]);
            if !keys.is_empty() {
                let transaction = database.begin_write()?;
                {
                    let mut records = transaction.open_table(RECORDS)?;
                    for key in &keys {
                        records.remove(key)?;
                    }
                }
                transaction.commit()?;
            }
            match last.and_then(successor) {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    fn report(&mut self, saved: Result<(), String>) {
        let mut state = self.shared.state();
        match saved {
            Ok(()) => {
                if state.problem.take().is_some() {
                    self.logged = None;
                    tracing::info!(event = "store-recovered", path = %self.path.display(), "the store's file takes updates again");
                }
            }
            Err(problem) => {
                if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
                    self.logged = Some(Instant::now());
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

/// One durable transaction.
fn write(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    // In the order of the keys: neighbours share pages.
    let mut gone: Vec<[u8; 18]> = batch.gone.iter().map(encode_key).collect();
    gone.sort_unstable();
    // Stable: of a record that was taken twice, the later row wins.
    let mut rows: Vec<([u8; 18], Vec<u8>)> = batch.rows.iter().map(|row| (encode_key(&row.key), encode_value(row))).collect();
    rows.sort_by_key(|row| row.0);
    let transaction = database.begin_write()?; // Durable, with fsync, unless told otherwise.
    {
        // So that a file that lacks them is complete again.
        transaction.open_table(META)?;
        let mut records = transaction.open_table(RECORDS)?;
        for key in &gone {
            records.remove(key)?;
        }
        for (key, value) in &rows {
            records.insert(key, value.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// The next key.
fn successor(key: [u8; 18]) -> Option<[u8; 18]> {
    let mut next = key;
    for octet in next.iter_mut().rev() {
        match octet.checked_add(1) {
            Some(sum) => {
                *octet = sum;
                return Some(next);
            }
            None => *octet = 0,
        }
    }
    None
}

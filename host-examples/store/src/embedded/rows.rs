//! Records as rows of the database, and loading them.
//!
//! Table "records": the key is kind (1 octet), prefix length (1), address (16); the value is expiry (4), weight (4), the first 48
//! bits of the account (6), the record's value. Table "meta": "format" (8), "secret" (32), "clock" (the table's own time (8), and for how
//! many seconds it has not believed the system's (8); absent in a new file). Numbers are big-endian.

use std::path::Path;
use std::sync::mpsc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::Key;

use super::EmbeddedError;
use super::file::{Disk, Identity, close, damaged, is_damage, unpanicked};
use crate::memory::new_secret;
use crate::table::{Account, Batch, Limits, Loader, Noted, OwnClock, Row, SystemClock, Table, kind_number, kind_of_number};
use crate::{MAX_VALUE_OCTETS, Secret};

pub(super) const RECORDS: TableDefinition<'_, [u8; 18], &[u8]> = TableDefinition::new("records");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The format of the file.
const FORMAT: u64 = 1;

/// Octets before the record's own value.
const HEAD: usize = 14;

/// Rows that one thread hands to the other at once.
const LOADED_AT_ONCE: usize = 1024;

/// What a file gave.
pub(super) struct Loaded {
    pub(super) database: Database,
    pub(super) file: Identity,
    pub(super) table: Table,
    pub(super) secret: Secret,
    pub(super) secret_is_new: bool,
}

/// Opens and loads the file; makes it if there is none.
pub(super) fn load(path: &Path, limits: Limits, disk: &Disk) -> Result<Loaded, EmbeddedError> {
    let (database, file) = disk.open(path)?;
    match read(path, limits, &database, disk.clock.clone()) {
        Ok((table, secret, secret_is_new)) => Ok(Loaded { database, file, table, secret, secret_is_new }),
        Err(error) => {
            close(path, database);
            Err(error)
        }
    }
}

/// The table, the secret, and whether that is new.
fn read(path: &Path, limits: Limits, database: &Database, system: SystemClock) -> Result<(Table, Secret, bool), EmbeddedError> {
    let found = unpanicked(path, || format_and_secret(path, database))??;
    let (secret, secret_is_new) = match found {
        Some(secret) => (secret, false),
        None => (new_secret().map_err(EmbeddedError::NoSecret)?, true),
    };
    if secret_is_new {
        unpanicked(path, || begin(database, &secret))?.map_err(|error| database_error(path, error))?;
    }
    let noted = unpanicked(path, || noted(database))?.map_err(|error| database_error(path, error))?;
    let mut clock = noted.map_or_else(|| OwnClock::new(system.clone()), |noted| OwnClock::resume(system.clone(), noted));
    let now = clock.read();
    let mut table = unpanicked(path, || table(path, limits, database, now))??;
    table.own_clock = clock;
    Ok((table, secret, secret_is_new))
}

/// Where the clock of a store that had the file before ended.
fn noted(database: &Database) -> Result<Option<Noted>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let octets = meta.get("clock")?.and_then(|value| <[u8; 16]>::try_from(value.value()).ok());
    Ok(octets.map(u128::from_be_bytes).map(|both| Noted { time: (both >> 64) as u64, doubted: both as u64 }))
}

/// One durable transaction.
pub(super) fn write(database: &Database, batch: &Batch, noted: Noted) -> Result<(), redb::Error> {
    // In the order of the keys: neighbours share pages.
    let mut gone: Vec<[u8; 18]> = batch.gone.iter().map(encode_key).collect();
    gone.sort_unstable();
    // Stable: of a record that was taken twice, the later row wins.
    let mut rows: Vec<([u8; 18], Vec<u8>)> = batch.rows.iter().map(|row| (encode_key(&row.key), encode_value(row))).collect();
    rows.sort_by_key(|row| row.0);
    let transaction = database.begin_write()?; // Durable, with fsync, unless told otherwise.
    {
        let clock = u128::from(noted.time) << 64 | u128::from(noted.doubted);
        transaction.open_table(META)?.insert("clock", clock.to_be_bytes().as_slice())?;
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

/// Makes the tables and stores the secret.
pub(super) fn begin(database: &Database, secret: &Secret) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT.to_be_bytes().as_slice())?;
        meta.insert("secret", secret.as_slice())?;
        transaction.open_table(RECORDS)?;
    }
    transaction.commit()?;
    Ok(())
}

/// None for a file that has no tables: a new one.
fn format_and_secret(path: &Path, database: &Database) -> Result<Option<Secret>, EmbeddedError> {
    let read = || -> Result<Option<[Option<Vec<u8>>; 2]>, redb::Error> {
        let transaction = database.begin_read()?;
        if transaction.list_tables()?.next().is_none() {
            return Ok(None);
        }
        let meta = transaction.open_table(META)?;
        let octets = |name| -> Result<_, redb::Error> { Ok(meta.get(name)?.map(|value| value.value().to_vec())) };
        Ok(Some([octets("format")?, octets("secret")?]))
    };
    let Some([format, secret]) = read().map_err(|error| database_error(path, error))? else { return Ok(None) };
    let format = format.and_then(|octets| octets.try_into().ok()).map(u64::from_be_bytes);
    let secret = secret.and_then(|octets| Secret::try_from(octets).ok());
    match (format, secret) {
        (Some(found), _) if found > FORMAT => Err(EmbeddedError::Newer { path: path.to_owned(), found, known: FORMAT }),
        (Some(FORMAT), Some(secret)) => Ok(Some(secret)),
        _ => Err(damaged(path, "it has no format or no secret")),
    }
}

/// One thread reads the rows, this one puts them in the table.
fn table(path: &Path, limits: Limits, database: &Database, now: u64) -> Result<Table, EmbeddedError> {
    let mut loader = Loader::new(limits, now);
    let (sender, receiver) = mpsc::sync_channel(8);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || unpanicked(path, || read_rows(path, database, &sender)).and_then(|result| result));
        let loaded = receiver.into_iter().try_for_each(|rows: Rows| {
            let rows: Option<Vec<Row<&[u8]>>> = rows.iter().map(|(key, value)| decode(key, value)).collect();
            loader.load(&rows.ok_or_else(|| damaged(path, "a row is no record"))?);
            Ok(())
        });
        reader.join().unwrap_or_else(|_| Err(damaged(path, "a panic while it was read"))).and(loaded)
    })?;
    Ok(loader.finish())
}

/// Keys and values one after the other, so that a row is no allocation.
#[derive(Default)]
struct Rows {
    octets: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl Rows {
    fn push(&mut self, key: &[u8; 18], value: &[u8]) {
        self.octets.extend_from_slice(key);
        self.octets.extend_from_slice(value);
        self.ends.push(self.octets.len());
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8; 18], &[u8])> {
        let mut from = 0;
        self.ends.iter().filter_map(move |&end| self.octets.get(std::mem::replace(&mut from, end)..end)?.split_first_chunk())
    }
}

/// Ends early when nobody receives any more.
fn read_rows(path: &Path, database: &Database, sender: &mpsc::SyncSender<Rows>) -> Result<(), EmbeddedError> {
    let error = |error: redb::Error| database_error(path, error);
    let transaction = database.begin_read().map_err(|e| error(e.into()))?;
    let records = transaction.open_table(RECORDS).map_err(|e| error(e.into()))?;
    let mut rows = Rows::default();
    for row in records.iter().map_err(|e| error(e.into()))? {
        let (key, value) = row.map_err(|e| error(e.into()))?;
        rows.push(&key.value(), value.value());
        if rows.ends.len() == LOADED_AT_ONCE {
            let next = Rows { octets: Vec::with_capacity(rows.octets.len()), ends: Vec::with_capacity(LOADED_AT_ONCE) };
            if sender.send(std::mem::replace(&mut rows, next)).is_err() {
                return Ok(());
            }
        }
    }
    let _ = sender.send(rows);
    Ok(())
}

/// Damage, or a disk that does not work.
fn database_error(path: &Path, error: redb::Error) -> EmbeddedError {
    match error {
        redb::Error::Io(source) if !is_damage(&source) => EmbeddedError::Io { path: path.to_owned(), doing: "read", source },
        // It follows an error of the disk, and says nothing of the file.
        redb::Error::PreviousIo => {
            EmbeddedError::Io { path: path.to_owned(), doing: "read", source: std::io::Error::other(error) }
        }
        other => damaged(path, other),
    }
}

pub(super) fn encode_key(key: &Key) -> [u8; 18] {
    let mut octets = [0; 18];
    octets[0] = kind_number(key.kind);
    octets[1] = key.prefix_length;
    octets[2..].copy_from_slice(&key.address.bits().to_be_bytes());
    octets
}

pub(super) fn decode_key(octets: &[u8; 18]) -> Option<Key> {
    let (&[kind, prefix_length], address) = octets.split_first_chunk::<2>()?;
    let address = Address::from_bits(u128::from_be_bytes(address.try_into().ok()?));
    Some(Key { kind: kind_of_number(kind)?, address, prefix_length })
}

pub(super) fn encode_value(row: &Row) -> Vec<u8> {
    let mut octets = Vec::with_capacity(HEAD + row.value.len());
    octets.extend_from_slice(&row.expires_at.to_be_bytes());
    octets.extend_from_slice(&row.weight.to_be_bytes());
    octets.extend_from_slice(&row.account.wide.to_be_bytes());
    octets.extend_from_slice(&row.account.near.to_be_bytes());
    octets.extend_from_slice(&row.value);
    octets
}

fn decode<'a>(key: &[u8; 18], octets: &'a [u8]) -> Option<Row<&'a [u8]>> {
    let (expires_at, octets) = octets.split_first_chunk()?;
    let (weight, octets) = octets.split_first_chunk()?;
    let (wide, octets) = octets.split_first_chunk()?;
    let (near, value) = octets.split_first_chunk()?;
    (value.len() <= MAX_VALUE_OCTETS).then_some(())?;
    Some(Row {
        key: decode_key(key)?,
        account: Account { wide: u32::from_be_bytes(*wide), near: u16::from_be_bytes(*near) },
        expires_at: u32::from_be_bytes(*expires_at),
        weight: u32::from_be_bytes(*weight),
        value,
    })
}

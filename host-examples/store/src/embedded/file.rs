//! The file itself: making, opening, setting aside.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

use super::EmbeddedError;
use crate::table::SystemClock;

/// redb's own cache. Small, since the table holds all records: it serves to change pages only.
const CACHE: usize = 16 << 20;

/// The disk and the clock: in tests, they can be made to fail.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) full: std::sync::Arc<std::sync::atomic::AtomicBool>,
    /// Whoever writes panics.
    #[cfg(test)]
    pub(super) panics: std::sync::Arc<std::sync::atomic::AtomicBool>,
    /// Milliseconds that it takes to sync.
    #[cfg(test)]
    pub(super) slow: std::sync::Arc<std::sync::atomic::AtomicU64>,
    /// How often it was synced.
    #[cfg(test)]
    pub(super) syncs: std::sync::Arc<std::sync::atomic::AtomicU64>,
    pub(super) clock: SystemClock,
}

impl Disk {
    /// Opens the database, with a check of all its pages: 1.2 s for 10 million records, and the file's bytes are trusted from then on.
    /// Makes the file if it is not there.
    pub(super) fn open(&self, path: &Path) -> Result<(Database, Identity), EmbeddedError> {
        let (file, identity) = open_file(path)?;
        let owned = || path.to_owned();
        let io = |source| EmbeddedError::Io { path: owned(), doing: "open", source };
        let file = FileBackend::new(file).map_err(|error| damaged(path, error))?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        match unpanicked(path, || builder.create_with_backend(Backend { file, disk: self.clone() }))? {
            Ok(database) => Ok((database, identity)),
            Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                Err(EmbeddedError::InUse { path: owned() })
            }
            Err(DatabaseError::Storage(StorageError::Io(error))) if !is_damage(&error) => Err(io(error)),
            // Sound files: one follows an error of the disk, the other is of another version.
            Err(error @ (DatabaseError::Storage(StorageError::PreviousIo) | DatabaseError::UpgradeRequired(_))) => {
                Err(io(std::io::Error::other(error)))
            }
            Err(error) => Err(damaged(path, error)),
        }
    }
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Whether the file is at this path; so it counts too when the system does not say.
    pub(super) fn is_at(self, path: &Path) -> bool {
        match path.metadata() {
            Ok(metadata) => Identity::of(&metadata) == self,
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }
}

/// Closes the database. That reads and writes, too.
pub(super) fn close(path: &Path, database: Database) {
    if let Err(error) = unpanicked(path, || drop(database)) {
        tracing::debug!(%error, "the store's file was not closed properly");
    }
}

/// Runs what reads the file: on damage, redb returns an error as a rule, but may panic.
pub(super) fn unpanicked<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, EmbeddedError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        damaged(path, text.unwrap_or("a panic while it was read"))
    })
}

pub(super) fn damaged(path: &Path, reason: impl ToString) -> EmbeddedError {
    EmbeddedError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

/// What redb and a shortened file look like, as opposed to a disk that does not work.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput)
}

/// Renames the file to a name that is free, with this word in it.
pub(super) fn set_aside(path: &Path, why: &str) -> Result<PathBuf, EmbeddedError> {
    let stamp = stamp(super::now());
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{why}-{stamp}"));
        if n > 0 {
            name.push(format!("-{n}"));
        }
        PathBuf::from(name)
    };
    let aside = (0..100).map(name).find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| name(100));
    let io = |source| EmbeddedError::Io { path: path.to_owned(), doing: "set aside", source };
    std::fs::rename(path, &aside).map_err(io)?;
    Ok(aside)
}

/// `YYYYMMDDTHHMMSSZ` (ISO 8601, basic).
fn stamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 0000-03-01, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// That there is something at the path which is no file.
pub(super) fn no_file(path: &Path) -> EmbeddedError {
    let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
    EmbeddedError::Io { path: path.to_owned(), doing: "open", source }
}

/// Opens the file, or makes it: readable by its owner only, since the secret is in it.
pub(super) fn open_file(path: &Path) -> Result<(File, Identity), EmbeddedError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => EmbeddedError::NoFolder { path: path.to_owned() },
        io::ErrorKind::PermissionDenied => EmbeddedError::NoPermission { path: path.to_owned() },
        _ => EmbeddedError::Io { path: path.to_owned(), doing: "open", source },
    };
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            sync_folder(path);
            let identity = Identity::of(&file.metadata().map_err(error)?);
            Ok((file, identity))
        }
        Err(exists) if exists.kind() == io::ErrorKind::AlreadyExists => {
            let file = open().map_err(error)?;
            let metadata = file.metadata().map_err(error)?;
            if !metadata.is_file() {
                return Err(no_file(path));
            }
            if metadata.permissions().mode() & 0o077 != 0 {
                // It works all the same if the file belongs to another user.
                let _ = file.set_permissions(Permissions::from_mode(0o600));
            }
            Ok((file, Identity::of(&metadata)))
        }
        Err(other) => Err(error(other)),
    }
}

/// Makes the file's name last. Where the file system has no such thing, it lasts anyway or not at all.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// redb's own file, and a switch for tests.
#[derive(Debug)]
struct Backend {
    file: FileBackend,
    #[cfg_attr(not(test), expect(dead_code, reason = "it has a switch in tests only"))]
    disk: Disk,
}

impl Backend {
    fn check(&self) -> io::Result<()> {
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering::Relaxed;
            assert!(!self.disk.panics.load(Relaxed), "on purpose");
            if self.disk.full.load(Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering::Relaxed;
            self.disk.syncs.fetch_add(1, Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(self.disk.slow.load(Relaxed)));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: std::ops::Bound<u64>, end: std::ops::Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: std::ops::Bound<u64>, end: std::ops::Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn writes_the_date_as_people_read_it() {
        assert_eq!(super::stamp(0), "19700101T000000Z");
        assert_eq!(super::stamp(951_782_400 + 3661), "20000229T010101Z");
        assert_eq!(super::stamp(1_709_251_199), "20240229T235959Z");
        assert_eq!(super::stamp(4_107_542_399), "21000228T235959Z");
    }
}

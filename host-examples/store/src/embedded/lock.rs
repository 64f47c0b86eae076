//! One process at a time. redb locks the file as well, but not while it is closed after a failure, or being replaced.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::EmbeddedError;
use super::file::{Identity, open_file};

/// Held for the life of the store, by a file beside the store's own: that one can be renamed. It stays when the store is closed:
/// whoever removed it could remove another's.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    identity: Identity,
}

impl Lock {
    /// Locks `NAME.lock` for the store's file.
    pub(super) fn take(of: &Path) -> Result<Lock, EmbeddedError> {
        let mut path = OsString::from(of);
        path.push(".lock");
        let path = PathBuf::from(path);
        let (file, identity) = open_file(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(EmbeddedError::InUse { path: of.to_owned() }),
            // Where the file system has no locks, the operator sees to it.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(source)) => return Err(EmbeddedError::Io { path, doing: "lock", source }),
        }
        Ok(Lock { file, path, identity })
    }

    /// Whether others find it.
    pub(super) fn is_there(&self) -> bool {
        self.identity.is_at(&self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it would do, if no child process that has just been forked had it open too.
        let _ = self.file.unlock();
    }
}

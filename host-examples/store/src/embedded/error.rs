//! Why the embedded store does not open.

use std::io;
use std::path::PathBuf;

/// Why the embedded store cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The folder of the file is not there. Cause: a wrong path, or a folder that was not made.
    #[error("there is no folder for the store's file {}; make it, owned by the user that this program runs as", path.display())]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the file open: it holds the lock of `NAME.lock`, or of the file.
    #[error(
        "another process uses the store's file {}: it belongs to one process, others reach its records by that one's control socket", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder may not be used. Cause: wrong owner or mode.
    #[error("no permission to use the store's file {}; check the owner and mode of the file and its folder", path.display())]
    NoPermission {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program wrote the file.
    #[error(
        "the store's file {} has format {found}, this version knows formats up to {known}; use the version that wrote it, or another path",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The greatest known.
        known: u64,
    },
    /// The file is damaged. [`super::EmbeddedStore::open`] sets it aside instead; it returns this only if the new one is damaged too.
    #[error("the store's file {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Anything else that the system says.
    #[error("cannot {doing} the store's file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no random numbers for a secret.
    #[error("cannot make the store's secret: {0}")]
    NoSecret(crate::StoreError),
    /// At the end, not everything could be written.
    #[error("{updates} updates could not be written to the store's file: {problem}")]
    Unsaved {
        /// How many.
        updates: u64,
        /// What is wrong.
        problem: String,
    },
}

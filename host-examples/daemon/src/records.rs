//! The store of the policy's records that the configuration names.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Connection, Key, Stage};
use smtp_fallback_store::embedded::{EmbeddedError, EmbeddedStore};
use smtp_fallback_store::redis::{RedisError, RedisStore};
use smtp_fallback_store::{MemoryStore, Secret, Store};

use crate::beside::Found;
use crate::config;
use crate::policy::Policy;

/// How long the start waits for the secret of a shared store.
const SECRET_TIME: Duration = Duration::from_secs(3);
/// The pause between two attempts to get it later.
const SECRET_PAUSE: Duration = Duration::from_secs(5);
/// What the name of the file's lock ends with.
const LOCK_SUFFIX: &str = ".lock";
/// What a database of redb begins with.
const DATABASE: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Why the records cannot be kept as configured.
#[derive(Debug)]
pub enum RecordsError {
    /// The file.
    File(PathBuf, EmbeddedError),
    /// The shared store's settings.
    Redis(RedisError),
}

impl fmt::Display for RecordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordsError::File(path, error) => write!(f, "the records in {}: {error}", path.display()),
            RecordsError::Redis(error) => write!(f, "store.redis.{error}"),
        }
    }
}

impl std::error::Error for RecordsError {}

/// Opens the store. A shared one need not be there yet. Needs a tokio runtime.
pub async fn open(config: &config::Store) -> Result<Arc<dyn Store>, RecordsError> {
    if let Some(settings) = &config.redis {
        return Ok(Arc::new(RedisStore::connect(settings).await.map_err(RecordsError::Redis)?));
    }
    let Some(path) = &config.path else {
        tracing::warn!(
            event = "records-in-memory",
            "records and penalties end with this process; set `path` in [store] to keep them"
        );
        return Ok(Arc::new(MemoryStore::with(config.limits())));
    };
    let (store, opened) = EmbeddedStore::open(path, config.limits()).map_err(|error| RecordsError::File(path.clone(), error))?;
    tracing::info!(event = "records-loaded", records = opened.records, new_secret = opened.secret_is_new);
    Ok(Arc::new(store))
}

/// Whether [`open`] could succeed. No shared store is asked, no lock is taken, and nothing is left or changed: a running server may use them.
pub fn check(config: &config::Store, found: &mut Found) {
    if let Some(settings) = &config.redis
        && let Err(error) = settings.validate()
    {
        found.errors.push(RecordsError::Redis(error).to_string());
    }
    let Some(path) = &config.path else { return };
    let mut lock = OsString::from(path);
    lock.push(LOCK_SUFFIX);
    match usable(path).and_then(|file| usable(Path::new(&lock)).map(|_| file)) {
        Err(error) => found.errors.push(RecordsError::File(path.clone(), error).to_string()),
        Ok(Some(file)) if !is_database(&file) => found.warnings.push(format!(
            "store.path: {} is damaged, or no file of records: the start will set it aside under another name, and begin without records",
            path.display()
        )),
        Ok(_) => {}
    }
}

/// The file, if there is one; else whether it can be made.
fn usable(path: &Path) -> Result<Option<File>, EmbeddedError> {
    let unusable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => EmbeddedError::NoFolder { path: path.to_owned() },
        io::ErrorKind::PermissionDenied => EmbeddedError::NoPermission { path: path.to_owned() },
        _ => EmbeddedError::Io { path: path.to_owned(), doing: "open", source },
    };
    if path.symlink_metadata().is_ok() {
        // Before it is opened: that may do something to what is no file.
        if !path.metadata().map_err(unusable)?.is_file() {
            return Err(unusable(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        return OpenOptions::new().read(true).write(true).open(path).map(Some).map_err(unusable);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Of its own, also where several threads of one process look.
    static TRIALS: AtomicU32 = AtomicU32::new(0);
    let number = TRIALS.fetch_add(1, Ordering::Relaxed);
    let trial = folder.join(format!(".smtp-fallback-check-{}-{number}", std::process::id()));
    match fs::create_dir(&trial) {
        // Left by a process of the same number that was ended here: so it can be made.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(unusable)?,
    }
    fs::remove_dir(&trial).map_err(unusable)?;
    Ok(None)
}

/// Whether the file begins as one of the store's does, or is empty.
fn is_database(file: &File) -> bool {
    let mut begin = Vec::new();
    match file.take(DATABASE.len() as u64).read_to_end(&mut begin) {
        Ok(0) => true,
        Ok(_) => begin == DATABASE,
        // What is wrong there, the start says.
        Err(_) => true,
    }
}

/// The secret of the store; nothing while a shared store gives none.
pub async fn secret(store: &dyn Store) -> Option<Secret> {
    match tokio::time::timeout(SECRET_TIME, store.secret()).await {
        Ok(Ok(secret)) => Some(secret),
        Ok(Err(error)) => {
            tracing::warn!(event = "no-secret", %error, "mail that other hosts refuse is not recognised until the store has answered");
            None
        }
        Err(_) => {
            tracing::warn!(event = "no-secret", error = "no answer in time", "mail that other hosts refuse is not recognised");
            None
        }
    }
}

/// Waits for it, as long as it takes.
pub async fn secret_later(store: &dyn Store) -> Secret {
    loop {
        tokio::time::sleep(SECRET_PAUSE).await;
        if let Ok(Ok(secret)) = tokio::time::timeout(SECRET_TIME, store.secret()).await {
            return secret;
        }
    }
}

/// The keys of what the policy keeps about an address, for those who ask at the control socket.
pub fn keys_of(policy: &Policy, client: Address) -> Vec<Key> {
    policy.keys_of(&Connection { ipv4_arrivals_visible: true, ..Connection::new(Stage::EndOfData, client) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_threads_may_look_at_one_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let look = |thread: u32| {
            let config = config::Store { path: Some(folder.path().join(format!("{thread}.redb"))), ..config::Store::default() };
            (0..200)
                .flat_map(|_| {
                    let mut found = Found::default();
                    check(&config, &mut found);
                    found.errors
                })
                .collect::<Vec<String>>()
        };
        let errors: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || look(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(folder.path().read_dir().expect("the folder").count(), 0, "nothing is left");
    }
}

//! The store of the policy's records that the configuration names.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Connection, Key, Listener, Stage, Tls};
use smtp_fallback_store::embedded::{EmbeddedError, EmbeddedStore};
use smtp_fallback_store::redis::{RedisError, RedisStore};
use smtp_fallback_store::{MemoryStore, Secret, Store};

use crate::config;
use crate::policy::Policy;

/// How long the start waits for the secret of a shared store.
const SECRET_TIME: Duration = Duration::from_secs(3);
/// The pause between two attempts to get it later.
const SECRET_PAUSE: Duration = Duration::from_secs(5);

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
    policy.keys_of(&Connection {
        stage: Stage::EndOfData,
        client,
        listener: Listener::Mx,
        ehlo_name: None,
        tls: Tls::None,
        authenticated: false,
        listener_offers: false,
        keyword_shown: false,
        acknowledged: false,
        reachable_over_ipv4: true,
        ipv4_arrivals_visible: true,
        now: 0,
        nonce: 0,
        records: Vec::new(),
    })
}

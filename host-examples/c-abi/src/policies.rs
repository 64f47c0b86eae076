//! The policy in force, and the instances of the component that have it.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use smtp_fallback_daemon::policy::Decider;
use smtp_fallback_embed::{Component, ConfigureError, Pool};
use smtp_fallback_policy::contract::{AuthResults, Connection, Decision, Envelope, Key, Message, Summary};

/// A component with a policy and a secret, each of which can be replaced.
pub(crate) struct Policies {
    component: Component,
    /// One has its secret for life.
    pool: RwLock<Arc<Pool>>,
    /// The policy of the pool. Locked for as long as one is replaced.
    text: Mutex<Option<String>>,
}

impl Policies {
    /// Without a policy everything passes.
    pub(crate) fn new(component: &Component, secret: &[u8]) -> Self {
        let pool = RwLock::new(Arc::new(Pool::without_policy(component, secret)));
        Policies { component: component.clone(), pool, text: Mutex::new(None) }
    }

    pub(crate) fn pool(&self) -> Arc<Pool> {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a policy in force. On an error the one before stays.
    pub(crate) fn put_in_force(&self, policy: String) -> Result<Summary, ConfigureError> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = self.pool().reconfigure(&policy)?;
        *text = Some(policy);
        Ok(summary)
    }

    /// From now on the hashes of networks and mails are keyed with this.
    pub(crate) fn use_secret(&self, secret: &[u8]) -> Result<(), ConfigureError> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = Pool::without_policy(&self.component, secret);
        if let Some(policy) = &*text {
            pool.reconfigure(policy)?;
        }
        *self.pool.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pool);
        Ok(())
    }
}

thread_local! {
    /// Why the last decision on this thread was not the policy's.
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes it.
pub(crate) fn last_failure() -> Option<String> {
    FAILURE.take()
}

impl Decider for Policies {
    fn keys(&self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        self.pool().keys(connection, envelope, message)
    }

    fn decide(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        results: Option<&AuthResults>,
    ) -> Decision {
        let decided = self.pool().decide(connection, envelope, message, results);
        FAILURE.set(decided.failure.map(|failure| failure.to_string()));
        decided.decision
    }

    fn authentication_results(&self, fields: &[String], trusted_ids: &[String]) -> Option<AuthResults> {
        self.pool().parse_authentication_results(fields, trusted_ids).ok()
    }
}

//! What the monitor shows of this server: the policy in force, and how often it failed.

use std::sync::{Arc, PoisonError, RwLock};

use smtp_fallback_embed::{FailureCounts, Pool};
use smtp_fallback_monitor::{Failures, Monitor, PolicyState, Sources};
use smtp_fallback_store::Store;

use crate::load::{LoadedPolicy, PolicyError};

/// The state of the policy, as it was last loaded.
#[derive(Default)]
pub struct Watched(RwLock<State>);

#[derive(Default)]
struct State {
    policy: PolicyState,
    pool: Option<Arc<Pool>>,
}

impl Watched {
    /// A monitor over this state and the store.
    pub fn monitor(self: &Arc<Self>, host_name: &str, store: Arc<dyn Store>) -> Arc<Monitor> {
        let (policy, failures) = (Arc::clone(self), Arc::clone(self));
        Monitor::new(Sources {
            name: host_name.to_owned(),
            software: format!("smtp-fallback-smtpd {}", env!("CARGO_PKG_VERSION")),
            store,
            policy: Arc::new(move || policy.read(|state| state.policy.clone())),
            failures: Arc::new(move || {
                failures.read(|state| state.pool.as_ref().map(|pool| words(pool.failures())).unwrap_or_default())
            }),
        })
    }

    /// A policy was loaded, or could not be: then the one before is still in force.
    pub fn loaded(&self, loaded: &Result<LoadedPolicy, PolicyError>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(loaded) => {
                state.policy = PolicyState { mode: Some(loaded.mode), problem: None };
                state.pool = Some(Arc::clone(&loaded.pool));
            }
            Err(error) => state.policy.problem = Some(error.to_string()),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn words(counts: FailureCounts) -> Failures {
    let FailureCounts { trap, deadline, memory, reply, unavailable } = counts;
    vec![("trap", trap), ("deadline", deadline), ("memory", memory), ("reply", reply), ("unavailable", unavailable)]
}

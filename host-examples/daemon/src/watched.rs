//! What the monitor shows of this server: the policy in force, and how often it failed.

use std::sync::{Arc, PoisonError, RwLock};

use smtp_fallback_embed::{FailureCounts, Pool};
use smtp_fallback_monitor::{Failures, Monitor, PolicyState, Sources};
use smtp_fallback_store::Store;

use crate::args::Program;
use crate::source::{LoadedPolicy, PolicyError};

/// The state of the policy, as it was last loaded.
#[derive(Default)]
pub struct Watched(RwLock<State>);

#[derive(Default)]
struct State {
    policy: PolicyState,
    pool: Option<Arc<Pool>>,
    /// Failures of the pools before this one: the pool is another when the secret of a shared store has come.
    earlier: FailureCounts,
}

impl Watched {
    /// A monitor over this state and the store.
    pub fn monitor(self: &Arc<Self>, program: Program, host_name: &str, store: Arc<dyn Store>) -> Arc<Monitor> {
        let (policy, failures) = (Arc::clone(self), Arc::clone(self));
        Monitor::new(Sources {
            name: host_name.to_owned(),
            software: format!("{} {}", program.name, program.version),
            store,
            policy: Arc::new(move || policy.read(|state| state.policy.clone())),
            failures: Arc::new(move || words(failures.failures())),
        })
    }

    /// A policy was loaded, or could not be: then the one before is still in force.
    pub fn loaded(&self, loaded: &Result<LoadedPolicy, PolicyError>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(loaded) => {
                state.policy = PolicyState { mode: Some(loaded.mode), problem: None };
                let before = state.pool.replace(Arc::clone(&loaded.pool));
                if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, &loaded.pool)) {
                    state.earlier = sum(state.earlier, before.failures());
                }
            }
            Err(error) => state.policy.problem = Some(error.to_string()),
        }
    }

    /// How often calls of the policy failed since the start.
    pub fn failures(&self) -> FailureCounts {
        self.read(|state| state.pool.as_ref().map_or(state.earlier, |pool| sum(state.earlier, pool.failures())))
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn words(counts: FailureCounts) -> Failures {
    let FailureCounts { trap, deadline, memory, reply, unavailable } = counts;
    vec![("trap", trap), ("deadline", deadline), ("memory", memory), ("reply", reply), ("unavailable", unavailable)]
}

fn sum(one: FailureCounts, other: FailureCounts) -> FailureCounts {
    FailureCounts {
        trap: one.trap + other.trap,
        deadline: one.deadline + other.deadline,
        memory: one.memory + other.memory,
        reply: one.reply + other.reply,
        unavailable: one.unavailable + other.unavailable,
    }
}

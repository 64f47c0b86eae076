//! The store behind a handle. It has threads, and so it begins with the first call.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_daemon::beside::Found;
use smtp_fallback_daemon::policy::{Allowance, Policy, Question};
use smtp_fallback_daemon::{config, records};
use smtp_fallback_policy::contract::Decision;
use smtp_fallback_store::control::ControlStore;
use smtp_fallback_store::{Limits, MemoryStore, Secret, Store};
use tokio::runtime::Runtime;

use crate::answer::{Code, Error};
use crate::policies::{Policies, last_failure};
use crate::settings;

/// How long closing waits for records that are still to be stored.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// And for what else the runtime has.
const SHUTDOWN_TIME: Duration = Duration::from_secs(1);

/// What is wrong with the settings of a store, as far as it can be told without a thread and without changing anything.
pub(crate) fn check(store: &settings::Store) -> Result<(), Error> {
    let mut found = Found::default();
    match store {
        settings::Store::Memory(_) => {}
        settings::Store::File(path) => records::check(&of_file(path), &mut found),
        settings::Store::Redis(redis) => {
            records::check(&config::Store { redis: Some(redis.clone()), ..config::Store::default() }, &mut found);
        }
        settings::Store::Control(path) => found.errors.extend(no_socket(path)),
    }
    for warning in found.warnings {
        // As it is called here.
        let warning = warning.replacen("store.path", "store.file", 1);
        tracing::warn!(event = "store", "{warning}");
    }
    match found.errors.is_empty() {
        true => Ok(()),
        false => Err(failed(found.errors.join("; "))),
    }
}

/// A socket is not connected to yet: that may take long where its host is busy.
fn no_socket(path: &Path) -> Option<String> {
    let problem = match path.metadata() {
        Ok(found) if found.file_type().is_socket() => return None,
        Ok(_) => "it is no socket".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("store.control: {}: {problem}; expected the control socket of a running host", path.display()))
}

fn of_file(path: &Path) -> config::Store {
    config::Store { path: Some(path.to_owned()), ..config::Store::default() }
}

fn failed(problem: impl std::fmt::Display) -> Error {
    Error::new(Code::Store, problem.to_string())
}

/// A store that is open, with what asks it.
pub(crate) struct Records {
    // In the order in which they go: the store writes what is left, and its tasks end with the runtime.
    policy: Option<Policy>,
    store: Option<Arc<dyn Store>>,
    runtime: Option<Runtime>,
    policies: Arc<Policies>,
    /// How long a call waits for the store in all.
    time: Duration,
}

impl Records {
    /// Opens the store. Takes the secret from it, unless the caller has one.
    pub(crate) fn open(
        settings: &settings::Store,
        own_secret: bool,
        policies: &Arc<Policies>,
        time: Duration,
    ) -> Result<Records, Error> {
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("smtp-fallback").enable_all().build();
        let runtime = threads.map_err(|error| failed(format!("no thread can be started for the store: {error}")))?;
        let store = runtime.block_on(open(settings))?;
        let policy = Policy::new(Some(Arc::clone(policies) as _), Arc::clone(&store), None);
        let records =
            Records { policy: Some(policy), store: Some(store), runtime: Some(runtime), policies: Arc::clone(policies), time };
        if !own_secret {
            records.take_secret();
        }
        Ok(records)
    }

    /// That of the store; of a shared one that gives none, as soon as it does. Until then this process's own, by which mail is recognised
    /// that it refused itself.
    fn take_secret(&self) {
        let (runtime, store) = self.parts();
        if let Some(secret) = runtime.block_on(records::secret(store.as_ref()))
            && put_in_use(&self.policies, &secret)
        {
            return;
        }
        let (store, policies) = (Arc::clone(store), Arc::downgrade(&self.policies));
        runtime.spawn(async move {
            // Ends with the runtime, and pauses before each turn.
            loop {
                let secret = records::secret_later(store.as_ref()).await;
                if policies.upgrade().is_none_or(|policies| put_in_use(&policies, &secret)) {
                    return;
                }
            }
        });
    }

    /// Decides with the records that are wanted, and stores those of the decision. Says as well why the decision is not the policy's.
    pub(crate) fn decide(&self, question: Question) -> (Decision, Option<String>) {
        let client = question.connection.client.into();
        let mut time = Allowance::new(self.time);
        let policy = self.policy.as_ref().expect("present until it is dropped");
        self.parts().0.block_on(async {
            let (decision, pending) = policy.ask(client, None, question, &mut time).await;
            // Before anything is decided anew: this future runs on the caller's thread.
            let failure = last_failure();
            if let Some(pending) = pending {
                policy.store(pending, &mut time).await;
            }
            (decision, failure)
        })
    }

    /// The question with the records that are wanted.
    pub(crate) fn look_up(&self, question: Question) -> Question {
        let policy = self.policy.as_ref().expect("present until it is dropped");
        self.parts().0.block_on(policy.with_records(question, &mut Allowance::new(self.time)))
    }

    fn parts(&self) -> (&Runtime, &Arc<dyn Store>) {
        let parts = self.runtime.as_ref().zip(self.store.as_ref());
        parts.expect("present until it is dropped")
    }
}

/// Whether the policy goes by the store's secret from now on. Where it could not be set anew, the one before stays in force.
fn put_in_use(policies: &Policies, secret: &Secret) -> bool {
    let done = policies.use_secret(secret);
    if let Err(error) = &done {
        tracing::error!(event = "no-secret", %error, "the secret of the store is not in use yet; this is tried again");
    }
    done.is_ok()
}

impl Drop for Records {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if let Some(policy) = self.policy.take() {
            let left = runtime.block_on(policy.finish(CLOSE_TIME));
            if left > 0 {
                tracing::warn!(event = "records-dropped", decisions = left, "closed before all records were stored");
            }
        }
        // Some stores have tasks.
        let _inside = runtime.enter();
        self.store = None;
        drop(_inside);
        runtime.shutdown_timeout(SHUTDOWN_TIME);
    }
}

async fn open(settings: &settings::Store) -> Result<Arc<dyn Store>, Error> {
    match settings {
        settings::Store::Memory(memory) => {
            let limits = Limits { records: memory.records, ..Limits::default() };
            Ok(Arc::new(MemoryStore::with(limits)))
        }
        settings::Store::File(path) => records::open(&of_file(path)).await.map_err(failed),
        settings::Store::Redis(redis) => {
            let config = config::Store { redis: Some(redis.clone()), ..config::Store::default() };
            records::open(&config).await.map_err(failed)
        }
        settings::Store::Control(path) => Ok(Arc::new(ControlStore::connect(path).await.map_err(failed)?)),
    }
}

/// A secret of this process's own.
pub(crate) fn random_secret() -> Result<Secret, Error> {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret).map_err(|error| failed(format!("the system gives no random numbers for a secret: {error}")))?;
    Ok(secret)
}

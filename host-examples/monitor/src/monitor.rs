//! What a host makes one of, to be seen.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use smtp_fallback_policy::contract::Mode;
use smtp_fallback_store::{Health, Store};

use crate::census::{self, Census, CensusError};
use crate::metrics::{Metrics, Sampled};
use crate::report::Report;
use crate::time;

/// How often the policy gave no answer, since the start, by kind. The kinds are words of a fixed list, such as "trap", "deadline",
/// "memory", "reply" and "unavailable".
pub type Failures = Vec<(&'static str, u64)>;

/// Where the monitor finds what it shows. The functions are called at each request and must answer at once.
#[derive(Clone)]
pub struct Sources {
    /// The name of this host, such as "mx1.example.org": the title of the page, and by it the page can be opened.
    pub name: String,
    /// The software, such as "smtp-fallback-smtpd 0.1.0".
    pub software: String,
    /// The store with the policy's records.
    pub store: Arc<dyn Store>,
    /// The policy that is in force.
    pub policy: Arc<dyn Fn() -> PolicyState + Send + Sync>,
    /// How often the policy failed.
    pub failures: Arc<dyn Fn() -> Failures + Send + Sync>,
}

/// The policy that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyState {
    /// Its mode; absent while no policy is loaded, and everything is accepted.
    pub mode: Option<Mode>,
    /// What is wrong, in words for people, such as the error of the last attempt to load another policy.
    pub problem: Option<String>,
}

/// Something that is wrong with the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// "policy", "store" or "census".
    pub with: &'static str,
    /// What is wrong and what follows from it, in a sentence.
    pub text: String,
    /// The host does not do its work: `/healthz` answers 503. Else it does, and someone should look at it all the same, such as after a
    /// policy that could not be loaded while the one before stays in force, or while the store is away.
    pub is_failure: bool,
}

impl Problem {
    fn failure(with: &'static str, text: impl Into<String>) -> Self {
        Problem { with, text: text.into(), is_failure: true }
    }

    fn warning(with: &'static str, text: impl Into<String>) -> Self {
        Problem { with, text: text.into(), is_failure: false }
    }
}

/// Gathers what is shown of a host.
pub struct Monitor {
    state: Arc<State>,
    metrics: Metrics,
    begun: u64,
}

/// What scrapes and pages read.
struct State {
    sources: Sources,
    census: RwLock<Arc<Census>>,
}

impl Monitor {
    /// A monitor that has counted nothing and read no records. [`Monitor::watch`] reads them.
    pub fn new(sources: Sources) -> Arc<Monitor> {
        let state = Arc::new(State { sources, census: RwLock::default() });
        let metrics = Metrics::new(Arc::clone(&state) as Arc<dyn Sampled>);
        Arc::new(Monitor { state, metrics, begun: time::now() })
    }

    /// Where the host counts its decisions.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The report on the records as they were last read; `None` before that.
    pub fn report(&self) -> Option<Arc<Report>> {
        self.census().report.clone()
    }

    /// What is wrong; empty while all is well.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let policy = self.policy();
        if policy.mode.is_none() {
            problems.push(Problem::failure("policy", "no policy is loaded: everything is accepted"));
        }
        problems.extend(policy.problem.map(|text| Problem::warning("policy", text)));
        // Decisions go on without the store, by a local copy or without records: mail is served.
        problems.extend(self.health().problem.map(|text| Problem::warning("store", text)));
        if let Some(error) = &self.census().problem {
            problems.push(Problem::warning("census", format!("the records could not be read for this report: {error}")));
        }
        problems
    }

    /// Reads all records now, as of `now` in seconds since 1970. [`Monitor::watch`] does so again and again.
    pub async fn take_census(&self, now: u64) -> Result<(), CensusError> {
        let begun = Instant::now();
        let attempt = census::take(self.state.sources.store.as_ref(), now).await;
        let failure = attempt.as_ref().err().cloned();
        let next = Arc::new(self.census().next(attempt, begun.elapsed()));
        *self.state.census.write().unwrap_or_else(PoisonError::into_inner) = next;
        failure.map_or(Ok(()), Err)
    }

    /// Reads the records again and again, every 15 s, and less often where that takes long, so that it takes no more than a tenth of the
    /// time. Never ends. [`Listener::serve`](crate::Listener::serve) does this besides.
    pub async fn watch(&self) {
        loop {
            let begun = Instant::now();
            if let Err(error) = self.take_census(time::now()).await {
                tracing::warn!(event = "census-failure", %error, "the records could not be read for the report");
            }
            tokio::time::sleep(census::pause_after(begun)).await;
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.state.sources.name
    }

    pub(crate) fn software(&self) -> &str {
        &self.state.sources.software
    }

    pub(crate) fn policy(&self) -> PolicyState {
        (self.state.sources.policy)()
    }

    pub(crate) fn health(&self) -> Health {
        self.state.sources.store.health()
    }

    pub(crate) fn failures(&self) -> Failures {
        (self.state.sources.failures)()
    }

    pub(crate) fn census(&self) -> Arc<Census> {
        self.state.census()
    }

    /// When it was made; seconds since 1970.
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    /// How long the page waits before it refreshes itself.
    pub(crate) fn refresh_every() -> Duration {
        census::PAUSE
    }
}

impl Sampled for State {
    fn policy(&self) -> PolicyState {
        (self.sources.policy)()
    }

    fn failures(&self) -> Failures {
        (self.sources.failures)()
    }

    fn health(&self) -> Health {
        self.sources.store.health()
    }

    fn census(&self) -> Arc<Census> {
        Arc::clone(&self.census.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> u64 {
        time::now()
    }
}

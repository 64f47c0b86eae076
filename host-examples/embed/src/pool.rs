//! Configured instances for many threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResults, Connection, Decision, Description, Envelope, Key, Message, Note, Stage, StoredRecord, Summary, Verdict,
};
use wasmtime::Store;

use crate::bindings::exports::smtp_fallback::policy::policy::Guest;
use crate::component::Component;
use crate::convert::{Arguments, Cross, borrowed, stored_record};
use crate::failure::{ConfigureError, Counters, Failure, FailureCounts};
use crate::instance::{Instance, MemoryLimit};
use crate::reply_check::check_reply;

/// Instances of a component with one policy. Share it by [`Arc`]: every call can be made from any thread.
pub struct Pool {
    component: Component,
    secret: Box<[u8]>,
    state: Mutex<State>,
    /// An instance came back or was given up.
    freed: Condvar,
    counters: Counters,
}

/// The answer of [`Pool::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What to do. After a failure: accept at the end of data, else go on, with reason `no-policy` and the note
    /// `policy-failed`.
    pub decision: Decision,
    /// Why the decision is not the policy's.
    pub failure: Option<Failure>,
}

struct State {
    /// The one used last on top: its memory is in the processor's cache.
    idle: Vec<Worker>,
    policy: Policy,
    /// Threads that wait for an instance: to wake nobody costs a system call, so it is known.
    waiting: usize,
}

/// The policy in force.
#[derive(Clone)]
struct Policy {
    /// Goes up with each policy.
    generation: u64,
    json: Option<Arc<str>>,
}

struct Worker {
    instance: Instance,
    /// Of its policy.
    generation: u64,
}

impl Pool {
    /// A pool with this policy. The secret keys the hashes by which networks and mails are recognised: at best 16 random octets
    /// or more, the same on all hosts that share records.
    pub fn configure(component: &Component, policy_json: &str, secret: &[u8]) -> Result<(Self, Summary), ConfigureError> {
        let pool = Pool::without_policy(component, secret);
        let summary = pool.reconfigure(policy_json)?;
        Ok((pool, summary))
    }

    /// What its instances are made of.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// A pool that lets everything pass with reason `no-policy`, until [`Pool::reconfigure`]: for a server that must
    /// start although its policy has errors.
    pub fn without_policy(component: &Component, secret: &[u8]) -> Self {
        Pool {
            component: component.clone(),
            secret: secret.into(),
            state: Mutex::new(State { idle: Vec::new(), policy: Policy { generation: 0, json: None }, waiting: 0 }),
            freed: Condvar::new(),
            counters: Counters::default(),
        }
    }

    /// Puts another policy in force, for calls that begin after this one returns. On an error the policy before stays.
    pub fn reconfigure(&self, policy_json: &str) -> Result<Summary, ConfigureError> {
        self.component.try_policy(policy_json, &self.secret, |summary| {
            let mut state = self.lock();
            state.policy = Policy { generation: state.policy.generation + 1, json: Some(policy_json.into()) };
            let outdated = std::mem::take(&mut state.idle);
            drop(state);
            drop(outdated);
            self.freed.notify_all();
            summary
        })
    }

    /// The keys whose records [`Pool::decide`] will want. Empty when the component fails: decide without records then.
    pub fn keys(&self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        let arguments = Arguments { connection, envelope, message, auth_results: None };
        let lists = arguments.lists();
        self.call("keys", |guest, store| {
            guest.call_keys(store, arguments.connection(&lists), arguments.envelope(&lists), arguments.message())
        })
        .map(Cross::cross)
        .unwrap_or_default()
    }

    /// Decides. Never fails: see [`Decided`]. A `would` that [`check_reply`] refuses is left out, logged and counted.
    pub fn decide(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decided {
        let arguments = Arguments { connection, envelope, message, auth_results };
        let lists = arguments.lists();
        let answer = self.call("decide", |guest, store| {
            guest.call_decide(
                store,
                arguments.connection(&lists),
                arguments.envelope(&lists),
                arguments.message(),
                arguments.auth_results(&lists),
            )
        });
        match answer.and_then(|decision| self.checked(decision.cross(), connection)) {
            Ok(decision) => Decided { decision, failure: None },
            Err(failure) => Decided { decision: without_policy(connection.stage), failure: Some(failure) },
        }
    }

    /// The decision in words, for people.
    pub fn explain(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Result<String, Failure> {
        let arguments = Arguments { connection, envelope, message, auth_results };
        let lists = arguments.lists();
        self.call("explain", |guest, store| {
            guest.call_explain(
                store,
                arguments.connection(&lists),
                arguments.envelope(&lists),
                arguments.message(),
                arguments.auth_results(&lists),
            )
        })
    }

    /// The JSON Schema of the policy.
    pub fn schema(&self) -> Result<String, Failure> {
        self.call("schema", |guest, store| guest.call_schema(store))
    }

    /// What the component is.
    pub fn describe(&self) -> Result<Description, Failure> {
        self.call("describe", |guest, store| guest.call_describe(store)).map(Cross::cross)
    }

    /// Reads an address as MTAs write it. The inner error says what was expected.
    pub fn parse_address(&self, text: &str) -> Result<Result<Address, String>, Failure> {
        self.call("parse-address", |guest, store| guest.call_parse_address(store, text)).map(Cross::cross)
    }

    /// A record as a JSON object. The inner error is for octets that are no record.
    pub fn inspect(&self, record: &StoredRecord) -> Result<Result<String, String>, Failure> {
        self.call("inspect", |guest, store| guest.call_inspect(store, stored_record(record)))
    }

    /// Reads Authentication-Results header fields (RFC 8601), the topmost first. Pass only fields that the own border added.
    pub fn parse_authentication_results(&self, headers: &[String], trusted_ids: &[String]) -> Result<AuthResults, Failure> {
        let (headers, trusted_ids) = (borrowed(headers), borrowed(trusted_ids));
        self.call("parse-authentication-results", |guest, store| {
            guest.call_parse_authentication_results(store, &headers, &trusted_ids)
        })
        .map(Cross::cross)
    }

    /// How often calls failed.
    pub fn failures(&self) -> FailureCounts {
        self.counters.counts()
    }

    /// Makes a call on a free instance, which is given up when the call fails.
    fn call<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&Guest, &mut Store<MemoryLimit>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let answer = self.check_out().and_then(|mut worker| {
            let answer = worker.instance.call(call);
            self.check_in(answer.is_ok().then_some(worker));
            answer
        });
        answer.inspect_err(|failure| self.report(name, failure))
    }

    /// An instance with the policy in force, for this thread alone.
    fn check_out(&self) -> Result<Worker, Failure> {
        let mut latest = None;
        let mut state = self.lock();
        // Bounded by `latest`, which is looked at where there is something to wait for.
        loop {
            if let Some(worker) = state.idle.pop() {
                return Ok(worker);
            }
            if let Some(permit) = self.component.permit() {
                let policy = state.policy.clone();
                drop(state);
                // Where an instance is idle, this was done before it was made. On failure the permit is free again, and somebody may
                // wait for it.
                let watched = self.component.watch();
                return watched
                    .and_then(|()| Instance::new(&self.component, Some(permit)))
                    .and_then(|instance| self.started(instance, &policy))
                    .inspect_err(|_| self.check_in(None));
            }
            let now = Instant::now();
            let left = latest.get_or_insert(now + self.component.limits().deadline).saturating_duration_since(now);
            if left.is_zero() {
                return Err(Failure::Unavailable);
            }
            state.waiting += 1;
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
    }

    fn started(&self, mut instance: Instance, policy: &Policy) -> Result<Worker, Failure> {
        if let Some(json) = &policy.json {
            let answer = instance.configure(json, &self.secret)?;
            // It took the same policy before: the component is not the pure function that it should be.
            answer.map_err(|_| Failure::Answer("the policy was accepted once and refused now".to_owned()))?;
        }
        Ok(Worker { instance, generation: policy.generation })
    }

    /// Takes an instance back; `None` for one that failed and is gone.
    fn check_in(&self, worker: Option<Worker>) {
        let mut state = self.lock();
        let is_kept = worker.as_ref().is_some_and(|worker| worker.generation == state.policy.generation);
        let outdated = if is_kept {
            state.idle.extend(worker);
            None
        } else {
            worker
        };
        let is_awaited = state.waiting > 0 || !is_kept;
        drop(state);
        // The permit is free only when the instance is gone, and by then somebody may have begun to wait for it.
        drop(outdated);
        if is_awaited {
            self.freed.notify_one();
        }
    }

    fn checked(&self, mut decision: Decision, connection: &Connection) -> Result<Decision, Failure> {
        let check = |verdict: &Verdict| match verdict {
            Verdict::Continue | Verdict::Accept => Ok(()),
            Verdict::Refuse(reply) => check_reply(reply, decision.reason, connection).map_err(Failure::Reply),
        };
        check(&decision.verdict).inspect_err(|failure| self.report("decide", failure))?;
        if let Some(Err(failure)) = decision.would.as_ref().map(check) {
            self.report("decide: would", &failure);
            decision.would = None;
        }
        Ok(decision)
    }

    fn report(&self, call: &'static str, failure: &Failure) {
        self.counters.count(failure);
        tracing::error!(call, %failure, "the policy failed; mail is not refused because of that");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("component", &self.component).field("failures", &self.failures()).finish_non_exhaustive()
    }
}

/// What stands in for a decision that the component did not make: the policy only asks for another route, so without it mail is
/// accepted.
fn without_policy(stage: Stage) -> Decision {
    Decision { notes: vec![Note::Other("policy-failed".to_owned())], ..Decision::without_policy(stage) }
}

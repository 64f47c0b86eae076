//! Asking the policy, with the records that it wants, and storing those that it gives back.

pub mod scripted;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smtp_fallback_monitor::Monitor;
use smtp_fallback_policy::contract::{
    AuthResults, Connection, Decision, Envelope, Key, KeyKind, Message, Reason, RecordUpdate, Stage, StoredRecord, Verdict,
};
use smtp_fallback_store::{Basis, Store, WriteBack};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::log;

/// How long the records of one decision may take to be stored, beside the session.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// So many decisions may have their records stored beside their sessions at a time; those of more are dropped, and counted.
const WRITERS: u32 = 1024;

/// How long a message may still wait for the store. What is not done by then is done without.
#[derive(Debug)]
pub struct Allowance(Duration);

impl Allowance {
    /// So much for one message.
    pub fn new(time: Duration) -> Self {
        Allowance(time)
    }

    /// What the future gives, if it does so in the time that is left. It is asked once in any case: a store in memory answers at once.
    async fn spend<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let began = Instant::now();
        let done = timeout(self.0, future).await.ok();
        self.0 = self.0.saturating_sub(began.elapsed());
        done
    }
}

/// What decides: the component, or in tests something simpler.
pub trait Decider: Send + Sync {
    /// The keys whose records [`Decider::decide`] wants.
    fn keys(&self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key>;

    /// The decision. Never fails: when the component does, the mail is accepted, and the failure is logged and counted.
    fn decide(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        results: Option<&AuthResults>,
    ) -> Decision;

    /// What Authentication-Results fields of these servers say (RFC 8601), the topmost first; nothing when the component fails.
    fn authentication_results(&self, fields: &[String], trusted_ids: &[String]) -> Option<AuthResults>;

    /// SHA-256 of the component that decides, in hexadecimal, where one does.
    fn component(&self) -> Option<String> {
        None
    }
}

/// The time as the contract has it: in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Everything that one call is told, but the records.
#[derive(Clone, Debug)]
pub struct Question {
    /// The session. Its records are filled in by [`Policy::ask`].
    pub connection: Connection,
    /// From MAIL on.
    pub envelope: Option<Envelope>,
    /// At the end of data.
    pub message: Option<Message>,
    /// At the end of data, where the client's family needs them.
    pub results: Option<AuthResults>,
}

/// Records that are still to be stored, by [`Policy::store`].
#[derive(Debug)]
#[must_use = "the records are lost"]
pub struct Pending {
    question: Question,
    /// The records that were wanted for it, found or not.
    asked: Vec<Key>,
    told: Told,
    updates: Vec<RecordUpdate>,
}

/// What the client is told, as far as records differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    GoOn,
    Accepted,
    /// Refused for now: it may come back.
    Deferred,
    /// Refused for good.
    Rejected,
}

impl Told {
    fn by(verdict: &Verdict) -> Told {
        match verdict {
            Verdict::Continue => Told::GoOn,
            Verdict::Accept => Told::Accepted,
            Verdict::Refuse(reply) if reply.code >= 500 => Told::Rejected,
            Verdict::Refuse(_) => Told::Deferred,
        }
    }
}

/// The decider and its records.
pub struct Policy {
    /// Absent while no policy could be loaded: everything is accepted.
    decider: RwLock<Option<Arc<dyn Decider>>>,
    store: Arc<dyn Store>,
    /// Counts what is decided.
    monitor: Option<Arc<Monitor>>,
    writers: Arc<Semaphore>,
}

impl Policy {
    /// Without a decider, everything is accepted with the reason `no-policy`.
    pub fn new(decider: Option<Arc<dyn Decider>>, store: Arc<dyn Store>, monitor: Option<Arc<Monitor>>) -> Self {
        Policy { decider: RwLock::new(decider), store, monitor, writers: Arc::new(Semaphore::new(WRITERS as usize)) }
    }

    /// Whether there is a decider.
    pub fn is_loaded(&self) -> bool {
        self.decider().is_some()
    }

    /// Decides by this one from now on.
    pub fn decide_by(&self, decider: Arc<dyn Decider>) {
        *self.decider.write().unwrap_or_else(PoisonError::into_inner) = Some(decider);
    }

    fn decider(&self) -> Option<Arc<dyn Decider>> {
        self.decider.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// SHA-256 of the component that decides, in hexadecimal; nothing while none does.
    pub fn component(&self) -> Option<String> {
        self.decider()?.component()
    }

    /// What Authentication-Results fields of these servers say, the topmost first; nothing without a policy, and where that fails.
    pub fn authentication_results(&self, fields: &[String], trusted_ids: &[String]) -> Option<AuthResults> {
        self.decider()?.authentication_results(fields, trusted_ids)
    }

    /// The keys of all records about an address and its networks, as far as the policy in force wants any: for the command line.
    pub fn keys_of(&self, connection: &Connection) -> Vec<Key> {
        self.decider().map_or_else(Vec::new, |decider| decider.keys(connection, None, None))
    }

    /// Decides, and hands back the records to store once the reply is on its way.
    ///
    /// `client` and `id` (of the message, at the end of data) are for the log.
    pub async fn ask(
        &self,
        client: IpAddr,
        id: Option<&str>,
        mut question: Question,
        time: &mut Allowance,
    ) -> (Decision, Option<Pending>) {
        let Some(decider) = self.decider() else {
            let decision = Decision::without_policy(question.connection.stage);
            self.decided(client, id, &question, None, &decision);
            return (decision, None);
        };
        let asked = self.look_up(decider.as_ref(), &mut question, time).await;
        let mut decision = decide(decider.as_ref(), &question);
        self.decided(client, id, &question, fingerprint(&asked), &decision);
        let updates = std::mem::take(&mut decision.records);
        let told = Told::by(&decision.verdict);
        let pending = if updates.is_empty() { None } else { Some(Pending { question, asked, told, updates }) };
        (decision, pending)
    }

    /// Fills in the records that the policy wants, as it does before a decision: for whoever wants to see that.
    pub async fn with_records(&self, mut question: Question, time: &mut Allowance) -> Question {
        if let Some(decider) = self.decider() {
            self.look_up(decider.as_ref(), &mut question, time).await;
        }
        question
    }

    /// Fills in the records that are wanted; gives their keys, found or not.
    async fn look_up(&self, decider: &dyn Decider, question: &mut Question, time: &mut Allowance) -> Vec<Key> {
        let mut asked: Vec<Key> = Vec::new();
        // What the first round finds can name more keys; two rounds are enough (contract, `keys`).
        for _ in 0..2 {
            let Question { connection, envelope, message, .. } = &*question;
            let mut keys = decider.keys(connection, envelope.as_ref(), message.as_ref());
            keys.retain(|key| !asked.contains(key));
            if keys.is_empty() {
                break;
            }
            let looked_up = time.spend(self.store.get_many(&keys, connection.now)).await;
            asked.extend(keys);
            match looked_up {
                Some(Ok(found)) => question.connection.records.extend(found),
                Some(Err(error)) => {
                    tracing::warn!(event = "store-failure", %error, "deciding without records");
                    break;
                }
                None => {
                    tracing::warn!(event = "store-failure", error = "no answer in time", "deciding without records");
                    break;
                }
            }
        }
        asked
    }

    fn decided(&self, client: IpAddr, id: Option<&str>, question: &Question, mail: Option<&Key>, decision: &Decision) {
        log::decision(client, id, question, mail, decision);
        if let Some(monitor) = &self.monitor {
            monitor.metrics().decision(&question.connection, question.message.as_ref(), decision);
        }
    }

    /// Stores the records of a decision; where another session was faster, those of the same decision made anew, if the client would still be
    /// told the same. What takes longer than the time that is left goes on beside the session.
    pub async fn store(&self, pending: Pending, time: &mut Allowance) {
        let Some(decider) = self.decider() else { return };
        let (store, monitor) = (Arc::clone(&self.store), self.monitor.clone());
        let Ok(permit) = Arc::clone(&self.writers).try_acquire_owned() else {
            return dropped(monitor.as_deref(), pending.updates.len(), "too many are waiting to be stored");
        };
        let mut writing = Box::pin(write(store, decider, monitor, pending, permit));
        if time.spend(&mut writing).await.is_none() {
            tokio::spawn(writing);
        }
    }

    /// At the end, when there are no sessions any more: waits until the records that are being stored beside them are, for `time` at most.
    /// Returns how many decisions still have some to store then.
    pub async fn finish(&self, time: Duration) -> usize {
        match timeout(time, self.writers.acquire_many(WRITERS)).await {
            Ok(_) => 0,
            Err(_) => (WRITERS as usize).saturating_sub(self.writers.available_permits()),
        }
    }
}

async fn write(
    store: Arc<dyn Store>,
    decider: Arc<dyn Decider>,
    monitor: Option<Arc<Monitor>>,
    pending: Pending,
    _permit: OwnedSemaphorePermit,
) -> WriteBack {
    let Pending { mut question, asked, told, updates } = pending;
    let seen = std::mem::take(&mut question.connection.records);
    let basis = Basis { seen: &seen, asked: &asked, source: question.connection.client, now: question.connection.now };
    let (stage, mut otherwise) = (question.connection.stage, false);
    let again = |records: &[StoredRecord]| {
        question.connection.records = records.to_vec();
        let decision = decide(decider.as_ref(), &question);
        // Records that say that a mail was refused would be wrong of one that was let in, and the other way round. Where the component
        // fails there is no decision.
        otherwise = Told::by(&decision.verdict) != told || decision.reason == Reason::NoPolicy;
        (!otherwise).then_some(decision.records)
    };
    let mut written = basis.write_back(store.as_ref(), updates, Some(Instant::now() + WRITE_TIME), again).await;
    // Before there is a mail, all that can be decided otherwise is which of several connections is the probe: none of that is lost.
    if otherwise && matches!(stage, Stage::Greeting | Stage::Ehlo) {
        written.dropped = 0;
    }
    if let Some(monitor) = &monitor {
        monitor.metrics().written(&written);
    }
    if written.dropped > 0 {
        let error = match otherwise {
            true => "others changed them, and by what is there now the client would have been told otherwise",
            false => "the store failed or gave no answer in time, or others were faster",
        };
        tracing::warn!(event = "records-dropped", dropped = written.dropped, error, "records were not stored");
    }
    written
}

/// The key by which the mail is recognised when it comes back, of those that were asked for: the exact one, else the inferred one.
fn fingerprint(asked: &[Key]) -> Option<&Key> {
    [KeyKind::Exact, KeyKind::Inferred].into_iter().find_map(|kind| asked.iter().find(|key| key.kind == kind))
}

fn dropped(monitor: Option<&Monitor>, records: usize, error: &str) {
    tracing::warn!(event = "records-dropped", dropped = records, error, "records were not stored");
    if let Some(monitor) = monitor {
        monitor.metrics().records_dropped(records as u64);
    }
}

fn decide(decider: &dyn Decider, question: &Question) -> Decision {
    let Question { connection, envelope, message, results } = question;
    decider.decide(connection, envelope.as_ref(), message.as_ref(), results.as_ref())
}

#[cfg(test)]
mod tests;

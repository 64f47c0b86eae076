//! Asking the policy, with the records that it wants, and storing those that it gives back.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use smtp_fallback_monitor::Monitor;
use smtp_fallback_policy::contract::{AuthResults, Connection, Decision, Envelope, Key, Message, RecordUpdate, StoredRecord};
use smtp_fallback_store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::log;

/// How long the records of one decision may take to be stored, beside the session.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// So many decisions may have their records stored beside their sessions at a time; those of more are dropped, and counted.
const WRITERS: usize = 1024;

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
    updates: Vec<RecordUpdate>,
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
        Policy { decider: RwLock::new(decider), store, monitor, writers: Arc::new(Semaphore::new(WRITERS)) }
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
            self.decided(client, id, &question, &decision);
            return (decision, None);
        };
        let mut asked: Vec<Key> = Vec::new();
        // What the first round finds can name more keys; two rounds are enough (contract, `keys`).
        for _ in 0..2 {
            let Question { connection, envelope, message, .. } = &question;
            let mut keys = decider.keys(connection, envelope.as_ref(), message.as_ref());
            keys.retain(|key| !asked.contains(key));
            if keys.is_empty() {
                break;
            }
            match time.spend(self.store.get_many(&keys, connection.now)).await {
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
            asked.extend(keys);
        }
        let mut decision = decide(decider.as_ref(), &question);
        self.decided(client, id, &question, &decision);
        let updates = std::mem::take(&mut decision.records);
        let pending = if updates.is_empty() { None } else { Some(Pending { question, updates }) };
        (decision, pending)
    }

    fn decided(&self, client: IpAddr, id: Option<&str>, question: &Question, decision: &Decision) {
        log::decision(client, id, question, decision);
        if let Some(monitor) = &self.monitor {
            monitor.metrics().decision(&question.connection, question.message.as_ref(), decision);
        }
    }

    /// Stores the records of a decision; where another session was faster, those of the same decision made anew. What takes longer than the
    /// time that is left goes on beside the session.
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
}

async fn write(
    store: Arc<dyn Store>,
    decider: Arc<dyn Decider>,
    monitor: Option<Arc<Monitor>>,
    pending: Pending,
    _permit: OwnedSemaphorePermit,
) {
    let Pending { mut question, updates } = pending;
    let seen = std::mem::take(&mut question.connection.records);
    let (source, now, count) = (question.connection.client, question.connection.now, updates.len());
    let again = |records: &[StoredRecord]| {
        question.connection.records = records.to_vec();
        decide(decider.as_ref(), &question).records
    };
    let written = smtp_fallback_store::write_back(store.as_ref(), &seen, updates, source, now, again);
    match timeout(WRITE_TIME, written).await {
        Ok(written) => {
            if let Some(monitor) = &monitor {
                monitor.metrics().written(&written);
            }
            if written.dropped > 0 {
                let error = "the store failed, or others were faster";
                tracing::warn!(event = "records-dropped", dropped = written.dropped, error, "records were not stored");
            }
        }
        Err(_) => dropped(monitor.as_deref(), count, "no answer in time"),
    }
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
pub(crate) mod tests {
    use super::*;
    use smtp_fallback_policy::address::Address;
    use smtp_fallback_policy::contract::{KeyKind, Listener, Reason, Stage, Tls, Verdict};
    use smtp_fallback_store::{BoxFuture, Cursor, Health, MemoryStore, Page, Secret, StoreError, Swap, Write};

    const CLIENT: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    /// Decides by a function, and wants the record of the client's address, and then that of the address it names.
    pub(crate) struct Scripted<F>(pub(crate) F);

    impl<F> Decider for Scripted<F>
    where
        F: Fn(&Connection, Option<&Envelope>, Option<&AuthResults>) -> Decision + Send + Sync,
    {
        fn keys(&self, connection: &Connection, _: Option<&Envelope>, _: Option<&Message>) -> Vec<Key> {
            let named = connection.records.iter().map(|record| key(u128::from(record.value[0])));
            std::iter::once(key(connection.client.bits())).chain(named).collect()
        }

        fn decide(
            &self,
            connection: &Connection,
            envelope: Option<&Envelope>,
            _: Option<&Message>,
            results: Option<&AuthResults>,
        ) -> Decision {
            (self.0)(connection, envelope, results)
        }
    }

    pub(crate) fn decision(verdict: Verdict) -> Decision {
        Decision { verdict, reason: Reason::Undecided, ..Decision::without_policy(Stage::Mail) }
    }

    pub(crate) fn key(bits: u128) -> Key {
        Key { kind: KeyKind::Address, address: Address::from_bits(bits), prefix_length: 128 }
    }

    pub(crate) fn update(bits: u128, value: u8) -> RecordUpdate {
        RecordUpdate { key: key(bits), value: vec![value], expires_in: 60, weight: 1 }
    }

    fn write(update: &RecordUpdate) -> Write<'_> {
        Write { expected: None, update, source: Address::from_bits(1), now: 1000 }
    }

    fn time() -> Allowance {
        Allowance::new(Duration::from_secs(10))
    }

    fn question() -> Question {
        let connection = Connection {
            stage: Stage::Mail,
            client: Address::from_bits(1),
            listener: Listener::Mx,
            ehlo_name: None,
            tls: Tls::None,
            authenticated: false,
            listener_offers: false,
            keyword_shown: false,
            acknowledged: false,
            reachable_over_ipv4: true,
            ipv4_arrivals_visible: true,
            now: 1000,
            nonce: 0,
            records: Vec::new(),
        };
        Question { connection, envelope: None, message: None, results: None }
    }

    /// Adds one to the first record's value.
    fn counting(connection: &Connection) -> Decision {
        let count = connection.records.iter().find(|record| record.key == key(1)).map_or(0, |record| record.value[0]);
        Decision { records: vec![update(1, count + 1)], ..decision(Verdict::Continue) }
    }

    #[tokio::test]
    async fn without_a_policy_everything_is_accepted() {
        let policy = Policy::new(None, Arc::new(MemoryStore::new(10)), None);
        let mut question = question();
        assert_eq!(policy.ask(CLIENT, None, question.clone(), &mut time()).await.0.verdict, Verdict::Continue);
        question.connection.stage = Stage::EndOfData;
        let (decision, pending) = policy.ask(CLIENT, None, question, &mut time()).await;
        assert_eq!((decision.verdict, decision.reason), (Verdict::Accept, Reason::NoPolicy));
        assert!(pending.is_none());
    }

    #[tokio::test]
    async fn finds_the_records_in_two_rounds() {
        let store = Arc::new(MemoryStore::new(10));
        for (address, value) in [(1, 7), (7, 8), (8, 9)] {
            assert_eq!(store.compare_and_set(write(&update(address, value))).await, Ok(Swap::Stored));
        }
        let found = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&found);
        let decider = Scripted(move |connection: &Connection, _: Option<&Envelope>, _: Option<&AuthResults>| {
            *seen.lock().expect("sound") = connection.records.iter().map(|record| record.value[0]).collect();
            decision(Verdict::Continue)
        });
        let policy = Policy::new(Some(Arc::new(decider)), store, None);
        assert!(policy.ask(CLIENT, None, question(), &mut time()).await.1.is_none());
        assert_eq!(*found.lock().expect("sound"), [7, 8], "two rounds, and each record once");
    }

    #[tokio::test]
    async fn a_conflict_is_decided_anew() {
        let store = Arc::new(MemoryStore::new(10));
        let counter = Scripted(|connection: &Connection, _: Option<&Envelope>, _: Option<&AuthResults>| counting(connection));
        let policy = Policy::new(Some(Arc::new(counter)), Arc::clone(&store) as Arc<dyn Store>, None);
        let (_, first) = policy.ask(CLIENT, None, question(), &mut time()).await;
        let (_, second) = policy.ask(CLIENT, None, question(), &mut time()).await;
        policy.store(first.expect("a record"), &mut time()).await;
        policy.store(second.expect("a record"), &mut time()).await;
        let kept = store.get_many(&[key(1)], 1000).await.expect("works");
        assert_eq!(kept[0].value, [2], "both were counted");
    }

    /// A store that answers nothing, or errors.
    struct Broken {
        reads: bool,
    }

    impl Store for Broken {
        fn get_many<'a>(&'a self, _: &'a [Key], _: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
            if self.reads {
                return Box::pin(async { Ok(Vec::new()) });
            }
            Box::pin(std::future::pending())
        }
        fn compare_and_set<'a>(&'a self, _: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
            Box::pin(std::future::pending())
        }
        fn scan<'a>(&'a self, _: Cursor, _: usize, _: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
            Box::pin(async { Err(StoreError::Unavailable("gone".into())) })
        }
        fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
            Box::pin(async { Err(StoreError::Unavailable("gone".into())) })
        }
        fn health(&self) -> Health {
            Health::default()
        }
    }

    #[tokio::test]
    async fn a_message_waits_for_its_allowance_and_not_longer() {
        let counter = || Scripted(|connection: &Connection, _: Option<&Envelope>, _: Option<&AuthResults>| counting(connection));
        let allowed = Duration::from_millis(300);
        let mut time = Allowance::new(allowed);
        let began = Instant::now();
        let policy = Policy::new(Some(Arc::new(counter())), Arc::new(Broken { reads: false }), None);
        let (decision, pending) = policy.ask(CLIENT, None, question(), &mut time).await;
        assert_eq!(decision.verdict, Verdict::Continue);
        assert!(began.elapsed() >= allowed);
        policy.store(pending.expect("a record"), &mut time).await;
        let _ = policy.ask(CLIENT, None, question(), &mut time).await;
        assert!(began.elapsed() < 2 * allowed, "reads and writes share it: {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn records_beyond_those_that_wait_already_are_dropped() {
        let counter = Scripted(|connection: &Connection, _: Option<&Envelope>, _: Option<&AuthResults>| counting(connection));
        let policy = Policy::new(Some(Arc::new(counter)), Arc::new(Broken { reads: true }), None);
        for _ in 0..WRITERS + 10 {
            let (_, pending) = policy.ask(CLIENT, None, question(), &mut time()).await;
            policy.store(pending.expect("a record"), &mut Allowance::new(Duration::ZERO)).await;
        }
        assert_eq!(policy.writers.available_permits(), 0);
    }
}

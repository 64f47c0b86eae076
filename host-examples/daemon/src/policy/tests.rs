use super::scripted::{Scripted, decision, key, update};
use super::*;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Reply, Stage};
use smtp_fallback_store::{BoxFuture, Cursor, Health, MemoryStore, Page, Secret, StoreError, Swap, Write, WriteBack};

const CLIENT: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

fn write(update: &RecordUpdate) -> Write<'_> {
    Write { expected: None, update, source: Address::from_bits(1), now: 1000 }
}

fn time() -> Allowance {
    Allowance::new(Duration::from_secs(10))
}

fn question() -> Question {
    let connection = Connection { ipv4_arrivals_visible: true, now: 1000, ..Connection::new(Stage::Mail, Address::from_bits(1)) };
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

/// Another session writes first, and by its record it is decided `anew`. What became of the records of the first decision, and what the
/// store has in the end.
async fn decided_anew(stage: Stage, first: Decision, anew: Decision) -> (WriteBack, Vec<u8>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(10));
    let decider = Scripted(
        move |connection: &Connection, _: Option<&Envelope>, _: Option<&AuthResults>| {
            if connection.records.is_empty() { first.clone() } else { anew.clone() }
        },
    );
    let policy = Policy::new(Some(Arc::new(decider)), Arc::clone(&store), None);
    let mut question = question();
    question.connection.stage = stage;
    let (_, pending) = policy.ask(CLIENT, None, question, &mut time()).await;
    assert_eq!(store.compare_and_set(write(&update(1, 5))).await, Ok(Swap::Stored));
    let (decider, permit) = (policy.decider().expect("there"), Arc::clone(&policy.writers).acquire_owned().await.expect("open"));
    let written = super::write(Arc::clone(&store), decider, None, pending.expect("records"), permit).await;
    let kept = store.get_many(&[key(1), key(2)], 1000).await.expect("works");
    (written, kept.into_iter().map(|record| record.value[0]).collect())
}

#[tokio::test]
async fn records_of_a_decision_made_anew_say_what_the_client_was_told() {
    let with = |verdict, value| Decision { records: vec![update(1, value), update(2, value)], ..decision(verdict) };
    let refuse = |code| {
        Verdict::Refuse(Reply { code, enhanced_code: "4.4.8".into(), lines: vec!["over IPv4, please".into()], close: false })
    };
    for (told, anew) in [
        (Verdict::Continue, Verdict::Continue),
        (Verdict::Accept, Verdict::Accept),
        (refuse(421), refuse(456)),
        (refuse(550), refuse(554)),
    ] {
        let written = decided_anew(Stage::Mail, with(told.clone(), 7), with(anew.clone(), 8)).await;
        assert_eq!(written, (WriteBack { stored: 2, dropped: 0 }, vec![8, 8]), "{told:?}, then {anew:?}");
    }
    for (told, anew) in [
        (Verdict::Accept, refuse(421)),
        (refuse(421), Verdict::Accept),
        (Verdict::Continue, Verdict::Accept),
        (Verdict::Continue, refuse(451)),
        (refuse(421), refuse(550)),
        (refuse(550), refuse(421)),
    ] {
        let written = decided_anew(Stage::Mail, with(told.clone(), 7), with(anew.clone(), 8)).await;
        assert_eq!(written, (WriteBack { stored: 0, dropped: 2 }, vec![5]), "{told:?}, then {anew:?}");
    }
}

/// Of two connections at once one is the probe, and the other's record says nothing that is lost.
#[tokio::test]
async fn a_connection_that_is_not_the_probe_after_all_loses_nothing() {
    let probe = || Decision { records: vec![update(1, 7)], ..decision(Verdict::Continue) };
    let refused = Decision::without_policy(Stage::Mail);
    for (stage, dropped) in [(Stage::Greeting, 0), (Stage::Ehlo, 0), (Stage::Mail, 1)] {
        let written = decided_anew(stage, probe(), refused.clone()).await;
        assert_eq!(written, (WriteBack { stored: 0, dropped }, vec![5]), "{stage:?}");
    }
}

#[tokio::test]
async fn a_component_that_fails_on_deciding_anew_has_not_decided() {
    let first = Decision { records: vec![update(1, 7)], ..decision(Verdict::Continue) };
    // What a pool answers in place of a component that failed.
    let written = decided_anew(Stage::Mail, first, Decision::without_policy(Stage::Mail)).await;
    assert_eq!(written, (WriteBack { stored: 0, dropped: 1 }, vec![5]));
}

/// A decision that was about no record of the second key makes one when it is made anew. Both were looked up.
#[tokio::test]
async fn what_only_the_new_decision_updates_is_stored_as_well() {
    struct Both;
    impl Decider for Both {
        fn keys(&self, _: &Connection, _: Option<&Envelope>, _: Option<&Message>) -> Vec<Key> {
            vec![key(1), key(2)]
        }
        fn decide(
            &self,
            connection: &Connection,
            _: Option<&Envelope>,
            _: Option<&Message>,
            _: Option<&AuthResults>,
        ) -> Decision {
            let mut decision = counting(connection);
            if !connection.records.is_empty() {
                decision.records.push(update(2, 9));
            }
            decision
        }
        fn authentication_results(&self, _: &[String], _: &[String]) -> Option<AuthResults> {
            None
        }
    }
    let store = Arc::new(MemoryStore::new(10));
    let policy = Policy::new(Some(Arc::new(Both)), Arc::clone(&store) as Arc<dyn Store>, None);
    let (_, pending) = policy.ask(CLIENT, None, question(), &mut time()).await;
    assert_eq!(store.compare_and_set(write(&update(1, 5))).await, Ok(Swap::Stored));
    policy.store(pending.expect("a record"), &mut time()).await;
    let mut kept: Vec<u8> =
        store.get_many(&[key(1), key(2)], 1000).await.expect("works").iter().map(|record| record.value[0]).collect();
    kept.sort_unstable();
    assert_eq!(kept, [6, 9]);
}

/// A store in memory that takes its time to write.
struct Slow {
    store: MemoryStore,
    time: Duration,
}

impl Store for Slow {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        self.store.get_many(keys, now)
    }
    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async move {
            tokio::time::sleep(self.time).await;
            self.store.compare_and_set(write).await
        })
    }
    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.store.scan(cursor, limit, now)
    }
    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        self.store.secret()
    }
    fn health(&self) -> Health {
        self.store.health()
    }
}

#[tokio::test]
async fn at_the_end_records_that_are_being_stored_are_waited_for_but_not_for_long() {
    let counter = || Scripted(|connection: &Connection, _: Option<&Envelope>, _: Option<&AuthResults>| counting(connection));
    let store = Arc::new(Slow { store: MemoryStore::new(10), time: Duration::from_millis(200) });
    let policy = Policy::new(Some(Arc::new(counter())), Arc::clone(&store) as Arc<dyn Store>, None);
    let (_, pending) = policy.ask(CLIENT, None, question(), &mut time()).await;
    policy.store(pending.expect("a record"), &mut Allowance::new(Duration::ZERO)).await;
    assert!(store.get_many(&[key(1)], 1000).await.expect("works").is_empty(), "it is not stored yet");
    assert_eq!(policy.finish(Duration::from_secs(20)).await, 0);
    assert_eq!(store.get_many(&[key(1)], 1000).await.expect("works").len(), 1);

    let policy = Policy::new(Some(Arc::new(counter())), Arc::new(Broken { reads: true }), None);
    for _ in 0..3 {
        let (_, pending) = policy.ask(CLIENT, None, question(), &mut time()).await;
        policy.store(pending.expect("a record"), &mut Allowance::new(Duration::ZERO)).await;
    }
    let began = Instant::now();
    assert_eq!(policy.finish(Duration::from_millis(100)).await, 3);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

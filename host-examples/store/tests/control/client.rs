//! `ControlStore`: the store of another process.

use std::future::Future;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate, StoredRecord};
use smtp_fallback_store::control::{Control, ControlError, ControlStore, DEFAULT_MODE, Limits};
use smtp_fallback_store::{Cursor, MemoryStore, Store, StoreError, Swap, Write, write_back};
use tokio::net::{UnixSocket, UnixStream};
use tokio::sync::Barrier;

use crate::host::{Host, NOW, about, keys_of};

const CLIENT: Address = Address::from_bits(0x2001_0db8 << 96 | 0x25);

fn key() -> Key {
    Key { kind: KeyKind::Network, address: CLIENT.masked(64), prefix_length: 64 }
}

fn update(value: &[u8]) -> RecordUpdate {
    RecordUpdate { key: key(), value: value.to_vec(), expires_in: 60, weight: 7 }
}

async fn set(store: &dyn Store, expected: Option<&[u8]>, update: &RecordUpdate) -> Result<Swap, StoreError> {
    store.compare_and_set(Write { expected, update, source: CLIENT, now: NOW }).await
}

#[tokio::test]
async fn is_the_hosts_store() {
    let host = Host::start();
    let store = ControlStore::connect(host.path()).await.unwrap();
    assert_eq!(store.get_many(&[key()], NOW).await, Ok(vec![]));
    assert_eq!(set(&store, Some(b"0"), &update(b"1")).await, Ok(Swap::Conflict));
    assert_eq!(set(&store, None, &update(b"1")).await, Ok(Swap::Stored));
    assert_eq!(set(&store, Some(b"1"), &update(b"2")).await, Ok(Swap::Stored));
    let there = vec![StoredRecord { key: key(), value: b"2".to_vec() }];
    assert_eq!(host.store.get_many(&[key()], NOW).await, Ok(there.clone()));
    assert_eq!(store.get_many(&[key()], NOW).await, Ok(there.clone()));
    assert_eq!(store.get_many(&[key()], NOW + 60).await, Ok(vec![]), "expired");
    // More keys than one request takes.
    let many: Vec<_> = (0..150).map(|n| Key { address: Address::from_bits(n), ..key() }).chain([key()]).collect();
    assert_eq!(store.get_many(&many, NOW).await, Ok(there));
    assert_eq!(store.get_many(&[], NOW).await, Ok(vec![]));
    let page = store.scan(Cursor::default(), 1000, NOW).await.unwrap();
    assert_eq!(page, host.store.scan(Cursor::default(), 1000, NOW).await.unwrap());
    assert_eq!((page.records[0].expires_at, page.records[0].weight), (NOW + 60, 7));
    assert_eq!(store.secret().await, host.store.secret().await);
    assert_eq!(store.keys_of(CLIENT).await.unwrap(), keys_of(CLIENT));
    assert_eq!(store.host_health().await.unwrap(), host.store.health());
    assert_eq!(store.about().await.unwrap(), about());
    assert_eq!(set(&store, Some(b"2"), &RecordUpdate { expires_in: 0, ..update(b"") }).await, Ok(Swap::Stored));
    assert_eq!(store.get_many(&[key()], NOW).await, Ok(vec![]), "removed");
    let health = store.health();
    assert_eq!((health.kind.as_str(), health.conflicts, health.problem), ("control", 1, None));
}

#[tokio::test]
async fn values_have_their_limit() {
    let host = Host::start();
    let store = ControlStore::connect(host.path()).await.unwrap();
    assert_eq!(set(&store, None, &update(&[0; 4097])).await, Err(StoreError::ValueTooLarge { octets: 4097 }));
    assert_eq!(set(&store, None, &update(&[255; 4096])).await, Ok(Swap::Stored));
    assert_eq!(set(&store, Some(&[255; 4096]), &update(&[254; 4096])).await, Ok(Swap::Stored));
    assert_eq!(set(&store, Some(&[255; 4097]), &update(b"")).await, Ok(Swap::Conflict));
}

fn counter(records: &[StoredRecord]) -> u64 {
    records.first().map_or(0, |record| u64::from_le_bytes(record.value.as_slice().try_into().unwrap()))
}

fn incremented(records: &[StoredRecord]) -> Vec<RecordUpdate> {
    vec![update(&(counter(records) + 1).to_le_bytes())]
}

/// Without comparing with what was read for the decision.
async fn overwrite(store: &dyn Store, update: RecordUpdate) {
    loop {
        let there = store.get_many(&[key()], NOW).await.unwrap().pop().map(|record| record.value);
        if set(store, there.as_deref(), &update).await.unwrap() == Swap::Stored {
            return;
        }
    }
}

const ROUNDS: u64 = 200;

/// Two other processes' stores and the host's own count at the same time. Gives the number counted, and the number of those told stored.
async fn contend<F>(count: impl Fn(Arc<dyn Store>, Vec<StoredRecord>) -> F + Copy + Send + 'static) -> (u64, u64)
where
    F: Future<Output = u64> + Send,
{
    let host = Host::start();
    let mut stores = vec![Arc::clone(&host.store)];
    for _ in 0..2 {
        stores.push(Arc::new(ControlStore::connect(host.path()).await.unwrap()));
    }
    let together = Arc::new(Barrier::new(stores.len()));
    let tasks: Vec<_> = stores
        .into_iter()
        .map(|store| {
            let together = Arc::clone(&together);
            tokio::spawn(async move {
                let mut stored = 0;
                for _ in 0..ROUNDS {
                    let seen = store.get_many(&[key()], NOW).await.unwrap();
                    // All have read before the first writes.
                    together.wait().await;
                    stored += count(Arc::clone(&store), seen).await;
                    together.wait().await;
                }
                stored
            })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        stored += task.await.unwrap();
    }
    (counter(&host.store.get_many(&[key()], NOW).await.unwrap()), stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_lose_nothing() {
    let (counted, stored) = contend(async |store: Arc<dyn Store>, seen: Vec<StoredRecord>| {
        let done = write_back(&*store, &seen, incremented(&seen), CLIENT, NOW, incremented).await;
        assert_eq!(done.stored + done.dropped, 1);
        done.stored as u64
    })
    .await;
    assert_eq!(counted, stored);
    assert_eq!(stored, 3 * ROUNDS, "with three, nobody needs 16 tries");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_plain_writes_they_would() {
    let (counted, stored) = contend(async |store: Arc<dyn Store>, seen: Vec<StoredRecord>| {
        for update in incremented(&seen) {
            overwrite(&*store, update).await;
        }
        1
    })
    .await;
    assert_eq!(stored, 3 * ROUNDS);
    assert_eq!(counted, ROUNDS, "two of three are lost each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn outlives_a_restart_of_the_host() {
    let mut host = Host::start();
    let store = ControlStore::connect(host.path()).await.unwrap();
    assert_eq!(set(&store, None, &update(b"1")).await, Ok(Swap::Stored));
    for _ in 0..5 {
        host.stop().await;
        host.start_again();
        // A write too: the connection's end is seen before it is sent.
        assert_eq!(set(&store, Some(b"1"), &update(b"2")).await, Ok(Swap::Stored));
        host.stop().await;
        host.start_again();
        assert_eq!(store.get_many(&[key()], NOW).await.unwrap()[0].value, b"2");
        assert_eq!(set(&store, Some(b"2"), &update(b"1")).await, Ok(Swap::Stored));
    }
    host.stop().await;
    let error = store.get_many(&[key()], NOW).await.unwrap_err().to_string();
    assert!(error.contains("no host listens at the control socket") && error.contains("control.sock"), "{error}");
    assert!(store.health().problem.unwrap().contains("no host listens"));
    host.start_again();
    assert!(store.get_many(&[key()], NOW).await.is_ok());
    assert_eq!(store.health().problem, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_does_not_mix_up_answers() {
    let host = Host::start();
    let store = ControlStore::connect(host.path()).await.unwrap();
    assert_eq!(set(&store, None, &update(b"1")).await, Ok(Swap::Stored));
    for _ in 0..200 {
        // Polled once: the request leaves, and its answer is nobody's.
        tokio::select! {
            biased;
            _ = store.scan(Cursor::default(), 10, NOW) => {}
            () = std::future::ready(()) => {}
        }
        assert_eq!(store.get_many(&[key()], NOW).await.unwrap()[0].value, b"1");
    }
}

#[tokio::test]
async fn says_which_host_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let error = ControlStore::connect(&path).await.unwrap_err();
    assert!(matches!(error, ControlError::NoHost { .. }), "{error}");
    drop(UnixListener::bind(&path).unwrap());
    let error = ControlStore::connect(&path).await.unwrap_err();
    assert!(matches!(error, ControlError::NoHost { .. }), "{error}");
    assert!(error.to_string().contains("start the host"), "{error}");
}

/// A host that answers each request line with this, if anything, and closes the connection after it. Gives the number of requests.
fn scripted(answer: Option<&'static str>) -> (tempfile::TempDir, Arc<AtomicUsize>) {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("control.sock")).unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            if stream.read_line(&mut line).is_ok_and(|length| length > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(answer) = answer {
                    let _ = stream.get_mut().write_all(answer.as_bytes());
                }
            }
        }
    });
    (directory, requests)
}

#[tokio::test]
async fn a_write_without_an_answer_is_not_sent_again() {
    for answer in [None, Some("{\"swap\":\"sto")] {
        let (directory, requests) = scripted(answer);
        let store = ControlStore::connect(directory.path().join("control.sock")).await.unwrap();
        let error = set(&store, None, &update(b"1")).await.unwrap_err();
        assert!(error.to_string().contains("whether the record was written is not known"), "{error}");
        assert_eq!(requests.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_read_without_an_answer_is_tried_once_more_on_an_old_connection() {
    let (directory, requests) = scripted(None);
    let store = ControlStore::connect(directory.path().join("control.sock")).await.unwrap();
    let error = store.get_many(&[key()], NOW).await.unwrap_err();
    assert!(error.to_string().contains("it ended before its answer"), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    // The next call has a new connection.
    assert!(store.get_many(&[key()], NOW).await.is_err());
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn foreign_answers_are_told() {
    for (answer, part) in [
        ("220 mail.example ESMTP\r\n", "its answer begins \"220 mail.example"),
        ("{\"records\":7}\n", "does not speak its protocol"),
        ("{\"records\":[{\"key\":{\"kind\":\"network\",\"network\":\"x\"},\"value\":\"\"}]}\n", "does not speak its protocol"),
        ("\u{1b}[2J\n", "\\u{1b}"),
        ("{\"error\":\"on strike\"}\n", "the host answers: on strike"),
    ] {
        let (directory, _) = scripted(Some(answer));
        let store = ControlStore::connect(directory.path().join("control.sock")).await.unwrap();
        let error = store.get_many(&[key()], NOW).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let (directory, _) = scripted(Some("{\"secret\":\"AAAA\"}\n"));
    let store = ControlStore::connect(directory.path().join("control.sock")).await.unwrap();
    let error = store.secret().await.unwrap_err().to_string();
    assert!(error.contains("3 octets, expected 32"), "{error}");
    // Without padding, as some write base64.
    let (directory, _) = scripted(Some("{\"secret\":\"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI\"}\n"));
    let store = ControlStore::connect(directory.path().join("control.sock")).await.unwrap();
    let error = store.secret().await.unwrap_err().to_string();
    assert!(error.contains("no secret") && !error.contains("c2Vj"), "{error}");
    assert!(!store.health().problem.unwrap_or_default().contains("c2Vj"));
    // Fields of a later version are passed over.
    let (directory, _) = scripted(Some("{\"records\":[],\"took\":7}\n"));
    let store = ControlStore::connect(directory.path().join("control.sock")).await.unwrap();
    assert_eq!(store.get_many(&[key()], NOW).await, Ok(vec![]));
}

#[tokio::test]
async fn one_connection_too_many_says_so() {
    let host = Host::with(Arc::new(MemoryStore::new(10)), Limits { connections: 1, ..Limits::default() });
    let first = ControlStore::connect(host.path()).await.unwrap();
    assert!(first.get_many(&[key()], NOW).await.is_ok());
    let second = ControlStore::connect(host.path()).await.unwrap();
    let error = second.get_many(&[key()], NOW).await.unwrap_err().to_string();
    assert!(error.contains("1 connections are open") || error.contains("limit"), "{error}");
}

#[tokio::test]
async fn a_host_that_hangs_costs_its_time_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    // It listens, and nobody answers.
    let _control = Control::bind(&path, DEFAULT_MODE, None).unwrap();
    let store = ControlStore::connect(&path).await.unwrap();
    let keys = [key()];
    let call = tokio::time::timeout(Duration::from_secs(20), store.get_many(&keys, NOW));
    let error = call.await.expect("within its limit").unwrap_err().to_string();
    assert!(error.contains("control.sock\" gave no answer within 5 s to the request `get`"), "{error}");
    assert!(error.contains("look at its log") && !error.contains("written"), "{error}");
    assert_eq!(store.health().timeouts, 1);
    let error = set(&store, None, &update(b"1")).await.unwrap_err().to_string();
    let unknown = "to the request `compare-and-set`; whether the record was written is not known";
    assert!(error.contains(unknown), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_of_connections_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = UnixStream::connect(&path).await {
        queued.push(stream);
        assert!(queued.len() < 10);
    }
    let error = ControlStore::connect(&path).await.unwrap_err().to_string();
    assert!(error.contains("took no connection within 5 s") && error.contains("look at its log"), "{error}");
    let (connected, _) = tokio::join!(ControlStore::connect(&path), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        listener.accept().await.unwrap()
    });
    assert!(connected.is_ok(), "{connected:?}");
}

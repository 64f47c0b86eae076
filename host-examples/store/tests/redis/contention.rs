//! Two hosts judge one network at the same time.

use std::process::{Command, Stdio};
use std::sync::Arc;

use smtp_fallback_policy::contract::{Key, RecordUpdate, StoredRecord};
use smtp_fallback_store::redis::RedisStore;
use smtp_fallback_store::{BoxFuture, Cursor, Health, Page, Secret, Store, StoreError, Swap, Write, WriteBack, write_back};
use tokio::sync::Barrier;

use crate::server::Server;
use crate::{MINUTES, NOW, connect, network, settings};

/// Tells a process that it is a host, and where the server is.
const SERVER: &str = "SMTP_FALLBACK_TEST_SERVER";

const TASKS_PER_HOST: usize = 8;
const MAILS_PER_TASK: usize = 50;
const MAILS: usize = 2 * TASKS_PER_HOST * MAILS_PER_TASK;

fn counter(key: Key, records: &[StoredRecord]) -> u64 {
    let found = records.iter().find(|record| record.key == key);
    found.map_or(0, |record| u64::from_be_bytes(record.value.as_slice().try_into().unwrap()))
}

/// What `decide` does to a record, in small.
fn increment(key: Key, records: &[StoredRecord]) -> Vec<RecordUpdate> {
    let value = (counter(key, records) + 1).to_be_bytes().to_vec();
    vec![RecordUpdate { key, value, expires_in: MINUTES, weight: 1 }]
}

/// All mails at once, from all hosts. Returns what became of the updates, and the counter at the end.
async fn judge(hosts: Vec<Arc<dyn Store>>, key: Key) -> (WriteBack, u64) {
    let start = Arc::new(Barrier::new(hosts.len() * TASKS_PER_HOST));
    let mut tasks = Vec::new();
    for host in &hosts {
        for _ in 0..TASKS_PER_HOST {
            let (host, start) = (host.clone(), start.clone());
            tasks.push(tokio::spawn(async move {
                start.wait().await;
                let mut all = WriteBack::default();
                for _ in 0..MAILS_PER_TASK {
                    let seen = host.get_many(&[key], NOW).await.unwrap();
                    let updates = increment(key, &seen);
                    let done = write_back(&*host, &seen, updates, key.address, NOW, |fresh| increment(key, fresh)).await;
                    all.stored += done.stored;
                    all.dropped += done.dropped;
                }
                all
            }));
        }
    }
    let mut all = WriteBack::default();
    for task in tasks {
        let done = task.await.unwrap();
        all.stored += done.stored;
        all.dropped += done.dropped;
    }
    (all, counter(key, &hosts[0].get_many(&[key], NOW).await.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_update_is_counted_or_reported() {
    let server = Server::start();
    let hosts = [connect(&settings(server.url())).await, connect(&settings(server.url())).await].map(Arc::new);
    let (done, counted) = judge(hosts.iter().map(|host| host.clone() as Arc<dyn Store>).collect(), network(1)).await;
    assert_eq!(done.stored + done.dropped, MAILS);
    assert_eq!(counted, done.stored as u64);
    assert!(done.stored > MAILS / 2, "{done:?}");
    for host in hosts {
        let health = host.health();
        assert!(health.conflicts > 0, "they met: {health:?}");
        assert_eq!((health.timeouts, health.dropped), (0, 0));
    }
}

/// The same with hosts that are processes of their own: this program, asked for the next test alone.
#[tokio::test(flavor = "multi_thread")]
async fn each_update_of_two_processes_is_counted_or_reported() {
    let server = Server::start();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "contention::a_process_that_is_a_host", "--nocapture"]).env(SERVER, server.url());
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let (mut stored, mut dropped) = (0, 0);
    for process in [start(), start()] {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        let number = |name: &str| -> usize {
            let rest = text.split_once(name).unwrap_or_else(|| panic!("no {name} in {text}")).1;
            rest.split_once(';').unwrap().0.parse().unwrap()
        };
        stored += number("stored=");
        dropped += number("dropped=");
    }
    assert_eq!(stored + dropped, MAILS);
    let store = connect(&settings(server.url())).await;
    assert_eq!(counter(network(1), &store.get_many(&[network(1)], NOW).await.unwrap()), stored as u64);
}

/// One of the hosts above; by itself it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_a_host() {
    let Ok(url) = std::env::var(SERVER) else { return };
    let store = Arc::new(connect(&settings(url)).await);
    let (done, _) = judge(vec![store], network(1)).await;
    println!("stored={};dropped={};", done.stored, done.dropped);
}

/// A store that writes whatever is there: with it, the same loses updates.
struct Overwriting(RedisStore);

impl Store for Overwriting {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        self.0.get_many(keys, now)
    }

    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async move {
            loop {
                let there = self.0.get_many(&[write.update.key], write.now).await?.pop().map(|record| record.value);
                if self.0.compare_and_set(Write { expected: there.as_deref(), ..write }).await? == Swap::Stored {
                    return Ok(Swap::Stored);
                }
            }
        })
    }

    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.0.scan(cursor, limit, now)
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        self.0.secret()
    }

    fn health(&self) -> Health {
        self.0.health()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_writes_lose_updates() {
    let server = Server::start();
    let mut hosts: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..2 {
        hosts.push(Arc::new(Overwriting(connect(&settings(server.url())).await)));
    }
    let (done, counted) = judge(hosts, network(1)).await;
    assert_eq!((done.stored, done.dropped), (MAILS, 0), "it claims that all is well");
    assert!(counted < MAILS as u64, "{counted} of {MAILS}: no two met");
}

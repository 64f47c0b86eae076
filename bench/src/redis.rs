//! The shared store with one host and with four at once, on one server of its own: how many messages a second, how long a look-up and a write
//! take, how often hosts meet, and what is lost by that.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate, StoredRecord};
use smtp_fallback_store::redis::{RedisSettings, RedisStore};
use smtp_fallback_store::{BoxFuture, Cursor, Health, Page, Secret, Store, StoreError, Swap, Write, write_back};

/// How long each row is measured.
const TIME: Duration = Duration::from_secs(5);

/// Messages that a host judges at the same time.
const TASKS: usize = 8;

/// As long as a usual record of a network.
const RECORD_OCTETS: usize = 64;

/// Few networks that everybody judges all the time, and as many as a busy day brings.
const HOT: u64 = 4;
const MANY: u64 = 100_000;

/// The default of the time limit, in µs.
const USUAL_LIMIT: u32 = 10_000;

/// Prints the table. Needs `redis-server`.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9} {:>9}",
        "the shared store", "msgs/s", "get p50", "get p99", "set p50", "set p99", "conflicts", "dropped", "> 10 ms"
    );
    for (networks, name) in [(MANY, "many networks"), (HOT, "4 hot networks")] {
        for hosts in [1, 4] {
            runtime.block_on(row(
                &server,
                hosts,
                networks,
                &format!("{hosts} host{}, {name}", if hosts == 1 { "" } else { "s" }),
            ))?;
        }
    }
    println!(
        "{TASKS} messages at a time and host; a message: look-up of 4 records, 2 of them counted up and written back; times in µs; the server on \
         the same machine, over TCP"
    );
    Ok(())
}

async fn row(server: &Server, hosts: usize, networks: u64, name: &str) -> Result<(), Box<dyn Error>> {
    // A prefix of its own for each row, so that it begins with nothing.
    // With the longest limit: how many calls would have been cut off is to be seen.
    let settings =
        RedisSettings { prefix: format!("bench:{hosts}:{networks}:"), time_limit_ms: 1000, ..RedisSettings::new(&server.url) };
    let mut stores = Vec::new();
    for _ in 0..hosts {
        let store = RedisStore::connect(&settings).await?;
        if let Some(problem) = store.health().problem {
            return Err(problem.into());
        }
        stores.push(Arc::new(Measured { store, reads: Times::default(), writes: Times::default() }));
    }
    let (updates, dropped, stored) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let counts = Arc::new([updates, dropped, stored]);
    let end = Instant::now() + TIME;
    let tasks = stores.iter().flat_map(|store| (0..TASKS).map(|_| store.clone()));
    let tasks: Vec<_> = tasks
        .enumerate()
        .map(|(number, store)| {
            let counts = counts.clone();
            tokio::spawn(async move {
                // A generator of its own for each task (xorshift): only spread matters.
                let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
                let mut messages = 0_u64;
                while Instant::now() < end {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let [all, dropped, stored] = &*counts;
                    let done = message(&*store, random % networks).await;
                    messages += 1;
                    all.fetch_add(2, Ordering::Relaxed);
                    stored.fetch_add(done.stored as u64, Ordering::Relaxed);
                    dropped.fetch_add(done.dropped as u64, Ordering::Relaxed);
                }
                messages
            })
        })
        .collect();
    let begin = Instant::now();
    let mut messages = 0;
    for task in tasks {
        messages += task.await?;
    }
    let took = begin.elapsed().as_secs_f64();
    let [all, dropped, stored] = &*counts;
    let (all, dropped, stored) = (all.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed), stored.load(Ordering::Relaxed));
    let health = |count: fn(&Health) -> u64| stores.iter().map(|store| count(&store.health())).sum::<u64>();
    let reads = Times::sorted(stores.iter().map(|store| &store.reads));
    let writes = Times::sorted(stores.iter().map(|store| &store.writes));
    let late = reads.iter().chain(&writes).filter(|time| **time > USUAL_LIMIT).count();
    println!(
        "{name:<26} {:>9.0} {:>9} {:>9} {:>9} {:>9} {:>9.1}% {:>8.3}% {:>8.3}%",
        messages as f64 / took,
        percentile(&reads, 50),
        percentile(&reads, 99),
        percentile(&writes, 50),
        percentile(&writes, 99),
        100.0 * health(|health| health.conflicts) as f64 / writes.len() as f64,
        100.0 * (dropped + health(|health| health.dropped)) as f64 / all as f64,
        100.0 * late as f64 / (reads.len() + writes.len()) as f64,
    );
    if health(|health| health.timeouts) > 0 {
        return Err("calls took more than a second; is the machine busy?".into());
    }
    let counted = counted(&stores[0].store).await?;
    if counted != stored || stored + dropped != all {
        return Err(format!("{all} updates, {stored} stored, {dropped} dropped, but {counted} counted").into());
    }
    Ok(())
}

/// What a host does for a message.
async fn message(store: &dyn Store, network: u64) -> smtp_fallback_store::WriteBack {
    let now = now();
    let client = Address::from_bits(0x2001_0db8 << 96 | u128::from(network) << 64 | 1);
    let key = |kind, prefix_length| Key { kind, address: client.masked(prefix_length), prefix_length };
    let mail = Key { kind: KeyKind::Exact, address: Address::from_bits(u128::from(network)), prefix_length: 128 };
    let keys = [key(KeyKind::Address, 128), key(KeyKind::Network, 64), key(KeyKind::Budget, 48), mail];
    let seen = store.get_many(&keys, now).await.unwrap_or_default();
    let again = |seen: &[StoredRecord]| keys.iter().take(2).map(|key| increment(*key, seen)).collect::<Vec<_>>();
    write_back(store, &seen, again(&seen), client, now, again).await
}

fn increment(key: Key, seen: &[StoredRecord]) -> RecordUpdate {
    let found = seen.iter().find(|record| record.key == key);
    let mut value = vec![0; RECORD_OCTETS];
    value[..8].copy_from_slice(&(found.map_or(0, |record| count(&record.value)) + 1).to_be_bytes());
    RecordUpdate { key, value, expires_in: 3600, weight: 1 }
}

fn count(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |count| u64::from_be_bytes(*count))
}

async fn counted(store: &RedisStore) -> Result<u64, StoreError> {
    let (mut sum, mut cursor, mut seen) = (0, Cursor::default(), std::collections::HashSet::new());
    loop {
        let page = store.scan(cursor, 1000, now()).await?;
        sum += page
            .records
            .iter()
            .filter(|listed| seen.insert(listed.record.key))
            .map(|listed| count(&listed.record.value))
            .sum::<u64>();
        match page.next {
            Some(next) => cursor = next,
            None => return Ok(sum),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

/// A store with a watch.
struct Measured {
    store: RedisStore,
    reads: Times,
    writes: Times,
}

/// In µs.
#[derive(Default)]
struct Times(Mutex<Vec<u32>>);

impl Times {
    async fn take<T>(&self, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let done = work.await;
        let time = u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(time);
        done
    }

    fn sorted<'a>(all: impl Iterator<Item = &'a Times>) -> Vec<u32> {
        let mut times: Vec<u32> = all.flat_map(|times| times.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
        times.sort_unstable();
        times
    }
}

fn percentile(sorted: &[u32], percent: usize) -> u32 {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

impl Store for Measured {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        Box::pin(self.reads.take(self.store.get_many(keys, now)))
    }

    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(self.writes.take(self.store.compare_and_set(write)))
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

/// A server that keeps nothing on disk, gone with the measurement.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Result<Server, Box<dyn Error>> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child =
            child.map_err(|error| format!("redis-server cannot be started: {error}; apt-get install redis-server"))?;
        let output = child.stdout.take();
        let server = Server { child, url: format!("redis://127.0.0.1:{port}") };
        let mut output = BufReader::new(output.ok_or("redis-server has no output")?);
        let mut line = String::new();
        while !line.contains("Ready to accept connections") {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                return Err("redis-server has ended; is its port taken? try again".into());
            }
        }
        // What else it says must not fill the pipe.
        std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

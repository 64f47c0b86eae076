//! A component that is to have no threads before its first call. Alone in its process, since it looks at the process's threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{EVIL, component, connection, module};
use smtp_fallback_embed::{Cache, Component, ConfigureError, Failure, Limits, LoadError, Loading, Origin, Pool, Threads};
use smtp_fallback_policy::contract::Stage;

const DEADLINE: Duration = Duration::from_millis(20);

fn threads() -> BTreeSet<String> {
    std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
}

/// The system still lists a thread for a moment after it was waited for.
fn assert_threads(expected: &BTreeSet<String>, more: usize, when: &str) {
    let latest = Instant::now() + Duration::from_secs(5);
    let found = || threads().difference(expected).count();
    while found() != more && Instant::now() < latest {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(found(), more, "{when}");
}

fn load(octets: &[u8], cache: Option<&Cache>) -> Result<Component, LoadError> {
    let limits = Limits { deadline: DEADLINE, ..Limits::default() };
    Component::from_bytes_with(octets, &Loading { limits, cache, threads: Threads::AtFirstCall })
}

/// One test, so that no other one's threads are counted.
#[test]
fn no_thread_is_left_before_the_first_call() {
    let before = threads();
    let octets = component(&module("", "(loop (br 0))", &[]));
    let loaded = load(&octets, None).unwrap();
    assert_threads(&before, 0, "loaded");
    let (pool, _) = Pool::configure(&loaded, "1", b"").unwrap();
    assert_threads(&before, 0, "configured");

    // The time limit of loading and configuring holds all the same.
    let endless = module("", "", &[]).replace("(func $misbehave", "(start $start) (func $start (loop (br 0))) (func $misbehave");
    let error = load(&component(&endless), None).unwrap_err();
    assert!(matches!(error, LoadError::Start(Failure::Deadline(DEADLINE))), "{error}");
    let error = pool.reconfigure("12345").unwrap_err();
    assert!(matches!(error, ConfigureError::Failed(Failure::Deadline(_))), "{error}");
    assert_threads(&before, 0, "after failures");

    // That of calls, too, and from the first one on.
    let decided = pool.decide(&connection(Stage::Greeting, EVIL), None, None, None);
    assert_eq!(decided.failure, Some(Failure::Deadline(DEADLINE)));
    assert_threads(&before, 1, "called");
    pool.reconfigure("12").unwrap();
    assert_threads(&before, 1, "one thread for calls and policies");
    drop((pool, loaded));
    assert_threads(&before, 0, "dropped");

    a_cache_serves_both(&octets, &before);
}

/// Machine code does not differ by how many threads made it.
fn a_cache_serves_both(octets: &[u8], before: &BTreeSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().join("cache")).unwrap();
    let first = load(octets, Some(&cache)).unwrap();
    assert_eq!(first.origin(), Origin::Compiled);
    assert_threads(before, 0, "compiled and kept");
    let second = Component::from_bytes_cached(octets, &Limits::default(), &cache).unwrap();
    assert_eq!(second.origin(), Origin::Cache);
    assert_threads(before, 1, "at load");
}

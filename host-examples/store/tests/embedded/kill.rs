//! kill -9 at any moment: nothing is corrupt, and what was acknowledged more than a second before is there.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use smtp_fallback_store::Limits;
use smtp_fallback_store::embedded::EmbeddedStore;

use super::{content, key, numbers, set};

/// Names the file for the test when it is run as the child.
const FILE: &str = "EMBEDDED_TEST_FILE";

#[tokio::test]
async fn kill_9_loses_the_last_second_at_most() {
    if let Some(path) = std::env::var_os(FILE) {
        return child(path.as_ref()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let mut next = 0;
    for round in 0..3 {
        let test = "kill::kill_9_loses_the_last_second_at_most";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        let kill_at = Instant::now() + Duration::from_millis(1700 + 390 * round);
        let mut killed = None;
        while let Some(Ok(line)) = lines.next() {
            if let Some(number) = line.strip_prefix("stored ") {
                acknowledged.push((number.parse::<u32>().unwrap(), Instant::now()));
            }
            if killed.is_none() && Instant::now() >= kill_at {
                child.kill().unwrap(); // SIGKILL, by pid.
                killed = Some(Instant::now());
            }
        }
        child.wait().unwrap();
        let killed = killed.expect("it was still running");
        let (store, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
        assert_eq!(opened.set_aside, None);
        assert!(!opened.secret_is_new);
        let there = numbers(&store).await;
        assert_eq!(there.iter().filter(|&&n| n < next).count(), next as usize, "of the rounds before");
        let mut old = 0;
        for (number, at) in &acknowledged {
            if killed.saturating_duration_since(*at) > Duration::from_secs(1) {
                assert!(there.binary_search(number).is_ok(), "round {round}: {number} is lost");
                old += 1;
            }
        }
        assert!(old > 10, "{old} of {}", acknowledged.len());
        // The rounds after count on these; what the child had written unseen is counted too.
        for n in 0..there.last().unwrap() + 1 {
            set(&store, n, &content(n)).await;
        }
        next = there.last().unwrap() + 1;
        store.close().unwrap();
    }
}

/// Writes numbered records and says so, until it is killed; for a minute at most.
async fn child(path: &std::path::Path) {
    let (store, opened) = EmbeddedStore::open(path, Limits::default()).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let mut n = opened.records as u32;
    let mut out = std::io::stdout();
    writeln!(out).unwrap();
    while Instant::now() < end {
        assert_eq!(key(n).prefix_length, 64);
        set(&store, n, &content(n)).await;
        if writeln!(out, "stored {n}").is_err() {
            return;
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

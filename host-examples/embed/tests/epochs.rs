//! The thread that counts epochs lives as long as its component. Alone in its process, since it looks at the process's threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::time::{Duration, Instant};

use common::fixture;
use smtp_fallback_embed::{Limits, Pool};

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "policy-epochs").count()
}

#[test]
fn the_thread_ends_with_the_component() {
    let component = fixture("", &[], &Limits::default());
    let pool = Pool::without_policy(&component, b"");
    drop(component);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(threads(), 1, "the pool holds the component");
    drop(pool);
    let latest = Instant::now() + Duration::from_secs(5);
    while threads() > 0 && Instant::now() < latest {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(threads(), 0);
}

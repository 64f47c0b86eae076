//! Threads and processes that use one directory at once.

use std::process::{Command, Stdio};
use std::sync::Barrier;

use smtp_fallback_embed::{Cache, CacheError, Component, Origin};

use crate::{decisions, limits, load, logged, only_entry, place, shipped, small};

#[test]
fn threads_that_start_at_once() {
    let (_parent, path) = place();
    const THREADS: usize = 6;
    let barrier = Barrier::new(THREADS);
    let bytes = small(1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                let cache = Cache::open(&path).unwrap();
                for _ in 0..5 {
                    let (_, log) = logged(|| load(&bytes, &cache));
                    assert_eq!(log, "");
                }
                assert_eq!(load(&bytes, &cache), Origin::Cache);
            });
        }
    });
    only_entry(&path);
}

/// Each finds the directory missing, and one of them makes it.
#[test]
fn threads_that_make_the_directory() {
    let (parent, _) = place();
    const THREADS: usize = 4;
    let barrier = Barrier::new(THREADS);
    let open = || -> Vec<CacheError> {
        let rounds = (0..200).filter_map(|round| {
            barrier.wait();
            Cache::open(parent.path().join(round.to_string())).err()
        });
        rounds.collect()
    };
    std::thread::scope(|scope| {
        for thread in [(); THREADS].map(|()| scope.spawn(open)) {
            let errors = thread.join().unwrap();
            assert!(errors.is_empty(), "{errors:?}");
        }
    });
}

/// Where [`for_another_process`] finds its cache.
const VARIABLE: &str = "SMTP_FALLBACK_TEST_CACHE";

/// What a process of [`processes_that_start_at_once`] does. In a usual run of the tests it does nothing.
#[test]
fn for_another_process() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let cache = Cache::open(path).unwrap();
    let load = || Component::from_file_cached(shipped(), &limits(), &cache).unwrap();
    let (components, log) = logged(|| [load(), load()]);
    assert_eq!(log, "");
    assert_eq!(components[1].origin(), Origin::Cache);
    assert_eq!(decisions(&components[0]), decisions(&components[1]));
}

#[test]
fn processes_that_start_at_once() {
    let (_parent, path) = place();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "at_once::for_another_process"]).env(VARIABLE, &path).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in [start(), start(), start(), start()] {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    only_entry(&path);
}

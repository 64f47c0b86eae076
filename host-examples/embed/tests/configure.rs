//! Policies: taken, refused, replaced while calls run.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{connection, fixture};
use smtp_fallback_embed::{Component, ConfigureError, Failure, FailureCounts, Limits, Pool};
use smtp_fallback_policy::contract::{Mode, Reason, Stage, Verdict};

fn plain() -> Component {
    fixture("", &[], &Limits::default())
}

fn reason(pool: &Pool) -> Reason {
    let decided = pool.decide(&connection(Stage::Mail, 1), None, None, None);
    assert_eq!((decided.failure, decided.decision.verdict), (None, Verdict::Continue));
    decided.decision.reason
}

#[test]
fn a_policy_is_taken() {
    let (pool, summary) = Pool::configure(&plain(), "1", b"secret").unwrap();
    assert_eq!((summary.mode, summary.checks.len(), summary.warnings.len()), (Mode::Observe, 0, 0));
    assert_eq!(reason(&pool), Reason::Ipv4);
}

#[test]
fn a_policy_with_errors_is_not() {
    let error = Pool::configure(&plain(), "123", b"secret").unwrap_err();
    assert!(matches!(&error, ConfigureError::Policy(errors) if errors.len() == 1));
    assert!(error.to_string().starts_with("line 0, column 0: the policy: found"), "{error}");
}

#[test]
fn a_component_that_fails_on_the_policy() {
    let trap = Pool::configure(&plain(), "1234", b"secret").unwrap_err();
    assert!(matches!(trap, ConfigureError::Failed(Failure::Trap(_))), "{trap}");
    let endless = Pool::configure(&plain(), "12345", b"secret").unwrap_err();
    assert_eq!(endless, ConfigureError::Failed(Failure::Deadline(Duration::from_secs(1))));
}

#[test]
fn a_bad_policy_keeps_the_old_one() {
    let (pool, _) = Pool::configure(&plain(), "1", b"secret").unwrap();
    assert_eq!(reason(&pool), Reason::Ipv4);
    for bad in ["123", "1234"] {
        pool.reconfigure(bad).unwrap_err();
        assert_eq!(reason(&pool), Reason::Ipv4);
    }
    pool.reconfigure("12").unwrap();
    assert_eq!(reason(&pool), Reason::OutOfScope);
    assert_eq!(pool.failures(), FailureCounts::default());
}

#[test]
fn a_pool_without_a_policy() {
    let pool = Pool::without_policy(&plain(), b"secret");
    // The fixture's own word for it; the policy component says `no-policy`.
    assert_eq!(reason(&pool), Reason::Undecided);
    pool.reconfigure("1").unwrap();
    assert_eq!(reason(&pool), Reason::Ipv4);
}

#[test]
fn a_busy_pool_takes_a_new_policy() {
    let limits = Limits { deadline: Duration::from_secs(5), instances: 2, ..Limits::default() };
    let pool = Pool::configure(&fixture("", &[], &limits), "1", b"secret").unwrap().0;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Bounded, in case the main thread fails.
                for _ in 0..1_000_000 {
                    assert!(matches!(reason(&pool), Reason::Ipv4 | Reason::OutOfScope));
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for round in 0..50 {
            let (policy, expected) = if round % 2 == 0 { ("12", Reason::OutOfScope) } else { ("1", Reason::Ipv4) };
            pool.reconfigure(policy).unwrap();
            // Every call that begins now goes by the new policy.
            for _ in 0..10 {
                assert_eq!(reason(&pool), expected);
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(pool.failures(), FailureCounts::default());
}

#[test]
fn the_secret_is_not_shown() {
    let pool = Pool::without_policy(&plain(), b"hunter2");
    let shown = format!("{pool:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
}

#[test]
fn everything_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Pool>();
    shared::<Component>();
    shared::<ConfigureError>();
}

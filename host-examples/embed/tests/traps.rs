//! The component that hosts are tried with: it traps in half of its calls, and in the others answers as the policy might.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::time::Duration;

use common::{connection, traps_sometimes};
use smtp_fallback_embed::{Component, Decided, Failure, FailureCounts, Limits, Pool};
use smtp_fallback_policy::contract::{Reason, Stage, Verdict};

fn pool() -> Pool {
    let limits = Limits { deadline: Duration::from_secs(5), ..Limits::default() };
    let component = Component::from_bytes(&traps_sometimes(), &limits).unwrap();
    Pool::configure(&component, r#"{"mode": "enforce"}"#, b"0123456789abcdef").unwrap().0
}

fn trapped(decided: &Decided) -> bool {
    match &decided.failure {
        None => false,
        Some(Failure::Trap(_)) => true,
        Some(other) => panic!("{other}"),
    }
}

#[test]
fn half_of_the_calls_trap() {
    let pool = pool();
    let mut traps = 0;
    for (stage, nonces) in [(Stage::Greeting, 0..500), (Stage::Rcpt, 0..500), (Stage::EndOfData, 0..2000)] {
        let (mut trap, mut proceed, mut accept, mut refuse) = (0, 0, 0, 0);
        for nonce in nonces.clone() {
            let connection = connection(stage, nonce);
            assert_eq!(pool.keys(&connection, None, None), []);
            let decided = pool.decide(&connection, None, None, None);
            match decided.decision.verdict {
                _ if trapped(&decided) => trap += 1,
                Verdict::Continue => proceed += 1,
                Verdict::Accept => {
                    assert_eq!(decided.decision.reason, Reason::Authenticated);
                    accept += 1;
                }
                Verdict::Refuse(reply) => {
                    assert_eq!((reply.code, reply.enhanced_code.as_str(), reply.close), (421, "4.4.8", true));
                    assert_eq!(decided.decision.reason, Reason::Unauthenticated);
                    refuse += 1;
                }
            }
        }
        let calls = nonces.end;
        assert!((calls * 2 / 5..calls * 3 / 5).contains(&trap), "{stage:?}: {trap} of {calls}");
        if stage == Stage::EndOfData {
            assert!(proceed == 0 && accept > calls / 5 && refuse > calls / 5, "accepted {accept}, refused {refuse} of {calls}");
        } else {
            assert_eq!((accept, refuse), (0, 0));
        }
        traps += u64::from(trap);
    }
    assert_eq!(pool.failures(), FailureCounts { trap: traps, ..FailureCounts::default() });
}

/// Else every call of a host that replaces its instances would trap, or none.
#[test]
fn fresh_instances_differ_by_their_input() {
    let fresh = |stage, nonce, now| {
        let mut connection = connection(stage, nonce);
        connection.now += now;
        trapped(&pool().decide(&connection, None, None, None))
    };
    for inputs in [
        (0..16).map(|nonce| fresh(Stage::EndOfData, nonce, 0)).collect::<Vec<_>>(),
        (0..16).map(|now| fresh(Stage::EndOfData, 1, now)).collect(),
        (0..16).map(|nonce| fresh(Stage::Data, nonce, 0) == fresh(Stage::EndOfData, nonce, 0)).collect(),
    ] {
        assert!((4..=12).contains(&inputs.iter().filter(|trapped| **trapped).count()), "{inputs:?}");
    }
}

#[test]
fn one_instance_draws_again_at_each_call() {
    let pool = pool();
    // Of a nonce with which a fresh instance does not trap, the same call traps later on.
    let nonce = (0..100).find(|&nonce| !trapped(&pool.decide(&connection(Stage::Mail, nonce), None, None, None))).unwrap();
    assert!((0..100).any(|_| trapped(&pool.decide(&connection(Stage::Mail, nonce), None, None, None))));
}

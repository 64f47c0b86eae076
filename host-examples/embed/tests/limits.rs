//! Whatever the component does, the mail is accepted, the cause is counted, and the next decision works.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{ANSWER_DATA, EVIL, UNAUTHENTICATED, connection, fixture, refusal};
use smtp_fallback_embed::{Component, Decided, Failure, FailureCounts, Limits, Pool, ReplyError};
use smtp_fallback_policy::contract::{Note, Reason, Reply, Stage, Verdict};

/// A pool of a fixture with a policy of one letter: its reason is `ipv4`.
fn pool(misbehave: &str, data: &[u8], limits: &Limits) -> Pool {
    Pool::configure(&fixture(misbehave, data, limits), "1", b"secret").unwrap().0
}

fn decide(pool: &Pool, stage: Stage, nonce: u32) -> Decided {
    pool.decide(&connection(stage, nonce), None, None, None)
}

/// The decision that stands in for one that failed.
fn assert_accepted(decided: &Decided, stage: Stage) {
    let verdict = if stage == Stage::EndOfData { Verdict::Accept } else { Verdict::Continue };
    assert_eq!(decided.decision.verdict, verdict);
    assert_eq!(decided.decision.reason, Reason::NoPolicy);
    assert_eq!(decided.decision.notes, [Note::Other("policy-failed".to_owned())]);
    assert_eq!((&decided.decision.would, decided.decision.records.len()), (&None, 0));
    assert!(decided.failure.is_some());
}

/// The policy's own decision.
fn assert_decided(pool: &Pool) {
    let decided = decide(pool, Stage::EndOfData, 1);
    assert_eq!((decided.failure, decided.decision.verdict), (None, Verdict::Continue));
    assert_eq!(decided.decision.reason, Reason::Ipv4);
}

/// Lets every call fail, and sees to it that each is followed by one that works.
fn fails(pool: &Pool, expected: impl Fn(&Failure) -> bool, counted: impl Fn(FailureCounts) -> u64) {
    assert_decided(pool);
    assert_eq!(pool.failures(), FailureCounts::default());
    for (stage, count) in [(Stage::Greeting, 1), (Stage::Data, 2), (Stage::EndOfData, 3)] {
        let decided = decide(pool, stage, EVIL);
        assert_accepted(&decided, stage);
        let failure = decided.failure.unwrap();
        assert!(expected(&failure), "{failure:?}");
        assert_eq!(counted(pool.failures()), count);
        assert_decided(pool);
    }
    let FailureCounts { trap, deadline, memory, reply, unavailable } = pool.failures();
    assert_eq!(trap + deadline + memory + reply + unavailable, 3, "only the right counter counts");
}

#[test]
fn a_trap() {
    let pool = pool("unreachable", &[], &Limits::default());
    fails(&pool, |failure| matches!(failure, Failure::Trap(_)), |counts| counts.trap);
    assert!(pool.keys(&connection(Stage::Mail, EVIL), None, None).is_empty());
    assert!(matches!(pool.explain(&connection(Stage::Mail, EVIL), None, None, None), Err(Failure::Trap(_))));
    assert_eq!(pool.explain(&connection(Stage::Mail, 1), None, None, None), Ok(String::new()));
    assert_eq!(pool.failures().trap, 5);
}

#[test]
fn an_endless_loop() {
    let limits = Limits { deadline: Duration::from_millis(20), ..Limits::default() };
    let pool = pool("(loop (br 0))", &[], &limits);
    let start = Instant::now();
    fails(&pool, |failure| *failure == Failure::Deadline(Duration::from_millis(20)), |counts| counts.deadline);
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(60), "no call is cut short: {elapsed:?}");
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

#[test]
fn endless_recursion() {
    // The function that misbehaves is the second one.
    let pool = pool("(drop (call $misbehave))", &[], &Limits::default());
    fails(&pool, |failure| matches!(failure, Failure::Trap(_)), |counts| counts.trap);
}

#[test]
fn too_much_memory() {
    let eat = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    for memory in [16 << 20, 1 << 20] {
        let pool = pool(eat, &[], &Limits { memory, ..Limits::default() });
        fails(&pool, |failure| *failure == Failure::Memory(memory), |counts| counts.memory);
    }
}

#[test]
fn memory_within_the_limit() {
    // To 1 MiB exactly, from two pages of 64 KiB.
    let pool = |pages| {
        let grow = format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable))");
        pool(&grow, &[], &Limits { memory: 1 << 20, ..Limits::default() })
    };
    assert_eq!(decide(&pool(14), Stage::Mail, EVIL).failure, None);
    assert_eq!(decide(&pool(15), Stage::Mail, EVIL).failure, Some(Failure::Memory(1 << 20)));
}

#[test]
fn an_argument_larger_than_the_memory() {
    let pool = pool("", &[], &Limits { memory: 1 << 20, ..Limits::default() });
    let mut large = connection(Stage::EndOfData, 1);
    large.ehlo_name = Some("x".repeat(2 << 20));
    let decided = pool.decide(&large, None, None, None);
    assert_accepted(&decided, Stage::EndOfData);
    assert_eq!(decided.failure, Some(Failure::Memory(1 << 20)));
    assert_decided(&pool);
}

#[test]
fn an_answer_that_cannot_be_read() {
    // Outside the memory; not aligned; a verdict that does not exist.
    for answer in ["(return (i32.const -4))", "(return (i32.const 1023))", ANSWER_DATA] {
        let pool = pool(answer, &[9; 124], &Limits::default());
        fails(&pool, |failure| matches!(failure, Failure::Answer(_)), |counts| counts.reply);
    }
}

#[test]
fn an_answer_that_grows_when_it_is_read() {
    // 500 domains, each of which is the same 64 KiB: 32 MB from 68 KB.
    let mut decision = vec![0; 124];
    decision[64..68].copy_from_slice(&(8192_u32 + 124).to_le_bytes());
    decision[68..72].copy_from_slice(&500_u32.to_le_bytes());
    decision.extend([0_u32.to_le_bytes(), 65536_u32.to_le_bytes()].concat().repeat(500));
    let pool = pool(ANSWER_DATA, &decision, &Limits::default());
    fails(&pool, |failure| matches!(failure, Failure::Answer(_)), |counts| counts.reply);
}

fn reply(code: u16, enhanced_code: &str, line: &str) -> Reply {
    Reply { code, enhanced_code: enhanced_code.to_owned(), lines: vec!["Try IPv4".to_owned(), line.to_owned()], close: true }
}

#[test]
fn a_reply_that_may_be_sent() {
    let good = reply(451, "4.4.8", "and again");
    let pool = pool(ANSWER_DATA, &refusal(&good, UNAUTHENTICATED, false), &Limits::default());
    let decided = decide(&pool, Stage::EndOfData, EVIL);
    assert_eq!(decided.decision.verdict, Verdict::Refuse(good));
    assert_eq!((decided.decision.reason, decided.failure), (Reason::Unauthenticated, None));
    assert_eq!(pool.failures(), FailureCounts::default());
}

#[test]
fn a_reply_that_must_not_be_sent() {
    let cases = [
        (reply(451, "4.4.8", "a\r\n250 2.0.0 ok"), ReplyError::Line(2)),
        (reply(550, "5.7.26", "no"), ReplyError::Code { code: 550, reason: Reason::Unauthenticated }),
        (reply(451, "5.4.8", "no"), ReplyError::EnhancedCode { code: 451, enhanced_code: "5.4.8".to_owned() }),
    ];
    for (reply, error) in cases {
        let pool = pool(ANSWER_DATA, &refusal(&reply, UNAUTHENTICATED, false), &Limits::default());
        fails(&pool, |failure| *failure == Failure::Reply(error.clone()), |counts| counts.reply);
    }
}

#[test]
fn a_reply_that_would_not_be_sent() {
    let good = reply(451, "4.4.8", "and again");
    let observed = |reply: &Reply| pool(ANSWER_DATA, &refusal(reply, UNAUTHENTICATED, true), &Limits::default());
    let pool = observed(&good);
    let decided = decide(&pool, Stage::EndOfData, EVIL);
    assert_eq!((decided.decision.verdict, decided.decision.would), (Verdict::Continue, Some(Verdict::Refuse(good))));
    assert_eq!(pool.failures(), FailureCounts::default());

    let pool = observed(&reply(451, "4.4.8", "a\r\n250 2.0.0 ok"));
    let decided = decide(&pool, Stage::EndOfData, EVIL);
    assert_eq!((decided.decision.verdict, decided.decision.would), (Verdict::Continue, None));
    assert_eq!((decided.decision.reason, decided.failure), (Reason::Unauthenticated, None));
    assert_eq!(pool.failures(), FailureCounts { reply: 1, ..FailureCounts::default() });
}

#[test]
fn no_instance_is_free() {
    let limits = Limits { deadline: Duration::from_millis(200), instances: 1, ..Limits::default() };
    let component: Component = fixture("(loop (br 0))", &[], &limits);
    let busy = Arc::new(Pool::configure(&component, "1", b"").unwrap().0);
    // The instances of a component are shared by its pools, and this pool holds the only one.
    assert_decided(&busy);
    let other = Pool::configure(&component, "1", b"").unwrap().0;
    let start = Instant::now();
    let decided = decide(&other, Stage::EndOfData, 1);
    assert_accepted(&decided, Stage::EndOfData);
    assert_eq!(decided.failure, Some(Failure::Unavailable));
    assert_eq!(other.failures(), FailureCounts { unavailable: 1, ..FailureCounts::default() });
    assert!(start.elapsed() >= limits.deadline, "it waited");

    // A call that fails frees its instance for one that waits.
    let looping = std::thread::spawn({
        let busy = Arc::clone(&busy);
        move || decide(&busy, Stage::Mail, EVIL)
    });
    std::thread::sleep(Duration::from_millis(100));
    assert_decided(&busy);
    assert!(matches!(looping.join().unwrap().failure, Some(Failure::Deadline(_))));

    // A pool that is gone frees its instances.
    drop(busy);
    assert_decided(&other);
}

#[test]
fn eight_threads() {
    // Fewer instances than threads: some wait, none gives up.
    let limits = Limits { deadline: Duration::from_secs(5), instances: 3, ..Limits::default() };
    let pool = pool("unreachable", &[], &limits);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for call in 0..250 {
                    if (thread + call) % 10 == 0 {
                        assert_accepted(&decide(pool, Stage::EndOfData, EVIL), Stage::EndOfData);
                    } else {
                        assert_decided(pool);
                    }
                }
            });
        }
    });
    assert_eq!(pool.failures(), FailureCounts { trap: 200, ..FailureCounts::default() });
    assert!(start.elapsed() < limits.deadline, "who waits is woken");
}

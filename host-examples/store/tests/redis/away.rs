//! The server gives no answer: the local copy serves, in time, and nothing is lost unseen.

use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smtp_fallback_store::redis::{RedisSettings, RedisStore};
use smtp_fallback_store::{Cursor, Store, StoreError, Swap};

use crate::basics::scan;
use crate::server::Server;
use crate::{MINUTES, NOW, connect, network, set, set_for, settings, until, value};

/// Long enough for a busy machine to answer in, short enough to wait for.
const LIMIT: Duration = Duration::from_millis(100);

/// What a busy machine may take on top.
const SLACK: Duration = Duration::from_millis(150);

fn limited(server: &Server) -> RedisSettings {
    RedisSettings { time_limit_ms: LIMIT.as_millis() as u64, ..settings(server.url()) }
}

fn name(n: u16) -> String {
    format!("smtp-fallback:network:2001:db8:{n:x}::/64")
}

/// Stops the server, and makes three calls that time out. Each asks for one record.
async fn stop(server: &Server, store: &RedisStore) {
    server.stop();
    while !store.health().serves_local_copy {
        let start = Instant::now();
        let _ = value(store, network(1)).await;
        let took = start.elapsed();
        assert!(took < LIMIT + SLACK, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_short_and_after_three_the_local_copy_serves_at_once() {
    let server = Server::start();
    let store = connect(&limited(&server)).await;
    assert_eq!(set(&store, network(1), None, b"written").await, Ok(Swap::Stored));
    let () = server.ask(&["SET", &name(2), "read", "EX", "600"]);
    assert_eq!(value(&store, network(2)).await.as_deref(), Some(&b"read"[..]));
    let () = server.ask(&["SET", &name(3), "never seen here", "EX", "600"]);

    server.stop();
    let mut timed_out = 0;
    while !store.health().serves_local_copy {
        let start = Instant::now();
        assert_eq!(
            value(&store, network(1)).await.as_deref(),
            Some(&b"written"[..]),
            "a single time-out is answered from the copy"
        );
        let took = start.elapsed();
        timed_out += u32::from(took >= LIMIT);
        assert!(took < LIMIT + SLACK, "{took:?}");
    }
    // The store's own look at the server may be one of the three.
    assert!((2..=3).contains(&timed_out), "{timed_out}");
    let health = store.health();
    assert_eq!(health.timeouts, 3);
    assert!(health.problem.as_deref().unwrap().contains("3 calls in a row"), "{health:?}");

    let mut times: Vec<Duration> = Vec::new();
    for round in 0..100_u32 {
        let start = Instant::now();
        assert!(value(&store, network(1)).await.is_some());
        assert_eq!(value(&store, network(2)).await.as_deref(), Some(&b"read"[..]));
        assert_eq!(value(&store, network(3)).await, None);
        let expected = (round > 0).then(|| round.to_be_bytes().to_vec());
        assert_eq!(set(&store, network(4), expected.as_deref(), &(round + 1).to_be_bytes()).await, Ok(Swap::Stored));
        times.push(start.elapsed());
    }
    times.sort();
    assert!(times[50] < Duration::from_millis(1), "{:?} for four calls", times[50]);
    assert_eq!(set(&store, network(4), None, b"x").await, Ok(Swap::Conflict), "the copy compares, too");
    assert_eq!(scan(&store, 2).await.len(), 3, "of what is here");
    assert!(store.scan(Cursor("17".to_owned()), 2, NOW).await.is_err(), "the server's cursor leads nowhere here");
    assert!(matches!(store.secret().await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.health().unsaved, 1);

    server.go_on();
    let health = until(&store, |health| !health.serves_local_copy).await;
    assert_eq!((health.problem, health.unsaved, health.dropped), (None, 0, 0));
    assert_eq!(server.ask::<Vec<u8>>(&["GET", &name(4)]), 100_u32.to_be_bytes());
    assert_eq!(value(&store, network(3)).await.as_deref(), Some(&b"never seen here"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_here_is_replayed_and_conflicts_are_counted() {
    let server = Server::start();
    let store = connect(&limited(&server)).await;
    for n in 1..=5 {
        assert_eq!(set(&store, network(n), None, b"before").await, Ok(Swap::Stored));
    }
    stop(&server, &store).await;
    // Changed here: 1 once, 2 twice, 3 three times, 4 removed, 5 removed and made anew, 6 and 7 new, 8 new and removed.
    for n in 1..=3 {
        assert_eq!(set(&store, network(n), Some(b"before"), b"mine").await, Ok(Swap::Stored));
    }
    for n in 2..=3 {
        assert_eq!(set(&store, network(n), Some(b"mine"), b"again mine").await, Ok(Swap::Stored));
    }
    assert_eq!(set(&store, network(3), Some(b"again mine"), b"at last mine").await, Ok(Swap::Stored));
    for n in 4..=5 {
        assert_eq!(set_for(&store, network(n), Some(b"before"), b"", 0).await, Ok(Swap::Stored));
    }
    assert_eq!(set_for(&store, network(5), None, b"anew", 300).await, Ok(Swap::Stored));
    for n in 6..=8 {
        assert_eq!(set(&store, network(n), None, b"new").await, Ok(Swap::Stored));
    }
    assert_eq!(set_for(&store, network(8), Some(b"new"), b"", 0).await, Ok(Swap::Stored));
    assert_eq!(store.health().unsaved, 8);

    // Changed by others meanwhile: 3, and 7, which was not there. Their words are with the server before it goes on.
    let mut others = UnixStream::connect(server.socket()).unwrap();
    for n in [3, 7] {
        writeln!(others, "SET {} theirs EX 600\r", name(n)).unwrap();
    }
    server.go_on();
    let mut answers = [0; 10];
    others.read_exact(&mut answers).unwrap();
    assert_eq!(&answers, b"+OK\r\n+OK\r\n");
    let health = until(&store, |health| !health.serves_local_copy).await;
    let get = |n: u16| server.ask::<Option<String>>(&["GET", &name(n)]);
    let there: Vec<_> = (1..=8).map(get).collect();
    let there: Vec<_> = there.iter().map(Option::as_deref).collect();
    let expected = [Some("mine"), Some("again mine"), Some("theirs"), None, Some("anew"), Some("new"), Some("theirs"), None];
    assert_eq!(there, expected);
    assert_eq!((health.dropped, health.unsaved), (4, 0), "three updates of one, one of the other");
    assert!((200..=300).contains(&server.ask::<i64>(&["TTL", &name(5)])));
    assert_eq!(value(&store, network(3)).await.as_deref(), Some(&b"theirs"[..]));
}

/// The write is on its way when the server stops: it is done when the server goes on, though it was reported as lost; what was made
/// here without it then takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_an_answer_is_reported_and_never_counted_twice() {
    let server = Server::start();
    let store = connect(&limited(&server)).await;
    assert_eq!(set(&store, network(1), None, b"1").await, Ok(Swap::Stored));
    server.stop();
    let error = set(&store, network(1), Some(b"1"), b"2").await.unwrap_err();
    assert!(error.to_string().contains("counts as lost"), "{error}");
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"1"[..]), "the copy keeps what was there before");
    stop(&server, &store).await;
    assert_eq!(set(&store, network(1), Some(b"1"), b"2 again").await, Ok(Swap::Stored));
    server.go_on();
    let health = until(&store, |health| !health.serves_local_copy).await;
    let there = server.ask::<String>(&["GET", &name(1)]);
    // Whichever came first; the other one was reported.
    assert_eq!((there.as_str(), health.dropped), ("2 again", 0));
}

/// Its memory of scripts is gone, and so are the records.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_used_again() {
    let mut server = Server::start();
    let store = connect(&settings(server.url())).await;
    let secret = store.secret().await.unwrap();
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored));
    server.kill();
    let health = until(&store, |health| health.serves_local_copy).await;
    assert_eq!(health.timeouts, 0, "the connection is gone: that takes no time");
    assert_eq!(set(&store, network(1), Some(b"a"), b"b").await, Ok(Swap::Stored));
    assert_eq!(set(&store, network(2), None, b"c").await, Ok(Swap::Stored));
    assert!(until(&store, |health| health.problem.as_deref().is_some_and(|text| text.contains("refused"))).await.unsaved == 2);

    server.start_again();
    let health = until(&store, |health| !health.serves_local_copy).await;
    assert_eq!(health.dropped, 0, "the server does not have what a change was made of: the change counts all the same");
    assert_eq!(server.ask::<String>(&["GET", &name(1)]), "b");
    assert_eq!(server.ask::<String>(&["GET", &name(2)]), "c");
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"b"[..]));
    // The next host has the same secret.
    until_secret(&server).await;
    assert_eq!(connect(&settings(server.url())).await.secret().await, Ok(secret));
    // And without the probe's having taught it the script.
    let () = server.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(set(&store, network(1), Some(b"b"), b"d").await, Ok(Swap::Stored));
}

async fn until_secret(server: &Server) {
    let start = Instant::now();
    while server.ask::<i64>(&["EXISTS", "smtp-fallback:secret"]) == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "the secret does not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_starts_without_the_server() {
    let mut server = Server::start();
    server.kill();
    let store = RedisStore::connect(&settings(server.url())).await.unwrap();
    let health = store.health();
    assert!(health.serves_local_copy && health.problem.as_deref().unwrap().contains("refused"), "{health:?}");
    assert_eq!(value(&store, network(1)).await, None);
    assert_eq!(set(&store, network(1), None, b"early").await, Ok(Swap::Stored));
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"early"[..]));
    assert!(store.secret().await.is_err());
    server.start_again();
    until(&store, |health| !health.serves_local_copy).await;
    assert_eq!(server.ask::<String>(&["GET", &name(1)]), "early");
    assert!(server.ask::<i64>(&["TTL", &name(1)]) <= MINUTES.into());
    assert!(store.secret().await.is_ok());
}

/// A server that takes connections, but answers none, must not hold up the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_starts_with_a_server_that_says_nothing() {
    let server = Server::start();
    server.stop();
    let start = Instant::now();
    let store = RedisStore::connect(&settings(server.url())).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(store.health().serves_local_copy);
    server.go_on();
    until(&store, |health| !health.serves_local_copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_copy_is_bounded_and_what_it_lets_go_is_counted() {
    let mut server = Server::start();
    let store = connect(&RedisSettings { local_records: 10, ..settings(server.url()) }).await;
    server.kill();
    until(&store, |health| health.serves_local_copy).await;
    let (mut stored, mut refused) = (0, 0);
    for n in 0..200 {
        match set(&store, network(n), None, b"new").await {
            Ok(swap) => {
                assert_eq!(swap, Swap::Stored);
                stored += 1;
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                refused += 1;
            }
        }
        assert!(store.health().unsaved <= 20, "{n}");
    }
    assert_eq!(stored + refused, 200);
    server.start_again();
    let health = until(&store, |health| !health.serves_local_copy).await;
    let there = scan(&store, 1000).await.len() as u64;
    assert_eq!(there + health.dropped, stored, "each is there, or was counted");
    assert!((1..=10).contains(&there), "{there}");
}

/// Many changes, and more of them while they are replayed.
#[tokio::test(flavor = "multi_thread")]
async fn changes_during_the_replay_are_kept() {
    let mut server = Server::start();
    let store = Arc::new(connect(&settings(server.url())).await);
    server.kill();
    until(&*store, |health| health.serves_local_copy).await;
    const RECORDS: u16 = 2000;
    for n in 1..=RECORDS {
        assert_eq!(set(&*store, network(n), None, &0_u32.to_be_bytes()).await, Ok(Swap::Stored));
    }
    server.start_again();
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        let mut counts = vec![0_u32; RECORDS.into()];
        let mut settled = 0;
        for n in (1..=RECORDS).cycle() {
            let count = &mut counts[usize::from(n) - 1];
            assert_eq!(value(&*writer, network(n)).await, Some(count.to_be_bytes().to_vec()), "{n}");
            let swap = set(&*writer, network(n), Some(&count.to_be_bytes()), &(*count + 1).to_be_bytes()).await;
            assert_eq!(swap, Ok(Swap::Stored), "{n} {count}");
            *count += 1;
            // A whole round after the recovery.
            settled = if writer.health().serves_local_copy { 0 } else { settled + 1 };
            if settled > RECORDS {
                return counts;
            }
        }
        unreachable!()
    });
    let counts = writing.await.unwrap();
    assert_eq!(store.health().dropped, 0);
    for (n, count) in (1..).zip(counts) {
        assert_eq!(server.ask::<Vec<u8>>(&["GET", &name(n)]), count.to_be_bytes(), "{n}");
    }
}

/// The task ends with the store, and so does the connection.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_on_without_the_store() {
    let server = Server::start();
    let store = connect(&settings(server.url())).await;
    let connections = || {
        server.ask::<String>(&["CLIENT", "LIST", "TYPE", "normal"]).lines().filter(|line| !line.contains("cmd=client")).count()
    };
    assert_eq!(connections(), 1);
    drop(store);
    let start = Instant::now();
    while connections() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

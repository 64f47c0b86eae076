//! What happens to records that were being written when the server fell silent, and to those that expired meanwhile.

use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use smtp_fallback_policy::contract::StoredRecord;
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::{Record, exempt};
use smtp_fallback_store::redis::{RedisSettings, RedisStore};
use smtp_fallback_store::{Store, Swap, Write};

use crate::server::Server;
use crate::{NOW, connect, network, set, set_for, settings, until, value};

const NAME: &str = "smtp-fallback:network:2001:db8:1::/64";

fn limited(server: &Server) -> RedisSettings {
    RedisSettings { time_limit_ms: 100, ..settings(server.url()) }
}

/// Stops the server, and writes to one record until the local copy serves: these writes have no answer, and the server does the
/// first of them when it goes on. Then changes the record in the copy, so many times. Returns its value there.
async fn write_into_silence(server: &Server, store: &RedisStore, updates: u32) -> Vec<u8> {
    server.stop();
    let mut unanswered = 0;
    for n in 1..=3 {
        // The store's own look at the server may be one of the three time-outs: then the copy takes the last of these.
        if !store.health().serves_local_copy {
            set(store, network(1), Some(b"v0"), format!("v{n}").as_bytes()).await.unwrap_err();
            unanswered += 1;
        }
    }
    assert!(unanswered >= 2 && store.health().serves_local_copy, "{unanswered}");
    let mut there = b"v0".to_vec();
    for n in 1..=updates {
        let next = format!("w{n}").into_bytes();
        assert_eq!(set(store, network(1), Some(&there), &next).await, Ok(Swap::Stored));
        there = next;
    }
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_of_our_own_is_no_conflict() {
    let server = Server::start();
    let store = connect(&limited(&server)).await;
    assert_eq!(set(&store, network(1), None, b"v0").await, Ok(Swap::Stored));
    let there = write_into_silence(&server, &store, 100).await;
    server.go_on();
    let health = until(&store, |health| !health.serves_local_copy).await;
    assert_eq!((health.problem, health.dropped, health.unsaved), (None, 0, 0));
    assert_eq!(server.ask::<Vec<u8>>(&["GET", NAME]), there);
    assert_eq!(value(&store, network(1)).await, Some(there));
}

/// The server did our late write, and then others made something of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_after_a_late_write_stays() {
    let server = Server::start();
    let store = connect(&limited(&server)).await;
    assert_eq!(set(&store, network(1), None, b"v0").await, Ok(Swap::Stored));
    write_into_silence(&server, &store, 7).await;
    let mut others = UnixStream::connect(server.socket()).unwrap();
    write!(others, "SET {NAME} theirs EX 600\r\n").unwrap();
    server.go_on();
    let mut answer = [0; 5];
    others.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    let health = until(&store, |health| !health.serves_local_copy).await;
    assert_eq!((health.problem, health.dropped), (None, 7));
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"theirs"[..]));
    assert_eq!(server.ask::<String>(&["GET", NAME]), "theirs");
}

/// What an operator said while the server was silent holds, whatever others made of the record meanwhile: one was told so.
#[tokio::test(flavor = "multi_thread")]
async fn p15_an_operators_word_is_said_again_on_top_of_theirs() {
    const WEEK: u32 = 7 * 24 * 3600;
    let lets_in = |value: &[u8]| match Record::read(&StoredRecord { key: network(1), value: value.to_vec() }) {
        Some(Record::Network(record)) => record.let_in.map(|let_in| (let_in.by_operator, let_in.until)),
        _ => panic!("no record of a network: {value:?}"),
    };
    let of = Network::of(network(1).address, 64);
    let word = |found: Option<&[u8]>, seconds| exempt(of, found, NOW, seconds).unwrap();
    // An empty record of a network, and one of another host's that has been let in for an hour.
    let (empty, hour) = (vec![1, b'n'], word(None, 3600).value);
    let week = word(None, WEEK);
    // What is on the server before; what an operator says here; what others write; what is on the server in the end.
    for (before, said, theirs, expected) in [
        (None, week.clone(), &empty, Some((true, NOW + u64::from(WEEK)))),
        (Some(&hour), word(Some(&hour), 0), &week.value, None),
    ] {
        let server = Server::start();
        let store = connect(&limited(&server)).await;
        if let Some(before) = before {
            assert_eq!(set_for(&store, network(1), None, before, 3600).await, Ok(Swap::Stored));
        }
        server.stop();
        while !store.health().serves_local_copy {
            let _ = value(&store, network(4)).await;
        }
        let write = Write { expected: before.map(Vec::as_slice), update: &said, source: network(1).address, now: NOW };
        assert_eq!(store.compare_and_set(write).await, Ok(Swap::Stored));
        let mut others = UnixStream::connect(server.socket()).unwrap();
        let mut command = format!("*5\r\n$3\r\nSET\r\n${}\r\n{NAME}\r\n${}\r\n", NAME.len(), theirs.len()).into_bytes();
        command.extend_from_slice(theirs);
        command.extend_from_slice(b"\r\n$2\r\nEX\r\n$3\r\n600\r\n");
        others.write_all(&command).unwrap();
        server.go_on();
        let mut answer = [0; 5];
        others.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+OK\r\n");
        let health = until(&store, |health| !health.serves_local_copy).await;
        assert_eq!((health.problem, health.dropped), (None, 0));
        let found: Option<Vec<u8>> = server.ask(&["GET", NAME]);
        assert_eq!(found.as_deref().and_then(lets_in), expected);
        assert_eq!(value(&store, network(1)).await, found);
    }
}

/// Extended here, the record expired on the server, which was not told in time. The extension counts all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_expired_meanwhile_is_extended() {
    let server = Server::start();
    let store = connect(&limited(&server)).await;
    assert_eq!(set_for(&store, network(1), None, b"short", 3).await, Ok(Swap::Stored));
    assert_eq!(set_for(&store, network(2), None, b"short", 3).await, Ok(Swap::Stored));
    assert_eq!(set_for(&store, network(3), None, b"long", 600).await, Ok(Swap::Stored));
    server.stop();
    while !store.health().serves_local_copy {
        let _ = value(&store, network(4)).await;
    }
    assert_eq!(set_for(&store, network(1), Some(b"short"), b"penalty", 3600).await, Ok(Swap::Stored));
    assert_eq!(set_for(&store, network(2), Some(b"short"), b"", 0).await, Ok(Swap::Stored));
    assert_eq!(set_for(&store, network(3), Some(b"long"), b"longer", 3600).await, Ok(Swap::Stored));
    tokio::time::sleep(Duration::from_millis(3500)).await;
    server.go_on();
    let health = until(&store, |health| !health.serves_local_copy).await;
    assert_eq!((health.problem, health.dropped), (None, 0), "and what was to be removed is gone");
    assert_eq!(server.ask::<String>(&["GET", NAME]), "penalty");
    assert!((3500..=3600).contains(&server.ask::<i64>(&["TTL", NAME])));
    assert_eq!(value(&store, network(2)).await, None);
    assert_eq!(value(&store, network(3)).await.as_deref(), Some(&b"longer"[..]));
}

//! Contents that no host wrote are no record, and give way to one.

use std::time::{Duration, Instant};

use smtp_fallback_store::redis::RedisStore;
use smtp_fallback_store::{Store, StoreError, Swap};

use crate::basics::scan;
use crate::server::Server;
use crate::{NOW, connect, network, set, settings, value};

#[tokio::test(flavor = "multi_thread")]
async fn foreign_contents_are_no_record() {
    let server = Server::start();
    let store = connect(&settings(server.url())).await;
    let name = |n: u16| format!("smtp-fallback:network:2001:db8:{n:x}::/64");
    let long = vec![b'x'; 4097];
    let () = server.ask(&["RPUSH", &name(1), "a", "b"]);
    let () = server.ask_octets(&[b"SET", name(2).as_bytes(), &long]);
    let () = server.ask(&["SET", &name(3), ""]);
    let () = server.ask(&["HSET", &name(4), "field", "value"]);
    let () = server.ask(&["XADD", &name(5), "*", "field", "value"]);
    // 64 MB: nothing that is read in passing.
    let () = server.ask(&["SETRANGE", &name(6), "67108863", "x"]);
    let () = server.ask_octets(&[b"SET", name(7).as_bytes(), b"\xff\xfe"]);

    let sent = || -> u64 {
        let stats = server.ask::<String>(&["INFO", "stats"]);
        stats.split_once("total_net_output_bytes:").unwrap().1.split_once('\r').unwrap().0.parse().unwrap()
    };
    let before = sent();
    let keys: Vec<_> = (1..=7).map(network).collect();
    let found = store.get_many(&keys, NOW).await.unwrap();
    assert_eq!(found.len(), 1, "octets are the module's to judge, if they are not too many");
    assert_eq!((found[0].key, found[0].value.as_slice()), (network(7), &b"\xff\xfe"[..]));
    assert_eq!(scan(&store, 100).await.len(), 1);
    assert!(sent() - before < 100_000, "of 64 MB");
    for n in 1..=6 {
        assert_eq!(set(&store, network(n), Some(b"a"), b"b").await, Ok(Swap::Conflict), "{n}");
        assert_eq!(set(&store, network(n), None, b"mine").await, Ok(Swap::Stored), "{n}");
        assert_eq!(value(&store, network(n)).await.as_deref(), Some(&b"mine"[..]), "{n}");
        assert_eq!(server.ask::<String>(&["TYPE", &name(n)]), "string");
        assert!(server.ask::<i64>(&["TTL", &name(n)]) > 0);
    }
    assert_eq!(store.health().problem, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_secret_is_refused() {
    let server = Server::start();
    for secret in ["hunter2", &"AB".repeat(32), &"ab".repeat(31), &"ab".repeat(33), &"é".repeat(32)] {
        let () = server.ask(&["SET", "smtp-fallback:secret", secret]);
        let error = connect(&settings(server.url())).await.secret().await.unwrap_err();
        let StoreError::Unavailable(text) = error else { panic!("{error}") };
        assert!(text.contains("smtp-fallback:secret") && !text.contains(secret), "{text}");
    }
    let () = server.ask(&["SET", "smtp-fallback:secret", &"0f".repeat(32)]);
    assert_eq!(connect(&settings(server.url())).await.secret().await, Ok([15; 32]));
}

/// Refusals are no time-outs: the server is left alone, and the reason is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_writes_is_left_alone() {
    let server = Server::start();
    let store = connect(&settings(server.url())).await;
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored));
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..3 {
        assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"a"[..]));
        let error = set(&store, network(1), Some(b"a"), b"b").await.unwrap_err();
        assert!(error.to_string().contains("maxmemory"), "{error}");
        assert!(store.health().problem.unwrap().contains("maxmemory"));
    }
    assert!(store.health().serves_local_copy);
    assert_eq!(set(&store, network(1), Some(b"a"), b"c").await, Ok(Swap::Stored), "in the local copy");
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    let health = crate::until(&store, |health| !health.serves_local_copy).await;
    assert_eq!((health.problem, health.dropped), (None, 0));
    assert_eq!(server.ask::<String>(&["GET", "smtp-fallback:network:2001:db8:1::/64"]), "c");
}

/// What a server that takes no writes has is read from it, and what is written meanwhile waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_read() {
    let (master, replica) = (Server::start(), Server::start());
    let name = |n: u16| format!("smtp-fallback:network:2001:db8:{n:x}::/64");
    let () = master.ask(&["SET", &name(1), "a", "EX", "600"]);
    let () = replica.ask(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let start = Instant::now();
    while replica.ask::<i64>(&["EXISTS", &name(1)]) == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "not replicated");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let store = RedisStore::connect(&settings(replica.url())).await.unwrap();
    let problem = store.health().problem.unwrap();
    assert!(problem.contains("refuses writes") && problem.to_lowercase().contains("read only"), "{problem}");
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"a"[..]));
    assert_eq!(set(&store, network(2), None, b"b").await, Ok(Swap::Stored));
    assert_eq!(value(&store, network(2)).await.as_deref(), Some(&b"b"[..]));
    assert_eq!(store.health().unsaved, 1);
    let () = replica.ask(&["REPLICAOF", "NO", "ONE"]);
    crate::until(&store, |health| !health.serves_local_copy).await;
    assert_eq!(replica.ask::<String>(&["GET", &name(2)]), "b");
}

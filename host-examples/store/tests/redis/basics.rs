//! What any store does, on one server; and what others find on it.

use std::time::{Duration, Instant};

use smtp_fallback_policy::contract::{Key, KeyKind};
use smtp_fallback_store::redis::{RedisSettings, RedisStore};
use smtp_fallback_store::{Cursor, Listed, MAX_VALUE_OCTETS, Store, StoreError, Swap};

use crate::server::Server;
use crate::{MINUTES, NOW, connect, network, set, set_for, settings, value};

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp() {
    let server = Server::start();
    does_what_a_store_does(&connect(&settings(server.url())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_unix_socket() {
    let server = Server::start();
    does_what_a_store_does(&connect(&settings(format!("unix://{}", server.socket().display()))).await).await;
}

/// Also for a cluster.
pub(crate) async fn does_what_a_store_does(store: &RedisStore) {
    assert_eq!(value(store, network(1)).await, None);
    assert_eq!(store.get_many(&[], NOW).await, Ok(vec![]));
    // Only where there is nothing.
    assert_eq!(set(store, network(1), Some(b"a"), b"b").await, Ok(Swap::Conflict));
    assert_eq!(set(store, network(1), None, b"a").await, Ok(Swap::Stored));
    assert_eq!(set(store, network(1), None, b"b").await, Ok(Swap::Conflict));
    assert_eq!(value(store, network(1)).await.as_deref(), Some(&b"a"[..]));
    // Only where the expected value is.
    assert_eq!(set(store, network(1), Some(b"A"), b"b").await, Ok(Swap::Conflict));
    assert_eq!(set(store, network(1), Some(b"a"), b"\0\r\n\xff").await, Ok(Swap::Stored));
    assert_eq!(value(store, network(1)).await.as_deref(), Some(&b"\0\r\n\xff"[..]));
    // Of many keys, those that are there.
    assert_eq!(set(store, network(3), None, b"c").await, Ok(Swap::Stored));
    let keys: Vec<Key> = (0..8).map(network).collect();
    let mut found = store.get_many(&keys, NOW).await.unwrap();
    found.sort_by_key(|record| record.key);
    assert_eq!(found.iter().map(|record| record.key).collect::<Vec<_>>(), [network(1), network(3)]);
    assert_eq!(found[1].value, b"c");
    // Away with it, only if it is the one.
    assert_eq!(set_for(store, network(3), Some(b"d"), b"", 0).await, Ok(Swap::Conflict));
    assert_eq!(set_for(store, network(3), Some(b"c"), b"", 0).await, Ok(Swap::Stored));
    assert_eq!(value(store, network(3)).await, None);
    assert_eq!(set_for(store, network(3), None, b"", 0).await, Ok(Swap::Stored), "nothing is there, as expected");
    // Up to the limit.
    let longest = vec![0x80; MAX_VALUE_OCTETS];
    assert_eq!(set(store, network(4), None, &longest).await, Ok(Swap::Stored));
    assert_eq!(value(store, network(4)).await, Some(longest.clone()));
    let too_long = vec![0; MAX_VALUE_OCTETS + 1];
    let error = set(store, network(4), Some(&longest), &too_long).await;
    assert_eq!(error, Err(StoreError::ValueTooLarge { octets: MAX_VALUE_OCTETS + 1 }));
    assert_eq!(set_for(store, network(4), Some(&longest), b"", 0).await, Ok(Swap::Stored));
    // For as long as it is to be, by the server's clock.
    assert_eq!(set_for(store, network(5), None, b"short", 1).await, Ok(Swap::Stored));
    assert_eq!(set_for(store, network(6), None, b"long", u32::MAX).await, Ok(Swap::Stored));
    let start = Instant::now();
    while value(store, network(5)).await.is_some() {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(set(store, network(5), None, b"again").await, Ok(Swap::Stored), "what has expired is nothing");
    assert_eq!(value(store, network(6)).await.as_deref(), Some(&b"long"[..]));
    // All of it, and how it does.
    let listed = scan(store, 2).await;
    assert_eq!(listed.iter().map(|listed| listed.record.key).collect::<Vec<_>>(), [network(1), network(5), network(6)]);
    assert_eq!(listed[1].record.value, b"again");
    assert!((NOW + u64::from(MINUTES) - 30..=NOW + u64::from(MINUTES)).contains(&listed[0].expires_at), "{listed:?}");
    let health = store.health();
    assert_eq!((health.kind.as_str(), health.conflicts, health.timeouts, health.dropped), ("redis", 4, 0, 0));
    assert_eq!((health.problem, health.serves_local_copy, health.unsaved), (None, false, 0));
}

/// All records, without those that came twice.
pub(crate) async fn scan(store: &dyn Store, limit: usize) -> Vec<Listed> {
    let mut all = Vec::new();
    let mut cursor = Cursor::default();
    loop {
        let page = store.scan(cursor, limit, NOW).await.unwrap();
        all.extend(page.records);
        match page.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    all.sort_by_key(|listed| listed.record.key);
    all.dedup_by_key(|listed| listed.record.key);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn others_find_it_as_documented() {
    let server = Server::start();
    let store = connect(&settings(server.url())).await;
    let hash = "::1:2:3".parse().unwrap();
    let exact = Key { kind: KeyKind::Exact, address: hash, prefix_length: 128 };
    assert_eq!(set_for(&store, network(1), None, b"\x01\xff", 100).await, Ok(Swap::Stored));
    assert_eq!(set_for(&store, exact, None, b"e", 100).await, Ok(Swap::Stored));
    let secret = store.secret().await.unwrap();

    let name = "smtp-fallback:network:2001:db8:1::/64";
    assert_eq!(server.ask::<Vec<u8>>(&["GET", name]), b"\x01\xff");
    assert!((90..=100).contains(&server.ask::<i64>(&["TTL", name])));
    assert_eq!(server.ask::<String>(&["GET", "smtp-fallback:exact:00000000000000000000000100020003"]), "e");
    let text: String = secret.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(server.ask::<String>(&["GET", "smtp-fallback:secret"]), text);
    assert_eq!(server.ask::<i64>(&["TTL", "smtp-fallback:secret"]), -1);

    // And the other way round, also without an end.
    let () = server.ask(&["SET", "smtp-fallback:budget:2001:db8:1::/48", "by another"]);
    let budget = Key { kind: KeyKind::Budget, address: "2001:db8:1::".parse().unwrap(), prefix_length: 48 };
    assert_eq!(value(&store, budget).await.as_deref(), Some(&b"by another"[..]));
    assert_eq!(set(&store, budget, Some(b"by another"), b"x").await, Ok(Swap::Stored));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_that_of_the_first() {
    let server = Server::start();
    let (first, second) = (connect(&settings(server.url())).await, connect(&settings(server.url())).await);
    let (one, other) = tokio::join!(first.secret(), second.secret());
    let secret = one.unwrap();
    assert_eq!(other, Ok(secret));
    assert_ne!(secret, [0; 32]);
    assert_eq!(connect(&settings(server.url())).await.secret().await, Ok(secret));
    let elsewhere = connect(&RedisSettings { prefix: "other:".to_owned(), ..settings(server.url()) }).await;
    assert_ne!(elsewhere.secret().await, Ok(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_part_stores() {
    let server = Server::start();
    // The second is a pattern that would match the first, and not itself.
    let prefixes = ["mail-a:", "mail-[a]:", ""];
    let mut stores = Vec::new();
    for prefix in prefixes {
        stores.push(connect(&RedisSettings { prefix: prefix.to_owned(), ..settings(server.url()) }).await);
    }
    for (store, prefix) in stores.iter().zip(prefixes) {
        assert_eq!(value(store, network(1)).await, None, "{prefix}");
        assert_eq!(set(store, network(1), None, prefix.as_bytes()).await, Ok(Swap::Stored));
    }
    for (store, prefix) in stores.iter().zip(prefixes).take(2) {
        assert_eq!(value(store, network(1)).await.as_deref(), Some(prefix.as_bytes()));
        let listed = scan(store, 10).await;
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].record.value, prefix.as_bytes());
    }
}

/// A database of its own does the same.
#[tokio::test(flavor = "multi_thread")]
async fn databases_part_stores() {
    let server = Server::start();
    let store = connect(&settings(format!("{}/3", server.url()))).await;
    assert_eq!(set(&store, network(1), None, b"3").await, Ok(Swap::Stored));
    assert_eq!(value(&connect(&settings(server.url())).await, network(1)).await, None);
    assert_eq!(value(&connect(&settings(format!("{}/3", server.url()))).await, network(1)).await.as_deref(), Some(&b"3"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_past_the_keys_of_others() {
    let server = Server::start();
    let store = connect(&settings(server.url())).await;
    let () = server.ask(&["DEBUG", "POPULATE", "20000", "others"]);
    let () = server.ask(&["DEBUG", "POPULATE", "5000", "smtp-fallback:network"]);
    for n in 0..300 {
        assert_eq!(set(&store, network(n), None, &n.to_be_bytes()).await, Ok(Swap::Stored));
    }
    let keys: Vec<Key> = scan(&store, 50).await.iter().map(|listed| listed.record.key).collect();
    assert_eq!(keys, (0..300).map(network).collect::<Vec<_>>());
    let error = store.scan(Cursor("x".to_owned()), 10, NOW).await.unwrap_err();
    assert!(error.to_string().contains("begin without one"), "{error}");
}

/// The tests are not skipped where there is no server.
#[test]
fn without_redis_server_the_tests_fail_and_say_what_to_do() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "basics::over_tcp"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(text.contains("these tests need it: apt-get install redis-server"), "{text}");
}

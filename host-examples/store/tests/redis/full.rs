//! A server of its own with `maxmemory` and `noeviction`, as advised, in a flood: what is there stays, and can be read.

use std::time::{Duration, Instant};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate};
use smtp_fallback_store::redis::{RedisSettings, RedisStore};
use smtp_fallback_store::{Store, Swap, Write, write_back};

use crate::basics::scan;
use crate::server::Server;
use crate::{MINUTES, NOW, connect, network, set, set_for, settings, until, value};

/// More than the local copy holds.
const PENALTIES: u16 = 300;

const LOCAL: usize = 200;

/// A server with room for some thousand records more than the penalties, and a host that has just met a flood: of 1-message records,
/// from all over 2000::/3. The host's local copy is smaller than the flood.
async fn flooded(time_limit_ms: u64) -> (Server, RedisStore) {
    let server = Server::with(|_| ["--maxmemory-policy", "noeviction"].map(str::to_owned).to_vec());
    let limits = RedisSettings { time_limit_ms, local_records: LOCAL, ..settings(server.url()) };
    let store = connect(&limits).await;
    store.secret().await.unwrap();
    for n in 1..=PENALTIES {
        assert_eq!(set_for(&store, network(n), None, b"penalty", 7200).await, Ok(Swap::Stored));
    }
    let room = number(&server, "memory", "used_memory") + 500_000;
    let () = server.ask(&["CONFIG", "SET", "maxmemory", &room.to_string()]);
    for n in 0..30_000_u32 {
        let key = Key { kind: KeyKind::Network, address: Address::from_words([0x2600_0000 + n, 0, 0, 0]), prefix_length: 64 };
        let update = RecordUpdate { key, value: vec![1; 20], expires_in: 86_400, weight: 1 };
        let _ = store.compare_and_set(Write { expected: None, update: &update, source: key.address, now: NOW }).await;
        if store.health().dropped > 1000 {
            return (server, store);
        }
    }
    panic!("the server is not full: {:?}", store.health());
}

fn number(server: &Server, section: &str, name: &str) -> u64 {
    let info = server.ask::<String>(&["INFO", section]);
    let rest = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    rest.unwrap_or_else(|| panic!("no {name} in {info}")).trim().parse().unwrap()
}

/// How many of them this host can read.
async fn penalties(store: &RedisStore) -> usize {
    let keys: Vec<Key> = (1..=PENALTIES).map(network).collect();
    store.get_many(&keys, NOW).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_costs_new_records_alone() {
    let (server, store) = flooded(1000).await;
    let health = until(&store, |health| health.problem.as_deref().is_some_and(|text| text.contains("refuses writes"))).await;
    assert!(health.problem.as_deref().unwrap().contains("maxmemory"), "{health:?}");
    assert!(health.serves_local_copy && health.dropped > 1000, "{health:?}");
    // All that were there are there, and readable here; over several of the store's looks at the server.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        assert_eq!(penalties(&store).await, usize::from(PENALTIES));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(number(&server, "stats", "evicted_keys"), 0);

    // A host that starts now sees them, and has the same secret.
    let other = RedisStore::connect(&settings(server.url())).await.unwrap();
    assert!(other.health().problem.unwrap().contains("maxmemory"));
    assert_eq!(penalties(&other).await, usize::from(PENALTIES));
    assert_eq!(other.secret().await, store.secret().await);

    // Decisions go on: a penalty is renewed here, and others' newer one is seen.
    let seen = store.get_many(&[network(1)], NOW).await.unwrap();
    let renewed = RecordUpdate { key: network(1), value: b"renewed".to_vec(), expires_in: MINUTES, weight: 1000 };
    let done = write_back(&store, &seen, vec![renewed], network(1).address, NOW, |_| Vec::new()).await;
    assert_eq!((done.stored, done.dropped), (1, 0));
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"renewed"[..]));
    assert_eq!(set(&store, network(1), Some(b"penalty"), b"x").await, Ok(Swap::Conflict));

    // Lists have what it has, and each record that is changed here once, as it is here.
    let mut listed: Vec<_> = scan(&store, 1000).await.into_iter().map(|listed| listed.record).collect();
    listed.retain(|record| record.key >= network(1) && record.key <= network(PENALTIES));
    listed.sort_by_key(|record| record.key);
    let values: Vec<_> = listed.iter().map(|record| record.value.as_slice()).collect();
    assert_eq!(values.len(), usize::from(PENALTIES));
    assert!(values[0] == b"renewed" && values[1..].iter().all(|value| value == b"penalty"), "{values:?}");

    // There is room again: what waited is done.
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    let health = until(&store, |health| !health.serves_local_copy).await;
    assert_eq!((health.problem, health.unsaved), (None, 0));
    assert_eq!(server.ask::<String>(&["GET", "smtp-fallback:network:2001:db8:1::/64"]), "renewed");
    assert_eq!(penalties(&store).await, usize::from(PENALTIES));
}

/// What the full server has is read from it, so long as it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_may_fall_silent_as_well() {
    let (server, store) = flooded(300).await;
    assert_eq!(penalties(&store).await, usize::from(PENALTIES));
    server.stop();
    let mut slow = 0;
    for _ in 0..100 {
        let start = Instant::now();
        assert!(penalties(&store).await <= usize::from(PENALTIES));
        slow += u32::from(start.elapsed() >= Duration::from_millis(300));
    }
    assert!(slow <= 1, "{slow} calls waited for nothing");
    server.go_on();
    until(&store, |health| health.problem.as_deref().is_some_and(|text| text.contains("refuses writes"))).await;
    assert_eq!(penalties(&store).await, usize::from(PENALTIES));
}

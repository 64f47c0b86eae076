//! A cluster of three nodes.

use std::time::{Duration, Instant};

use smtp_fallback_policy::contract::Key;
use smtp_fallback_store::redis::RedisSettings;
use smtp_fallback_store::{Store, Swap};

use crate::basics::{does_what_a_store_does, scan};
use crate::server::{Server, free_port};
use crate::tls::{self, authority};
use crate::{NOW, connect, network, set, until, value};

const SLOTS: u16 = 16384;

struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    fn start() -> Cluster {
        Cluster::with(Vec::new())
    }

    /// With these arguments for each node, if any; they are all on the same machine.
    fn with(arguments: Vec<Vec<String>>) -> Cluster {
        let nodes: Vec<Server> = (0..3)
            .map(|n| {
                let bus = free_port().to_string();
                Server::with(|_| {
                    let mut all = arguments.get(n).cloned().unwrap_or_default();
                    all.extend(
                        ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus].map(str::to_owned),
                    );
                    all
                })
            })
            .collect();
        nodes.iter().for_each(allow);
        std::fs::write(nodes[0].folder().join("password"), "word").unwrap();
        let (first, others) = nodes.split_first().unwrap();
        for node in others {
            let bus = node.ask::<Vec<String>>(&["CONFIG", "GET", "cluster-port"]).pop().unwrap();
            let () = first.ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), &bus]);
        }
        for (n, node) in (0..).zip(&nodes) {
            let (from, to) = (SLOTS / 3 * n, if n == 2 { SLOTS - 1 } else { SLOTS / 3 * (n + 1) - 1 });
            let () = node.ask(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
        }
        let cluster = Cluster { nodes };
        cluster.until_whole();
        cluster
    }

    /// Until every node knows all slots.
    fn until_whole(&self) {
        let start = Instant::now();
        let whole = |node: &Server| {
            let info = node.ask::<String>(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384") && info.contains("cluster_known_nodes:3")
        };
        while !self.nodes.iter().all(whole) {
            assert!(start.elapsed() < Duration::from_secs(30), "the nodes do not become a cluster");
            std::thread::sleep(Duration::from_millis(10)); // They have work to do, too.
        }
    }

    fn settings(&self) -> RedisSettings {
        RedisSettings {
            cluster: true,
            username: Some("mx".to_owned()),
            password_file: Some(self.nodes[0].folder().join("password")),
            ..crate::settings(self.nodes[0].url())
        }
    }

    /// The slot of a key, and the numbers of the node that has it and of another.
    fn place(&self, name: &str) -> (String, usize, usize) {
        let slot: u16 = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", name]);
        let owner = usize::from(slot / (SLOTS / 3)).min(2);
        (slot.to_string(), owner, (owner + 1) % 3)
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].ask(&["CLUSTER", "MYID"])
    }
}

/// A user with no more rights than the documentation names.
fn allow(node: &Server) {
    let rights = ["~smtp-fallback:*", "resetchannels", "+@read", "+@write", "+@scripting", "+ping", "+cluster|slots", "+asking"];
    let () = node.ask(&[&["ACL", "SETUSER", "mx", "on", ">word", "-@all"][..], &rights].concat());
}

fn name(n: u16) -> String {
    format!("smtp-fallback:network:2001:db8:{n:x}::/64")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_a_store() {
    let cluster = Cluster::start();
    let store = connect(&cluster.settings()).await;
    does_what_a_store_does(&store).await;
    let other =
        connect(&RedisSettings { servers: vec![cluster.nodes[2].url(), cluster.nodes[1].url()], ..cluster.settings() }).await;
    assert_eq!(other.secret().await, store.secret().await);
    assert!(other.secret().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_tls() {
    let authority = authority();
    let folder = tempfile::tempdir().unwrap();
    let ports = [(); 3].map(|()| free_port());
    // Only nodes that speak TLS among themselves tell clients the ports for TLS.
    let arguments = ports.map(|port| {
        let among_themselves = ["--tls-cluster", "yes"].map(str::to_owned);
        [tls::arguments(&authority, "no", port, folder.path()), among_themselves.to_vec()].concat()
    });
    let cluster = Cluster::with(arguments.to_vec());
    let settings = RedisSettings {
        servers: vec![format!("rediss://127.0.0.1:{}", ports[0])],
        ca: Some(folder.path().join("ca.crt")),
        ..cluster.settings()
    };
    does_what_a_store_does(&connect(&settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_on_all_nodes_and_a_scan_finds_them() {
    let cluster = Cluster::start();
    let store = connect(&cluster.settings()).await;
    for n in 1..=300 {
        assert_eq!(set(&store, network(n), None, &n.to_be_bytes()).await, Ok(Swap::Stored));
    }
    for node in &cluster.nodes {
        assert!(node.ask::<u64>(&["DBSIZE"]) > 50);
    }
    let keys: Vec<Key> = (1..=300).map(network).collect();
    assert_eq!(store.get_many(&keys, NOW).await.unwrap().len(), 300);
    for limit in [7, 1000] {
        let found: Vec<Key> = scan(&store, limit).await.iter().map(|listed| listed.record.key).collect();
        assert_eq!(found, keys);
    }
}

/// The record of a key moves to another node: first while asking for it leads there (ASK), then for good (MOVED).
#[tokio::test(flavor = "multi_thread")]
async fn keys_may_move() {
    let cluster = Cluster::start();
    let store = connect(&cluster.settings()).await;
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored));
    let (slot, from, to) = cluster.place(&name(1));
    let (source, target) = (&cluster.nodes[from], &cluster.nodes[to]);
    let () = target.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &cluster.id(from)]);
    let () = source.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &cluster.id(to)]);
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"a"[..]));
    let () = source.ask(&["MIGRATE", "127.0.0.1", &target.port().to_string(), &name(1), "0", "5000"]);
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"a"[..]));
    assert_eq!(set(&store, network(1), None, b"b").await, Ok(Swap::Conflict));
    assert_eq!(set(&store, network(1), Some(b"a"), b"b").await, Ok(Swap::Stored));

    for node in [target, source, &cluster.nodes[3 - from - to]] {
        let () = node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &cluster.id(to)]);
    }
    assert_eq!(set(&store, network(1), Some(b"b"), b"c").await, Ok(Swap::Stored));
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"c"[..]));
    let health = store.health();
    assert_eq!((health.problem, health.conflicts, health.timeouts), (None, 1, 0));
}

/// Without one of its nodes a cluster does not do its work. With it, it is used again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_killed_and_started_again() {
    let mut cluster = Cluster::start();
    let store = connect(&cluster.settings()).await;
    for n in 1..=20 {
        assert_eq!(set(&store, network(n), None, b"a").await, Ok(Swap::Stored));
    }
    cluster.nodes[1].kill();
    until(&store, |health| health.serves_local_copy).await;
    for n in 1..=20 {
        assert_eq!(set(&store, network(n), Some(b"a"), b"b").await, Ok(Swap::Stored), "in the local copy");
    }
    // A probe is content with no less than all nodes.
    until(&store, |health| health.problem.as_deref().is_some_and(|text| text.contains("2 of the cluster's 3 nodes"))).await;
    let gone = (1..=20).filter(|&n| cluster.place(&name(n)).1 == 1).count();
    assert!((1..20).contains(&gone));
    // It remembers that it is a node, though neither records nor users.
    cluster.nodes[1].start_again();
    allow(&cluster.nodes[1]);
    cluster.until_whole();
    let health = until(&store, |health| !health.serves_local_copy).await;
    assert_eq!((health.dropped, health.unsaved), (0, 0), "of those that the node had and has no more, neither");
    for n in 1..=20 {
        assert_eq!(value(&store, network(n)).await.as_deref(), Some(&b"b"[..]), "{n}");
    }
}

//! A network between host and server that is slow, or loses an answer.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use smtp_fallback_store::redis::{RedisSettings, RedisStore};
use smtp_fallback_store::{Store, StoreError, Swap};

use crate::server::{Server, free_port};
use crate::{connect, network, set, settings, until, value};

/// Passes on what comes. Its threads end with their connections; the one that listens ends with the tests.
struct Proxy {
    port: u16,
    /// So many milliseconds later, from the server to the client.
    delay: AtomicU64,
    /// The answer to the next script about a network is lost, and the connection with it.
    lose_answer: AtomicBool,
}

impl Proxy {
    fn start(listener: TcpListener, server: u16) -> Arc<Proxy> {
        let port = listener.local_addr().unwrap().port();
        let proxy = Arc::new(Proxy { port, delay: AtomicU64::new(0), lose_answer: AtomicBool::new(false) });
        let shared = proxy.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server))) else { continue };
                shared.pass_on(client, server);
            }
        });
        proxy
    }

    fn pass_on(self: &Arc<Proxy>, client: TcpStream, server: TcpStream) {
        let cut = Arc::new(AtomicBool::new(false));
        let (proxy, cutting) = (self.clone(), cut.clone());
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            pump(from, to, |octets| {
                let has = |word: &[u8; 7]| octets.windows(7).any(|octets| octets == word);
                if has(b"EVALSHA") && has(b"network") && proxy.lose_answer.swap(false, Ordering::SeqCst) {
                    cutting.store(true, Ordering::SeqCst);
                }
                true
            });
        });
        let proxy = self.clone();
        std::thread::spawn(move || {
            pump(server, client, |_| {
                std::thread::sleep(Duration::from_millis(proxy.delay.load(Ordering::SeqCst)));
                !cut.load(Ordering::SeqCst)
            });
        });
    }

    fn settings(&self) -> RedisSettings {
        settings(format!("redis://127.0.0.1:{}", self.port))
    }
}

/// Until one side ends, or nothing more is to pass.
fn pump(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..length]) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

/// It answers, but never in the time that a message has: then it is better left alone, and not tried with three messages a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_slow_is_not_used() {
    let server = Server::start();
    let proxy = Proxy::start(listener(), server.port());
    let slow = RedisSettings { time_limit_ms: 100, ..proxy.settings() };
    proxy.delay.store(300, Ordering::SeqCst);
    let store = RedisStore::connect(&slow).await.unwrap();
    let health = store.health();
    assert!(health.serves_local_copy && health.problem.as_deref().unwrap().contains("no answer in time"), "{health:?}");
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored), "in the local copy");
    proxy.delay.store(0, Ordering::SeqCst);
    until(&store, |health| !health.serves_local_copy).await;
    assert_eq!(server.ask::<String>(&["GET", "smtp-fallback:network:2001:db8:1::/64"]), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_server() {
    let server = Server::start();
    let proxy = Proxy::start(listener(), server.port());
    a_lost_answer(&server, &proxy, &proxy.settings()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_cluster() {
    let listener = listener();
    let (port, bus) = (listener.local_addr().unwrap().port().to_string(), free_port().to_string());
    let server = Server::with(|_| {
        let words = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-announce-ip",
            "127.0.0.1",
            "--cluster-announce-port",
            &port,
        ];
        words.map(str::to_owned).to_vec()
    });
    let () = server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    while !server.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let proxy = Proxy::start(listener, server.port());
    a_lost_answer(&server, &proxy, &RedisSettings { cluster: true, ..proxy.settings() }).await;
}

/// The server has done the write. Sent again, it would be a conflict, and its caller would count the mail a second time.
async fn a_lost_answer(server: &Server, proxy: &Proxy, settings: &RedisSettings) {
    let store = connect(settings).await;
    assert_eq!(set(&store, network(1), None, b"1").await, Ok(Swap::Stored));
    let scripts = || {
        let stats = server.ask::<String>(&["INFO", "commandstats"]);
        let calls = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_eval")?.split_once("calls=")?.1.split_once(','));
        calls.map(|(calls, _)| calls.parse::<u32>().unwrap()).sum::<u32>()
    };
    let before = scripts();
    proxy.lose_answer.store(true, Ordering::SeqCst);
    let error = set(&store, network(1), Some(b"1"), b"2").await.unwrap_err();
    let StoreError::Unavailable(text) = error else { panic!("{error}") };
    assert!(text.contains("may have been done"), "{text}");
    assert_eq!(server.ask::<String>(&["GET", "smtp-fallback:network:2001:db8:1::/64"]), "2");
    until(&store, |health| !health.serves_local_copy).await;
    assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"2"[..]));
    // The write, and the probe's afterwards.
    assert_eq!(scripts(), before + 2);
    let health = store.health();
    assert_eq!((health.conflicts, health.dropped), (0, 0));
}

/// The server did what was changed here, and the next try finds it there.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_without_an_answer_is_in_force() {
    let server = Server::start();
    let proxy = Proxy::start(listener(), server.port());
    let store = connect(&RedisSettings { time_limit_ms: 100, ..proxy.settings() }).await;
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored));
    server.stop();
    while !store.health().serves_local_copy {
        assert_eq!(value(&store, network(1)).await.as_deref(), Some(&b"a"[..]));
    }
    assert_eq!(set(&store, network(1), Some(b"a"), b"b").await, Ok(Swap::Stored));
    assert_eq!(set(&store, network(1), Some(b"b"), b"c").await, Ok(Swap::Stored));
    proxy.lose_answer.store(true, Ordering::SeqCst);
    server.go_on();
    let health = until(&store, |health| !health.serves_local_copy).await;
    assert!(!proxy.lose_answer.load(Ordering::SeqCst), "no answer was lost");
    assert_eq!((health.problem, health.dropped), (None, 0));
    assert_eq!(server.ask::<String>(&["GET", "smtp-fallback:network:2001:db8:1::/64"]), "c");
}

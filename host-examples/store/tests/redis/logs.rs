//! What the log says: changes, once each.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use smtp_fallback_store::redis::RedisStore;
use smtp_fallback_store::{Store, Swap};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::server::Server;
use crate::{NOW, connect, network, set, settings, until, value};

/// Keeps the events of the store, a line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// The lines so far with this event.
    fn of(&self, event: &str) -> Vec<String> {
        let event = format!("event=\"{event}\"");
        self.0.lock().unwrap().iter().filter(|line| line.contains(&event)).cloned().collect()
    }

    fn events(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("smtp_fallback_store")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

/// One thread, so that the store's task logs here, too.
#[tokio::test]
async fn each_change_is_logged_once() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let mut server = Server::start();
    let store = connect(&settings(server.url())).await;
    assert_eq!(log.of("store-recovered").len(), 1, "from nothing");
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored));
    server.kill();
    until(&store, |health| health.serves_local_copy).await;
    for n in 2..100 {
        assert_eq!(set(&store, network(n), None, b"b").await, Ok(Swap::Stored));
    }
    assert_eq!(set(&store, network(1), Some(b"a"), b"b").await, Ok(Swap::Stored));
    // At least one probe has failed.
    until(&store, |health| health.problem.as_deref().is_some_and(|text| text.contains("refused"))).await;
    let away = log.of("store-away");
    assert_eq!(away.len(), 1, "{away:?}");
    assert!(away[0].starts_with("WARN ") && away[0].contains(&format!("127.0.0.1:{}", server.port())), "{away:?}");
    server.start_again();
    until(&store, |health| !health.serves_local_copy).await;
    while log.of("store-recovered").len() < 2 {
        tokio::task::yield_now().await;
    }
    let recovered = log.of("store-recovered");
    assert!(recovered[1].starts_with("INFO ") && recovered[1].contains("replayed=99 dropped=0"), "{recovered:?}");
    assert_eq!(log.events(), 3);

    // Foreign contents: once a minute, whatever there is.
    let () = server.ask(&["DEL", "smtp-fallback:network:2001:db8:1::/64"]);
    let () = server.ask(&["RPUSH", "smtp-fallback:network:2001:db8:1::/64", "a"]);
    for _ in 0..3 {
        assert_eq!(value(&store, network(1)).await, None);
    }
    let foreign = log.of("store-foreign");
    assert_eq!(foreign.len(), 1);
    assert!(foreign[0].contains("smtp-fallback:network:2001:db8:1::/64") && foreign[0].contains("another type"), "{foreign:?}");
}

#[tokio::test]
async fn what_the_server_was_never_told_is_logged_at_the_end() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let mut server = Server::start();
    server.kill();
    let store = RedisStore::connect(&settings(server.url())).await.unwrap();
    assert_eq!(log.of("store-away").len(), 1, "at the start");
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored));
    assert_eq!(store.get_many(&[network(1)], NOW).await.unwrap().len(), 1);
    drop(store);
    assert!(log.of("store-closed")[0].contains("records=1"));
}

/// With a limit, and a policy to match: records may vanish. Without a limit nothing is evicted, whatever the policy.
#[tokio::test]
async fn a_server_that_evicts_is_warned_of_once() {
    for (policy, limit, warned) in [("volatile-ttl", "100mb", true), ("noeviction", "100mb", false), ("allkeys-lru", "0", false)]
    {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let mut server = Server::with(|_| ["--maxmemory", limit, "--maxmemory-policy", policy].map(str::to_owned).to_vec());
        let store = connect(&settings(server.url())).await;
        let said = log.of("store-evicts");
        assert_eq!(said.len(), usize::from(warned), "{policy} {limit}: {said:?}");
        assert!(
            said.iter().all(|line| line.starts_with("WARN ") && line.contains(policy) && line.contains("noeviction")),
            "{said:?}"
        );
        server.kill();
        until(&store, |health| health.serves_local_copy).await;
        server.start_again();
        until(&store, |health| !health.serves_local_copy).await;
        while log.of("store-recovered").len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(log.of("store-evicts").len(), usize::from(warned), "{policy} {limit}");
    }
}

/// Nothing is known of a server that does not tell; and it is in use all the same.
#[tokio::test]
async fn a_server_that_does_not_tell_its_policy_is_not_warned_of() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let server = Server::with(|_| ["--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"].map(str::to_owned).to_vec());
    let () = server.ask(&["ACL", "SETUSER", "default", "-config"]);
    let store = connect(&settings(server.url())).await;
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored));
    assert_eq!((log.of("store-evicts").len(), log.of("store-recovered").len(), log.events()), (0, 1, 1));
}

/// Once for each change of it.
#[tokio::test]
async fn another_secret_is_logged_once() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let server = Server::start();
    let store = connect(&settings(server.url())).await;
    store.secret().await.unwrap();
    let () = server.ask(&["SET", "smtp-fallback:secret", &"ab".repeat(32)]);
    until(&store, |health| health.problem.is_some()).await;
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    let said = log.of("store-secret-changed");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("ERROR ") && said[0].contains("smtp-fallback:secret"), "{said:?}");
}

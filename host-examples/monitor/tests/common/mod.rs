//! What the tests share: a host without SMTP, whose decisions are the policy module's own, and a client that speaks HTTP by hand.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smtp_fallback_monitor::{Listener, Monitor, PolicyState, Sources};
use smtp_fallback_policy::Module;
use smtp_fallback_policy::contract::{AuthResult, AuthResults, Connection, Decision, Dkim, Envelope, Message, Mode, Spf, Stage};
use smtp_fallback_store::{MemoryStore, Store, write_back};

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A mail that a client sends.
#[derive(Clone)]
pub(crate) struct Mail {
    pub(crate) client: &'static str,
    pub(crate) ehlo_name: String,
    pub(crate) mail_from: String,
    pub(crate) id: String,
    pub(crate) size: u32,
    pub(crate) passes: bool,
}

/// An unauthenticated mail of `size` 1000.
pub(crate) fn mail(client: &'static str, name: &str, id: &str) -> Mail {
    Mail {
        client,
        ehlo_name: format!("mail.{name}"),
        mail_from: format!("alice@{name}"),
        id: format!("<{id}@example.net>"),
        size: 1000,
        passes: false,
    }
}

/// The policy, the store and the monitor of a host.
pub(crate) struct Host {
    pub(crate) module: Module,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) monitor: Arc<Monitor>,
    nonce: AtomicU32,
}

impl Host {
    /// With this policy, which is loaded.
    pub(crate) fn new(policy: &str) -> Host {
        Host::with_state(policy, |mode| PolicyState { mode: Some(mode), problem: None })
    }

    /// With this policy, of which each request is told what `state` says.
    pub(crate) fn with_state(policy: &str, state: impl Fn(Mode) -> PolicyState + Send + Sync + 'static) -> Host {
        Host::with_store(policy, Arc::new(MemoryStore::new(100_000)), state)
    }

    pub(crate) fn with_store(
        policy: &str,
        store: Arc<dyn Store>,
        state: impl Fn(Mode) -> PolicyState + Send + Sync + 'static,
    ) -> Host {
        let mut module = Module::new();
        let summary = module.configure(policy, b"the secret of this test").expect("a policy");
        let monitor = Monitor::new(Sources {
            name: "mx1.example.org".into(),
            software: "test-host 1.0".into(),
            store: Arc::clone(&store),
            policy: Arc::new(move || state(summary.mode)),
            failures: Arc::new(|| vec![("trap", 0), ("deadline", 3), ("memory", 0), ("reply", 0), ("unavailable", 0)]),
        });
        Host { module, store, monitor, nonce: AtomicU32::new(1) }
    }

    /// A session that sends this mail at `at`, from the greeting to the decision that ends it.
    pub(crate) async fn send(&self, mail: &Mail, at: u64) -> Decision {
        let envelope = Envelope { mail_from: mail.mail_from.clone(), recipients: vec!["bob@example.org".into()] };
        let message = Message {
            message_id: Some(mail.id.clone()),
            date: Some("Tue, 24 Nov 2026 19:00:00 +0000".into()),
            from_domain: None,
            size: mail.size,
        };
        let result = if mail.passes { AuthResult::Pass } else { AuthResult::None };
        let domain = mail.mail_from.rsplit_once('@').map_or("", |(_, domain)| domain).to_owned();
        let results = AuthResults {
            spf_mail_from: Some(Spf { result, domain: domain.clone() }),
            dkim: Some(if mail.passes {
                vec![Dkim { result: AuthResult::Pass, domain, selector: "s".into(), testing: false }]
            } else {
                Vec::new()
            }),
            ..AuthResults::default()
        };
        let connection = Connection {
            ipv4_arrivals_visible: true,
            now: at,
            nonce: self.nonce.fetch_add(7919, Ordering::Relaxed),
            ..Connection::new(Stage::Greeting, mail.client.parse().expect("an address"))
        };
        let greeting = self.decide(connection.clone(), None, None, None).await;
        if matches!(greeting.verdict, smtp_fallback_policy::contract::Verdict::Refuse(_)) {
            return greeting;
        }
        let connection = Connection { stage: Stage::EndOfData, ehlo_name: Some(mail.ehlo_name.clone()), ..connection };
        self.decide(connection, Some(&envelope), Some(&message), Some(&results)).await
    }

    /// One decision, as a host makes it: with the records that it wants, counted, its records stored.
    pub(crate) async fn decide(
        &self,
        mut connection: Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        results: Option<&AuthResults>,
    ) -> Decision {
        for _ in 0..2 {
            let mut keys = self.module.keys(&connection, envelope, message);
            keys.retain(|key| connection.records.iter().all(|record| record.key != *key));
            let found = self.store.get_many(&keys, connection.now).await.expect("the store works");
            connection.records.extend(found);
        }
        let decision = self.module.decide(&connection, envelope, message, results);
        self.monitor.metrics().decision(&connection, message, &decision);
        let (source, at) = (connection.client, connection.now);
        let updates = decision.records.clone();
        let written =
            write_back(self.store.as_ref(), &connection.records, updates, source, at, |_| unreachable!("nobody else writes"))
                .await;
        self.monitor.metrics().written(&written);
        decision
    }

    /// Reads all records as of `at`.
    pub(crate) async fn census(&self, at: u64) {
        self.monitor.take_census(at).await.expect("the store works");
    }

    /// Serves the monitor on a port of the system's choice for as long as the runtime lives. Its own census has been taken when the
    /// first request is answered.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), false).expect("a port");
        let address = listener.address();
        tokio::spawn(listener.serve(Arc::clone(&self.monitor)));
        address
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Asks for a path, as localhost.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
}

/// Sends octets as they are, and reads until the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: String) -> Answer {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers, and closes");
        let answer = String::from_utf8(answer).expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|digits| digits.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    })
    .await
    .expect("no panic")
}

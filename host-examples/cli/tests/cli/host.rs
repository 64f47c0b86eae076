//! A host in the test's process: the policy module, a store in memory, and the control socket; and the program that asks it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::Module;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResult, AuthResults, Connection, Decision, Envelope, Key, Message, RecordUpdate, Spf, Stage, StoredRecord,
};
use smtp_fallback_store::control::{About, Control, ControlHost};
use smtp_fallback_store::{BoxFuture, Cursor, Health, Listed, MemoryStore, Page, Secret, Store, StoreError, Swap, Write};
use tempfile::TempDir;

pub(crate) const CLIENT: &str = "2001:db8:1:2::25";
pub(crate) const NETWORK: &str = "2001:db8:1:2::/64";

/// A host that serves until it is dropped.
pub(crate) struct Host {
    pub(crate) folder: TempDir,
    module: Arc<Mutex<Module>>,
    store: Arc<MemoryStore>,
}

impl Host {
    pub(crate) fn start() -> Host {
        Host::with_policy("{}")
    }

    pub(crate) fn with_policy(policy: &str) -> Host {
        let host = Host::new(policy);
        host.serve(Arc::clone(&host.store) as Arc<dyn Store>);
        host
    }

    /// One whose store gives a part of its records, and then fails.
    pub(crate) fn that_breaks_off() -> Host {
        let host = Host::new("{}");
        host.serve(Arc::new(Ailing { store: Arc::clone(&host.store), breaks_off: true, is_copy: false }));
        host
    }

    /// One whose shared store gives no answer: a local copy serves.
    pub(crate) fn whose_store_is_away() -> Host {
        let host = Host::new("{}");
        host.serve(Arc::new(Ailing { store: Arc::clone(&host.store), breaks_off: false, is_copy: true }));
        host
    }

    fn new(policy: &str) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let mut module = Module::new();
        module.configure(policy, b"0123456789abcdef").unwrap();
        Host { folder, module: Arc::new(Mutex::new(module)), store: Arc::new(MemoryStore::new(1000)) }
    }

    fn serve(&self, store: Arc<dyn Store>) {
        let control = Control::bind(self.socket(), 0o600, None).unwrap();
        tokio::spawn(control.serve(store, Arc::new(Asked(Arc::clone(&self.module)))));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// A mail without authentication from this client; the decision, whose records are stored.
    pub(crate) async fn mail(&self, client: &str, ehlo_name: &str, number: u32) -> Decision {
        self.mail_with(client, ehlo_name, "smith@sender.example", Some(number)).await
    }

    /// The same of this sender; a mail without a number has no Message-ID.
    pub(crate) async fn mail_with(&self, client: &str, ehlo_name: &str, sender: &str, number: Option<u32>) -> Decision {
        let envelope = Envelope { mail_from: sender.into(), recipients: vec!["jones@here.example".into()] };
        let message = Message {
            message_id: number.map(|number| format!("<{number}@sender.example>")),
            date: Some("Tue, 24 Nov 2026 19:00:00 +0000".into()),
            from_domain: None,
            size: 1000,
        };
        let spf = Spf { result: AuthResult::None, domain: "sender.example".into() };
        let results = AuthResults { spf_mail_from: Some(spf), dkim: Some(Vec::new()), ..AuthResults::default() };
        let mut connection = connection(client.parse().unwrap());
        connection.ehlo_name = Some(ehlo_name.into());
        let keys = self.module.lock().unwrap().keys(&connection, Some(&envelope), Some(&message));
        connection.records = self.store.get_many(&keys, connection.now).await.unwrap();
        let decision = self.module.lock().unwrap().decide(&connection, Some(&envelope), Some(&message), Some(&results));
        for update in &decision.records {
            let expected = connection.records.iter().find(|record| record.key == update.key).map(|record| &record.value[..]);
            let write = Write { expected, update, source: connection.client, now: connection.now };
            assert_eq!(self.store.compare_and_set(write).await, Ok(Swap::Stored));
        }
        decision
    }

    /// Stores these octets under this key.
    pub(crate) async fn put(&self, key: Key, value: &[u8]) {
        let now = now();
        let update = RecordUpdate { key, value: value.to_vec(), expires_in: 3600, weight: 1 };
        let write = Write { expected: None, update: &update, source: CLIENT.parse().unwrap(), now };
        assert_eq!(self.store.compare_and_set(write).await, Ok(Swap::Stored));
    }

    /// All records.
    pub(crate) async fn listed(&self) -> Vec<Listed> {
        self.store.scan(Cursor::default(), 1000, now()).await.unwrap().records
    }

    pub(crate) fn records(&self) -> usize {
        self.store.len()
    }

    /// Runs the program against this host.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = program();
        command.arg("--socket").arg(self.socket()).args(arguments);
        run(command).await
    }
}

/// The host's store, with something amiss.
struct Ailing {
    store: Arc<MemoryStore>,
    /// Its lists end in the middle.
    breaks_off: bool,
    /// It is the local copy of a shared store that is away.
    is_copy: bool,
}

impl Store for Ailing {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        self.store.get_many(keys, now)
    }

    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.store.compare_and_set(write)
    }

    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        match (self.breaks_off, cursor == Cursor::default()) {
            (false, _) => self.store.scan(cursor, limit, now),
            (true, true) => self.store.scan(cursor, 1, now),
            (true, false) => Box::pin(std::future::ready(Err(StoreError::Unavailable("it broke off".into())))),
        }
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        self.store.secret()
    }

    fn health(&self) -> Health {
        match self.is_copy {
            false => self.store.health(),
            true => Health { kind: "redis".to_owned(), serves_local_copy: true, ..self.store.health() },
        }
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The component that the host says it runs: that of the octets "abc" (FIPS 180-4, appendix).
pub(crate) const COMPONENT: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// What the control socket asks besides records.
struct Asked(Arc<Mutex<Module>>);

impl ControlHost for Asked {
    fn keys_of(&self, address: Address) -> Vec<Key> {
        keys(&self.0, &connection(address))
    }

    fn about(&self) -> About {
        About { program: "a-host".to_owned(), version: "1.2.3".to_owned(), component: Some(COMPONENT.to_owned()) }
    }
}

fn keys(module: &Mutex<Module>, connection: &Connection) -> Vec<Key> {
    module.lock().unwrap().keys(connection, None, None)
}

fn connection(client: Address) -> Connection {
    Connection {
        listener_offers: true,
        keyword_shown: true,
        ipv4_arrivals_visible: true,
        now: now(),
        nonce: 1,
        ..Connection::new(Stage::EndOfData, client)
    }
}

/// The program under test, without what this shell may have set.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtp-fallback"));
    command.env_remove("SMTP_FALLBACK_SOCKET").stdin(Stdio::null());
    command
}

/// What the program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

/// Runs the program to its end, while the host in this process goes on.
pub(crate) async fn run(mut command: Command) -> Ran {
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Ran { status: status.code().unwrap(), out: String::from_utf8(stdout).unwrap(), error: String::from_utf8(stderr).unwrap() }
}

//! A host in the test's process: the policy module, a store in memory, and the control socket; and the program that asks it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::Module;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResult, AuthResults, Connection, Decision, Envelope, Key, Listener, Message, Spf, Stage, Tls,
};
use smtp_fallback_store::control::Control;
use smtp_fallback_store::{MemoryStore, Store, Swap, Write};
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
        let folder = tempfile::tempdir().unwrap();
        let mut module = Module::new();
        module.configure("{}", b"0123456789abcdef").unwrap();
        let host = Host { folder, module: Arc::new(Mutex::new(module)), store: Arc::new(MemoryStore::new(1000)) };
        let control = Control::bind(host.socket(), 0o600, None).unwrap();
        let module = Arc::clone(&host.module);
        let keys_of = Arc::new(move |client| keys(&module, &connection(client)));
        tokio::spawn(control.serve(Arc::clone(&host.store) as Arc<dyn Store>, keys_of));
        host
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// A mail without authentication from this client; the decision, whose records are stored.
    pub(crate) async fn mail(&self, client: &str, ehlo_name: &str, number: u32) -> Decision {
        let envelope = Envelope { mail_from: "smith@sender.example".into(), recipients: vec!["jones@here.example".into()] };
        let message = Message {
            message_id: Some(format!("<{number}@sender.example>")),
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

fn keys(module: &Mutex<Module>, connection: &Connection) -> Vec<Key> {
    module.lock().unwrap().keys(connection, None, None)
}

fn connection(client: Address) -> Connection {
    Connection {
        stage: Stage::EndOfData,
        client,
        listener: Listener::Mx,
        ehlo_name: None,
        tls: Tls::None,
        authenticated: false,
        listener_offers: true,
        keyword_shown: true,
        acknowledged: false,
        reachable_over_ipv4: true,
        ipv4_arrivals_visible: true,
        now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        nonce: 1,
        records: Vec::new(),
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

//! A host for the tests, and a client that speaks lines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind};
use smtp_fallback_store::control::{About, Control, ControlHost, DEFAULT_MODE, Limits};
use smtp_fallback_store::{MemoryStore, Store};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

pub(crate) const NOW: u64 = 1_700_000_000;

/// A running host.
pub(crate) struct Host {
    pub(crate) directory: TempDir,
    pub(crate) store: Arc<dyn Store>,
    task: JoinHandle<()>,
}

impl Host {
    pub(crate) fn start() -> Host {
        Host::with(Arc::new(MemoryStore::new(10_000)), Limits::default())
    }

    pub(crate) fn with(store: Arc<dyn Store>, limits: Limits) -> Host {
        let directory = tempfile::tempdir().unwrap();
        let task = serve(&directory.path().join("control.sock"), Arc::clone(&store), limits);
        Host { directory, store, task }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// Ends, as by a kill: the file stays unless `Control` removes it.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub(crate) fn start_again(&mut self) {
        self.task = serve(&self.path(), Arc::clone(&self.store), Limits::default());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn serve(path: &Path, store: Arc<dyn Store>, limits: Limits) -> JoinHandle<()> {
    let control = Control::bind(path, DEFAULT_MODE, None).unwrap().limited(limits);
    tokio::spawn(async move {
        let error = control.serve(store, Arc::new(Asked)).await;
        panic!("{error}");
    })
}

/// What the control socket is asked besides records.
pub(crate) struct Asked;

impl ControlHost for Asked {
    fn keys_of(&self, address: Address) -> Vec<Key> {
        keys_of(address)
    }

    fn about(&self) -> About {
        about()
    }
}

/// What the host says of itself.
pub(crate) fn about() -> About {
    About { program: "a-host".to_owned(), version: "1.2.3".to_owned(), component: Some("ab".repeat(32)) }
}

/// What a policy of /64 names. ::dead is one that it fails at.
pub(crate) fn keys_of(address: Address) -> Vec<Key> {
    if address.is_ipv4() {
        return Vec::new();
    }
    assert!(address.bits() != 0xdead, "a fault of the host");
    let key = |kind, length| Key { kind, address: address.masked(length), prefix_length: length };
    vec![key(KeyKind::Network, 64), key(KeyKind::Address, 128), key(KeyKind::Budget, 48)]
}

/// A client that speaks lines.
pub(crate) struct Lines(pub(crate) BufReader<UnixStream>);

impl Lines {
    pub(crate) async fn connect(host: &Host) -> Lines {
        Lines(BufReader::new(UnixStream::connect(host.path()).await.unwrap()))
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.unwrap();
    }

    /// The next line, as it came; empty at the end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        // A host with unread requests in its buffer resets the connection behind its last answer.
        let _ = self.0.read_line(&mut line).await;
        line.truncate(line.trim_end().len());
        line
    }

    /// The answer to a request.
    pub(crate) async fn ask(&mut self, request: &str) -> String {
        self.send(request.as_bytes()).await;
        self.send(b"\n").await;
        self.line().await
    }

    /// The error of the answer.
    pub(crate) async fn error(&mut self, request: &str) -> String {
        let answer = self.ask(request).await;
        error_in(&answer)
    }
}

/// The text of an answer that is an error, and nothing else.
pub(crate) fn error_in(answer: &str) -> String {
    let value: Value = serde_json::from_str(answer).unwrap_or_else(|_| panic!("{answer:?}"));
    let object = value.as_object().unwrap();
    assert_eq!(object.len(), 1, "{answer}");
    object["error"].as_str().unwrap().to_owned()
}

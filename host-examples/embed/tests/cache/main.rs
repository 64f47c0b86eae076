//! Machine code from a cache does what freshly compiled code does, and none is run that is damaged or that others could have written.
#![allow(clippy::unwrap_used)] // A test may panic.

mod at_once;
#[path = "../common/mod.rs"]
mod common;
mod directory;
mod entry;
mod kept;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{component, connection, module};
use smtp_fallback_embed::{Cache, Component, Limits, Origin, Pool};
use smtp_fallback_policy::contract::{AuthResult, AuthResults, Decision, Envelope, Spf, Stage};
use tempfile::TempDir;

/// A directory of the test's own, and the path of a cache in it that does not exist.
fn place() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("cache");
    (parent, path)
}

/// The same with an open cache.
fn cache() -> (TempDir, PathBuf, Cache) {
    let (parent, path) = place();
    let cache = Cache::open(&path).unwrap();
    (parent, path, cache)
}

fn shipped() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/smtp-fallback-policy.wasm");
    std::env::var_os("SMTP_FALLBACK_COMPONENT").map_or(built, PathBuf::from)
}

/// Tests share few processors with compilers: a thread may not run for longer than the usual deadline.
fn limits() -> Limits {
    Limits { deadline: Duration::from_secs(5), instances: 4, ..Limits::default() }
}

fn load(bytes: &[u8], cache: &Cache) -> Origin {
    Component::from_bytes_cached(bytes, &limits(), cache).unwrap().origin()
}

/// A small component; each number makes another.
fn small(number: u8) -> Vec<u8> {
    component(&module("", "", &[number]))
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The path of the only entry.
fn only_entry(directory: &Path) -> PathBuf {
    let names = names(directory);
    assert_eq!(names.len(), 1, "{names:?}");
    directory.join(&names[0])
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// What is logged while it runs.
fn logged<T>(run: impl FnOnce() -> T) -> (T, String) {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let value = tracing::subscriber::with_default(subscriber, run);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (value, text)
}

/// What a component decides at each stage, with and without authentication.
fn decisions(component: &Component) -> Vec<Decision> {
    let pool = Pool::configure(component, r#"{"mode":"enforce","require":{"any":["spf"]}}"#, b"0123456789abcdef").unwrap().0;
    let envelope = Envelope { mail_from: "a@example".to_owned(), recipients: vec!["b@example.net".to_owned()] };
    let mut decisions = Vec::new();
    for stage in [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData] {
        for result in [AuthResult::Pass, AuthResult::Fail] {
            let spf_mail_from = Some(Spf { result, domain: "example".to_owned() });
            let results = AuthResults { spf_mail_from, ..AuthResults::default() };
            let decided = pool.decide(&connection(stage, 7), Some(&envelope), None, Some(&results));
            assert_eq!(decided.failure, None);
            decisions.push(decided.decision);
        }
    }
    decisions
}

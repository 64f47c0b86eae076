//! The committed corpora: seeds, and what fuzzing found (see fuzz/README.md).

use std::panic::{RefUnwindSafe, catch_unwind};
use std::path::Path;

use super::*;

/// The files of a corpus, by the names that they have in `tests/corpus`.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut files = Vec::new();
    for folder in [folder.join("found"), folder] {
        for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry of it").path();
            if path.is_file() {
                files.push((path.display().to_string(), std::fs::read(&path).expect("readable")));
            }
        }
    }
    files.sort();
    files
}

/// Runs the body of a target over its corpus, and says at which files it failed.
fn hold(name: &str, least: usize, check: impl Fn(&[u8]) + RefUnwindSafe) {
    let files = corpus(name);
    assert!((least..=120).contains(&files.len()), "{name}: {} files", files.len());
    let failed: Vec<&String> =
        files.iter().filter(|(_, octets)| catch_unwind(|| check(octets)).is_err()).map(|(path, _)| path).collect();
    assert!(failed.is_empty(), "the reasons are above: {failed:#?}");
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

#[test]
fn the_corpus_of_addresses_holds() {
    hold("addresses", 20, check_addresses);
}

#[test]
fn the_corpus_of_records_holds() {
    hold("records", 20, |octets| check_record(octets, is_json));
}

#[test]
fn the_corpus_of_policies_holds() {
    hold("policy_json", 20, |octets| check_policy(octets, is_json));
}

#[test]
fn the_corpus_of_authentication_results_holds() {
    hold("authentication_results", 20, check_authentication_results);
}

#[test]
fn the_corpus_of_decisions_holds() {
    hold("decide", 20, |octets| check_decide(octets, false, |_| {}));
}

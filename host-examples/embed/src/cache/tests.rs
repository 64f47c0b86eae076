//! The rules as functions of what the system says, so that they are tried as any user; and what only this crate can put in a cache.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::path::Path;

use wasmtime::Engine;

use super::directory::{self, CacheError, Way};
use super::entry::{self, BadEntry};
use super::{Cache, Key, is_entry, sha256};
use crate::component::config;
use crate::{Component, Limits, LoadError};

const USER: u32 = 1000;
const ROOT: u32 = 0;
const OTHER: u32 = 1001;

#[test]
fn who_may_own_the_directory() {
    let check =
        |owner, mode| directory::check(&directory::Facts { owner, mode: 0o040_000 | mode, device: 1 }, Path::new("/cache"), USER);
    for mode in [0o700, 0o755, 0o1755, 0o2755, 0o500] {
        assert!(check(USER, mode).is_ok(), "{mode:o}");
    }
    for mode in [0o770, 0o720, 0o702, 0o777, 0o1777] {
        assert!(matches!(check(USER, mode), Err(CacheError::Writable { mode: told, .. }) if told == mode), "{mode:o}");
    }
    // Not even root: its entries would not be used.
    for owner in [ROOT, OTHER] {
        let error = check(owner, 0o700).unwrap_err();
        assert!(matches!(error, CacheError::Owner { user: USER, .. }), "{error}");
        let text = format!("cache directory /cache: it belongs to user {owner}, but this runs as user 1000 and would run what");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}

#[test]
fn nothing_is_mounted_where_others_can_write() {
    let check = |above_mode: u32, device| {
        let above = directory::Facts { owner: 0, mode: 0o040_000 | above_mode, device: 1 };
        let facts = directory::Facts { owner: USER, mode: 0o040_700, device };
        directory::check_same_system(&facts, &above, Path::new("/tmp/cache"), Path::new("/tmp/cache"))
    };
    assert!(matches!(check(0o1777, 2), Err(CacheError::Mounted { .. })), "its maker says whose it is");
    assert!(check(0o1777, 1).is_ok() && check(0o755, 2).is_ok());
}

#[test]
fn who_may_own_its_parents() {
    let way = Way { path: Path::new("/parent/cache"), user: USER };
    let check = |owner, mode| way.check(&directory::Facts { owner, mode: 0o040_000 | mode, device: 1 }, Path::new("/parent"));
    for owner in [ROOT, USER] {
        for mode in [0o700, 0o755, 0o711, 0o1777, 0o1775] {
            assert!(check(owner, mode).is_ok(), "{mode:o}");
        }
        for mode in [0o777, 0o775, 0o757, 0o2775] {
            assert!(matches!(check(owner, mode), Err(CacheError::ParentWritable { mode: told, .. }) if told == mode), "{mode:o}");
        }
    }
    for mode in [0o700, 0o755, 0o1777] {
        let error = check(OTHER, mode).unwrap_err();
        assert!(matches!(error, CacheError::ParentOwner { owner: OTHER, .. }), "{error}");
        let text = "cache directory /parent/cache: /parent on the way to it belongs to user 1001, who could exchange the cache; ";
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[test]
fn which_file_is_an_entry() {
    let good = || entry::Facts { regular: true, owner: USER, mode: 0o100_600, links: 1, size: entry::MAX_SIZE as u64 };
    let check = |change: fn(&mut entry::Facts)| {
        let mut facts = good();
        change(&mut facts);
        entry::check(&facts, USER)
    };
    assert!(check(|_| ()).is_ok());
    assert!(check(|facts| facts.mode = 0o100_444).is_ok());
    assert!(check(|facts| facts.links = 0).is_ok(), "replaced after it was opened");
    assert!(matches!(check(|facts| facts.regular = false), Err(BadEntry::Kind)));
    assert!(matches!(check(|facts| facts.owner = OTHER), Err(BadEntry::Owner { owner: OTHER, user: USER })));
    assert!(matches!(check(|facts| facts.owner = ROOT), Err(BadEntry::Owner { .. })));
    assert!(matches!(check(|facts| facts.mode = 0o100_620), Err(BadEntry::Writable { mode: 0o620 })));
    assert!(matches!(check(|facts| facts.mode = 0o100_602), Err(BadEntry::Writable { mode: 0o602 })));
    assert!(matches!(check(|facts| facts.links = 2), Err(BadEntry::Links(2))));
    assert!(matches!(check(|facts| facts.size += 1), Err(BadEntry::Size(_))));
}

#[test]
fn names_of_entries() {
    let engine = Engine::new(&config(&Limits::default())).unwrap();
    let name = Key::new(sha256(b""), &engine).file_name();
    assert!(name.starts_with("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855-"), "{name}");
    assert!(is_entry(&name), "{name}");
    for other in
        ["", ".cwasm", "-.cwasm", "policy.cwasm", &name[1..], &name[..name.len() - 1], &format!("{name}~"), &"g".repeat(135)]
    {
        assert!(!is_entry(other), "{other}");
    }
}

#[test]
fn an_entry_and_its_key() {
    let engine = Engine::new(&config(&Limits::default())).unwrap();
    let key = Key::new(sha256(b"component"), &engine);
    let octets = entry::encode(&key, b"code");
    assert_eq!(entry::decode(&octets, &key).unwrap(), b"code");
    assert_eq!(octets.len(), 16 + 2 * 32 + 4 + 4);
    let other = Key::new(sha256(b"another"), &engine);
    assert!(matches!(entry::decode(&octets, &other), Err(BadEntry::Wasm)));
    assert!(matches!(entry::decode(&octets, &Key::new(sha256(b"component"), &fuelled())), Err(BadEntry::Engines)));
}

/// An engine that compiles to other machine code.
fn fuelled() -> Engine {
    Engine::new(config(&Limits::default()).consume_fuel(true)).unwrap()
}

#[test]
fn what_machine_code_depends_on() {
    let key = |engine: &Engine| Key::new(sha256(b""), engine).engine;
    let usual = key(&Engine::new(&config(&Limits::default())).unwrap());
    let limits = Limits { instances: 3, memory: 1 << 20, deadline: std::time::Duration::from_secs(1) };
    assert_eq!(usual, key(&Engine::new(&config(&limits)).unwrap()));
    assert_ne!(usual, key(&fuelled()));
    assert_ne!(usual, key(&Engine::new(config(&limits).epoch_interruption(false)).unwrap()));
    assert_ne!(usual, key(&Engine::new(config(&limits).memory_reservation(1 << 20)).unwrap()));
}

#[test]
fn an_engine_finds_only_its_own_entries() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path().join("cache")).unwrap();
    let bytes = wat::parse_str("(component)").unwrap();
    let engines = [Engine::new(&config(&Limits::default())).unwrap(), fuelled()];
    let keys = engines.each_ref().map(|engine| Key::new(sha256(&bytes), engine));
    let found = || [0, 1].map(|number| cache.take(&keys[number], &engines[number]).is_some());
    let keep = |number: usize| {
        cache.keep(&keys[number], &wasmtime::component::Component::new(&engines[number], &bytes).unwrap());
    };
    assert_eq!(found(), [false, false]);
    keep(1);
    assert_eq!(found(), [false, true]);
    keep(0);
    assert_eq!(found(), [true, true]);
    // Under the name of the other.
    std::fs::rename(cache.path.join(keys[1].file_name()), cache.path.join(keys[0].file_name())).unwrap();
    assert_eq!(found(), [false, false]);
}

/// A component from the cache is checked like any other, though `keep` is only asked to keep those that passed.
#[test]
fn a_component_that_should_not_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path().join("cache")).unwrap();
    let load = |text: &str, kept: bool| {
        let bytes = wat::parse_str(text).unwrap();
        if kept {
            let engine = Engine::new(&config(&Limits::default())).unwrap();
            let key = Key::new(sha256(&bytes), &engine);
            cache.keep(&key, &wasmtime::component::Component::new(&engine, &bytes).unwrap());
            assert!(cache.take(&key, &engine).is_some());
        }
        Component::from_bytes_cached(&bytes, &Limits::default(), &cache).unwrap_err()
    };
    let importing = r#"(component (import "now" (func)))"#;
    let empty = "(component)";
    for kept in [false, true] {
        assert!(matches!(load(importing, kept), LoadError::Imports(names) if names == ["now"]));
        assert!(matches!(load(empty, kept), LoadError::Contract(_)));
    }
}

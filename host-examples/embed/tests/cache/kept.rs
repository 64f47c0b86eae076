//! What is kept, what is found again, and for how long.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use smtp_fallback_embed::{Component, Limits, LoadError, Origin};
use smtp_fallback_policy::contract::Reply;

use crate::common::{ANSWER_DATA, UNAUTHENTICATED, component, module, refusal};
use crate::{cache, decisions, limits, load, logged, names, only_entry, shipped, small};

#[test]
fn the_second_load_comes_from_the_cache() {
    let (_parent, path, cache) = cache();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    let load = || Component::from_file_cached(shipped(), &limits(), &cache).unwrap();
    let ((plain, first, second), log) = logged(|| (Component::from_file(shipped(), &limits()).unwrap(), load(), load()));
    assert_eq!(log, "", "an empty cache is nothing to warn of");
    assert_eq!([plain.origin(), first.origin(), second.origin()], [Origin::Compiled, Origin::Compiled, Origin::Cache]);
    assert_eq!(second.clone().origin(), Origin::Cache);

    let hash = plain.sha256();
    assert_eq!(hash.len(), 64);
    assert_eq!([first.sha256(), second.sha256()], [hash; 2]);
    let entry = only_entry(&path);
    assert!(entry.file_name().unwrap().to_str().unwrap().starts_with(hash), "{entry:?}");
    assert_eq!(fs::metadata(entry).unwrap().permissions().mode() & 0o7777, 0o600);

    let decisions = [&plain, &first, &second].map(decisions);
    assert_eq!(decisions[0], decisions[1]);
    assert_eq!(decisions[0], decisions[2]);
    assert!(decisions[0].iter().any(|decision| decision.verdict != decisions[0][0].verdict), "not all are the same");
}

#[test]
fn the_hash_is_that_of_the_webassembly() {
    let bytes = small(1);
    let expected: String = Sha256::digest(&bytes).iter().map(|octet| format!("{octet:02x}")).collect();
    let (_parent, _, cache) = cache();
    assert_eq!(Component::from_bytes(&bytes, &limits()).unwrap().sha256(), expected);
    for _ in 0..2 {
        assert_eq!(Component::from_bytes_cached(&bytes, &limits(), &cache).unwrap().sha256(), expected);
    }
    assert_ne!(Component::from_bytes(&small(2), &limits()).unwrap().sha256(), expected);
}

#[test]
fn each_component_has_an_entry() {
    let (_parent, path, cache) = cache();
    let reply = Reply { code: 451, enhanced_code: "4.4.8".to_owned(), lines: vec!["no".to_owned()], close: false };
    let refusing = component(&module("", ANSWER_DATA, &refusal(&reply, UNAUTHENTICATED, false)));
    let inodes = || names(&path).iter().map(|name| fs::metadata(path.join(name)).unwrap().ino()).collect::<Vec<_>>();
    let mut written = Vec::new();
    for origin in [Origin::Compiled, Origin::Cache] {
        assert_eq!([load(&small(1), &cache), load(&refusing, &cache)], [origin; 2]);
        if origin == Origin::Compiled {
            written = inodes();
        }
    }
    assert_eq!(written.len(), 2);
    assert_eq!(inodes(), written, "what was taken is not written again");
}

#[test]
fn other_limits_use_the_same_entry() {
    let (_parent, path, cache) = cache();
    let bytes = small(1);
    let load = |limits: &Limits| Component::from_bytes_cached(&bytes, limits, &cache);
    assert_eq!(load(&limits()).unwrap().origin(), Origin::Compiled);
    let others = Limits { deadline: Duration::from_secs(9), instances: 1, memory: 128 << 10 };
    let component = load(&others).unwrap();
    assert_eq!((component.origin(), component.limits()), (Origin::Cache, &others));
    // They hold for machine code from the cache too: this component wants 128 KiB from the start.
    let error = load(&Limits { memory: 64 << 10, ..others }).unwrap_err();
    assert!(matches!(error, LoadError::Invalid(_)), "{error}");
    assert_eq!(load(&limits()).unwrap().origin(), Origin::Cache);
    only_entry(&path);
}

#[test]
fn what_cannot_be_used_is_not_kept() {
    let (_parent, path, cache) = cache();
    let failing =
        component(&module("", "", &[]).replace("(func $misbehave", "(start $s) (func $s unreachable) (func $misbehave"));
    for _ in 0..2 {
        let load = |bytes: &[u8]| Component::from_bytes_cached(bytes, &limits(), &cache);
        assert!(matches!(load(&failing), Err(LoadError::Start(_))));
        assert!(matches!(load(b"\x7fELF\x02\x01\x01"), Err(LoadError::Invalid(_))));
        assert!(matches!(load(&wat::parse_str("(module)").unwrap()), Err(LoadError::Invalid(_))));
        assert!(matches!(load(&wat::parse_str("(component)").unwrap()), Err(LoadError::Contract(_))));
        let missing = Component::from_file_cached("/nonexistent/policy.wasm", &limits(), &cache);
        assert!(matches!(missing, Err(LoadError::Read { .. })));
    }
    assert_eq!(names(&path), [""; 0]);
}

#[test]
fn machine_code_is_never_taken_for_a_component() {
    let (_parent, path, cache) = cache();
    load(&small(1), &cache);
    let octets = fs::read(only_entry(&path)).unwrap();
    for bytes in [&octets[..], &octets[112..]] {
        assert!(matches!(Component::from_bytes_cached(bytes, &limits(), &cache), Err(LoadError::Invalid(_))));
    }
}

#[test]
fn only_the_entries_used_last_are_kept() {
    let (_parent, path, cache) = cache();
    let now = SystemTime::now();
    let age = |name: &str, seconds| {
        let file = File::options().append(true).open(path.join(name)).unwrap();
        file.set_modified(now - Duration::from_secs(seconds)).unwrap();
    };
    let mut known = Vec::new();
    for number in 0..8 {
        assert_eq!(load(&small(number), &cache), Origin::Compiled);
        let new = names(&path).into_iter().find(|name| !known.contains(name)).unwrap();
        age(&new, 1000 - u64::from(number));
        known.push(new);
    }
    assert_eq!(names(&path).len(), 8);
    // What is not the cache's own is left alone.
    let foreign = ["README", "a.cwasm", ".unfinished"];
    for name in foreign {
        fs::write(path.join(name), "").unwrap();
        age(name, 5000);
    }
    // Remains of processes that crashed are the cache's own.
    let remains: Vec<String> = (0..10).map(|number| format!(".unfinished-{number:016x}")).collect();
    for (name, seconds) in remains.iter().zip(2000..) {
        fs::write(path.join(name), "").unwrap();
        age(name, seconds);
    }

    assert_eq!(load(&small(0), &cache), Origin::Cache, "the oldest, but used now");
    assert_eq!(load(&small(8), &cache), Origin::Compiled);
    let left = names(&path);
    let gone: Vec<_> = known.iter().filter(|name| !left.contains(name)).collect();
    assert_eq!(gone, [&known[1]]);
    assert_eq!(left.iter().filter(|name| name.len() == 135).count(), 8);
    assert!(foreign.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    let gone: Vec<_> = remains.iter().filter(|name| !left.contains(name)).collect();
    assert_eq!(gone, [&remains[8], &remains[9]]);

    // One that is kept is not removed at once, however old the others claim not to be.
    names(&path)
        .iter()
        .for_each(|name| File::open(path.join(name)).unwrap().set_modified(now + Duration::from_secs(3600)).unwrap());
    assert_eq!(load(&small(9), &cache), Origin::Compiled);
    assert_eq!(load(&small(9), &cache), Origin::Cache);
}

/// Prints the times; see them by `cargo test --release -- --nocapture it_saves_time`.
#[test]
fn it_saves_time() {
    let (_parent, path, cache) = cache();
    let time = |expected: Origin| {
        let start = Instant::now();
        let component = Component::from_file_cached(shipped(), &limits(), &cache).unwrap();
        let time = start.elapsed();
        assert_eq!(component.origin(), expected);
        time
    };
    let compiled = (0..3).map(|_| {
        let time = time(Origin::Compiled);
        fs::remove_file(only_entry(&path)).unwrap();
        time
    });
    let compiled = compiled.min().unwrap();
    time(Origin::Compiled);
    let cached = (0..10).map(|_| time(Origin::Cache)).min().unwrap();
    let size = fs::metadata(only_entry(&path)).unwrap().len();
    println!("compiled: {compiled:?}, from the cache: {cached:?}, entry: {size} octets");
    assert!(cached < compiled, "{cached:?} is not less than {compiled:?}");
}

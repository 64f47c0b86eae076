//! Entries that are not used, and what follows.

use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};

use smtp_fallback_embed::{Cache, Origin};

use crate::{cache, load, logged, names, only_entry, set_mode, small};

/// The entry is not used, which is logged with this reason, but replaced by a good one.
fn assert_replaced(bytes: &[u8], cache: &Cache, reason: &str) {
    let (origin, log) = logged(|| load(bytes, cache));
    assert_eq!(origin, Origin::Compiled, "{reason}");
    assert!(log.contains(" WARN ") && log.contains(reason), "expected {reason:?} in {log:?}");
    let (origin, log) = logged(|| load(bytes, cache));
    assert_eq!((origin, log.as_str()), (Origin::Cache, ""), "{reason}");
}

#[test]
fn an_entry_that_others_could_have_written() {
    let (parent, path, cache) = cache();
    let bytes = small(1);
    load(&bytes, &cache);
    let entry = only_entry(&path);
    let outside = parent.path().join("outside");

    fs::rename(&entry, &outside).unwrap();
    symlink(&outside, &entry).unwrap();
    assert_replaced(&bytes, &cache, "it is not a regular file");
    assert!(fs::symlink_metadata(&entry).unwrap().is_file(), "the link itself is replaced");

    fs::remove_file(&entry).unwrap();
    fs::hard_link(&outside, &entry).unwrap();
    assert_replaced(&bytes, &cache, "it has 2 names (hard links)");

    for mode in [0o620, 0o602] {
        set_mode(&entry, mode);
        assert_replaced(&bytes, &cache, &format!("others than its owner can write it (mode {mode:04o})"));
    }

    fs::remove_file(&entry).unwrap();
    nix::unistd::mkfifo(&entry, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_replaced(&bytes, &cache, "it is not a regular file");

    let large = File::create(&entry).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    assert_replaced(&bytes, &cache, "its size of 67108865 octets is beyond the limit");

    // Only root can give a file away; the rule itself is tried beside the code, as any user.
    if nix::unistd::geteuid().is_root() {
        chown(&entry, Some(65534), None).unwrap();
        assert_replaced(&bytes, &cache, "it belongs to user 65534, not to 0");
    }
}

#[test]
fn an_entry_that_was_cut_off() {
    let (_parent, path, cache) = cache();
    let bytes = small(1);
    load(&bytes, &cache);
    let entry = only_entry(&path);
    let whole = fs::read(&entry).unwrap();
    for length in [0, 1, 15, 16, 47, 48, 80, 111, 112, 113, whole.len() / 2, whole.len() - 1] {
        fs::write(&entry, &whole[..length]).unwrap();
        assert_replaced(&bytes, &cache, if length < 16 { "no entry of this version" } else { "it is damaged" });
        assert_eq!(fs::read(&entry).unwrap().len(), whole.len());
    }
    fs::write(&entry, [&whole[..], b"\0"].concat()).unwrap();
    assert_replaced(&bytes, &cache, "it is damaged");
}

#[test]
fn a_bit_that_flipped() {
    let (_parent, path, cache) = cache();
    let bytes = small(1);
    load(&bytes, &cache);
    let entry = only_entry(&path);
    let last = fs::read(&entry).unwrap().len() - 1;
    let places = [
        (0, "no entry of this version"),
        (15, "no entry of this version"),
        (16, "made from another component"),
        (47, "made from another component"),
        (48, "made for another engine"),
        (79, "made for another engine"),
        (80, "it is damaged"),
        (83, "it is damaged"),
        (84, "it is damaged"),
        (84 + 4096, "it is damaged"),
        (last / 2, "it is damaged"),
        (last, "it is damaged"),
    ];
    for (number, (place, reason)) in places.into_iter().enumerate() {
        let mut octets = fs::read(&entry).unwrap();
        octets[place] ^= 1 << (number % 8);
        fs::write(&entry, octets).unwrap();
        assert_replaced(&bytes, &cache, reason);
    }
}

#[test]
fn an_entry_under_a_wrong_name() {
    let (_parent, path, cache) = cache();
    let bytes = small(1);
    load(&bytes, &cache);
    let entry = only_entry(&path);
    load(&small(2), &cache);
    let other = names(&path).into_iter().map(|name| path.join(name)).find(|other| *other != entry).unwrap();
    fs::rename(other, &entry).unwrap();
    assert_replaced(&bytes, &cache, "made from another component");
}

/// An entry whose header agrees with its content, but which the engine itself does not take.
#[test]
fn machine_code_that_is_none() {
    let (_parent, path, cache) = cache();
    let bytes = small(1);
    load(&bytes, &cache);
    let entry = only_entry(&path);
    let whole = fs::read(&entry).unwrap();
    for code in [&b""[..], b"not machine code", &bytes] {
        fs::write(&entry, [&whole[..80], &crc32fast::hash(code).to_le_bytes(), code].concat()).unwrap();
        assert_replaced(&bytes, &cache, "the engine does not take it");
    }
}

#[test]
fn a_cache_that_cannot_be_written() {
    let (_parent, path, cache) = cache();
    let bytes = small(1);
    // Nothing can be made in a directory that was removed, not even by root.
    fs::remove_dir(&path).unwrap();
    for _ in 0..2 {
        let (origin, log) = logged(|| load(&bytes, &cache));
        assert_eq!(origin, Origin::Compiled);
        assert!(log.contains(" WARN ") && log.contains("the cache of machine code cannot be written"), "{log}");
    }

    // A directory stands where the entry should.
    let cache = Cache::open(&path).unwrap();
    load(&bytes, &cache);
    let entry = only_entry(&path);
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    let (origin, log) = logged(|| load(&bytes, &cache));
    assert_eq!(origin, Origin::Compiled);
    assert!(log.contains("it is not a regular file") && log.contains("cannot be written"), "{log}");
    assert_eq!(only_entry(&path), entry, "nothing unfinished is left");
}

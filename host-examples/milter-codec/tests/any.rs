//! Any octets: the committed ones, damaged ones, random ones.

use std::path::Path;

use proptest::prelude::*;
use smtp_fallback_milter_codec::{Command, check_any, decode_any};

/// Sessions as octets, by the names of their files.
fn corpus() -> Vec<(String, Vec<u8>)> {
    files("corpus")
}

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("readable"))
        })
        .collect();
    files.sort();
    files
}

/// However the octets are cut, the same is read.
fn check(octets: &[u8]) -> (Vec<Command>, Option<String>) {
    check_any(octets);
    let whole = decode_any(octets, octets.len());
    for piece in [1, 2, 5, 4096] {
        assert_eq!(decode_any(octets, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).expect("short");
    [&length.to_be_bytes(), &[command][..], data].concat()
}

#[test]
fn the_corpus_is_read() {
    let corpus = corpus();
    assert!(corpus.len() >= 8, "{} files", corpus.len());
    for (name, octets) in corpus {
        let (commands, error) = check(&octets);
        // The names say what is expected.
        assert_eq!(error.is_some(), name.starts_with("bad-"), "{name}: {error:?} after {commands:?}");
        assert!(error.is_some() || commands.len() > 3, "{name}: {commands:?}");
    }
}

/// What fuzzing came upon, each with something that no other has (see fuzz/README.md).
#[test]
fn what_fuzzing_found_is_read() {
    let found = files("corpus/found");
    assert!(found.len() >= 30, "{} files", found.len());
    for (name, octets) in found {
        assert!(std::panic::catch_unwind(|| check(&octets)).is_ok(), "corpus/found/{name}: the reason is above");
    }
}

#[test]
fn a_session_that_is_cut_off_gives_its_beginning() {
    for (name, octets) in corpus().into_iter().filter(|(name, _)| !name.starts_with("bad-")) {
        let (all, _) = decode_any(&octets, 4096);
        for end in 0..octets.len() {
            let (commands, _) = decode_any(&octets[..end], 4096);
            assert!(all.starts_with(&commands), "{name} up to octet {end}");
        }
    }
}

#[test]
fn a_length_that_lies_takes_no_memory_and_no_time() {
    for length in [0, 1 << 20, (1 << 20) + 1, u32::MAX] {
        let octets = [&length.to_be_bytes()[..], b"C"].concat();
        let (commands, error) = check(&octets);
        assert!(commands.is_empty() && error.is_some(), "{length}: {commands:?}");
    }
}

/// A packet that is often a command.
fn likely_packet() -> impl Strategy<Value = Vec<u8>> {
    let command = prop_oneof![proptest::sample::select(b"ODCHMRTULNBEAQK".to_vec()), any::<u8>()];
    let part = prop_oneof![Just(b"x\0".to_vec()), Just(b"".to_vec()), proptest::collection::vec(any::<u8>(), 0..12)];
    (command, proptest::collection::vec(part, 0..4)).prop_map(|(command, parts)| packet(command, &parts.concat()))
}

proptest! {
    #[test]
    fn random_octets(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&octets);
    }

    #[test]
    fn random_packets(packets in proptest::collection::vec(likely_packet(), 0..20), negotiates in any::<bool>()) {
        let offer = packet(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
        let octets = [if negotiates { offer } else { Vec::new() }, packets.concat()].concat();
        check(&octets);
    }

    #[test]
    fn damaged_sessions(
        file in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0..4, any::<u8>()), 1..6),
    ) {
        let corpus = corpus();
        let mut octets = file.get(&corpus).1.clone();
        for (place, kind, octet) in damage {
            if octets.is_empty() {
                break;
            }
            let place = place.index(octets.len());
            match kind {
                0 => octets[place] = octet,
                1 => octets.insert(place, octet),
                2 => drop(octets.remove(place)),
                _ => octets.truncate(place),
            }
        }
        check(&octets);
    }
}

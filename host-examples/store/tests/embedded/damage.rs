//! Damaged files: the store starts, and serves only what was written.

use std::path::Path;

use smtp_fallback_store::embedded::{EmbeddedStore, Opened};
use smtp_fallback_store::{Limits, Store};

use super::{content, numbers, set};

async fn sound_file(folder: &Path) -> Vec<u8> {
    let path = folder.join("sound.redb");
    let (store, _) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    for n in 0..2000 {
        set(&store, n, &content(n)).await;
    }
    store.close().unwrap();
    std::fs::read(path).unwrap()
}

/// Opens a file with these octets. `numbers` checks that each record is as it was written.
async fn open(octets: &[u8]) -> (Opened, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    std::fs::write(&path, octets).unwrap();
    let (store, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    let there = numbers(&store).await.len();
    if let Some(aside) = &opened.set_aside {
        assert!(opened.secret_is_new && there == 0);
        assert!(aside.to_str().unwrap().contains("records.redb.damaged-2"), "{aside:?}");
        assert!(aside.exists());
        set(&store, 5, &content(5)).await;
        store.close().unwrap();
        let (store, again) = EmbeddedStore::open(&path, Limits::default()).unwrap();
        assert_eq!((again.records, again.secret_is_new), (1, false));
        assert!(store.health().problem.is_none());
    }
    (opened, there)
}

#[tokio::test]
async fn a_file_that_is_no_database_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let sound = sound_file(folder.path()).await;
    assert_eq!(open(&sound).await.1, 2000);
    assert!(open(b"hello").await.0.set_aside.is_some());
    assert!(open(&[0; 8192]).await.0.set_aside.is_some());
    let mut zeroed = sound.clone();
    zeroed[..512].fill(0);
    assert!(open(&zeroed).await.0.set_aside.is_some());
    for length in [1, 100, 4096, sound.len() / 2, sound.len() - 4096] {
        assert!(open(&sound[..length]).await.0.set_aside.is_some(), "{length}");
    }
    let (opened, there) = open(&[]).await;
    assert!(opened.set_aside.is_none() && opened.secret_is_new && there == 0, "an empty file is a new one");
}

#[tokio::test]
async fn flipped_octets_are_found_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let sound = sound_file(folder.path()).await;
    // Each octet of the file's head that says anything, and others all over.
    let places = (0..400).chain((400..sound.len()).step_by(sound.len() / 150));
    let (mut aside, mut harmless) = (0, 0);
    for place in places {
        let mut octets = sound.clone();
        octets[place] ^= 0xff;
        let (opened, there) = open(&octets).await;
        match opened.set_aside {
            Some(_) => aside += 1,
            None => {
                assert_eq!(there, 2000, "octet {place}");
                harmless += 1;
            }
        }
    }
    assert!(aside > 50, "{aside} set aside, {harmless} harmless");
}

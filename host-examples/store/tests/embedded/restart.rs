//! Opening and closing.

use std::os::unix::fs::PermissionsExt;

use smtp_fallback_store::embedded::{EmbeddedError, EmbeddedStore};
use smtp_fallback_store::{Limits, Store};

use super::{content, numbers, set};

#[tokio::test]
async fn keeps_records_and_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let (store, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!((opened.records, opened.secret_is_new, opened.set_aside), (0, true, None));
    let secret = store.secret().await.unwrap();
    for n in 0..500 {
        set(&store, n, &content(n)).await;
    }
    drop(store);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let (store, opened) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    assert_eq!((opened.records, opened.secret_is_new), (500, false));
    assert_eq!(store.secret().await.unwrap(), secret);
    assert_eq!(numbers(&store).await, (0..500).collect::<Vec<_>>());
    drop(store);

    let limits = Limits { records: 100, ..Limits::default() };
    let (store, opened) = EmbeddedStore::open(&path, limits).unwrap();
    assert_eq!(opened.records, 100);
    assert_eq!(store.health().capacity, Some(100));
    let kept = numbers(&store).await;
    assert!(kept.iter().all(|&n| n >= 256), "of the strongest class: {kept:?}");
}

#[test]
fn a_file_in_use_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let (store, _) = EmbeddedStore::open(&path, Limits::default()).unwrap();
    let Err(error) = EmbeddedStore::open(&path, Limits::default()) else { panic!("opened twice") };
    assert!(matches!(error, EmbeddedError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("control socket"), "{error}");
    drop(store);
    EmbeddedStore::open(&path, Limits::default()).unwrap();
}

#[test]
fn a_missing_folder_and_a_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = EmbeddedStore::open(&folder.path().join("no/records.redb"), Limits::default()) else { panic!("opened") };
    assert!(matches!(error, EmbeddedError::NoFolder { .. }), "{error}");
    let Err(error) = EmbeddedStore::open(folder.path(), Limits::default()) else { panic!("opened") };
    assert!(matches!(error, EmbeddedError::Io { .. }), "{error}");
    assert!(folder.path().exists());
}

#[test]
fn narrows_the_mode_of_a_file_that_others_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    drop(EmbeddedStore::open(&path, Limits::default()).unwrap());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(EmbeddedStore::open(&path, Limits::default()).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn of_many_that_start_on_a_damaged_file_one_gets_it() {
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.redb");
        std::fs::write(&path, vec![7; 300_000]).unwrap();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let open = || EmbeddedStore::open(&path, Limits::default());
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let opened = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(opened, 1, "round {round}");
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(EmbeddedError::InUse { .. }))).count();
        assert_eq!(refused, 2, "round {round}");
    }
}

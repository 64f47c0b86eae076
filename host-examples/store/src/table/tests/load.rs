//! Loading: what was saved comes back by the rules for newcomers.

use std::collections::BTreeMap;

use super::super::load::Loader;
use super::*;

fn row(key: Key, expires_at: u32, weight: u32, value: &[u8]) -> Row<&[u8]> {
    Row { key, account: Account::of(&key, Address::from_bits(0)), expires_at, weight, value }
}

fn key(wide: u64, near: u64, rest: u64) -> Key {
    Key { kind: KeyKind::Network, address: address(wide, near, rest), prefix_length: 64 }
}

/// Keys that are there.
fn loaded(loader: &Loader, keys: impl IntoIterator<Item = Key>) -> Vec<u64> {
    keys.into_iter().zip(0..).filter(|(key, _)| loader.table.contains(key)).map(|(_, n)| n).collect()
}

#[test]
fn loads_what_it_saved_by_the_same_rules() {
    let mut loader = Loader::new(Limits { records: 2, per_48: 64, per_32: 64 }, NOW);
    let now = clock(NOW);
    loader.load(&[row(network(1), now, 9, &[1; 40])]);
    assert_eq!(loader.table.len(), 0, "expired");
    for n in 2..5 {
        loader.load(&[row(network(n), now + 9, n as u32 * n as u32, &[n as u8; 40])]);
    }
    assert_eq!(listed(&mut loader.table, NOW).iter().map(|record| record.3).collect::<Vec<_>>(), [9, 16]);
    loader.load(&[row(network(4), now + 9, 77, &[77])]);
    loader.load(&[row(network(3), now + 9, 77, &[77])]);
    let mut table = loader.finish();
    assert_eq!(table.value(&network(4), NOW), Some(vec![4; 40]));
    assert_eq!(listed(&mut table, NOW).iter().map(|record| record.3).collect::<Vec<_>>(), [9, 16], "of two, the first stays");
}

#[test]
fn what_is_not_loaded_is_removed_from_the_disk() {
    let now = clock(NOW);
    let rows = [row(network(1), now, 1, &[1]), row(network(2), now + 1, 1, &[1]), row(network(3), now + 1, 1, &[1])];
    let owned = |row: &Row<&[u8]>| Row {
        key: row.key,
        account: row.account,
        expires_at: row.expires_at,
        weight: row.weight,
        value: row.value.to_vec(),
    };
    let mut disk: BTreeMap<Key, Row> = rows.iter().map(|row| (row.key, owned(row))).collect();
    let mut loader = Loader::new(Limits { records: 1, ..Limits::default() }, NOW);
    loader.load(&rows);
    save(&mut loader.finish(), &mut disk, true);
    assert_eq!(disk.keys().copied().collect::<Vec<_>>(), [network(3)], "one had expired, one had no room");
}

#[test]
fn loads_no_more_than_the_shares() {
    let expires_at = clock(NOW) + 9;
    let limits = Limits { records: 10_000, per_48: 3, per_32: 50 };
    let mut loader = Loader::new(limits, NOW);
    // As if they had been saved when the shares were greater, in one batch, with a heavy record at the beginning of each /48.
    let keys: Vec<Key> = (0..30).flat_map(|near| (0..5).map(move |rest| key(1, near, rest))).chain([key(2, 0, 0)]).collect();
    let rows: Vec<_> = (0..).zip(&keys).map(|(n, &key)| row(key, expires_at, if n % 5 == 0 { 100 } else { 1 }, b"x")).collect();
    loader.load(&rows);
    assert_eq!(loader.table.len(), 51);
    let there = loaded(&loader, keys.iter().copied());
    // All 30 heavy ones; of the light ones each /48 kept its two youngest, and of those the /32 its twenty youngest.
    let heavy = (0..30).map(|near| near * 5);
    let light = (20..30).flat_map(|near| [near * 5 + 3, near * 5 + 4]);
    let mut expected: Vec<u64> = heavy.chain(light).chain([150]).collect();
    expected.sort_unstable();
    assert_eq!(there, expected);
}

#[test]
fn mails_count_when_they_are_loaded() {
    let expires_at = clock(NOW) + 9;
    let mut loader = Loader::new(Limits { records: 10_000, per_48: 3, per_32: 4096 }, NOW);
    let account = Account { wide: 7, near: 7 };
    let mail = |n: u128| Key { kind: KeyKind::Exact, address: Address::from_bits(n << 90 | n), prefix_length: 128 };
    for n in 0..100 {
        loader.load(&[Row { account, ..row(mail(n), expires_at, 1, &[0; 50]) }]);
    }
    assert_eq!(loaded(&loader, (0..100).map(mail)), [97, 98, 99]);
}

/// Loading is the same as writing what was saved, one after the other.
#[test]
fn loading_is_the_same_as_writing() {
    let mut random = Random(9);
    for (limits, networks) in [
        (Limits { records: 300, per_48: 4, per_32: 20 }, (5, 8, 30)),
        (Limits { records: 2000, per_48: 8, per_32: 60 }, (9, 20, 30)),
        (Limits { records: 5000, per_48: 64, per_32: 4096 }, (3, 5, 300)),
    ] {
        let mut keys: Vec<Key> =
            (0..4000).map(|_| key(random.below(networks.0), random.below(networks.1), random.below(networks.2))).collect();
        keys.sort();
        keys.dedup();
        let weights: Vec<u32> = keys.iter().map(|_| random.one_of(&[0, 1, 3, 9, 1000])).collect();
        let expires_in: Vec<u32> = keys.iter().map(|_| random.one_of(&[0, 60, 600])).collect();
        let mut model = Model::new(limits);
        let mut rows = Vec::new();
        for ((key, weight), expires_in) in keys.iter().zip(weights).zip(expires_in) {
            rows.push(row(*key, clock(NOW) + expires_in, weight, b"value"));
            let update = RecordUpdate { key: *key, value: b"value".to_vec(), expires_in, weight };
            let _ = model.swap(Write { expected: None, update: &update, source: key.address, now: NOW });
        }
        let mut loader = Loader::new(limits, NOW);
        rows.chunks(1000).for_each(|rows| loader.load(rows));
        let mut table = loader.finish();
        assert_eq!(listed(&mut table, NOW), model.listed(NOW));
        assert_eq!((table.len(), table.evicted()), (model.len(), model.evicted));
    }
}

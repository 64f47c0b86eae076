use std::collections::BTreeMap;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{KeyKind, RecordUpdate};

use super::*;

mod load;
mod model;

use model::Model;

const NOW: u64 = 1_700_000_000;

/// A sequence that looks random, the same each time.
pub(super) struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn address(wide: u64, near: u64, rest: u64) -> Address {
    Address::from_words([0x2001_0000 + wide as u32, (near as u32) << 16 | rest as u32, 0, 0])
}

/// Writes and time at random: afterwards, the table must hold what a model holds that searches all it has for each step.
fn compare(limits: Limits, networks: (u64, u64, u64), steps: usize, seed: u64) {
    let mut random = Random(seed);
    let mut table = Table::new(limits);
    table.own_clock.believe_callers();
    table.note_changes();
    let mut model = Model::new(limits);
    let mut disk = BTreeMap::new();
    let mut now = NOW;
    for step in 0..steps {
        let kind = random.one_of(&[KeyKind::Network, KeyKind::Network, KeyKind::Exact, KeyKind::Budget]);
        let mut place = address(random.below(networks.0), random.below(networks.1), random.below(networks.2));
        if random.below(40) == 0 {
            place = Address::from_bits(0xffff_0000_0000 | u128::from(random.below(50)));
        }
        let source = address(random.below(networks.0), random.below(networks.1), 0);
        let key = Key { kind, address: place, prefix_length: random.one_of(&[64, 64, 64, 255]) };
        let length = random.one_of(&[0, 1, 18, 20, 22, 23, 40, 46, 47, 100, 4096]);
        let update = RecordUpdate {
            key,
            value: vec![random.below(256) as u8; length],
            expires_in: random.one_of(&[0, 1, 60, 60, 600, 600, 600, u32::MAX]),
            weight: random.one_of(&[0, 1, 2, 3, 4, 7, 8, 1000, u32::MAX]),
        };
        let there = table.value(&key, now);
        assert_eq!(there, model.value(&key, now), "step {step}");
        let expected = if random.below(20) == 0 { Some(vec![1]) } else { there };
        let write = Write { expected: expected.as_deref(), update: &update, source, now };
        assert_eq!(table.swap(write), Ok(model.swap(write)), "step {step}");
        assert_eq!(table.len(), model.len(), "step {step}");
        assert_eq!(table.evicted(), model.evicted, "step {step}");
        assert!(table.len() <= limits.records);
        now = match random.below(50) {
            0 => now + 30,
            1 => now.saturating_sub(20),
            _ => now,
        };
        if step % 64 == 0 {
            assert_eq!(listed(&mut table, now), model.listed(now), "step {step}");
            save(&mut table, &mut disk, random.below(3) > 0);
        }
    }
    assert_eq!(listed(&mut table, now), model.listed(now));
    save(&mut table, &mut disk, true);
    let rows: BTreeMap<Key, Row> = disk.clone();
    for record in listed(&mut table, 0) {
        assert_eq!(rows.get(&record.0).map(|row| &row.value), Some(&record.1));
    }
    assert_eq!(disk.len(), table.len(), "nothing is on disk that is not in the table");
}

fn listed(table: &mut Table, now: u64) -> Vec<(Key, Vec<u8>, u64, u32)> {
    let (mut records, mut from) = (Vec::new(), Some(1));
    while let Some(number) = from {
        from = table.list(number, 7, now, &mut records);
    }
    let mut records: Vec<_> = records.into_iter().map(|l| (l.record.key, l.record.value, l.expires_at, l.weight)).collect();
    records.sort();
    records
}

/// What the embedded store's thread does, on a disk that is a map and may refuse.
fn save(table: &mut Table, disk: &mut BTreeMap<Key, Row>, works: bool) {
    let mut batch = Batch::default();
    while table.take_changes(&mut batch, 10) {}
    if !works {
        return table.give_changes_back(&batch.gone, &batch.rows, batch.search);
    }
    batch.gone.iter().for_each(|key| drop(disk.remove(key)));
    disk.extend(batch.rows.into_iter().map(|row| (row.key, row)));
    if batch.search {
        disk.retain(|key, _| table.contains(key));
    }
    assert_eq!(table.unsaved(), 0);
}

#[test]
fn does_what_the_model_does() {
    let limits = |records, per_48, per_32| Limits { records, per_48, per_32 };
    compare(limits(50, 1000, 1000), (3, 3, 30), 20_000, 1);
    compare(limits(300, 1000, 1000), (200, 3, 30), 20_000, 2);
    compare(limits(300, 4, 1000), (2, 5, 30), 20_000, 3);
    compare(limits(300, 4, 20), (5, 8, 30), 20_000, 4);
    compare(limits(400, 8, 60), (5, 20, 30), 20_000, 5);
    compare(limits(400, 60, 60), (5, 5, 100), 20_000, 6);
    compare(limits(1, 1, 1), (2, 2, 3), 5_000, 7);
    compare(limits(9000, 64, 4096), (2, 200, 300), 9_000, 8);
}

#[test]
fn a_slot_has_84_octets() {
    assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (64, 64), "one line of the cache");
    assert_eq!(size_of::<Slot>() + size_of::<super::slot::Rest>(), 84);
}

fn write(table: &mut Table, key: Key, weight: u32, source: Address) -> Swap {
    let update = RecordUpdate { key, value: vec![7; 20], expires_in: 600, weight };
    let expected = table.value(&key, NOW);
    table.swap(Write { expected: expected.as_deref(), update: &update, source, now: NOW }).unwrap()
}

#[test]
fn a_network_that_has_its_share_replaces_its_own() {
    let mut table = Table::new(Limits { records: 10_000, per_48: 64, per_32: 4096 });
    let network = |wide, near, rest| Key { kind: KeyKind::Network, address: address(wide, near, rest), prefix_length: 64 };
    for n in 0..64 {
        let _ = write(&mut table, network(1, 0, n), 9, Address::from_bits(0));
    }
    assert_eq!((table.len(), table.evicted()), (64, 0));
    let _ = write(&mut table, network(1, 0, 64), 0, Address::from_bits(0));
    assert_eq!((table.len(), table.evicted()), (64, 1));
    assert!(!table.contains(&network(1, 0, 0)) && table.contains(&network(1, 0, 1)));
    // The /32 has room for 63 more full /48 and no other.
    for near in 1..100 {
        for n in 0..64 {
            let _ = write(&mut table, network(1, near, n), 1, Address::from_bits(0));
        }
    }
    assert_eq!(table.len(), 4096);
    assert!((1..64).all(|n| table.contains(&network(1, 0, n))), "the heavier ones stay");
    let _ = write(&mut table, network(2, 0, 0), 0, Address::from_bits(0));
    assert_eq!(table.len(), 4097, "others have room");
}

#[test]
fn mails_count_for_the_client_and_keep_their_account() {
    let mut table = Table::new(Limits { records: 1000, per_48: 2, per_32: 1000 });
    let mail = |n: u128| Key { kind: KeyKind::Exact, address: Address::from_bits(n << 90 | n), prefix_length: 128 };
    for n in 1..=3 {
        let _ = write(&mut table, mail(n), 0, address(1, 1, 1));
    }
    assert_eq!((1..=3).filter(|&n| table.contains(&mail(n))).collect::<Vec<_>>(), [2, 3]);
    // Written for another network: it stays in the first one's share, where it is now the younger.
    let _ = write(&mut table, mail(2), 0, address(9, 9, 9));
    let _ = write(&mut table, mail(4), 0, address(1, 1, 1));
    assert_eq!((1..=4).filter(|&n| table.contains(&mail(n))).collect::<Vec<_>>(), [2, 4]);
    let _ = write(&mut table, mail(5), 0, address(9, 9, 9));
    let _ = write(&mut table, mail(6), 0, address(9, 9, 9));
    assert_eq!(table.len(), 4);
    for ipv4 in ["192.0.2.1", "64:ff9b::c000:201"] {
        for n in 10..20 {
            let _ = write(&mut table, mail(n), 0, ipv4.parse().unwrap());
        }
    }
    assert_eq!(table.len(), 14, "IPv4 has no share");
}

#[test]
fn the_hand_finds_what_expired() {
    let mut table = Table::new(Limits::default());
    for n in 0..100 {
        let key = Key { kind: KeyKind::Network, address: address(n, 0, 0), prefix_length: 64 };
        let _ = write(&mut table, key, 9, Address::from_bits(0));
    }
    table.sweep(NOW + 599, usize::MAX);
    assert_eq!(table.len(), 100);
    table.sweep(NOW + 600, 30);
    assert_eq!(table.len(), 70);
    table.sweep(NOW + 600, usize::MAX);
    assert_eq!((table.len(), table.evicted()), (0, 0));
    table.sweep(NOW, 5);
}

#[test]
fn the_list_of_removals_is_bounded() {
    let mut changes = Changes::default();
    for n in 0..1_000_000 {
        changes.is_gone(Key { kind: KeyKind::Exact, address: Address::from_bits(n), prefix_length: 0 });
    }
    assert!(changes.lost_removals() && changes.removals() == 0);
}

fn network(n: u64) -> Key {
    Key { kind: KeyKind::Network, address: address(n, 0, 0), prefix_length: 64 }
}

fn remove(table: &mut Table, key: Key) {
    let there = table.value(&key, NOW);
    let update = RecordUpdate { key, value: Vec::new(), expires_in: 0, weight: 0 };
    let write = Write { expected: there.as_deref(), update: &update, source: key.address, now: NOW };
    assert_eq!(table.swap(write), Ok(Swap::Stored));
}

#[test]
fn what_goes_while_a_batch_is_taken_goes_on_disk_too() {
    let mut table = Table::new(Limits::default());
    table.note_changes();
    let mut disk = BTreeMap::new();
    for n in 1..=2 {
        let _ = write(&mut table, network(n), 9, Address::from_bits(0));
    }
    let mut batch = Batch::default();
    assert!(table.take_changes(&mut batch, 1), "a second one is left");
    assert_eq!(batch.rows[0].key, network(1));
    remove(&mut table, network(1));
    while table.take_changes(&mut batch, 1) {}
    batch.gone.iter().for_each(|key| drop(disk.remove(key)));
    batch.rows.into_iter().for_each(|row| drop(disk.insert(row.key, row)));
    save(&mut table, &mut disk, true);
    assert_eq!(disk.keys().copied().collect::<Vec<_>>(), [network(2)]);
}

#[test]
fn what_comes_back_and_goes_again_goes_on_disk_too() {
    let mut table = Table::new(Limits::default());
    table.note_changes();
    let mut disk = BTreeMap::new();
    let _ = write(&mut table, network(1), 9, Address::from_bits(0));
    save(&mut table, &mut disk, true);
    remove(&mut table, network(1));
    let _ = write(&mut table, network(1), 9, Address::from_bits(0));
    // The removals are taken alone, as when there are many.
    let mut batch = Batch::default();
    let _ = table.take_changes(&mut batch, 1);
    assert!(batch.gone.is_empty(), "it is back");
    remove(&mut table, network(1));
    save(&mut table, &mut disk, true);
    assert!(disk.is_empty(), "{disk:?}");
}

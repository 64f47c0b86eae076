use super::*;

const NOW: u64 = 1_700_000_000;

fn key(n: u32) -> Key {
    let address = Address::from_words([0x2001_0db8, n << 16, 0, 0]);
    Key { kind: KeyKind::Network, address, prefix_length: 64 }
}

fn source(n: u32) -> Address {
    key(n).address
}

fn change(local: &mut Local, n: u32, expected: Option<&[u8]>, value: &[u8]) -> Swap {
    change_for(local, n, expected, value, 600)
}

fn change_for(local: &mut Local, n: u32, expected: Option<&[u8]>, value: &[u8], expires_in: u32) -> Swap {
    let update = RecordUpdate { key: key(n), value: value.to_vec(), expires_in, weight: 1 };
    local.change(Write { expected, update: &update, source: source(n), now: NOW }).unwrap()
}

fn make(local: &mut Local, n: u32, expected: Option<&[u8]>, value: &[u8]) {
    assert_eq!(change(local, n, expected, value), Swap::Stored);
}

fn value(local: &Local, n: u32) -> Option<Vec<u8>> {
    local.value(&key(n), NOW)
}

#[test]
fn the_server_s_word_counts_until_something_is_changed_here() {
    let mut local = Local::new(10);
    local.learn(key(1), Some((b"a", 600)), source(1), NOW);
    assert_eq!(value(&local, 1).as_deref(), Some(&b"a"[..]));
    local.learn(key(1), Some((b"b", 600)), source(1), NOW);
    assert_eq!(value(&local, 1).as_deref(), Some(&b"b"[..]));
    assert_eq!(change(&mut local, 1, Some(b"b"), b"mine"), Swap::Stored);
    local.learn(key(1), Some((b"c", 600)), source(1), NOW);
    local.learn(key(1), None, source(1), NOW);
    assert_eq!(value(&local, 1).as_deref(), Some(&b"mine"[..]));
    local.learn(key(2), Some((b"gone", 600)), source(2), NOW);
    local.learn(key(2), None, source(2), NOW);
    assert_eq!(value(&local, 2), None);
}

#[test]
fn what_was_read_expires() {
    let mut local = Local::new(10);
    local.learn(key(1), Some((b"a", 5)), source(1), NOW);
    assert!(local.value(&key(1), NOW + 4).is_some());
    assert!(local.value(&key(1), NOW + 5).is_none());
}

#[test]
fn changes_of_one_key_are_one_replay() {
    let mut local = Local::new(10);
    local.learn(key(1), Some((b"a", 600)), source(1), NOW);
    assert_eq!(change(&mut local, 1, Some(b"x"), b"b"), Swap::Conflict);
    assert_eq!(local.waiting(), 0);
    assert_eq!(change(&mut local, 1, Some(b"a"), b"b"), Swap::Stored);
    assert_eq!(change(&mut local, 1, Some(b"b"), b"c"), Swap::Stored);
    let (replays, settled) = local.replays(10);
    assert_eq!((replays.len(), settled), (1, 0));
    let replay = replays.into_iter().next().unwrap();
    assert_eq!((replay.base.as_deref(), replay.value.as_slice(), replay.expires_in), (Some(&b"a"[..]), &b"c"[..], 600));
    assert_eq!(local.replayed(replay), 2);
    assert_eq!(local.waiting(), 0);
    assert_eq!(local.replays(10), (vec![], 0));
}

#[test]
fn a_change_during_its_replay_goes_on_from_there() {
    let mut local = Local::new(10);
    make(&mut local, 1, None, b"a");
    let first = local.replays(10).0.remove(0);
    make(&mut local, 1, Some(b"a"), b"b");
    make(&mut local, 1, Some(b"b"), b"c");
    assert_eq!(local.replayed(first), 1);
    let second = local.replays(10).0.remove(0);
    assert_eq!((second.base.as_deref(), second.value.as_slice()), (Some(&b"a"[..]), &b"c"[..]));
    assert_eq!(local.replayed(second), 2);

    // The same with a removal that is replayed while there is something new.
    assert_eq!(change_for(&mut local, 1, Some(b"c"), b"", 0), Swap::Stored);
    let removal = local.replays(10).0.remove(0);
    assert_eq!((removal.base.as_deref(), removal.expires_in), (Some(&b"c"[..]), 0));
    make(&mut local, 1, None, b"d");
    assert_eq!(local.replayed(removal), 1);
    let again = local.replays(10).0.remove(0);
    assert_eq!((again.base, again.value.as_slice()), (None, &b"d"[..]));
}

/// Its key is in the queue twice then, but it is replayed once.
#[test]
fn settled_and_changed_again() {
    let mut local = Local::new(100);
    for n in 1..=9 {
        make(&mut local, n, None, b"a");
    }
    let last = local.replays(100).0.into_iter().find(|replay| replay.key == key(9)).unwrap();
    assert_eq!(local.replayed(last), 1);
    make(&mut local, 9, Some(b"a"), b"b");
    make(&mut local, 10, None, b"a");
    assert_eq!(local.order.iter().filter(|queued| **queued == key(9)).count(), 2);
    let (replays, _) = local.replays(100);
    let mut keys: Vec<Key> = replays.iter().map(|replay| replay.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (1..=10).map(key).collect::<Vec<_>>());
}

#[test]
fn what_was_new_and_is_gone_needs_no_replay() {
    let mut local = Local::new(10);
    make(&mut local, 1, None, b"a");
    assert_eq!(change_for(&mut local, 1, Some(b"a"), b"", 0), Swap::Stored);
    assert_eq!(local.replays(10), (vec![], 2));
    assert_eq!(local.waiting(), 0);
}

#[test]
fn a_lost_change_is_gone_with_all_of_its_updates() {
    let mut local = Local::new(10);
    make(&mut local, 1, None, b"a");
    make(&mut local, 1, Some(b"a"), b"b");
    let replay = local.replays(10).0.remove(0);
    make(&mut local, 1, Some(b"b"), b"c");
    assert_eq!(local.forget(&key(1)), 3);
    assert_eq!(value(&local, 1), None);
    assert_eq!(local.replayed(replay), 0);
    assert_eq!(local.forget(&key(1)), 0);
    make(&mut local, 2, None, b"a");
    make(&mut local, 3, None, b"a");
    assert_eq!(local.forget_all(), 2);
}

/// Each update is stored and waits, was let go and is counted, or was refused.
#[test]
fn memory_is_bounded_and_nothing_vanishes() {
    let mut local = Local::new(50);
    let (mut stored, mut refused) = (0, 0);
    for n in 0..2000 {
        let removal = n % 7 == 0;
        let update = RecordUpdate { key: key(n), value: vec![1], expires_in: if removal { 0 } else { 600 }, weight: 1 };
        if removal {
            local.learn(key(n), Some((b"known", 600)), source(n), NOW);
        }
        let expected = removal.then_some(&b"known"[..]);
        match local.change(Write { expected, update: &update, source: source(n), now: NOW }) {
            Ok(Swap::Stored) => stored += 1,
            Ok(Swap::Conflict) => panic!("{n}"),
            Err(_) => refused += 1,
        }
        assert!(local.order.len() <= 100 && local.changes.len() <= 100, "{n}: {}", local.order.len());
    }
    assert!(stored > 500 && refused > 0, "{stored} {refused}");
    let evicted = local.take_evicted();
    let waiting: u64 = local.changes.values().map(|change| change.updates).sum();
    assert_eq!(evicted + waiting, stored);
    let (replays, settled) = local.replays(1000);
    assert_eq!(replays.len() as u64 + settled + local.take_evicted(), waiting);
}

#[test]
fn records_count_for_the_client() {
    let mail = Key { kind: KeyKind::Exact, address: Address::from_bits(7), prefix_length: 128 };
    assert_eq!(super::source(&[mail, key(1)]), key(1).address);
    assert_eq!(super::source(&[mail]), mail.address);
    super::source(&[]);
}

fn replay(local: &mut Local, n: u32) -> Replay {
    local.replays(100).0.into_iter().find(|replay| replay.key == key(n)).unwrap()
}

#[test]
fn a_conflict_with_others_is_lost() {
    let mut local = Local::new(10);
    local.learn(key(1), Some((b"a", 600)), source(1), NOW);
    make(&mut local, 1, Some(b"a"), b"b");
    make(&mut local, 1, Some(b"b"), b"c");
    let replay = replay(&mut local, 1);
    // Not even what is here: others may have come to the same, and theirs counts other mails.
    assert_eq!(local.conflicted(replay, Some(b"c")), Conflict::Lost(2));
    assert_eq!((local.waiting(), value(&local, 1)), (0, None));
}

#[test]
fn a_conflict_with_nothing_is_none() {
    let mut local = Local::new(10);
    for n in 1..=2 {
        local.learn(key(n), Some((b"a", 600)), source(n), NOW);
    }
    make(&mut local, 1, Some(b"a"), b"b");
    let first = replay(&mut local, 1);
    assert_eq!(local.conflicted(first, None), Conflict::Again);
    let again = replay(&mut local, 1);
    assert_eq!((again.base.as_deref(), again.value.as_slice()), (None, &b"b"[..]));
    assert_eq!(local.replayed(again), 1);
    // What was to be removed is gone.
    assert_eq!(change_for(&mut local, 2, Some(b"a"), b"", 0), Swap::Stored);
    let removal = replay(&mut local, 2);
    assert_eq!(local.conflicted(removal, None), Conflict::InForce(1));
    assert_eq!(local.waiting(), 0);
}

/// Of several writes that expect the same, the server does one, whichever.
#[test]
fn a_conflict_with_a_write_of_our_own_is_none() {
    for late in [&b"x"[..], b"y"] {
        let mut local = Local::new(10);
        local.learn(key(1), Some((b"a", 600)), source(1), NOW);
        local.not_answered(key(1), b"x");
        make(&mut local, 1, Some(b"a"), b"b");
        local.not_answered(key(1), b"y"); // Was under way at the same time.
        let first = replay(&mut local, 1);
        assert_eq!(local.conflicted(first, Some(late)), Conflict::Again);
        let again = replay(&mut local, 1);
        assert_eq!((again.base.as_deref(), again.value.as_slice()), (Some(late), &b"b"[..]));
        assert_eq!(local.conflicted(again, Some(b"theirs")), Conflict::Lost(1));
    }
}

#[test]
fn a_replay_that_was_done_without_an_answer_is_in_force() {
    let mut local = Local::new(10);
    make(&mut local, 1, None, b"a");
    let first = replay(&mut local, 1);
    local.not_answered(first.key, &first.value);
    let second = replay(&mut local, 1);
    assert_eq!(local.conflicted(second, Some(b"a")), Conflict::InForce(1));
    assert_eq!(local.waiting(), 0);

    // And with more, that came meanwhile.
    make(&mut local, 2, None, b"a");
    let first = replay(&mut local, 2);
    local.not_answered(first.key, &first.value);
    make(&mut local, 2, Some(b"a"), b"b");
    let second = replay(&mut local, 2);
    assert_eq!(local.conflicted(second, Some(b"a")), Conflict::Again);
    let third = replay(&mut local, 2);
    assert_eq!((third.base.as_deref(), third.value.as_slice()), (Some(&b"a"[..]), &b"b"[..]));
    assert_eq!(local.replayed(third), 2);
}

/// The server may have the record by now: only removing it leaves none.
#[test]
fn what_was_new_and_may_be_there_is_removed() {
    let mut local = Local::new(10);
    local.not_answered(key(1), b"x");
    make(&mut local, 1, None, b"a");
    assert_eq!(change_for(&mut local, 1, Some(b"a"), b"", 0), Swap::Stored);
    let removal = replay(&mut local, 1);
    assert_eq!((removal.base.as_deref(), removal.expires_in), (None, 0));
    assert_eq!(local.conflicted(removal, Some(b"x")), Conflict::Again);
    let removal = replay(&mut local, 1);
    assert_eq!((removal.base.as_deref(), removal.expires_in), (Some(&b"x"[..]), 0));
    assert_eq!(local.replayed(removal), 2);
}

#[test]
fn an_answer_settles_what_had_none() {
    let mut local = Local::new(10);
    local.not_answered(key(1), b"x");
    local.not_answered(key(2), b"x");
    local.learn(key(1), Some((b"a", 600)), source(1), NOW);
    let update = RecordUpdate { key: key(2), value: b"a".to_vec(), expires_in: 600, weight: 1 };
    local.wrote(Write { expected: None, update: &update, source: source(2), now: NOW });
    for n in 1..=2 {
        make(&mut local, n, Some(b"a"), b"b");
        let replay = replay(&mut local, n);
        assert_eq!(local.conflicted(replay, Some(b"x")), Conflict::Lost(1), "{n}: somebody else's, though it looks the same");
    }
}

#[test]
fn what_had_no_answer_takes_little_memory() {
    let mut local = Local::new(10);
    for n in 0..10_000_u32 {
        local.not_answered(key(n), b"x");
        local.not_answered(key(0), &n.to_be_bytes());
        assert!(local.unanswered.len() <= 1025, "{n}");
    }
    make(&mut local, 1, None, b"a");
    let first = replay(&mut local, 1);
    for n in 0..10_000_u32 {
        local.not_answered(first.key, &n.to_be_bytes());
    }
    assert!(local.changes[&first.key].unanswered.len() <= 16);
}

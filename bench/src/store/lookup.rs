//! Decisions with their records: looked up, decided by the component, written; and the store's share of it.

use std::time::{Duration, Instant};

use smtp_fallback_embed::Pool;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::RecordUpdate;
use smtp_fallback_store::{Limits, MemoryStore, Store};

use super::{Error, network, percentile, ready, resident, set, spread};
use crate::cases::Case;

/// Of each kind of decision.
const ROUNDS: u64 = 100_000;

/// What the decisions of one kind took, in µs, and how many records they had.
#[derive(Default)]
struct Times {
    /// Reading, writing, both, and the whole with `keys` and `decide`.
    of: [Vec<f64>; 4],
    keys: usize,
    written: usize,
}

/// Each round is a greeting, an accepted and a refused mail, each of another network of which the store has a record.
pub(super) fn run(records: u64, pool: &Pool) -> Result<(), Error> {
    let now = super::now();
    let mut cases = [Case::greeting(), Case::acceptance(), Case::refusal()];
    // With room for what the rounds add: a full store is what the attack measures.
    let most = usize::try_from(records + 4 * 3 * ROUNDS)?;
    let store = MemoryStore::with(Limits { records: most, ..Limits::default() });
    // The record of a network as the module writes it after a mail that passed.
    let [_, accepted, _] = &mut cases;
    accepted.of_another_client(Address::from_bits(network(0).address.bits() | 1), 0, now);
    let (made, _) = accepted.decide_with(pool, Vec::new());
    let value = made.into_iter().find(|update| update.key == network(0)).ok_or("a record of the network")?.value;
    for n in 0..records {
        set(&store, None, &RecordUpdate { key: network(n), value: value.clone(), expires_in: 86_400, weight: 5 }, now)?;
    }
    let memory = resident();
    let mut times: [Times; 3] = Default::default();
    for round in 0..ROUNDS {
        for (n, (case, times)) in (0..).zip(cases.iter_mut().zip(&mut times)) {
            // Anywhere among those that are there.
            let client = Address::from_bits(network(spread(3 * round + n) % records).address.bits() | 1);
            case.of_another_client(client, round, now);
            measure(case, pool, &store, now, times)?;
        }
    }
    println!("{records} prefixes with records of {} octets, {memory:.0} MB; in µs:", value.len());
    for (case, times) in cases.iter().zip(&mut times) {
        let average = |sum: usize| sum as f64 / ROUNDS as f64;
        println!("  {}, {:.1} keys read, {:.1} records written", case.name, average(times.keys), average(times.written));
        for (name, times) in ["reading", "writing", "the store's share", "keys, read, decide, write"].iter().zip(&mut times.of) {
            println!("    {name:<28} {}", percentiles(times));
        }
    }
    println!("  reading the clock, once in each of reading and writing: {}", percentiles(&mut clock()));
    Ok(())
}

fn measure(case: &mut Case, pool: &Pool, store: &MemoryStore, now: u64, times: &mut Times) -> Result<(), Error> {
    let start = Instant::now();
    let keys = case.keys_in(pool);
    let asked = start.elapsed();
    let found = ready(store.get_many(&keys, now))?;
    let read = start.elapsed();
    let (updates, seen) = case.decide_with(pool, found);
    let decided = start.elapsed();
    for update in &updates {
        let expected = seen.iter().find(|record| record.key == update.key).map(|record| record.value.as_slice());
        set(store, expected, update, now)?;
    }
    let written = start.elapsed();
    times.keys += keys.len();
    times.written += updates.len();
    let (reading, writing) = (read - asked, written - decided);
    for (times, time) in times.of.iter_mut().zip([reading, writing, reading + writing, written]) {
        times.push(microseconds(time));
    }
    Ok(())
}

/// What reading the clock adds to each time.
fn clock() -> Vec<f64> {
    let start = Instant::now();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let before = start.elapsed();
        times.push(microseconds(start.elapsed() - before));
    }
    times
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn percentiles(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    format!("p50 {:>6.2}   p99 {:>6.2}", percentile(times, 50), percentile(times, 99))
}

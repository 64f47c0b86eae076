//! A decision with its records: looked up, decided by the component, written; and the store's share of it.

use std::time::Instant;

use smtp_fallback_embed::Pool;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::RecordUpdate;
use smtp_fallback_store::{Limits, MemoryStore, Store};

use super::{Error, network, percentile, ready, resident, set, spread};
use crate::cases::Case;

const ROUNDS: u64 = 100_000;

/// Each round is a refused mail of another network, of which the store has a record: five keys are read, and four records written.
pub(super) fn run(records: u64, pool: &Pool) -> Result<(), Error> {
    let now = super::now();
    // With room for what the rounds add: a full store is what the attack measures.
    let most = usize::try_from(records + 4 * ROUNDS)?;
    let store = MemoryStore::with(Limits { records: most, ..Limits::default() });
    let mut case = Case::refusal();
    // The record of a network as the module writes it.
    case.of_another_client(Address::from_bits(network(0).address.bits() | 1), 0, now);
    let (made, _) = case.decide_with(pool, Vec::new());
    let value = made.into_iter().find(|update| update.key == network(0)).ok_or("a record of the network")?.value;
    for n in 0..records {
        set(&store, None, &RecordUpdate { key: network(n), value: value.clone(), expires_in: 86_400, weight: 5 }, now)?;
    }
    let memory = resident();
    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        // Anywhere among those that are there.
        let client = Address::from_bits(network(spread(round) % records).address.bits() | 1);
        case.of_another_client(client, round, now);
        let start = Instant::now();
        let keys = case.keys_in(pool);
        let asked = start.elapsed();
        let found = ready(store.get_many(&keys, now))?;
        let read = start.elapsed();
        let (updates, seen) = case.decide_with(pool, found);
        let decided = start.elapsed();
        for update in &updates {
            let expected = seen.iter().find(|record| record.key == update.key).map(|record| record.value.as_slice());
            set(&store, expected, update, now)?;
        }
        let written = start.elapsed();
        let (reading, writing) = (read - asked, written - decided);
        for (times, time) in times.iter_mut().zip([reading, writing, reading + writing, written]) {
            times.push(time.as_secs_f64() * 1e6);
        }
    }
    println!("{records} prefixes, {memory:.0} MB; a refused mail, in µs:");
    for (name, times) in
        ["read 5 keys", "write 4 records", "the store's share", "keys, read, decide, write"].iter().zip(&mut times)
    {
        times.sort_by(f64::total_cmp);
        println!("  {name:<28} p50 {:>6.2}   p99 {:>6.2}", percentile(times, 50), percentile(times, 99));
    }
    Ok(())
}

//! Millions of networks against a store with the default limits, with exemptions and penalties in it.

use std::time::Instant;

use smtp_fallback_policy::contract::RecordUpdate;
use smtp_fallback_store::embedded::EmbeddedStore;
use smtp_fallback_store::{Limits, Store};

use super::{Error, network, network_of, ready, resident, set};

/// Of each kind.
const KEPT: u64 = 1000;

pub(super) fn run(kind: &str, networks: u64) -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("smtp-fallback-attack-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let measured = measure(kind, networks, &folder.join("records.redb"));
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(kind: &str, networks: u64, path: &std::path::Path) -> Result<(), Error> {
    let now = super::now();
    let (store, _) = EmbeddedStore::open(path, Limits::default())?;
    let update = |key, weight| RecordUpdate { key, value: vec![0; 20], expires_in: 86_400, weight };
    for n in 0..KEPT {
        // Far from the numbers of the attack.
        set(&store, None, &update(network(u64::MAX - n), 1_000_000), now)?;
        set(&store, None, &update(network(u64::MAX / 2 - n), 1000), now)?;
    }
    let attacker = |n| if kind == "dense" { network_of(0x2a0f_0000 << 32 | n) } else { network(n) };
    let full = networks / 5;
    let (mut times, mut before) = (Vec::new(), f64::NAN);
    for n in 0..networks {
        let update = update(attacker(n), 1);
        let start = Instant::now();
        set(&store, None, &update, now)?;
        if n % 16 == 0 {
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        if n == full {
            before = resident();
        }
    }
    let after = resident();
    times.sort_by(f64::total_cmp);
    let mut kept = [0, 0];
    for n in 0..KEPT {
        kept[0] += ready(store.get_many(&[network(u64::MAX - n)], now))?.len();
        kept[1] += ready(store.get_many(&[network(u64::MAX / 2 - n)], now))?.len();
    }
    let health = store.health();
    println!(
        "attack, {kind}, {networks} /64: {:.2} µs a write p50, {:.2} µs p99; {} records; {before:.0} MB after a fifth, {after:.0} MB at the end; of {KEPT} exemptions {} are there, of {KEPT} penalties {}",
        super::percentile(&times, 50),
        super::percentile(&times, 99),
        health.records.unwrap_or_default(),
        kept[0],
        kept[1],
    );
    Ok(())
}

//! Starting with many records.

use std::path::Path;
use std::time::{Duration, Instant};

use smtp_fallback_policy::contract::RecordUpdate;
use smtp_fallback_store::embedded::EmbeddedStore;
use smtp_fallback_store::{Limits, Store};

use super::{Error, network_of, resident, set, spread};

fn limits(records: u64) -> Result<Limits, Error> {
    Ok(Limits { records: usize::try_from(records)?, ..Limits::default() })
}

/// Makes the file.
pub(super) fn fill(path: &Path, records: u64) -> Result<(), Error> {
    let now = super::now();
    // Over all of 2000::/3, in ascending order, which the database takes several times faster than any other.
    let step = (1 << 61) / records.max(1);
    let key = |n| network_of(1 << 61 | (n * step + spread(n) % step.max(1)));
    let start = Instant::now();
    let (store, _) = EmbeddedStore::open(path, limits(records)?)?;
    for n in 0..records {
        set(&store, None, &RecordUpdate { key: key(n), value: vec![0; 20], expires_in: 86_400 * 30, weight: 5 }, now)?;
    }
    let written = start.elapsed();
    // That they wait for the disk is what its health says meanwhile.
    let mut last = u64::MAX;
    while store.health().unsaved > 0 {
        std::thread::sleep(Duration::from_secs(1));
        let unsaved = store.health().unsaved;
        if unsaved >= last {
            return Err(store.health().problem.unwrap_or_else(|| "nothing is written".into()).into());
        }
        last = unsaved;
    }
    println!(
        "filling with {records}: {:.1} s in memory, {:.0} s until all was on disk, {:.0} MB of memory, {:.0} MB of file",
        written.as_secs_f64(),
        start.elapsed().as_secs_f64(),
        resident(),
        std::fs::metadata(path)?.len() as f64 / 1e6
    );
    Ok(store.close()?)
}

/// Opens it twice: the first time brings it into the page cache.
pub(super) fn run(path: &Path, records: u64) -> Result<(), Error> {
    drop(std::fs::read(path)?);
    let start = Instant::now();
    let (store, opened) = EmbeddedStore::open(path, limits(records)?)?;
    let took = start.elapsed().as_secs_f64();
    println!("start-up with {} records, warm page cache: {took:.2} s, {:.0} MB", opened.records, resident());
    drop(store);
    Ok(())
}

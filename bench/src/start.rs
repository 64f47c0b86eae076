//! What it takes to start: to compile the component, to take its machine code from the cache, to make one more instance.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use smtp_fallback_embed::{Cache, Component, Loading, Origin, Pool, Threads};

use crate::cases::Case;
use crate::{POLICY, SECRET};

/// How often each row is measured.
const COMPILED: usize = 10;
const CACHED: usize = 50;
const INSTANCES: usize = 2000;

/// Measures, and prints the table.
pub(crate) fn run(component: &str) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = fs::read(component)?;
    let folder = tempfile::tempdir()?;
    let cache = Cache::open(folder.path())?;
    let load = |loading: &Loading<'_>| Component::from_bytes_with(&bytes, loading);
    let cached = Loading { cache: Some(&cache), ..Loading::default() };

    println!("{:<64} {:>12} {:>12}", "", "p50", "the longest");
    print("compile it, on all processors", measure(COMPILED, || Ok(load(&Loading::default())?))?);
    let one_thread = Loading { threads: Threads::AtFirstCall, ..Loading::default() };
    print("compile it, on one", measure(COMPILED, || Ok(load(&one_thread)?))?);
    load(&cached)?;
    print(
        "take its machine code from the cache",
        measure(CACHED, || match load(&cached)? {
            component if component.origin() == Origin::Cache => Ok(component),
            _ => Err("it was compiled again: the cache does not take it".into()),
        })?,
    );

    let component = load(&cached)?;
    print("read the policy, in an instance of its own", measure(INSTANCES, || Ok(Pool::configure(&component, POLICY, SECRET)?))?);
    print(
        "make an instance, and ask it what it is",
        measure(INSTANCES, || {
            let pool = Pool::without_policy(&component, SECRET);
            pool.describe()?;
            Ok(pool)
        })?,
    );
    let (pool, _) = Pool::configure(&component, POLICY, SECRET)?;
    let greeting = Case::greeting();
    let mut first = Vec::with_capacity(INSTANCES);
    for _ in 0..INSTANCES {
        // With another policy no instance is left.
        pool.reconfigure(POLICY)?;
        let start = Instant::now();
        black_box(greeting.keys_in(&pool));
        first.push(start.elapsed());
    }
    print("make an instance, read the policy, and ask it for keys", first);
    print("ask an instance that is there for keys", measure(INSTANCES, || Ok(greeting.keys_in(&pool)))?);
    let octets = fs::read_dir(folder.path())?.map(|entry| Ok(entry?.metadata()?.len())).sum::<std::io::Result<u64>>()?;
    println!("{} octets of WebAssembly, {octets} of machine code in the cache; {:?}", bytes.len(), pool.failures());
    Ok(())
}

/// What was made is dropped outside the time.
fn measure<T>(
    times: usize,
    mut make: impl FnMut() -> Result<T, Box<dyn std::error::Error>>,
) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        let made = make()?;
        all.push(start.elapsed());
        drop(black_box(made));
    }
    Ok(all)
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let shown = |time: Option<&Duration>| {
        let microseconds = time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
        if microseconds < 1000.0 { format!("{microseconds:.1} µs") } else { format!("{:.1} ms", microseconds / 1000.0) }
    };
    println!("{name:<64} {:>12} {:>12}", shown(times.get(times.len() / 2)), shown(times.last()));
}

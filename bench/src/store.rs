//! What records cost: reading and writing, start-up, loss at a kill, and an attack on the embedded store.
//!
//! Each measurement runs in a process of its own, this program started again with `records NAME ARGUMENTS`, so that its memory is
//! its own. Its lines go to standard output.

mod attack;
mod kill;
mod lookup;
mod startup;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate};
use smtp_fallback_store::{Store, StoreError, Swap, Write};

type Error = Box<dyn std::error::Error>;

/// Without arguments, all measurements, one after the other; otherwise the one that they name. `component` is the component's file.
pub(crate) fn run(component: &str, arguments: &[String]) -> Result<(), Error> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => {
            let folder = std::env::temp_dir().join(format!("smtp-fallback-bench-{}", std::process::id()));
            std::fs::create_dir(&folder)?;
            let measured = all(component, &folder);
            std::fs::remove_dir_all(&folder)?;
            measured
        }
        ["look-up", records] => lookup::run(records.parse()?, &crate::pool(component)?),
        ["fill", path, records] => startup::fill(Path::new(path), records.parse()?),
        ["start-up", path, records] => startup::run(Path::new(path), records.parse()?),
        ["write", path] => kill::child(Path::new(path)),
        ["attack", kind, networks] => attack::run(kind, networks.parse()?),
        _ => Err("usage: records [look-up N | fill FILE N | start-up FILE N | attack dense|spread N]".into()),
    }
}

fn all(component: &str, folder: &Path) -> Result<(), Error> {
    let child = |arguments: &[&str]| child(component, arguments);
    for records in ["1000000", "10000000"] {
        child(&["look-up", records])?;
    }
    let path = folder.join("records.redb");
    let file = path.to_str().ok_or("the folder for temporary files has a name that is not UTF-8")?;
    child(&["fill", file, "10000000"])?;
    child(&["start-up", file, "10000000"])?;
    kill::run(component, folder)?;
    for kind in ["dense", "spread"] {
        child(&["attack", kind, "10000000"])?;
    }
    Ok(())
}

/// Runs this program again.
fn command(component: &str, arguments: &[&str]) -> Result<Command, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--component", component, "records"]).args(arguments).stdin(Stdio::null());
    Ok(command)
}

fn child(component: &str, arguments: &[&str]) -> Result<(), Error> {
    let status = command(component, arguments)?.status()?;
    if status.success() { Ok(()) } else { Err(format!("the measurement {arguments:?} failed: {status}").into()) }
}

/// The embedded store answers at once: its futures are ready when they are first asked.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the stores in memory never wait"),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The memory of this process, in 10^6 octets.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kibibytes: f64 = line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN);
    kibibytes * 1024.0 / 1e6
}

/// Spreads numbers over 64 bits, each to another (the finalizer of SplitMix64).
fn spread(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A /64 somewhere in 2000::/3.
fn network(n: u64) -> Key {
    network_of(1 << 61 | spread(n) >> 3)
}

fn network_of(prefix: u64) -> Key {
    Key { kind: KeyKind::Network, address: Address::from_bits(u128::from(prefix) << 64), prefix_length: 64 }
}

fn set(store: &dyn Store, expected: Option<&[u8]>, update: &RecordUpdate, now: u64) -> Result<(), Error> {
    match ready(store.compare_and_set(Write { expected, update, source: update.key.address, now })) {
        Ok(Swap::Stored) => Ok(()),
        Ok(Swap::Conflict) => Err("a conflict where nobody else writes".into()),
        Err(error @ StoreError::Unavailable(_)) | Err(error) => Err(error.into()),
    }
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

fn file_in(folder: &Path, name: &str) -> Result<String, Error> {
    let path: PathBuf = folder.join(name);
    Ok(path.to_str().ok_or("the folder for temporary files has a name that is not UTF-8")?.to_owned())
}

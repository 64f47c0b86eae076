//! What kill -9 costs.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use smtp_fallback_policy::contract::RecordUpdate;
use smtp_fallback_store::embedded::EmbeddedStore;
use smtp_fallback_store::{Limits, Store};

use super::{Error, command, file_in, network, ready, set, spread};

const RUNS: u64 = 20;

/// Writes numbered records, about a thousand a second, and says so, until it is killed; for a minute at most.
pub(super) fn child(path: &Path) -> Result<(), Error> {
    let now = super::now();
    let (store, _) = EmbeddedStore::open(path, Limits::default())?;
    let start = Instant::now();
    let mut out = std::io::stdout();
    for n in 0u64.. {
        set(
            &store,
            None,
            &RecordUpdate { key: network(n), value: n.to_be_bytes().to_vec(), expires_in: 86_400, weight: 5 },
            now,
        )?;
        writeln!(out, "{n}")?;
        if start.elapsed() > Duration::from_secs(60) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Kills it at a random moment, and counts what is missing.
pub(super) fn run(component: &str, folder: &Path) -> Result<(), Error> {
    let (mut acknowledged_in_all, mut lost_in_all, mut most, mut oldest) = (0, 0, 0, Duration::ZERO);
    for run in 0..RUNS {
        let file = file_in(folder, &format!("kill-{run}.redb"))?;
        let mut child = command(component, &["write", &file])?.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the child has no output")?;
        let kill_at = Instant::now() + Duration::from_millis(1000 + (spread(run) ^ spread(super::now())) % 2000);
        let mut acknowledged: HashMap<u64, Instant> = HashMap::new();
        let mut killed = None;
        for line in BufReader::new(output).lines() {
            if let Ok(number) = line?.parse() {
                acknowledged.insert(number, Instant::now());
            }
            if killed.is_none() && Instant::now() >= kill_at {
                child.kill()?; // SIGKILL, by its id.
                killed = Some(Instant::now());
            }
        }
        child.wait()?;
        let killed = killed.ok_or("the child ended before it was killed")?;
        let (store, opened) = EmbeddedStore::open(Path::new(&file), Limits::default())?;
        if let Some(aside) = opened.set_aside {
            return Err(format!("run {run}: the file was damaged: {}", aside.display()).into());
        }
        let mut lost = 0;
        for (&number, &at) in &acknowledged {
            if ready(store.get_many(&[network(number)], super::now()))?.is_empty() {
                lost += 1;
                oldest = oldest.max(killed.saturating_duration_since(at));
            }
        }
        acknowledged_in_all += acknowledged.len();
        lost_in_all += lost;
        most = most.max(lost);
    }
    println!(
        "kill -9, {RUNS} runs: of {acknowledged_in_all} acknowledged updates {lost_in_all} were lost, at most {most} in a run; the oldest was {} ms old; no file damaged",
        oldest.as_millis()
    );
    Ok(())
}

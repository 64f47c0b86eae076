//! Connections that are refused in place of the greeting.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::options::Options;
use super::server::{Program, Server};
use crate::inside::client::Client;
use crate::inside::group::{Cpu, Group};
use crate::inside::load::{Load, UNAUTHENTICATED, client};
use crate::inside::timely;

/// Connections before anything is measured, 10 at a time.
const WARM_UP: (usize, usize) = (10, 200);
/// Failing mails after which a network is in penalty, with some to spare.
const FAILURES: usize = 30;
/// The least that any server does, by two programs of this one.
const BARE: [(&str, &str, u16, &str); 2] =
    [("bare accept, close", "bare", 2631, ""), ("bare line, orderly close", "orderly", 2632, "4.4.8")];
/// How long such a program may take until it listens.
const START: Duration = Duration::from_secs(10);

/// One round of one row.
pub(crate) struct Sample {
    /// Refused connections per second.
    pub(crate) rate: f64,
    /// CPU time in µs for each: all, and what of it was spent in the kernel.
    pub(crate) cpu: (f64, f64),
}

/// One way to refuse, with so many connections at a time.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) sessions: usize,
    pub(crate) samples: Vec<Sample>,
    /// Connections of all rounds that were greeted.
    pub(crate) greeted: usize,
}

/// Who refuses.
struct Target<'a> {
    name: &'static str,
    port: u16,
    /// What it says.
    words: &'static str,
    groups: &'a [Group],
}

/// Measures all of them.
pub(crate) async fn measure(
    groups: &Path,
    folder: &Path,
    component: &str,
    servers: &[Server],
    load: &Load,
    options: &Options,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut bare = Vec::new();
    for (name, word, port, words) in BARE {
        let group = Group::create(groups, word)?;
        let mut command = group.command(std::env::current_exe()?);
        command.args(["--component", component, "smtpd", word, &port.to_string()]);
        bare.push((name, port, words, [group], Program::start(command, &folder.join(word).with_extension("log"))?));
    }
    let mut targets: Vec<Target> =
        bare.iter().map(|(name, port, words, groups, _)| Target { name, port: *port, words, groups }).collect();
    for server in servers {
        targets.extend(server.refusing.iter().map(|&(name, port, words)| Target { name, port, words, groups: &server.groups }));
    }
    for target in &targets {
        prepare(target, load).await.map_err(|error| format!("{}: {error}", target.name))?;
    }
    let rows = targets.iter().flat_map(|target| options.refusals.iter().map(move |counts| (target, *counts)));
    let mut rows: Vec<(&Target, usize, Row)> = rows
        .map(|(target, (sessions, count))| (target, count, Row { name: target.name, sessions, samples: Vec::new(), greeted: 0 }))
        .collect();
    for round in 0..options.rounds {
        // As with messages.
        let begin = round * options.refusals.len();
        for number in 0..rows.len() {
            let number = (number + begin) % rows.len();
            let (target, count, row) = &mut rows[number];
            let before = target.cpu()?;
            let start = Instant::now();
            let done = timely(connect(target, row.sessions, *count)).await;
            row.greeted += done.map_err(|error| format!("{}, {} at a time: {error}", target.name, row.sessions))?;
            let rate = *count as f64 / start.elapsed().as_secs_f64();
            row.samples.push(Sample { rate, cpu: (target.cpu()? - before).per(*count) });
        }
    }
    Ok(rows.into_iter().map(|(_, _, row)| row).collect())
}

impl Target<'_> {
    fn cpu(&self) -> std::io::Result<Cpu> {
        self.groups.iter().map(Group::cpu).sum()
    }
}

/// Waits until it listens, and gives it reasons to refuse: mail that nothing vouches for.
async fn prepare(target: &Target<'_>, load: &Load) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + START;
    while let Err(error) = Client::connect(client(UNAUTHENTICATED), target.port).await {
        if Instant::now() > deadline {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for number in 0..FAILURES {
        if Client::connect(client(UNAUTHENTICATED), target.port).await?.refused(target.words).await? {
            return timely(connect(target, WARM_UP.0, WARM_UP.1)).await.map(drop);
        }
        if timely(load.send_unauthenticated(target.port, number)).await.is_ok() {
            return Err("a message without SPF and DKIM was accepted, and should have been refused".into());
        }
    }
    Err(format!("this network is not refused after {FAILURES} failing messages").into())
}

/// So many connections, and so many at a time. All are closed when this returns how many of them were greeted.
async fn connect(target: &Target<'_>, at_a_time: usize, count: usize) -> Result<usize, Box<dyn Error>> {
    let (next, mut tasks) = (Arc::new(AtomicUsize::new(0)), tokio::task::JoinSet::new());
    let Target { port, words, .. } = *target;
    for _ in 0..at_a_time {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            let mut greeted = 0;
            while next.fetch_add(1, Ordering::Relaxed) < count {
                greeted += usize::from(!Client::connect(client(UNAUTHENTICATED), port).await?.refused(words).await?);
            }
            Ok::<usize, std::io::Error>(greeted)
        });
    }
    let mut greeted = 0;
    while let Some(done) = tasks.join_next().await {
        greeted += done??;
    }
    Ok(greeted)
}

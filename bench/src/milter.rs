//! What a filter costs beside a Postfix: CPU per message and messages per second, of no filter, a filter that does nothing, smtp-fallback-milter,
//! OpenDKIM and policyd-spf, side by side in one run.
//!
//! All of it runs in namespaces of its own for network, mounts and processes: Postfix, the filters, a name server on 127.0.0.1:53 and the
//! clients, which have documentation addresses of IPv6 on the loopback interface. Nothing can leave the machine, the system's own services
//! are not touched, and nothing is left when the run is over.

mod filters;
mod group;
mod load;
mod noop;
mod options;
mod place;
mod postfix;
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use filters::Filters;
use group::{Cpu, Group};
use load::Load;
use options::Options;
use postfix::Postfix;
use table::Row;

/// Messages of each row before anything is measured: processes are started, caches filled.
const WARM_UP: usize = 200;

/// A round of one row takes some seconds. One that takes this long hangs.
const ROUND: Duration = Duration::from_secs(120);

/// Makes the namespaces, and starts this program again in them.
pub(crate) fn run(component: &str, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    match arguments {
        [word, socket] if word == "no-op" => noop::run(socket),
        [word, groups, folder, rest @ ..] if word == "inside" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(inside(component, Path::new(groups), Path::new(folder), &Options::parse(rest)?))
        }
        _ => {
            // What cannot be understood is said before anything is started.
            Options::parse(arguments)?;
            place::run_inside(component, arguments)
        }
    }
}

/// One way to set Postfix up.
struct Setup {
    name: String,
    /// The port of its smtpd.
    port: u16,
    /// The socket of a milter.
    milter: Option<String>,
    /// Whether policyd-spf is asked.
    policyd: bool,
    /// Where the CPU time of its filters is counted.
    groups: Vec<Group>,
    /// What shows that the filters work.
    expected: Vec<Expected>,
    /// What the milter says of what goes wrong.
    log: Option<PathBuf>,
}

impl Setup {
    /// With the last words of those who may know more.
    fn failed(&self, error: Box<dyn Error>, postfix: &Postfix) -> String {
        let filter = self.log.as_ref().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
        format!("{}: {error}\nPostfix:\n{}\nthe filter:\n{}", self.name, postfix.log(), last_lines(&filter))
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[derive(Clone, Copy)]
enum Expected {
    /// They add this to a message of a sender whose SPF, DKIM and DMARC pass.
    Field(&'static str),
    /// They refuse a sender who has nothing of it, with these words in the reply.
    Refusal(&'static str),
}

async fn inside(component: &str, groups: &Path, folder: &Path, options: &Options) -> Result<(), Box<dyn Error>> {
    // This is the first process of its namespace, which no signal ends by itself. All others end with it.
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    Group::create(groups, "load")?.enter()?;
    place::furnish(folder)?;
    let load = Load::start(options).await?;
    let filters = Filters::start(component, groups, folder, &options.ours)?;
    let setups = filters.setups();
    let postfix = Postfix::start(groups, folder, &setups, filters.policyd())?;
    for setup in &setups {
        check(setup, &load, &postfix).await.map_err(|error| setup.failed(error, &postfix))?;
        timely(load.send(setup.port, WARM_UP)).await.map_err(|error| setup.failed(error, &postfix))?;
        postfix.drained().await?;
    }
    let mut rows: Vec<Row> = setups.iter().map(|setup| Row::new(&setup.name)).collect();
    for round in 0..options.rounds {
        // Round by round and from another row each time, so that whatever else the machine does falls on all rows alike.
        for number in 0..setups.len() {
            let number = (number + round) % setups.len();
            rows[number].add(measure(&setups[number], &load, &postfix, options.messages).await?);
        }
    }
    table::print(&rows, options);
    Ok(())
}

async fn measure(setup: &Setup, load: &Load, postfix: &Postfix, messages: usize) -> Result<table::Sample, Box<dyn Error>> {
    let cpu = || -> std::io::Result<(Cpu, Cpu)> {
        let filters = setup.groups.iter().map(Group::cpu).sum::<std::io::Result<Cpu>>()?;
        Ok((postfix.group().cpu()?, filters))
    };
    let (postfix_before, filters_before) = cpu()?;
    let start = Instant::now();
    timely(load.send(setup.port, messages)).await.map_err(|error| setup.failed(error, postfix))?;
    let took = start.elapsed();
    postfix.drained().await?;
    let (postfix_after, filters_after) = cpu()?;
    let each = |after: Cpu, before: Cpu| (after - before).per(messages);
    Ok(table::Sample {
        rate: messages as f64 / took.as_secs_f64(),
        postfix: each(postfix_after, postfix_before),
        filters: each(filters_after, filters_before),
    })
}

/// Whether the filters do what they are measured at.
async fn check(setup: &Setup, load: &Load, postfix: &Postfix) -> Result<(), Box<dyn Error>> {
    timely(load.send_one_to(setup.port, postfix::KEPT)).await?;
    let message = postfix.kept().await?;
    for expected in &setup.expected {
        match expected {
            Expected::Field(words) if !message.contains(words) => {
                return Err(format!("expected a message with {words:?}, found\n{message}").into());
            }
            Expected::Refusal(words) => match timely(load.send_unauthenticated(setup.port)).await {
                Err(refusal) if refusal.to_string().contains(words) => {}
                Err(other) => return Err(format!("expected a refusal with {words:?}, found {other}").into()),
                Ok(()) => return Err("a message without SPF and DKIM was accepted, and should have been refused".into()),
            },
            Expected::Field(_) => {}
        }
    }
    Ok(())
}

async fn timely(sending: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    let late = |_| format!("the messages were not taken within {} s", ROUND.as_secs());
    tokio::time::timeout(ROUND, sending).await.map_err(late)?
}

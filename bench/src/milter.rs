//! What a filter costs beside a Postfix: CPU per message and messages per second, of no filter, a filter that does nothing, smtp-fallback-milter,
//! OpenDKIM and policyd-spf, side by side in one run.

mod filters;
mod noop;
mod options;
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use filters::Filters;
use options::Options;
use table::Row;

use crate::inside::filter::ASK_POLICYD;
use crate::inside::group::{Cpu, Group};
use crate::inside::load::Load;
use crate::inside::place::SERVER;
use crate::inside::postfix::{self, Postfix};
use crate::inside::{self, last_lines, place, timely};

/// Messages of each row before anything is measured: processes are started, caches filled.
const WARM_UP: usize = 200;

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
            place::run_inside(component, "milter", arguments)
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

#[derive(Clone, Copy)]
enum Expected {
    /// They add this to a message of a sender whose SPF, DKIM and DMARC pass.
    Field(&'static str),
    /// They refuse a sender who has nothing of it, with these words in the reply.
    Refusal(&'static str),
}

async fn inside(component: &str, groups: &Path, folder: &Path, options: &Options) -> Result<(), Box<dyn Error>> {
    inside::enter(groups, folder)?;
    let load = Load::start(options.size).await?;
    let filters = Filters::start(component, groups, folder, &options.ours)?;
    let setups = filters.setups();
    let postfix = Postfix::start(groups, folder, &services(&setups, &filters), "")?;
    for setup in &setups {
        check(setup, &load, &postfix).await.map_err(|error| setup.failed(error, &postfix))?;
        timely(load.send(setup.port, options.batch(WARM_UP))).await.map_err(|error| setup.failed(error, &postfix))?;
        postfix.drained().await?;
    }
    let mut rows: Vec<Row> = setups.iter().map(|setup| Row::new(&setup.name)).collect();
    for round in 0..options.rounds {
        // Round by round and from another row each time, so that whatever else the machine does falls on all rows alike.
        for number in 0..setups.len() {
            let number = (number + round) % setups.len();
            rows[number].add(measure(&setups[number], &load, &postfix, options).await?);
        }
    }
    table::print(&rows, options);
    Ok(())
}

async fn measure(setup: &Setup, load: &Load, postfix: &Postfix, options: &Options) -> Result<table::Sample, Box<dyn Error>> {
    let cpu = || -> std::io::Result<(Cpu, Cpu)> {
        let filters = setup.groups.iter().map(Group::cpu).sum::<std::io::Result<Cpu>>()?;
        Ok((postfix.group().cpu()?, filters))
    };
    let (postfix_before, filters_before) = cpu()?;
    let start = Instant::now();
    timely(load.send(setup.port, options.batch(options.messages))).await.map_err(|error| setup.failed(error, postfix))?;
    let took = start.elapsed();
    postfix.drained().await?;
    let (postfix_after, filters_after) = cpu()?;
    let each = |after: Cpu, before: Cpu| (after - before).per(options.messages);
    Ok(table::Sample {
        rate: options.messages as f64 / took.as_secs_f64(),
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
            Expected::Refusal(words) => match timely(load.send_unauthenticated(setup.port, 0)).await {
                Err(refusal) if refusal.to_string().contains(words) => {}
                Err(other) => return Err(format!("expected a refusal with {words:?}, found {other}").into()),
                Ok(()) => return Err("a message without SPF and DKIM was accepted, and should have been refused".into()),
            },
            Expected::Field(_) => {}
        }
    }
    Ok(())
}

/// An smtpd for each row, for master.cf.
fn services(setups: &[Setup], filters: &Filters) -> String {
    let mut text = String::new();
    for Setup { port, milter, policyd, .. } in setups {
        text.push_str(&format!("[{SERVER}]:{port} inet n - n - - smtpd\n"));
        if let Some(socket) = milter {
            text.push_str(&format!("  -o smtpd_milters={socket}\n"));
        }
        if *policyd {
            text.push_str(ASK_POLICYD);
        }
    }
    text + &filters.policyd().service()
}

//! Messages that are verified and accepted.

use std::error::Error;
use std::time::{Duration, Instant};

use super::options::Options;
use super::server::{Parts, Server};
use crate::inside::load::{Batch, Load};
use crate::inside::{postfix, timely};

/// Messages before anything is measured, by 10 sessions: processes are started, caches filled.
const WARM_UP: Batch = Batch { messages: 200, sessions: 10, per_session: 1 };

/// One round of one row.
pub(crate) struct Sample {
    /// Messages per second.
    pub(crate) rate: f64,
    /// CPU time of all that belongs to the server, in µs per message: all, and what of it was spent in the kernel.
    pub(crate) cpu: (f64, f64),
    /// How long half of the sessions took at most, and 99 of 100, in ms.
    pub(crate) took: (f64, f64),
}

/// One server with so many sessions at a time.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) sessions: usize,
    pub(crate) samples: Vec<Sample>,
}

/// Measures all servers.
pub(crate) async fn measure(servers: &[Server], load: &Load, options: &Options) -> Result<Vec<Row>, Box<dyn Error>> {
    for server in servers {
        check(server, load).await.map_err(|error| server.failed(error))?;
        timely(load.send(server.port, WARM_UP)).await.map_err(|error| server.failed(error))?;
        server.drained().await?;
    }
    let rows = servers.iter().flat_map(|server| options.messages.iter().map(move |counts| (server, *counts)));
    let mut rows: Vec<(&Server, usize, Row)> = rows
        .map(|(server, (sessions, messages))| (server, messages, Row { name: server.name, sessions, samples: Vec::new() }))
        .collect();
    for round in 0..options.rounds {
        // Round by round and from another row each time, so that whatever else the machine does falls on all rows alike.
        let begin = round * options.messages.len();
        for number in 0..rows.len() {
            let number = (number + begin) % rows.len();
            let (server, messages, row) = &mut rows[number];
            let batch = Batch { messages: *messages, sessions: row.sessions, per_session: 1 };
            row.samples.push(sample(server, load, batch).await?);
        }
    }
    Ok(rows.into_iter().map(|(_, _, row)| row).collect())
}

async fn sample(server: &Server, load: &Load, batch: Batch) -> Result<Sample, Box<dyn Error>> {
    let before = server.cpu()?;
    let begin = Instant::now();
    let mut times = timely(load.send(server.port, batch)).await.map_err(|error| server.failed(error))?;
    let took = begin.elapsed();
    server.drained().await?;
    let cpu = (server.cpu()? - before).per(batch.messages);
    times.sort();
    let percentile =
        |percent: usize| times.get(times.len() * percent / 100).map_or(f64::NAN, |time: &Duration| time.as_secs_f64() * 1e3);
    Ok(Sample { rate: batch.messages as f64 / took.as_secs_f64(), cpu, took: (percentile(50), percentile(99)) })
}

/// Whether it verifies what it is measured at.
async fn check(server: &Server, load: &Load) -> Result<(), Box<dyn Error>> {
    let words = match &server.parts {
        Parts::Postfix(postfix, _) => {
            timely(load.send_one_to(server.port, postfix::KEPT)).await?;
            postfix.kept().await?
        }
        Parts::Program(_) => {
            timely(load.send_one_to(server.port, "jones")).await?;
            server.said()
        }
    };
    match server.proof.iter().find(|proof| !words.contains(**proof)) {
        None => Ok(()),
        Some(proof) => Err(format!("expected {proof:?} of a verified message, found\n{words}").into()),
    }
}

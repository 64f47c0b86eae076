//! `cache show`: all records, or those of a kind.

use clap::{Args, ValueEnum};
use smtp_fallback_policy::contract::KeyKind;

use crate::cache::transfer::Line;
use crate::fail::Fail;
use crate::host::Host;
use crate::output::Output;
use crate::target::{key_name, kind_name};
use crate::time::{distance, now};
use crate::words::summary;

/// Which records, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only records of this kind
    #[arg(long)]
    kind: Option<Kind>,
    /// At most so many, from 1 on
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = limit)]
    limit: usize,
    /// Print JSON, for programs: one object a line, as `cache export` writes them
    #[arg(long)]
    json: bool,
}

fn limit(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "expected a number from 1 on".to_owned())
}

/// What a record is about.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Clients' addresses
    Address,
    /// Their networks: penalties, evidence, who is let in
    Network,
    /// Their /48s: budgets
    Budget,
    /// Refused mails, by sender, Message-ID and Date
    Exact,
    /// Refused mails, by sender and EHLO name
    Inferred,
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Address => KeyKind::Address,
            Kind::Network => KeyKind::Network,
            Kind::Budget => KeyKind::Budget,
            Kind::Exact => KeyKind::Exact,
            Kind::Inferred => KeyKind::Inferred,
        }
    }
}

pub(super) async fn run(options: Options, host: &Host) -> Result<(), Fail> {
    let (now, kind) = (now(), options.kind.map(KeyKind::from));
    let mut output = Output::new();
    let (mut shown, mut more) = (0, false);
    host.scan(|listed| {
        if kind.is_some_and(|kind| kind != listed.record.key.kind) {
            return Ok(true);
        }
        if shown == options.limit {
            more = true;
            return Ok(false);
        }
        shown += 1;
        if options.json {
            output.json(&Line::of(&listed))?;
        } else {
            let key = listed.record.key;
            let (kind, name) = (kind_name(key.kind), key_name(&key));
            let expires = distance(listed.expires_at, now);
            output.line(&format!("{kind:<8}  {name:<24}  {}; expires {expires}", summary(&listed.record, now)))?;
        }
        Ok(true)
    })
    .await?;
    output.finish()?;
    if more {
        crate::output::remark(&format!("There are more than {shown}: --limit shows more of them, `cache export` all."));
    }
    if shown == 0 && !options.json {
        return Err(Fail::NotFound("there are no such records".to_owned()));
    }
    Ok(())
}

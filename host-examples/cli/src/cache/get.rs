//! `cache get`: what is known about a client or a network.

use clap::Args;
use serde_json::{Value, json};
use smtp_fallback_policy::contract::{Key, KeyKind, StoredRecord};
use smtp_fallback_policy::inspect;
use smtp_fallback_policy::record::{MailRecord, MessageId, Record};
use smtp_fallback_store::control::JsonKey;

use super::One;
use crate::fail::Fail;
use crate::host::Host;
use crate::output::{Output, remark};
use crate::target::{Target, keys_of_network, kind_name};
use crate::time::now;
use crate::words::described;

/// So many refused mails of a network are shown.
const MOST_MAILS: usize = 20;
/// So many are looked at: ten megabytes at most.
const MOST_LOOKED_AT: usize = 20_000;

/// Of whom, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(super) one: One,
    /// Print JSON, for programs: one record a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(options: Options, host: &Host) -> Result<(), Fail> {
    let target = options.one.target;
    let mut found = host.get(&keys(target, host).await?).await?;
    let more = mails(target, host, &mut found).await?;
    if found.is_empty() {
        return Err(Fail::NotFound(format!("nothing is known about {target}")));
    }
    let now = now();
    let mut output = Output::new();
    for record in &found {
        if options.json {
            output.json(&shown(record))?;
        } else {
            for line in described(record, now) {
                output.line(&line)?;
            }
        }
    }
    output.finish()?;
    if more > 0 {
        remark(&format!(
            "There are {more} more refused mails of this network; `cache show --kind exact` lists those of all networks."
        ));
    }
    Ok(())
}

/// The record as JSON. Octets that are no record are said to be that.
fn shown(record: &StoredRecord) -> Value {
    inspect(record).ok().and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_else(
        || json!({"kind": kind_name(record.key.kind), "key": JsonKey(record.key), "octets": record.value.len(), "unreadable": true}),
    )
}

/// The keys of what is known about it.
pub(super) async fn keys(target: Target, host: &Host) -> Result<Vec<Key>, Fail> {
    match target {
        Target::Address(address) => {
            let keys = host.keys_of(address).await?;
            if keys.is_empty() {
                let text =
                    format!("the host's policy keeps nothing about {address}: its network is exempt, or no policy is loaded");
                return Err(Fail::NotFound(text));
            }
            Ok(keys)
        }
        Target::Network(network) => Ok(keys_of_network(network)),
        Target::Mail(key) => Ok(vec![key]),
    }
}

/// Adds the mails that were refused from this network, or from the one that the address is in, the latest first; how many more there are.
async fn mails(target: Target, host: &Host, found: &mut Vec<StoredRecord>) -> Result<usize, Fail> {
    let belongs = |mail: &MailRecord| match target {
        Target::Address(address) => mail.network.contains(address),
        Target::Network(network) => mail.network == network,
        Target::Mail(_) => false,
    };
    if matches!(target, Target::Mail(_)) {
        return Ok(0);
    }
    let (mut exact, mut inferred) = (Vec::new(), Vec::new());
    host.scan(|listed| {
        if let Some(Record::Mail(mail)) = Record::read(&listed.record)
            && belongs(&mail)
        {
            let of_kind = if listed.record.key.kind == KeyKind::Exact { &mut exact } else { &mut inferred };
            of_kind.push((mail, listed.record));
        }
        Ok(exact.len() + inferred.len() < MOST_LOOKED_AT)
    })
    .await?;
    // Most mails have two records, which say the same. The one of their own may be lost, but not of all of them.
    inferred.retain(|(mail, _)| mail.message_id != MessageId::Known || exact.is_empty());
    exact.append(&mut inferred);
    exact.sort_by_key(|(mail, _)| std::cmp::Reverse(mail.last_refusal));
    let more = exact.len().saturating_sub(MOST_MAILS);
    found.extend(exact.into_iter().take(MOST_MAILS).map(|(_, record)| record));
    Ok(more)
}

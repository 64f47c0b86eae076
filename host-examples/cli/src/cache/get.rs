//! `cache get`: what is known about a client or a network.

use clap::Args;
use smtp_fallback_policy::contract::{Key, KeyKind, StoredRecord};
use smtp_fallback_policy::inspect;
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::Record;

use super::One;
use crate::fail::Fail;
use crate::host::Host;
use crate::output::Output;
use crate::target::{Target, keys_of_network};
use crate::time::now;
use crate::words::described;

/// So many refused mails of a network are shown.
const MOST_MAILS: usize = 20;

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
    let more = match network(target, host).await? {
        Some(network) => mails(network, host, &mut found).await?,
        None => false,
    };
    if found.is_empty() {
        return Err(Fail::NotFound(format!("nothing is known about {target}")));
    }
    let now = now();
    let mut output = Output::new();
    for record in &found {
        if options.json {
            let shown = inspect(record).ok().and_then(|json| serde_json::from_str::<serde_json::Value>(&json).ok());
            output.json(&shown.unwrap_or_default())?;
        } else {
            for line in described(record, now) {
                output.line(&line)?;
            }
        }
    }
    if more && !options.json {
        output.line(&format!("and more refused mails of this network than these {MOST_MAILS}"))?;
    }
    output.finish()
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

/// The network whose refused mails belong to it.
async fn network(target: Target, host: &Host) -> Result<Option<Network>, Fail> {
    Ok(match target {
        Target::Address(address) => {
            let keys = host.keys_of(address).await?;
            let key = keys.iter().find(|key| key.kind == KeyKind::Network);
            key.map(|key| Network::of(key.address, key.prefix_length))
        }
        Target::Network(network) => Some(network),
        Target::Mail(_) => None,
    })
}

/// Adds the mails that were refused from this network; whether there are more.
async fn mails(network: Network, host: &Host, found: &mut Vec<StoredRecord>) -> Result<bool, Fail> {
    let mut count = 0;
    host.scan(|listed| {
        if listed.record.key.kind == KeyKind::Exact
            && let Some(Record::Mail(mail)) = Record::read(&listed.record)
            && mail.network == network
        {
            count += 1;
            if count <= MOST_MAILS {
                found.push(listed.record);
            }
        }
        Ok(count <= MOST_MAILS)
    })
    .await?;
    Ok(count > MOST_MAILS)
}

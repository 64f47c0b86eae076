//! `cache exempt`: letting a network in by hand (P15).

use std::time::Duration;

use clap::Args;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, StoredRecord};
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::{Record, exempt, network_key};

use crate::fail::Fail;
use crate::host::Host;
use crate::output::Output;
use crate::target::Target;
use crate::time::{date, length};

pub(super) const EXAMPLES: &str = "\
Examples:
  smtp-fallback cache exempt 2001:db8::25 --for 7d     its network, for a week
  smtp-fallback cache exempt 2001:db8::/64 --for 12h   this network, for half a day
  smtp-fallback cache exempt 2001:db8::25 --for 0s     no longer";

const MINUTE: u64 = 60;
const YEAR: u64 = 366 * 24 * 3600;

/// Whom, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// An address such as 2001:db8::25, whose network is meant, or a network such as 2001:db8::/64
    #[arg(value_name = "ADDRESS|NETWORK")]
    pub(super) target: Target,
    /// For how long: such as 12h, 7d or 2weeks, from a minute to a year; 0s ends it
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; expected a time such as 12h or 7d"))?;
    match time.as_secs() {
        0 if time.is_zero() => Ok(time),
        MINUTE..=YEAR => Ok(time),
        _ => Err("expected a time from a minute to a year, such as 12h or 7d, or 0s".to_owned()),
    }
}

pub(super) async fn run(options: Options, host: &Host) -> Result<(), Fail> {
    // A year fits.
    let seconds = u32::try_from(options.time.as_secs()).unwrap_or(u32::MAX);
    let network = match options.target {
        // What was let in under another policy can be ended, too.
        Target::Network(network) if seconds == 0 => network,
        Target::Network(network) => counted_as_one(network, host).await?,
        Target::Address(address) => network_of(address, host).await?,
        Target::Mail(_) => return Err(Fail::Other("a mail cannot be let in; expected an address or a network".to_owned())),
    };
    let key = network_key(network);
    let mut since = 0;
    let changed = host
        .change(key, |found, now| {
            since = now;
            if seconds == 0 && !is_let_in(key, found, now) {
                return Ok(None);
            }
            exempt(network, found, now, seconds).map(Some).map_err(|error| Fail::Other(error.to_string()))
        })
        .await?;
    if changed.is_none() {
        return Err(Fail::NotFound(format!("{network} is not let in: nothing to end")));
    }
    let mut output = Output::new();
    if seconds == 0 {
        output.line(&format!("{network} is no longer let in"))?;
    } else {
        let until = date(since + u64::from(seconds));
        output.line(&format!("{network} is let in for {}, until {until}", length(seconds.into())))?;
        output.line(&format!("To end it: smtp-fallback cache exempt {network} --for 0s"))?;
    }
    output.finish()?;
    host.remark_if_alone("it is lost if the host stops before that").await;
    Ok(())
}

/// The network of this address under the policy in force.
async fn network_of(address: Address, host: &Host) -> Result<Network, Fail> {
    let keys = host.keys_of(address).await?;
    let key = keys.iter().find(|key| key.kind == KeyKind::Network).ok_or_else(|| {
        Fail::Other(format!("the host refuses nothing of {address}: its network is exempt by the policy, or no policy is loaded"))
    })?;
    Ok(Network::of(key.address, key.prefix_length))
}

/// The same network, if the policy in force counts it as one: the record of another would never be asked for.
async fn counted_as_one(network: Network, host: &Host) -> Result<Network, Fail> {
    let counted = network_of(network.prefix(), host).await?;
    if counted == network {
        return Ok(network);
    }
    let mut text = format!(
        "expected a /{}: {counted}, found {network}: the policy in force counts networks of that length as one",
        counted.length()
    );
    if network.length() < counted.length() {
        text.push_str("; to let all of the larger one in, put it into `exempt` of the policy");
    }
    Err(Fail::Other(text))
}

fn is_let_in(key: Key, found: Option<&[u8]>, now: u64) -> bool {
    let record = found.and_then(|value| Record::read(&StoredRecord { key, value: value.to_vec() }));
    matches!(record, Some(Record::Network(record)) if record.let_in.is_some_and(|let_in| let_in.in_force(now)))
}

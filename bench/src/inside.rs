//! What measurements beside other people's mail software have in common. All of it runs in namespaces of its own for network, mounts and
//! processes: the servers, the filters, a name server on 127.0.0.1:53 and the clients, which have documentation addresses of IPv6 on the loopback
//! interface. Nothing can leave the machine, the system's own services are not touched, and nothing is left when the run is over.

pub(crate) mod client;
pub(crate) mod filter;
pub(crate) mod group;
pub(crate) mod load;
pub(crate) mod place;
pub(crate) mod postfix;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use group::Group;

/// A round of one row takes some seconds. One that takes this long hangs.
const ROUND: Duration = Duration::from_secs(120);

/// To be called by the first process inside, for all that it does.
pub(crate) fn enter(groups: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    // This is the first process of its namespace, which no signal ends by itself. All others end with it.
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    Group::create(groups, "load")?.enter()?;
    place::furnish(folder)
}

/// What the future gives, or an error where that takes too long.
pub(crate) async fn timely<T>(sending: impl Future<Output = Result<T, Box<dyn Error>>>) -> Result<T, Box<dyn Error>> {
    let late = |_| format!("it was not over within {} s", ROUND.as_secs());
    tokio::time::timeout(ROUND, sending).await.map_err(late)?
}

/// Of rounds: an outlier counts no more than any other.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The end of a log.
pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

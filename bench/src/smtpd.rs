//! What an SMTP server costs: ours beside Postfix with opendkim and policyd-spf, and beside Haraka with its SPF and DKIM plugins, in one run.
//!
//! | module | responsibility |
//! | --- | --- |
//! | `idle` | memory of connections that only wait |
//! | `messages` | messages that are verified |
//! | `refusals` | connections that are refused in place of the greeting |
//! | `ours`, `postfix`, `haraka` | the servers |
//! | `bare` | the least that any server does: accepts, and closes |
//! | `sink` | the mail server behind ours |
//! | `server` | what all servers have in common: CPU time, memory, log |

mod bare;
mod haraka;
mod idle;
mod messages;
mod options;
mod ours;
mod postfix;
mod refusals;
mod server;
mod sink;
mod table;

use std::error::Error;
use std::path::Path;

use options::Options;

use crate::inside::load::Load;
use crate::inside::{self, place};

/// Octets of a message.
const SIZE: usize = 10_000;

/// Makes the namespaces, and starts this program again in them.
pub(crate) fn run(component: &str, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    match arguments {
        [word, port] if word == "bare" => bare::close(port.parse()?),
        [word, port] if word == "orderly" => bare::close_orderly(port.parse()?),
        [word, groups, folder, rest @ ..] if word == "inside" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(inside(component, Path::new(groups), Path::new(folder), &Options::parse(rest)?))
        }
        _ => {
            // What cannot be understood is said before anything is started.
            Options::parse(arguments)?;
            place::run_inside(component, "smtpd", arguments)
        }
    }
}

async fn inside(component: &str, groups: &Path, folder: &Path, options: &Options) -> Result<(), Box<dyn Error>> {
    inside::enter(groups, folder)?;
    let load = Load::start(SIZE).await?;
    sink::start().await?;
    let servers = [
        ours::start(groups, folder, &options.ours, component, ours::Destination::Maildir)?,
        ours::start(groups, folder, &options.ours, component, ours::Destination::Upstream)?,
        postfix::start(groups, folder)?,
        haraka::start(groups, folder, &options.haraka)?,
    ];
    for server in &servers {
        server.ready().await?;
    }
    // First, while no other work has left its traces in their memory.
    table::print_idle(&idle::measure(&servers, options).await?, options);
    let messages = messages::measure(&servers, &load, options).await?;
    table::print_messages(&messages);
    let refusals = refusals::measure(groups, folder, component, &servers, &load, options).await?;
    table::print_refusals(&refusals, &messages);
    table::print_conditions(options);
    Ok(())
}

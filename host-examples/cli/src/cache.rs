//! `cache`: the records themselves.

mod delete;
mod exempt;
mod get;
mod show;
mod transfer;
mod whole_file;

use std::path::Path;

use clap::{Args, Subcommand};

use crate::fail::Fail;
use crate::host::Host;
use crate::target::{IPV4, Target};

/// What to do with records.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List records, one a line
    Show(show::Options),
    /// Show what is known about a client or a network
    ///
    /// Of an address: its own record, those of its network and its /48 under the policy in force, and the refused mails of that network,
    /// the latest 20 of them. Exit status 1 when nothing is known.
    Get(get::Options),
    /// Forget what is known about a client or a network
    ///
    /// Of an address: its own record and those of its network and its /48, so that a penalty ends. A mail is named as `cache show` names it.
    Delete(One),
    /// Let everything of a network in for a time
    ///
    /// Mail without authentication as well as mail of distrusted domains, and without a limit on their number. The network of an address is
    /// what the policy counts as one, a /64 as a rule; no other can be let in. For good, put it into `exempt` of the policy.
    #[command(after_help = exempt::EXAMPLES)]
    Exempt(exempt::Options),
    /// Write all records to a file, as JSON, one a line
    ///
    /// The file is there once it is whole, and only its owner can read it.
    Export(transfer::File),
    /// Read records from a file that `cache export` wrote
    ///
    /// Every line is checked before the first is written. Records that are there stay as they are, unless --replace is given.
    Import(transfer::Import),
}

/// A command about one thing.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// An address such as 2001:db8::25, a network such as 2001:db8::/64, or a mail as `cache show` names it
    #[arg(value_name = "ADDRESS|NETWORK")]
    target: Target,
}

pub(crate) async fn run(command: CacheCommand, socket: &Path) -> Result<(), Fail> {
    let targets = match &command {
        CacheCommand::Get(options) => Some(options.one.target),
        CacheCommand::Delete(one) => Some(one.target),
        CacheCommand::Exempt(options) => Some(options.target),
        CacheCommand::Show(_) | CacheCommand::Export(_) | CacheCommand::Import(_) => None,
    };
    if targets.is_some_and(Target::is_ipv4) {
        return Err(Fail::Other(IPV4.to_owned()));
    }
    // What is wrong with the file is said before anybody is asked.
    let import = match &command {
        CacheCommand::Import(options) => Some(transfer::read(options)?),
        _ => None,
    };
    let host = Host::connect(socket).await?;
    match command {
        CacheCommand::Show(options) => show::run(options, &host).await,
        CacheCommand::Get(options) => get::run(options, &host).await,
        CacheCommand::Delete(one) => delete::run(one.target, &host).await,
        CacheCommand::Exempt(options) => exempt::run(options, &host).await,
        CacheCommand::Export(file) => transfer::export(file, &host).await,
        CacheCommand::Import(options) => transfer::import(options, import.unwrap_or_default(), &host).await,
    }
}

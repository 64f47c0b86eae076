//! `mx`: whether a domain's MX records let senders come back over IPv4.

mod dns;
mod layout;
mod rules;
mod senders;
mod zone_file;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::layout::Layout;
use self::rules::{Finding, Outcome};
use self::senders::Sender;
use crate::fail::Fail;
use crate::output::Output;

/// Check whether a domain's MX records let senders come back over IPv4
///
/// A refusal over IPv6 only helps if senders then find an IPv4 address, and try it. Whether they do depends on the MX records: this
/// command looks at them, in the DNS or in a zone file, and says what is wrong and what to do. It needs no running host.
///
/// What the DNS does not answer is unknown, and never counts as right.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct MxOptions {
    /// The domain that mail is sent to
    domain: String,
    /// Read a zone file (RFC 1035 section 5) in place of asking the DNS: before it is published
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    zone: Option<PathBuf>,
    /// Ask this name server, such as 192.0.2.53:53, in place of those of this machine
    #[arg(long, value_name = "ADDRESS:PORT")]
    server: Option<SocketAddr>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  smtp-fallback mx example.org                        as the DNS has it
  smtp-fallback mx example.org --zone example.org.db  before it is published

Exit status: 0 all is well; 1 something is wrong; 2 something is unknown, or another failure.";

/// What is printed as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    domain: &'a str,
    hosts: &'a [layout::Host],
    findings: &'a [Finding],
    senders: &'a [Sender],
}

pub(crate) async fn run(options: MxOptions) -> Result<(), Fail> {
    let layout = match &options.zone {
        Some(file) => zone_file::read(file, &options.domain)?,
        None => dns::look_up(&options.domain, options.server, dns::TIME).await?,
    };
    let findings = rules::check(&layout);
    let senders = senders::all(&layout);
    let mut output = Output::new();
    if options.json {
        output.json(&Report { domain: &layout.domain, hosts: &layout.hosts, findings: &findings, senders: &senders })?;
    } else {
        print(&layout, &findings, &senders, &mut output)?;
    }
    output.finish()?;
    match findings.iter().map(|finding| finding.outcome).max() {
        Some(Outcome::Wrong) => Err(Fail::Wrong),
        Some(Outcome::Unknown) => {
            Err(Fail::Other("what is unknown above was not checked: ask again later, or by --server".to_owned()))
        }
        Some(Outcome::Well) | None => Ok(()),
    }
}

fn print(layout: &Layout, findings: &[Finding], senders: &[Sender], output: &mut Output) -> Result<(), Fail> {
    output.line(&layout.domain)?;
    let width = layout.hosts.iter().map(|host| host.name.len()).max().unwrap_or(0);
    for host in &layout.hosts {
        output.line(&format!(
            "  {:>5}  {:width$}  {}, {}",
            host.preference,
            host.name,
            host.ipv6.words("IPv6"),
            host.ipv4.words("IPv4")
        ))?;
    }
    output.line("")?;
    for finding in findings {
        output.line(&format!("{:<8} {:<8} {}", finding.outcome.as_str(), finding.rule, finding.text))?;
        if let Some(advice) = &finding.advice {
            output.line(&format!("{:17} {advice}", ""))?;
        }
    }
    if !senders.is_empty() {
        output.line("")?;
        output.line("Of the attempts that meet a refusal after the greeting, so many end without IPv4, and the mail waits in the sender's queue:")?;
        for sender in senders {
            output.line(&format!(
                "  {:<9} {:>5}  {}",
                sender.name,
                sender.share.map_or("?".to_owned(), senders::percent),
                sender.why
            ))?;
        }
    }
    Ok(())
}

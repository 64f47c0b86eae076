//! `clients`: who does not come back over IPv4.

use std::path::Path;

use clap::Args;
use smtp_fallback_monitor::ReportBuilder;

use crate::fail::Fail;
use crate::host::Host;
use crate::output::Output;
use crate::time::now;

/// Report who does not come back over IPv4
///
/// Networks whose refused mail did not arrive over IPv4: since when, how often it was tried, and which mail has waited the longest. To let
/// one in, see `smtp-fallback cache exempt --help`, or put it into `exempt` in the policy. The status page of the host shows the same.
#[derive(Debug, Args)]
pub(crate) struct ClientsOptions {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(options: ClientsOptions, socket: &Path) -> Result<(), Fail> {
    let host = Host::connect(socket).await?;
    let mut report = ReportBuilder::new(now());
    host.scan(|listed| {
        report.add(&listed);
        Ok(true)
    })
    .await?;
    let report = report.finish();
    let mut output = Output::new();
    if options.json {
        output.json(&report)?;
    } else {
        for line in report.to_text().lines() {
            output.line(line)?;
        }
    }
    output.finish()
}

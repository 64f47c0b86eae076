//! `clients`: who does not come back over IPv4.

use std::path::Path;

use clap::Args;
use smtp_fallback_monitor::ReportBuilder;

use crate::fail::Fail;
use crate::host::Host;
use crate::output::Output;
use crate::time::now;

/// In which form.
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

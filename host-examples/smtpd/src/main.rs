//! The program: see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use smtp_fallback_daemon::args::{Program, Run};
use smtp_fallback_daemon::config::InForce;
use smtp_fallback_daemon::run::{Outcome, begin};
use smtp_fallback_daemon::{check, log, program};
use smtp_fallback_smtpd::config::Config;
use smtp_fallback_smtpd::load;
use smtp_fallback_smtpd::server::{Listeners, Server};

/// What `--help` prints.
const HELP: &str = "\
An SMTP server that applies the policy component, and keeps what it accepts in a Maildir or hands it to the mail server behind it.

Usage: smtp-fallback-smtpd --config FILE [--check-config] [--observe]

  --config FILE    The configuration, a TOML file. Required.
  --check-config   Load everything that the configuration names, print errors and warnings, and exit:
                   0 if it can be used, 1 if not. Run it as the server's user, whose rights count; no
                   listener is bound, the control socket and the monitor's port only for a moment where
                   they are free, and neither upstream nor Redis nor a name server is asked.
  --observe        Refuse nothing, whatever the policy's mode: log what would have been answered.
  --help           Print this text.
  --version        Print the version.

SIGHUP reads the policy and the certificates again, and logs what else has changed in FILE, which takes a restart.
SIGTERM and SIGINT finish what is in hand and end the server.

Exit status: 0 after a shutdown by SIGTERM or SIGINT, 1 when the server cannot start, 2 for a wrong command line.
";

const PROGRAM: Program = Program { name: "smtp-fallback-smtpd", version: env!("CARGO_PKG_VERSION"), help: HELP };

fn main() -> ExitCode {
    program::main(PROGRAM, check_config, serve)
}

fn check_config(config: &Config, run: &Run) -> Outcome {
    check::check(PROGRAM, &config.settings(), run, |found| {
        if let Err(error) = load::check_service(config) {
            found.errors.push(error.to_string());
        }
    })
}

fn serve(config: &Config, in_force: InForce, run: &Run) -> Outcome {
    log::start(&config.log, config.log_format);
    // Ports below 1024 take rights that the server then gives up.
    let listeners = Listeners::bind(config)?;
    begin(PROGRAM, &config.settings(), run, in_force)?.run(async |running| {
        let service = Arc::new(load::service(config, running.policy())?);
        let server = Server::new(listeners, Arc::clone(&service))?;
        running.reload_also(move || load::reload_certificates(&service));
        for address in server.addresses() {
            tracing::info!(%address, "listening");
        }
        running.ready();
        Ok(server.run(async || running.terminated().await).await?)
    })
}

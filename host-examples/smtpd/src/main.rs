//! The program: see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use smtp_fallback_policy::contract::Mode;
use smtp_fallback_smtpd::args::{Args, HELP, Run};
use smtp_fallback_smtpd::config::Config;
use smtp_fallback_smtpd::load::{self, LoadedPolicy};
use smtp_fallback_smtpd::log;
use smtp_fallback_smtpd::server::Server;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let run = match Args::parse(std::env::args_os().skip(1)) {
        Ok(Args::Run(run)) => run,
        Ok(Args::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Args::Version) => {
            println!("smtp-fallback-smtpd {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("smtp-fallback-smtpd: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    let done = Config::from_file(&run.config)
        .map_err(Into::into)
        .and_then(|config| if run.check { check(&config, &run) } else { serve(&config, &run) });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("smtp-fallback-smtpd: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn check(config: &Config, run: &Run) -> Outcome {
    // All that can be found out at once is shown at once.
    let service = runtime()?.block_on(async { load::check_service(config) });
    let policy = load::policy(config, run.observe);
    if let (Err(error), Err(_)) = (&service, &policy) {
        eprintln!("smtp-fallback-smtpd: {error}");
    }
    let LoadedPolicy { mode, warnings, .. } = policy?;
    for warning in &warnings {
        println!("warning: policy {}: {}", place(&warning.pointer), warning.message);
    }
    service?;
    println!("{} can be used; the policy is in {} mode", run.config.display(), word(mode));
    Ok(())
}

fn serve(config: &Config, run: &Run) -> Outcome {
    log::start(&config.log);
    let pool = match load::policy(config, run.observe) {
        Ok(LoadedPolicy { pool, mode, warnings }) => {
            for warning in &warnings {
                tracing::warn!(event = "policy-warning", place = place(&warning.pointer), "{}", warning.message);
            }
            tracing::info!(event = "policy-loaded", mode = word(mode));
            Some(pool)
        }
        // The policy only asks for another route: without it mail is still to be accepted.
        Err(error) => {
            for line in error.to_string().lines() {
                tracing::error!(event = "no-policy", "{}", line.trim_start());
            }
            tracing::error!(event = "no-policy", "serving without a policy: all mail is accepted");
            None
        }
    };
    let runtime = runtime()?;
    runtime.block_on(async {
        let service = load::service(config, pool.clone())?;
        let server = Server::bind(config, service)?;
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        for address in server.addresses() {
            tracing::info!(%address, "listening");
        }
        server
            .run(async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await;
        if let Some(pool) = pool {
            tracing::info!(event = "stopped", failures = ?pool.failures());
        }
        Ok(())
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "(the whole)" } else { pointer }
}

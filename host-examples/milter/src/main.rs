//! The program: see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use smtp_fallback_daemon::args::{Program, Run};
use smtp_fallback_daemon::config::InForce;
use smtp_fallback_daemon::log::TemporaryErrors;
use smtp_fallback_daemon::memory::Memory;
use smtp_fallback_daemon::policy::Policy;
use smtp_fallback_daemon::run::{Outcome, begin};
use smtp_fallback_daemon::{check, log, privileges, program};
use smtp_fallback_milter::config::Config;
use smtp_fallback_milter::server::Server;
use smtp_fallback_milter::session::{Authentication, Service, Services};
use smtp_fallback_milter::socket::{Bound, bind};
use smtp_fallback_verify::VerifierError;

/// What `--help` prints.
const HELP: &str = "\
A milter for Postfix and Sendmail: mail over IPv6 that is not authenticated is asked to come back over IPv4.

Usage: smtp-fallback-milter --config FILE [--check-config] [--observe]

  --config FILE    The configuration, a TOML file. Required.
  --check-config   Load everything that the configuration names, print errors and warnings, and exit:
                   0 if it can be used, 1 if not. Run it as the filter's user, whose rights count; neither
                   its sockets nor Redis nor a name server are touched, and the control socket and the
                   monitor's port only for a moment where they are free.
  --observe        Refuse nothing, whatever the policy's mode: log what would have been answered.
  --help           Print this text.
  --version        Print the version.

SIGHUP reads the policy again, and logs what else has changed in FILE, which takes a restart.
SIGTERM and SIGINT finish the messages in hand and end the filter.

Exit status: 0 after a shutdown by SIGTERM or SIGINT, 1 when the filter cannot start, 2 for a wrong command line.

See smtp-fallback-milter(8), and smtp-fallback-milter.toml(5) for FILE.
";

const PROGRAM: Program = Program { name: "smtp-fallback-milter", version: env!("CARGO_PKG_VERSION"), help: HELP };

fn main() -> ExitCode {
    program::main(PROGRAM, check_config, serve)
}

fn check_config(config: &Config, run: &Run) -> Outcome {
    check::check(PROGRAM, &config.settings(), run, |found| {
        if let Err(error) = authentication(config) {
            found.errors.push(error);
        }
        if let Some(Err(error)) = config.socket_group.as_deref().map(privileges::group) {
            found.errors.push(format!("socket_group: {error}"));
        }
    })
}

fn serve(config: &Config, in_force: InForce, run: &Run) -> Outcome {
    log::start(&config.log, config.log_format);
    // Before the user is changed: only root and members of a group can give it a socket.
    let group = config.socket_group.as_deref().map(privileges::group).transpose()?;
    let sockets = config.listen.iter().map(|name| bind(name, config.socket_mode, group)).collect::<Result<Vec<Bound>, _>>()?;
    begin(PROGRAM, &config.settings(), run, in_force)?.run(async |running| {
        let names: Vec<String> = sockets.iter().map(Bound::name).collect();
        let server = Server::new(sockets, Arc::new(service(config, running.policy())?))?;
        for socket in names {
            tracing::info!(socket, "listening");
        }
        running.ready();
        Ok(server.run(async || running.terminated().await).await?)
    })
}

/// What sessions share. Needs a tokio runtime.
fn service(config: &Config, policy: Arc<Policy>) -> Result<Service, String> {
    Ok(Service {
        policy,
        authentication: authentication(config)?,
        limits: config.limits.clone(),
        memory: Memory::new(config.limits.message_memory, config.limits.memory_for_a_network()),
        reachable_over_ipv4: config.reachable_over_ipv4,
        sees_ipv4_arrivals: config.ipv4_arrivals_visible,
        services: Services {
            submission: config.submission_daemons.clone(),
            fronts: config.trusted_fronts.clone(),
            behind_front: config.behind_front,
        },
        store_time: config.store.time,
        temporary_errors: TemporaryErrors::default(),
    })
}

fn authentication(config: &Config) -> Result<Authentication, String> {
    if !config.authserv_ids.is_empty() {
        return Ok(Authentication::Fields(config.authserv_ids.clone()));
    }
    let failed = |error: VerifierError| format!("messages cannot be verified: {error}; check [verify] in the configuration");
    config.verify.verifier().map(Box::new).map(Authentication::Verifier).map_err(failed)
}

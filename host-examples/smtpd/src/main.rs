//! The program: see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_embed::FailureCounts;
use smtp_fallback_policy::contract::Mode;
use smtp_fallback_smtpd::args::{Args, HELP, Run};
use smtp_fallback_smtpd::config::{Config, InForce};
use smtp_fallback_smtpd::load::{self, LoadedPolicy, PolicyError, PolicySource};
use smtp_fallback_smtpd::records::{self, RecordsError};
use smtp_fallback_smtpd::server::{Listeners, Server};
use smtp_fallback_smtpd::session::Service;
use smtp_fallback_smtpd::watched::Watched;
use smtp_fallback_smtpd::{beside, log, notify, privileges};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

/// Files that are open beside those of connections: listeners, logs, name servers, messages being written.
const OTHER_FILES: u64 = 200;
/// Files for a connection: the client's, upstream's, and a message's.
const FILES_FOR_A_CONNECTION: u64 = 3;

/// How long the end waits for records that are still being stored.
const RECORDS_TIME: Duration = Duration::from_secs(2);

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
    let done = InForce::read(&run.config)
        .map_err(Into::into)
        .and_then(|(config, in_force)| if run.check { check(&config, &run) } else { serve(&config, in_force, &run) });
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
    let mut errors: Vec<String> = Vec::new();
    if let Err(error) = runtime()?.block_on(async { load::check_service(config) }) {
        errors.push(error.to_string());
    }
    let mut found = beside::check(config);
    records::check(&config.store, &mut found);
    errors.extend(found.errors);
    if let Some(user) = &config.user
        && let Err(error) = privileges::check(user, config.group.as_deref())
    {
        errors.push(error.to_string());
    }
    let mut mode = None;
    match PolicySource::new(config, run.observe, None).load() {
        Err(error) => errors.push(error.to_string()),
        Ok(policy) => {
            if let Some(error) = policy.cache {
                println!("warning: component_cache is not used: {error}");
            }
            if policy.mode == Mode::Enforce {
                println!("note: the policy enforces: {MX_RULE}");
                if !config.reachable_over_ipv4 {
                    println!("warning: {NOT_OVER_IPV4}");
                }
            }
            for warning in &policy.warnings {
                println!("warning: policy {}: {}", place(&warning.pointer), warning.message);
            }
            mode = Some(policy.mode);
        }
    }
    for warning in &found.warnings {
        println!("warning: {warning}");
    }
    let arrivals = config.ipv4_arrivals();
    println!("ipv4_arrivals_visible is {}: {}", arrivals.visible, arrivals.why);
    let last = errors.pop();
    for error in &errors {
        eprintln!("smtp-fallback-smtpd: {error}");
    }
    match (last, mode) {
        (Some(last), _) => Err(last.into()),
        (None, mode) => {
            println!("{} can be used; the policy is in {} mode", run.config.display(), mode.map_or("no", word));
            Ok(())
        }
    }
}

fn serve(config: &Config, in_force: InForce, run: &Run) -> Outcome {
    log::start(&config.log, config.log_format);
    let listeners = Listeners::bind(config)?;
    let monitoring = beside::monitor(config);
    raise_file_limit(config);
    // Everything else is read by the user that reads it again later: what will fail then fails now.
    match &config.user {
        Some(user) => privileges::drop_to(user, config.group.as_deref())?,
        None if privileges::is_root() => {
            tracing::warn!(event = "running-as-root", "set `user` in the configuration, so that the server gives root up");
        }
        None => {}
    }
    let runtime = runtime()?;
    // From here on a signal waits until it is asked for.
    let (mut hangup, mut terminate, mut interrupt) = {
        let _runtime = runtime.enter();
        (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    // The records, then the secret that is kept with them, then the policy, whose hashes it keys.
    let (store, secret) = runtime.block_on(async {
        let store = records::open(&config.store).await?;
        let secret = records::secret(store.as_ref()).await;
        Ok::<_, RecordsError>((store, secret))
    })?;
    let control = beside::control(&config.store);
    let watched = Arc::new(Watched::default());
    let mut source = PolicySource::new(config, run.observe, secret);
    let policy = source.load();
    report(&policy);
    watched.loaded(&policy);
    if policy.as_ref().is_ok_and(|policy| policy.mode == Mode::Enforce) && !config.reachable_over_ipv4 {
        tracing::warn!(event = "nothing-refused", "{NOT_OVER_IPV4}");
    }
    let arrivals = config.ipv4_arrivals();
    tracing::info!(event = "ipv4-arrivals", visible = arrivals.visible, "{}", arrivals.why);
    if policy.is_err() {
        // The policy only asks for another route: without it mail is still to be accepted.
        tracing::error!(event = "no-policy", "serving without a policy: all mail is accepted");
    }
    runtime.block_on(async {
        let monitor = watched.monitor(&config.host_name, Arc::clone(&store));
        let decider = policy.as_ref().ok().map(LoadedPolicy::decider);
        let service = Arc::new(load::service(config, decider, Arc::clone(&store), Some(Arc::clone(&monitor)))?);
        let server = Server::new(listeners, Arc::clone(&service))?;
        let policies = Arc::new(Policies { source: Mutex::new(source), watched, service: Arc::clone(&service), in_force });
        if let Some(listener) = monitoring {
            tracing::info!(event = "monitor-available", address = %listener.address(), "metrics and status page");
            let monitor = Arc::clone(&monitor);
            tokio::spawn(async move {
                if let Err(error) = listener.serve(monitor).await {
                    tracing::error!(event = "monitor-failure", %error, "metrics and status page ended");
                }
            });
        }
        if let Some(control) = control {
            tracing::info!(event = "control-available", path = %control.path().display(), "control socket");
            let service = Arc::clone(&service);
            let keys_of = Arc::new(move |client| records::keys_of(&service.policy, client));
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let error = control.serve(store, keys_of).await;
                tracing::error!(event = "control-failure", %error, "the control socket ended");
            });
        }
        if secret.is_none() {
            let (policies, store) = (Arc::clone(&policies), Arc::clone(&store));
            tokio::spawn(async move {
                let secret = records::secret_later(store.as_ref()).await;
                policies.source.lock().await.use_secret(secret);
                policies.reload().await;
            });
        }
        for address in server.addresses() {
            tracing::info!(%address, "listening");
        }
        tokio::spawn(watchdog());
        notify::ready();
        let mut stopping = false;
        let ended = server
            .run(async || {
                // Bounded by the signals that somebody sends.
                loop {
                    tokio::select! {
                        _ = terminate.recv() => break,
                        _ = interrupt.recv() => break,
                        _ = hangup.recv(), if !stopping => {
                            notify::reloading();
                            policies.compare().await;
                            policies.reload().await;
                            notify::ready();
                        }
                    }
                }
                stopping = true;
                notify::stopping();
            })
            .await;
        let decisions = service.policy.finish(RECORDS_TIME).await;
        if decisions > 0 {
            let error = "the server ends, and the store has not taken them";
            tracing::warn!(event = "records-dropped", decisions, error, "records were not stored");
        }
        let FailureCounts { trap, deadline, memory, reply, unavailable } = policies.watched.failures();
        tracing::info!(event = "stopped", trap, deadline, memory, reply, unavailable, "failures of the policy's calls");
        Ok(ended?)
    })
}

/// What a reload is about.
struct Policies {
    source: Mutex<PolicySource>,
    watched: Arc<Watched>,
    service: Arc<Service>,
    in_force: InForce,
}

impl Policies {
    /// Says what else has changed, which is not read again.
    async fn compare(self: &Arc<Self>) {
        let policies = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || policies.in_force.report()).await {
            tracing::error!(event = "internal-error", %error, "the reload ended by a fault of the server");
        }
    }

    /// Reads policy and certificates again. What has an error stays as it was.
    async fn reload(self: &Arc<Self>) {
        let policies = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || policies.reload_now()).await {
            tracing::error!(event = "internal-error", %error, "the reload ended by a fault of the server");
        }
    }

    fn reload_now(&self) {
        let Policies { source, watched, service, .. } = self;
        // Held to the end: of two reloads the later one is to stay in force.
        let mut source = source.blocking_lock();
        let loaded = source.load();
        // It is in force when the log says so.
        if let Ok(loaded) = &loaded {
            service.policy.decide_by(loaded.decider());
        }
        report(&loaded);
        watched.loaded(&loaded);
        if loaded.is_err() {
            tracing::error!(event = "policy-kept", "the reload failed: what was in force before stays in force");
        }
        if let Some(certificates) = &service.certificates {
            match certificates.reload() {
                Ok(()) => tracing::info!(event = "certificates-loaded"),
                Err(error) => {
                    let error = error.to_string();
                    tracing::error!(event = "certificates-kept", error, "those that were in use before stay in use");
                }
            }
        }
    }
}

fn report(loaded: &Result<LoadedPolicy, PolicyError>) {
    match loaded {
        Ok(LoadedPolicy { mode, warnings, cache, .. }) => {
            if let Some(error) = cache {
                let error = error.to_string();
                tracing::warn!(event = "no-cache", error, "the component was compiled, and is at each start");
            }
            for warning in warnings {
                tracing::warn!(event = "policy-warning", place = place(&warning.pointer), "{}", warning.message);
            }
            tracing::info!(event = "policy-loaded", mode = word(*mode));
            if *mode == Mode::Enforce {
                tracing::info!(event = "enforcing", "{MX_RULE}");
            }
        }
        Err(error) => {
            for error in error.each() {
                tracing::error!(event = "policy-error", "{error}");
            }
        }
    }
}

/// What the domains' MX records have to be like, or refused mail comes late or not at all (D1 to D3).
const MX_RULE: &str =
    "at each preference, the domains need one MX host with IPv6 only and one with IPv4 only; check by: smtp-fallback mx DOMAIN";

/// What enforcing without IPv4 comes to (A20).
const NOT_OVER_IPV4: &str = "the policy enforces, but reachable_over_ipv4 is false: nothing will be refused";

fn raise_file_limit(config: &Config) {
    let wanted = (config.limits.connections as u64).saturating_mul(FILES_FOR_A_CONNECTION).saturating_add(OTHER_FILES);
    match privileges::raise_file_limit(wanted) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => {
            tracing::warn!(event = "few-files", limit, wanted, "the system allows fewer open files than all connections may need")
        }
        Err(error) => tracing::warn!(event = "few-files", %error, wanted, "the limit of open files cannot be read or raised"),
    }
}

/// Tells the service manager that the server still runs, for as long as it does.
async fn watchdog() {
    let Some(interval) = notify::watchdog() else { return };
    loop {
        notify::alive();
        tokio::time::sleep(interval).await;
    }
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

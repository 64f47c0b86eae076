//! From the bound sockets to the end of the process: privileges, records, policy, signals, and what is read again on SIGHUP.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_embed::FailureCounts;
use smtp_fallback_monitor::{Listener, Monitor};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, Mode};
use smtp_fallback_store::control::{About, Control, ControlHost};
use smtp_fallback_store::{Secret, Store};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::args::{Program, Run};
use crate::config::{InForce, Settings};
use crate::policy::Policy;
use crate::records::{self, RecordsError};
use crate::source::{LoadedPolicy, PolicyError, PolicySource};
use crate::watched::Watched;
use crate::{beside, notify, privileges};

/// How long the end waits for records that are still being stored.
const RECORDS_TIME: Duration = Duration::from_secs(2);

/// What the domains' MX records have to be like, or refused mail comes late or not at all (D1 to D3).
pub(crate) const MX_RULE: &str =
    "at each preference, the domains need one MX host with IPv6 only and one with IPv4 only; check by: smtp-fallback mx DOMAIN";

/// What enforcing without IPv4 comes to (A20).
pub(crate) const NOT_OVER_IPV4: &str = "the policy enforces, but reachable_over_ipv4 is false: nothing will be refused";

/// How a daemon ended, or why it could not begin.
pub type Outcome = Result<(), Box<dyn Error>>;

/// A daemon that is ready to speak its protocol.
pub struct Begun {
    runtime: Runtime,
    running: Running,
}

/// A daemon at work.
pub struct Running {
    program: Program,
    policy: Arc<Policy>,
    store: Arc<dyn Store>,
    monitor: Arc<Monitor>,
    reloader: Arc<Reloader>,
    signals: Signals,
    stopping: bool,
    /// To be served by [`Running::ready`].
    monitoring: Option<Listener>,
    control: Option<Control>,
    secret_is_missing: bool,
}

/// From here on a signal waits until it is asked for.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a reload is about.
struct Reloader {
    source: Mutex<PolicySource>,
    watched: Arc<Watched>,
    policy: Arc<Policy>,
    in_force: InForce,
    also: std::sync::OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Gives up root, opens the records and loads the policy. To be called when the log has started and the sockets are bound, and before the
/// first connection is taken. Without a policy the daemon serves all the same: the policy only asks for another route, and mail is still to be
/// accepted.
///
/// # Errors
/// The user cannot be changed, or the records cannot be kept as configured.
pub fn begin(program: Program, settings: &Settings, run: &Run, in_force: InForce) -> Result<Begun, Box<dyn Error>> {
    let monitoring = beside::monitor(settings.monitor.as_ref());
    raise_file_limit(settings.open_files);
    // Everything else is read by the user that reads it again later: what will fail then fails now.
    match &settings.user {
        Some(user) => privileges::drop_to(user, settings.group.as_deref())?,
        None if privileges::is_root() => {
            tracing::warn!(event = "running-as-root", "set `user` in the configuration, so that this process gives root up");
        }
        None => {}
    }
    let runtime = runtime()?;
    let signals = {
        let _runtime = runtime.enter();
        Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        }
    };
    // The records, then the secret that is kept with them, then the policy, whose hashes it keys.
    let (store, secret) = runtime.block_on(async {
        let store = records::open(&settings.store).await?;
        let secret = records::secret(store.as_ref()).await;
        Ok::<(Arc<dyn Store>, Option<Secret>), RecordsError>((store, secret))
    })?;
    let control = beside::control(&settings.store);
    let watched = Arc::new(Watched::default());
    let mut source = PolicySource::new(settings, run.observe, secret);
    let loaded = source.load();
    report(&loaded);
    watched.loaded(&loaded);
    if loaded.as_ref().is_ok_and(|policy| policy.mode == Mode::Enforce) && !settings.reachable_over_ipv4 {
        tracing::warn!(event = "nothing-refused", "{NOT_OVER_IPV4}");
    }
    let arrivals = settings.ipv4_arrivals;
    tracing::info!(event = "ipv4-arrivals", visible = arrivals.visible, "{}", arrivals.why);
    if loaded.is_err() {
        tracing::error!(event = "no-policy", "serving without a policy: all mail is accepted");
    }
    let monitor = {
        let _runtime = runtime.enter();
        watched.monitor(program, &settings.host_name, Arc::clone(&store))
    };
    let decider = loaded.as_ref().ok().map(LoadedPolicy::decider);
    let policy = Arc::new(Policy::new(decider, Arc::clone(&store), Some(Arc::clone(&monitor))));
    let reloader =
        Reloader { source: Mutex::new(source), watched, policy: Arc::clone(&policy), in_force, also: std::sync::OnceLock::new() };
    let running = Running {
        program,
        policy,
        store,
        monitor,
        reloader: Arc::new(reloader),
        signals,
        stopping: false,
        monitoring,
        control,
        secret_is_missing: secret.is_none(),
    };
    Ok(Begun { runtime, running })
}

/// What the control socket is asked besides records.
struct Asked {
    program: Program,
    policy: Arc<Policy>,
}

impl ControlHost for Asked {
    fn keys_of(&self, address: Address) -> Vec<Key> {
        records::keys_of(&self.policy, address)
    }

    fn about(&self) -> About {
        let Program { name, version, .. } = self.program;
        About { program: name.to_owned(), version: version.to_owned(), component: self.policy.component() }
    }
}

impl Begun {
    /// Speaks the protocol: `daemon` sets it up, calls [`Running::ready`], and serves until [`Running::terminated`]. Then waits for records that
    /// are still being stored.
    ///
    /// # Errors
    /// Those of `daemon`.
    pub fn run(self, daemon: impl AsyncFnOnce(&mut Running) -> Outcome) -> Outcome {
        let Begun { runtime, mut running } = self;
        runtime.block_on(async {
            let ended = daemon(&mut running).await;
            let decisions = running.policy.finish(RECORDS_TIME).await;
            if decisions > 0 {
                let error = "this process ends, and the store has not taken them";
                tracing::warn!(event = "records-dropped", decisions, error, "records were not stored");
            }
            let FailureCounts { trap, deadline, memory, reply, unavailable } = running.reloader.watched.failures();
            tracing::info!(event = "stopped", trap, deadline, memory, reply, unavailable, "failures of the policy's calls");
            ended
        })
    }
}

impl Running {
    /// What sessions ask.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// What is to be read again on SIGHUP besides the policy. It may block, and says itself in the log what came of it. The first call counts.
    pub fn reload_also(&self, also: impl Fn() + Send + Sync + 'static) {
        let _ = self.reloader.also.set(Box::new(also));
    }

    /// The daemon listens: serves what stands beside the mail, and tells the service manager.
    pub fn ready(&mut self) {
        let Running { monitoring, control, .. } = self;
        if let Some(listener) = monitoring.take() {
            tracing::info!(event = "monitor-available", address = %listener.address(), "metrics and status page");
            let monitor = Arc::clone(&self.monitor);
            tokio::spawn(async move {
                if let Err(error) = listener.serve(monitor).await {
                    tracing::error!(event = "monitor-failure", %error, "metrics and status page ended");
                }
            });
        }
        if let Some(control) = control.take() {
            tracing::info!(event = "control-available", path = %control.path().display(), "control socket");
            let store = Arc::clone(&self.store);
            let asked = Arc::new(Asked { program: self.program, policy: Arc::clone(&self.policy) });
            tokio::spawn(async move {
                let error = control.serve(store, asked).await;
                tracing::error!(event = "control-failure", %error, "the control socket ended");
            });
        }
        if std::mem::take(&mut self.secret_is_missing) {
            let (reloader, store) = (Arc::clone(&self.reloader), Arc::clone(&self.store));
            tokio::spawn(async move {
                let secret = records::secret_later(store.as_ref()).await;
                reloader.source.lock().await.use_secret(secret);
                reloader.reload().await;
            });
        }
        tokio::spawn(watchdog());
        notify::ready();
    }

    /// Waits for SIGTERM or SIGINT; until the first of them, SIGHUP reloads. To be called again for the next one.
    pub async fn terminated(&mut self) {
        let Running { signals: Signals { hangup, terminate, interrupt }, reloader, stopping, .. } = self;
        // Bounded by the signals that somebody sends.
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv(), if !*stopping => {
                    notify::reloading();
                    reloader.compare().await;
                    reloader.reload().await;
                    notify::ready();
                }
            }
        }
        *stopping = true;
        notify::stopping();
    }
}

impl Reloader {
    /// Says what else has changed, which is not read again.
    async fn compare(self: &Arc<Self>) {
        let reloader = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || reloader.in_force.report()).await {
            tracing::error!(event = "internal-error", %error, "the reload ended by a fault of this program");
        }
    }

    /// Reads the policy again, and what else is. What has an error stays as it was.
    async fn reload(self: &Arc<Self>) {
        let reloader = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || reloader.reload_now()).await {
            tracing::error!(event = "internal-error", %error, "the reload ended by a fault of this program");
        }
    }

    fn reload_now(&self) {
        // Held to the end: of two reloads the later one is to stay in force.
        let mut source = self.source.blocking_lock();
        let loaded = source.load();
        // It is in force when the log says so.
        if let Ok(loaded) = &loaded {
            self.policy.decide_by(loaded.decider());
        }
        report(&loaded);
        self.watched.loaded(&loaded);
        if loaded.is_err() {
            tracing::error!(event = "policy-kept", "the reload failed: what was in force before stays in force");
        }
        if let Some(also) = self.also.get() {
            also();
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

fn raise_file_limit(wanted: u64) {
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

pub(crate) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

pub(crate) fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

pub(crate) fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "(the whole)" } else { pointer }
}

//! A component with its policy, from opening to closing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use smtp_fallback_daemon::policy::Question;
use smtp_fallback_embed::{Cache, Component, LoadError, Loading, Threads};
use smtp_fallback_json::{Arguments, Call, CallError, print, print_result};
use smtp_fallback_policy::contract::Decision;

use crate::answer::{Code, Error};
use crate::policies::Policies;
use crate::records::{self, Records};
use crate::settings::{Policy, Settings, read_policy};

/// After a store could not be opened, calls say so without trying for this long: a mail server has many calls.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Or so many times what the last try took: a host that hangs is not to hold up much of the mail.
const STORE_PAUSES: u32 = 10;

/// What a caller holds.
pub struct Handle {
    settings: Settings,
    policies: Arc<Policies>,
    /// The process that made the first call; 0 before it. Threads and locks of a handle are of use in that process alone.
    process: AtomicU32,
    /// With a store, from the first call on.
    records: OnceLock<Records>,
    /// Held while the store is being opened.
    opening: Mutex<()>,
    /// Why it could not be opened last, and until when that is not tried again.
    no_records: Mutex<Option<(Instant, Error)>>,
}

impl Handle {
    /// Opens a handle, without leaving a thread. The text is the summary of the policy, `null` without one.
    pub(crate) fn open(settings: &str) -> Result<(Handle, String), Error> {
        let (settings, inline) = Settings::read(settings)?;
        let policy = match settings.policy(inline) {
            Policy::None => None,
            Policy::Text(text) => Some(text),
            Policy::File(path) => Some(read_policy(path)?),
        };
        if let Some(store) = &settings.store {
            records::check(store)?;
        }
        let component = load(&settings)?;
        let policies = match (settings.secret(), &settings.store) {
            (Some(secret), _) => Policies::new(&component, secret),
            // The policy is checked now; the store gives its secret later.
            (None, Some(_)) => Policies::new(&component, &records::random_secret()?),
            (None, None) => Policies::new(&component, b""),
        };
        let summary = policy.map(|policy| policies.put_in_force(policy)).transpose()?;
        let handle = Handle {
            settings,
            policies: Arc::new(policies),
            process: AtomicU32::new(0),
            records: OnceLock::new(),
            opening: Mutex::new(()),
            no_records: Mutex::new(None),
        };
        Ok((handle, print(&summary)))
    }

    /// Puts another policy in force, or the file's; on an error the one before stays.
    pub(crate) fn reload(&self, policy: Option<&str>) -> Result<String, Error> {
        if self.is_of_another_process() {
            return Err(forked());
        }
        let policy = match (policy, self.settings.policy_file()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(path)) => read_policy(path)?,
            (None, None) => {
                let problem = "policy_json is NULL, and the settings name no policy-file to read again";
                return Err(Error::new(Code::Argument, problem));
            }
        };
        Ok(print(&self.policies.put_in_force(policy)?))
    }

    /// A function of the contract.
    pub(crate) fn call(&self, function: &str, arguments: &str) -> Result<String, Error> {
        self.begin()?;
        let call = Call::read(function, arguments).map_err(|error: CallError| Error::new(Code::Argument, error.to_string()))?;
        let pool = || self.policies.pool();
        Ok(match call {
            Call::Keys(case) => {
                self.records()?;
                print(&pool().keys(&case.connection, case.envelope.as_ref(), case.message.as_ref()))
            }
            Call::Decide(case) => self.decide(*case)?,
            Call::Explain(case) => self.explain(*case)?,
            Call::ParseAddress(text) => print_result(&pool().parse_address(&text)?),
            Call::Inspect(record) => print_result(&pool().inspect(&record)?),
            Call::ParseAuthenticationResults { headers, trusted_ids } => {
                print(&pool().parse_authentication_results(&headers, &trusted_ids)?)
            }
            Call::Schema => print(&pool().schema()?),
            Call::Describe => print(&pool().describe()?),
            // No function of this library has its name.
            Call::Configure { .. } => return Err(Error::new(Code::Argument, "a policy is put in force by smtp_fallback_reload")),
        })
    }

    fn decide(&self, case: Arguments) -> Result<String, Error> {
        let Some(records) = self.records()? else {
            let Arguments { connection, envelope, message, auth_results } = case;
            let decided = self.policies.pool().decide(&connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref());
            return Ok(decision(&decided.decision, decided.failure.map(|failure| failure.to_string())));
        };
        let (decided, failure) = records.decide(without_records(case)?);
        Ok(decision(&decided, failure))
    }

    fn explain(&self, case: Arguments) -> Result<String, Error> {
        let Question { connection, envelope, message, results } = match self.records()? {
            Some(records) => records.look_up(without_records(case)?),
            None => question(case),
        };
        let words = self.policies.pool().explain(&connection, envelope.as_ref(), message.as_ref(), results.as_ref());
        Ok(print(&words?))
    }

    /// Whether its first call was made before a fork.
    pub(crate) fn is_of_another_process(&self) -> bool {
        !matches!(self.process.load(Ordering::Acquire), 0) && self.process.load(Ordering::Acquire) != std::process::id()
    }

    /// The first call binds the handle to this process.
    fn begin(&self) -> Result<(), Error> {
        let process = std::process::id();
        match self.process.compare_exchange(0, process, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(first) if first == process => Ok(()),
            Err(_) => Err(forked()),
        }
    }

    fn failed(&self) -> Option<(Instant, Error)> {
        self.no_records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The records, where the settings name a store.
    fn records(&self) -> Result<Option<&Records>, Error> {
        let Some(store) = &self.settings.store else { return Ok(None) };
        if let Some(records) = self.records.get() {
            return Ok(Some(records));
        }
        let _opening = match (self.failed(), self.opening.try_lock()) {
            (_, Ok(opening)) => opening,
            (_, Err(TryLockError::Poisoned(opening))) => opening.into_inner(),
            // One call waits for a store that gave no answer before, and not all of them.
            (Some((_, error)), Err(TryLockError::WouldBlock)) => return Err(error),
            (None, Err(TryLockError::WouldBlock)) => self.opening.lock().unwrap_or_else(PoisonError::into_inner),
        };
        if let Some(records) = self.records.get() {
            return Ok(Some(records));
        }
        if let Some((until, error)) = self.failed()
            && Instant::now() < until
        {
            return Err(error);
        }
        let began = Instant::now();
        let opened = Records::open(store, self.settings.secret().is_some(), &self.policies, self.settings.store_time());
        match opened {
            Ok(records) => Ok(Some(self.records.get_or_init(|| records))),
            Err(error) => {
                tracing::error!(
                    event = "no-store",
                    error = error.message(),
                    "there are no decisions until the store can be opened"
                );
                let pause = STORE_PAUSE.max(STORE_PAUSES * began.elapsed());
                *self.no_records.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now() + pause, error.clone()));
                Err(error)
            }
        }
    }
}

fn load(settings: &Settings) -> Result<Component, Error> {
    let cache = settings.cache.as_ref().and_then(|folder| match Cache::open(folder) {
        Ok(cache) => Some(cache),
        // No reason to do without the policy.
        Err(error) => {
            tracing::warn!(event = "no-cache", %error, "compiling the component at each start");
            None
        }
    });
    let loading = Loading { limits: settings.limits(), cache: cache.as_ref(), threads: Threads::AtFirstCall };
    Component::from_file_with(&settings.component, &loading).map_err(|error| {
        let message = match &error {
            // It names the file itself.
            LoadError::Read { .. } => format!("the component {error}"),
            error => format!("the component {}: {error}", settings.component.display()),
        };
        Error::new(Code::Component, message)
    })
}

/// The decision, with why it is not the policy's.
fn decision(decision: &Decision, failure: Option<String>) -> String {
    let mut text = print(decision);
    if let Some(failure) = failure
        && text.pop() == Some('}')
    {
        text.push_str(&format!(",\"failure\":{}}}", print(&failure)));
    }
    text
}

fn question(case: Arguments) -> Question {
    let Arguments { connection, envelope, message, auth_results: results } = case;
    Question { connection, envelope, message, results }
}

fn without_records(case: Arguments) -> Result<Question, Error> {
    match case.connection.records.is_empty() {
        true => Ok(question(case)),
        false => {
            let problem = "connection.records: found some, expected none: this handle looks them up in its own store; give []";
            Err(Error::new(Code::Argument, problem))
        }
    }
}

fn forked() -> Error {
    let problem = "the handle was used before the fork; open another one in this process, or make the first call after the fork";
    Error::new(Code::Forked, problem)
}

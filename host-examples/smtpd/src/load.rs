//! Loading what the configuration names: the component, the policy, and what sessions share.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use smtp_fallback_embed::{Component, ConfigureError, Limits, LoadError, Pool};
use smtp_fallback_policy::contract::{
    AuthResults, Check, Connection, Decision, Envelope, Key, Message, Mode, PolicyWarning, Summary,
};
use smtp_fallback_store::MemoryStore;
use smtp_fallback_verify::{Settings, Verifier, VerifierError};

use crate::config::Config;
use crate::data::Memory;
use crate::maildir::Maildir;
use crate::policy::{Decider, Policy};
use crate::session::Service;

/// Octets of the secret that keys the hashes of networks and mails (A33, A35). It lives as long as the records in memory that it is for:
/// as long as the process.
const SECRET_OCTETS: usize = 32;

/// A policy that is ready to decide.
pub struct LoadedPolicy {
    /// The component with the policy.
    pub pool: Arc<Pool>,
    /// Whether refusals reach the client.
    pub mode: Mode,
    /// What is unusual about the policy.
    pub warnings: Vec<PolicyWarning>,
}

/// Why there is no policy.
#[derive(Debug)]
pub enum PolicyError {
    /// The component cannot be loaded.
    Component(PathBuf, LoadError),
    /// The policy file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The policy has errors.
    Invalid(PathBuf, ConfigureError),
    /// Its mode cannot be replaced, though that was asked for.
    NoObserve(PathBuf),
    /// The system gives no random numbers.
    NoSecret(getrandom::Error),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyError::Component(path, error) => {
                let error = error.to_string();
                // An error of reading names the file itself.
                if error.contains(&*path.to_string_lossy()) {
                    write!(f, "the component {error}")
                } else {
                    write!(f, "the component {}: {error}", path.display())
                }
            }
            PolicyError::Unreadable(path, error) => {
                write!(f, "the policy {} cannot be read: {error}; check `policy` in the configuration", path.display())
            }
            PolicyError::Invalid(path, ConfigureError::Policy(errors)) => {
                write!(f, "the policy {}:", path.display())?;
                errors.iter().try_for_each(|error| write!(f, "\n  {error}"))
            }
            PolicyError::Invalid(path, error) => write!(f, "the policy {}: {error}", path.display()),
            PolicyError::NoObserve(path) => write!(
                f,
                "the policy {}: --observe cannot replace its mode, since it is no JSON object; set its mode to observe by hand",
                path.display()
            ),
            PolicyError::NoSecret(error) => write!(f, "the system gives no random numbers for the policy's secret: {error}"),
        }
    }
}

impl std::error::Error for PolicyError {}

/// Why the server cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The Maildir cannot be opened or made.
    Maildir(PathBuf, io::Error),
    /// The resolver cannot be set up.
    Verifier(VerifierError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Maildir(path, error) => write!(
                f,
                "the Maildir {} cannot be used: {error}; check `maildir` in the configuration and the rights on the folder above it",
                path.display()
            ),
            StartError::Verifier(error) => write!(f, "messages cannot be verified: {error}; check [verify] in the configuration"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<VerifierError> for StartError {
    fn from(error: VerifierError) -> Self {
        StartError::Verifier(error)
    }
}

/// Loads component and policy. With `observe` the policy's own mode is replaced, after it was checked as it is.
pub fn policy(config: &Config, observe: bool) -> Result<LoadedPolicy, PolicyError> {
    let limits = Limits { deadline: config.policy_limits.deadline, memory: config.policy_limits.memory, ..Limits::default() };
    let component = Component::from_file(&config.component, &limits)
        .map_err(|error| PolicyError::Component(config.component.clone(), error))?;
    let text = std::fs::read_to_string(&config.policy).map_err(|error| PolicyError::Unreadable(config.policy.clone(), error))?;
    let mut secret = [0; SECRET_OCTETS];
    getrandom::fill(&mut secret).map_err(PolicyError::NoSecret)?;
    let invalid = |error| PolicyError::Invalid(config.policy.clone(), error);
    let (pool, mut summary) = Pool::configure(&component, &text, &secret).map_err(invalid)?;
    if observe {
        // A mode that stays as it was would refuse mail against the command line.
        let text = observing(&text).ok_or_else(|| PolicyError::NoObserve(config.policy.clone()))?;
        summary = pool.reconfigure(&text).map_err(invalid)?;
    }
    let Summary { mode, checks, mut warnings } = summary;
    warnings.extend(unmade(&checks));
    Ok(LoadedPolicy { pool: Arc::new(pool), mode, warnings })
}

/// What sessions share; `policy` is absent when none could be loaded.
pub fn service(config: &Config, policy: Option<Arc<Pool>>) -> Result<Service, StartError> {
    let maildir =
        Maildir::open(&config.maildir, &config.host_name).map_err(|error| StartError::Maildir(config.maildir.clone(), error))?;
    let decider = policy.map(|pool| Box::new(Shared(pool)) as Box<dyn Decider>);
    Ok(Service {
        host_name: config.host_name.clone(),
        domains: config.domains.clone(),
        limits: config.limits.clone(),
        reachable_over_ipv4: config.reachable_over_ipv4,
        sees_ipv4_arrivals: config.sees_ipv4_arrivals(),
        policy: Policy::new(decider, Arc::new(MemoryStore::new(config.policy_limits.records))),
        verifier: Some(verifier(config)?),
        maildir: Arc::new(maildir),
        memory: Memory::new(config.limits.message_memory),
    })
}

/// Whether [`service`] could succeed. Leaves nothing.
pub fn check_service(config: &Config) -> Result<(), StartError> {
    Maildir::check(&config.maildir).map_err(|error| StartError::Maildir(config.maildir.clone(), error))?;
    verifier(config)?;
    Ok(())
}

fn verifier(config: &Config) -> Result<Verifier, VerifierError> {
    Verifier::new(Settings {
        nameservers: config.verify.nameservers.clone(),
        host_name: config.host_name.clone(),
        deadline: config.verify.deadline,
        cache_entries: config.verify.cache_entries,
    })
}

/// The policy with its mode set to observe; nothing where the text is no JSON object.
fn observing(text: &str) -> Option<String> {
    let mut policy: serde_json::Value = serde_json::from_str(text).ok()?;
    policy.as_object_mut()?.insert("mode".to_owned(), "observe".into());
    Some(policy.to_string())
}

struct Shared(Arc<Pool>);

impl Decider for Shared {
    fn keys(&self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        self.0.keys(connection, envelope, message)
    }

    fn decide(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        results: Option<&AuthResults>,
    ) -> Decision {
        // The pool logs and counts its failures itself.
        self.0.decide(connection, envelope, message, results).decision
    }
}

/// A warning where the policy asks for what this server does not check: it verifies SPF and DKIM only.
fn unmade(checks: &[Check]) -> Option<PolicyWarning> {
    let unmade = checks.iter().filter(|check| !matches!(check, Check::Spf | Check::Dkim));
    let unmade: Vec<_> = unmade.map(|check| format!("{check:?}").to_ascii_lowercase()).collect();
    let message = format!("this server does not check {}: what needs it has no result, or is never met", unmade.join(", "));
    (!unmade.is_empty()).then(|| PolicyWarning { pointer: String::new(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_is_not_made_is_warned_of() {
        assert_eq!(unmade(&[Check::Spf, Check::Dkim]), None);
        let warning = unmade(&[Check::Spf, Check::Dmarc, Check::Tls]).expect("a warning");
        assert!(warning.message.contains("dmarc, tls"), "{}", warning.message);
    }

    #[test]
    fn observe_replaces_the_mode_and_nothing_else() {
        assert_eq!(observing("{}").as_deref(), Some(r#"{"mode":"observe"}"#));
        let text = observing(r#"{"mode": "enforce", "a": [1, {"b": null}]}"#).expect("an object");
        let policy: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(policy, serde_json::json!({"mode": "observe", "a": [1, {"b": null}]}));
        assert_eq!(observing("[]"), None);
    }
}

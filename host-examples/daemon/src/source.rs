//! Loading the component and its policy, at start and again while the server runs.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use smtp_fallback_embed::{Cache, CacheError, Component, ConfigureError, Limits, LoadError, Origin, Pool};
use smtp_fallback_policy::contract::{
    AuthResults, Check, Connection, Decision, Envelope, Key, Message, Mode, PolicyWarning, Summary,
};
use smtp_fallback_store::Secret;

use crate::config::Settings;
use crate::file;
use crate::policy::Decider;

/// A file of more octets is not read to be refused: the component takes 1 MiB, and says so of what is not far longer.
const FILE_MAX: u64 = 16 << 20;

/// Where component and policy come from. The component is loaded once, the policy each time.
pub struct PolicySource {
    component: PathBuf,
    cache: Option<PathBuf>,
    policy: PathBuf,
    limits: Limits,
    /// Observe, whatever the policy says.
    observe: bool,
    /// Where no client's certificate is verified: what to do about it.
    no_verified_clients: Option<&'static str>,
    /// What keys the hashes of networks and mails (A33, A35): the store's. While a shared store gives none, one of this process's own, by
    /// which mail is recognised that this server itself refused.
    secret: Option<Secret>,
    loaded: Option<Used>,
}

/// The component in use.
struct Used {
    component: Component,
    secret: Secret,
    pool: Arc<Pool>,
}

/// A policy that is in force.
pub struct LoadedPolicy {
    /// The component with the policy.
    pub pool: Arc<Pool>,
    /// Whether refusals reach the client.
    pub mode: Mode,
    /// What is unusual about the policy.
    pub warnings: Vec<PolicyWarning>,
    /// Why the folder for the component's machine code is not used.
    pub cache: Option<CacheError>,
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

impl PolicyError {
    /// For a log: one text for each error, each with the file.
    pub fn each(&self) -> Vec<String> {
        match self {
            PolicyError::Invalid(path, ConfigureError::Policy(errors)) => {
                errors.iter().map(|error| format!("the policy {}: {error}", path.display())).collect()
            }
            error => vec![error.to_string()],
        }
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Compiled => "compiled",
        Origin::Cache => "cache",
    }
}

impl PolicySource {
    /// What the configuration names. Nothing is read yet.
    pub fn new(settings: &Settings, observe: bool, secret: Option<Secret>) -> PolicySource {
        PolicySource {
            component: settings.component.clone(),
            cache: settings.component_cache.clone(),
            policy: settings.policy.clone(),
            limits: Limits {
                deadline: settings.policy_limits.deadline,
                memory: settings.policy_limits.memory,
                ..Limits::default()
            },
            observe,
            no_verified_clients: settings.no_verified_clients,
            secret,
            loaded: None,
        }
    }

    /// From the next [`PolicySource::load`] on, the hashes are keyed with this secret.
    pub fn use_secret(&mut self, secret: Secret) {
        self.secret = Some(secret);
        if let Some(used) = &mut self.loaded {
            used.secret = secret;
            used.pool = Arc::new(Pool::without_policy(&used.component, &secret));
        }
    }

    /// Reads the policy and puts it in force; the first time that this succeeds, the component with it. On an error what was in force
    /// stays so. Blocks, for a second or so.
    pub fn load(&mut self) -> Result<LoadedPolicy, PolicyError> {
        let (used, cache) = match self.loaded.take() {
            Some(used) => (used, None),
            None => self.component()?,
        };
        let used = self.loaded.insert(used);
        let text = file::read(&self.policy, FILE_MAX, "a policy has at most 1 MiB")
            .map_err(|error| PolicyError::Unreadable(self.policy.clone(), error))?;
        let invalid = |error| PolicyError::Invalid(self.policy.clone(), error);
        let summary = if self.observe {
            // Checked as it is, beside the pool: no session may meet a policy that enforces, not for a moment.
            Pool::configure(&used.component, &text, &used.secret).map_err(invalid)?;
            let text = observing(&text).ok_or_else(|| PolicyError::NoObserve(self.policy.clone()))?;
            used.pool.reconfigure(&text).map_err(invalid)?
        } else {
            used.pool.reconfigure(&text).map_err(invalid)?
        };
        let Summary { mode, checks, mut warnings } = summary;
        warnings.extend(self.no_verified_clients.and_then(|advice| never_met(&checks, advice)));
        Ok(LoadedPolicy { pool: Arc::clone(&used.pool), mode, warnings, cache })
    }

    fn component(&self) -> Result<(Used, Option<CacheError>), PolicyError> {
        let failed = |error| PolicyError::Component(self.component.clone(), error);
        // A folder that cannot be used is no reason to do without the policy.
        let (cache, unusable) = match self.cache.as_ref().map(Cache::open).transpose() {
            Ok(cache) => (cache, None),
            Err(error) => (None, Some(error)),
        };
        let component = match &cache {
            Some(cache) => Component::from_file_cached(&self.component, &self.limits, cache),
            None => Component::from_file(&self.component, &self.limits),
        };
        let component = component.map_err(failed)?;
        let secret = match self.secret {
            Some(secret) => secret,
            None => {
                let mut secret = Secret::default();
                getrandom::fill(&mut secret).map_err(PolicyError::NoSecret)?;
                secret
            }
        };
        tracing::info!(event = "component-loaded", sha256 = component.sha256(), from = origin(component.origin()));
        let pool = Arc::new(Pool::without_policy(&component, &secret));
        Ok((Used { component, secret, pool }, unusable))
    }
}

impl LoadedPolicy {
    /// What sessions ask.
    pub fn decider(&self) -> Arc<dyn Decider> {
        Arc::new(Shared(Arc::clone(&self.pool)))
    }
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

    fn authentication_results(&self, fields: &[String], trusted_ids: &[String]) -> Option<AuthResults> {
        self.0.parse_authentication_results(fields, trusted_ids).ok()
    }

    fn component(&self) -> Option<String> {
        Some(self.0.component().sha256().to_owned())
    }
}

/// A warning where the policy asks for clients whose certificate was verified, and none can be.
fn never_met(checks: &[Check], advice: &str) -> Option<PolicyWarning> {
    checks
        .contains(&Check::Tls)
        .then(|| PolicyWarning { pointer: String::new(), message: format!("`tls` is never met: {advice}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_is_never_met_is_warned_of() {
        assert_eq!(never_met(&[Check::Spf, Check::Dkim, Check::Dmarc], "set `client_ca`"), None);
        let warning = never_met(&[Check::Spf, Check::Tls], "set `client_ca`").expect("a warning");
        assert!(warning.message.ends_with("never met: set `client_ca`"), "{}", warning.message);
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

//! Loading what the configuration names: the component, the policy, certificates, and what sessions share.

mod policy;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use smtp_fallback_monitor::Monitor;
use smtp_fallback_store::Store;
use smtp_fallback_verify::{Settings, Verifier, VerifierError};

use crate::config::Config;
use crate::log::TemporaryErrors;
use crate::maildir::Maildir;
use crate::memory::Memory;
use crate::policy::{Decider, Policy};
use crate::session::{Destination, Service};
use crate::tls::{Certificates, TlsError};

pub use policy::{LoadedPolicy, PolicyError, PolicySource};

/// Why the server cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The Maildir cannot be opened or made.
    Maildir(PathBuf, io::Error),
    /// The resolver cannot be set up.
    Verifier(VerifierError),
    /// The certificates cannot be used.
    Tls(TlsError),
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
            StartError::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<VerifierError> for StartError {
    fn from(error: VerifierError) -> Self {
        StartError::Verifier(error)
    }
}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        StartError::Tls(error)
    }
}

/// What sessions share; `decider` is absent when no policy could be loaded.
pub fn service(
    config: &Config,
    decider: Option<Arc<dyn Decider>>,
    store: Arc<dyn Store>,
    monitor: Option<Arc<Monitor>>,
) -> Result<Service, StartError> {
    Ok(Service {
        host_name: config.host_name.clone(),
        domains: config.domains.clone(),
        any_domain: config.upstream.as_ref().is_some_and(|upstream| upstream.any_domain),
        limits: config.limits.clone(),
        reachable_over_ipv4: config.reachable_over_ipv4,
        sees_ipv4_arrivals: config.ipv4_arrivals().visible,
        policy: Policy::new(decider, store, monitor),
        store_time: config.store.time,
        verifier: Some(verifier(config)?),
        destination: destination(config)?,
        memory: Memory::new(config.limits.message_memory, config.limits.memory_for_a_network()),
        certificates: certificates(config)?,
        temporary_errors: TemporaryErrors::default(),
    })
}

/// Whether [`service`] could succeed. Leaves nothing.
pub fn check_service(config: &Config) -> Result<(), StartError> {
    if let Some(path) = &config.maildir {
        Maildir::check(path).map_err(|error| StartError::Maildir(path.clone(), error))?;
    }
    certificates(config)?;
    verifier(config)?;
    Ok(())
}

fn destination(config: &Config) -> Result<Destination, StartError> {
    match (&config.maildir, &config.upstream) {
        (_, Some(upstream)) => Ok(Destination::Upstream(upstream.settings(&config.host_name))),
        (maildir, None) => {
            let path = maildir.clone().unwrap_or_default();
            let opened = Maildir::open(&path, &config.host_name);
            Ok(Destination::Maildir(Arc::new(opened.map_err(|error| StartError::Maildir(path, error))?)))
        }
    }
}

fn certificates(config: &Config) -> Result<Option<Certificates>, TlsError> {
    config.tls_files().map(Certificates::load).transpose()
}

fn verifier(config: &Config) -> Result<Verifier, VerifierError> {
    Verifier::new(Settings {
        nameservers: config.verify.nameservers.clone(),
        deadline: config.verify.deadline,
        cache_entries: config.verify.cache_entries,
    })
}

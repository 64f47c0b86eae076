//! Making what sessions share, of what the configuration names.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use smtp_fallback_daemon::log::TemporaryErrors;
use smtp_fallback_daemon::memory::Memory;
use smtp_fallback_daemon::policy::Policy;
use smtp_fallback_verify::VerifierError;

use crate::config::Config;
use crate::maildir::Maildir;
use crate::session::{Destination, Service};
use crate::tls::{Certificates, TlsError};

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

/// What sessions share.
pub fn service(config: &Config, policy: Arc<Policy>) -> Result<Service, StartError> {
    Ok(Service {
        host_name: config.host_name.clone(),
        domains: config.domains.clone(),
        any_domain: config.upstream.as_ref().is_some_and(|upstream| upstream.any_domain),
        limits: config.limits.clone(),
        reachable_over_ipv4: config.reachable_over_ipv4,
        sees_ipv4_arrivals: config.ipv4_arrivals().visible,
        policy,
        store_time: config.store.time,
        verifier: Some(config.verify.verifier()?),
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
    config.verify.verifier()?;
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

/// Reads the certificates again, where there are any. What has an error stays as it was.
pub fn reload_certificates(service: &Service) {
    let Some(certificates) = &service.certificates else { return };
    match certificates.reload() {
        Ok(()) => tracing::info!(event = "certificates-loaded"),
        Err(error) => {
            let error = error.to_string();
            tracing::error!(event = "certificates-kept", error, "those that were in use before stay in use");
        }
    }
}

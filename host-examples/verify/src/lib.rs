//! What a receiving host knows about the sender of a message: SPF for MAIL FROM and for the EHLO name (RFC 7208), and DKIM
//! (RFC 6376), as the policy wants it (A27, A28). The checks are those of mail-auth, the DNS is hickory's.
//!
//! ```no_run
//! # async fn example(message: &[u8]) -> Result<(), smtp_fallback_verify::VerifierError> {
//! use smtp_fallback_verify::{Session, Settings, Verifier};
//!
//! let verifier = Verifier::new(Settings { host_name: "mx.example.org".into(), ..Settings::default() })?;
//! let session = Session { client: "2001:db8::25".parse().unwrap(), ehlo_name: "mail.example.com", mail_from: "a@example.com" };
//! let results = verifier.verify(&session, message).await;
//! # Ok(())
//! # }
//! ```
//!
//! Answers of the DNS are cached by the resolver, not by mail-auth: hickory's cache keeps TTLs and negative TTLs, has one limit,
//! and serves every kind of record, so that no code of ours decides how long an answer is believed. What mail-auth's own cache
//! would save on top is parsing, some microseconds a message.

#![forbid(unsafe_code)]

mod dkim;
mod dns;
mod spf;
mod summary;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mail_auth::MessageAuthenticator;
use smtp_fallback_policy::contract::AuthResults;
use tokio::time::Instant;

pub use dkim::MAX_SIGNATURES;
pub use summary::summary;

/// How to verify.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name servers to ask, over UDP and TCP; empty for those that the system is configured to use.
    pub nameservers: Vec<SocketAddr>,
    /// This host's own name, which SPF macros may show (`%{r}`, RFC 7208 §7.3).
    pub host_name: String,
    /// For everything that one message needs, more than 0. What is not known by then is a temporary error.
    pub deadline: Duration,
    /// How many DNS answers are kept at most; 0 keeps none.
    pub cache_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            nameservers: Vec::new(),
            host_name: "localhost".to_owned(),
            deadline: Duration::from_secs(5),
            cache_entries: 8192,
        }
    }
}

/// What verification needs to know of the SMTP session.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The true client address (R11). One that is IPv4-mapped counts as IPv4 (A22).
    pub client: IpAddr,
    /// The argument of the last EHLO or HELO; empty where there was none.
    pub ehlo_name: &'a str,
    /// MAIL FROM without angle brackets; empty for the null sender.
    pub mail_from: &'a str,
}

/// Checks messages. Cheap to clone; clones share connections and cache.
#[derive(Clone)]
pub struct Verifier {
    authenticator: MessageAuthenticator,
    host_name: String,
    deadline: Duration,
}

/// Why there is no [`Verifier`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierError {
    /// The system's resolver configuration cannot be read, or names no server.
    #[error("the system's resolver configuration cannot be used: {0}; correct it, or list name servers in the settings")]
    SystemConfiguration(String),
    /// The resolver refused its configuration.
    #[error("the resolver cannot be built: {0}")]
    Resolver(String),
    /// The deadline is 0.
    #[error("a deadline of 0 leaves no time to ask the DNS; set some seconds, such as 5")]
    NoTime,
}

impl Verifier {
    /// Sets up the resolver. Nothing is asked yet.
    pub fn new(settings: Settings) -> Result<Verifier, VerifierError> {
        if settings.deadline.is_zero() {
            return Err(VerifierError::NoTime);
        }
        let authenticator = dns::authenticator(&settings)?;
        Ok(Verifier { authenticator, host_name: settings.host_name, deadline: settings.deadline })
    }

    /// Checks one message: its header and body as received, with CRLF line ends and without dot-stuffing.
    ///
    /// - `spf_mail_from` is absent for the null sender, where RFC 7208 §2.4 falls back to the EHLO name: see `spf_helo`. A sender
    ///   without a domain name has the result `none`.
    /// - `spf_helo` is `none` without a look-up where the EHLO name is an address literal or no host name of two labels.
    /// - `dkim` has an entry for each of the first [`MAX_SIGNATURES`] signatures, and for as many that cannot be checked.
    /// - DMARC, ARC and iprev stay absent.
    ///
    /// Returns at the deadline at the latest, plus the time that hashing takes. Dropping the future stops the look-ups.
    pub async fn verify(&self, session: &Session<'_>, message: &[u8]) -> AuthResults {
        let deadline = Instant::now() + self.deadline;
        let check = spf::Check {
            authenticator: &self.authenticator,
            client: session.client.to_canonical(),
            ehlo_name: session.ehlo_name,
            host_name: &self.host_name,
            deadline,
        };
        let mail_from = async {
            match session.mail_from {
                "" => None,
                sender => Some(check.mail_from(sender).await),
            }
        };
        // DKIM last: the queries of SPF are under way while the message is hashed.
        let (spf_mail_from, spf_helo, dkim) =
            tokio::join!(mail_from, check.helo(), dkim::verify(&self.authenticator, message, deadline));
        tracing::debug!(?spf_mail_from, ?spf_helo, ?dkim, client = %check.client, "verified");
        AuthResults { spf_mail_from, spf_helo: Some(spf_helo), dkim: Some(dkim), ..AuthResults::default() }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("host_name", &self.host_name).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

//! What a receiving host knows about the sender of a message: SPF for MAIL FROM and for the EHLO name (RFC 7208), DKIM (RFC 6376),
//! DMARC (RFC 7489, RFC 9989), ARC (RFC 8617), and whether the client's reverse name leads back to it (iprev, RFC 8601 §2.7.3), as the
//! policy wants it (A27, A28). Records and signatures are read and checked by mail-auth, the DNS is hickory's. Which questions are
//! asked, how many, and how long for, is decided here.
//!
//! ```no_run
//! # async fn example(message: &[u8]) -> Result<(), smtp_fallback_verify::VerifierError> {
//! use smtp_fallback_verify::{Session, Settings, Verifier};
//!
//! let verifier = Verifier::new(Settings::default())?;
//! let session = Session { client: "2001:db8::25".parse().unwrap(), ehlo_name: "mail.example.com", mail_from: "a@example.com" };
//! let results = verifier.verify(&session, message).await;
//! # Ok(())
//! # }
//! ```
//!
//! Answers of the DNS are cached here, for as long as their TTL says and an hour at most, and with a limit in octets: hickory's cache
//! counts answers, and one of 64 KiB may take more than 1 MiB there.

#![forbid(unsafe_code)]

mod arc;
mod author;
mod cache;
mod dkim;
mod dmarc;
mod dns;
mod evaluation;
mod iprev;
mod keys;
mod lookups;
mod names;
mod record;
mod spf;
mod summary;
mod tags;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mail_auth::{AuthenticatedMessage, MessageAuthenticator};
use smtp_fallback_policy::contract::{Arc, AuthResult, AuthResults, Dkim, Dmarc, Iprev, Spf};
use tokio::time::Instant;

use author::Author;
use dns::Dns;

pub use arc::MAX_SETS;
pub use dkim::MAX_SIGNATURES;
pub use iprev::MAX_CLIENT_NAMES;
pub use summary::summary;

/// How to verify.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name servers to ask, over UDP and TCP; empty for those that the system is configured to use.
    pub nameservers: Vec<SocketAddr>,
    /// For everything that one call needs, more than 0. What is not known by then is a temporary error.
    pub deadline: Duration,
    /// How many DNS answers are kept at most; 0 keeps none. Together they take no more than 1 KiB for each of these: 8 MiB for the
    /// default of 8192. An answer that does not fit into that by itself is not kept.
    pub cache_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { nameservers: Vec::new(), deadline: Duration::from_secs(5), cache_entries: 8192 }
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
    dns: Dns,
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
        let dns = Dns::new(&authenticator, settings.cache_entries);
        Ok(Verifier { authenticator, dns, deadline: settings.deadline })
    }

    /// Checks one message, given as its header and body as received, with CRLF line ends and without dot-stuffing: everything that
    /// [`verify_envelope`](Verifier::verify_envelope) and [`verify_message`](Verifier::verify_message) check, at the same time and
    /// under one deadline.
    ///
    /// Returns at the deadline at the latest, plus the time that hashing takes. Dropping the future stops the look-ups.
    pub async fn verify(&self, session: &Session<'_>, message: &[u8]) -> AuthResults {
        let deadline = self.deadline();
        // The message last: the queries for the envelope are under way while it is hashed.
        let (envelope, message) = tokio::join!(self.envelope(session, deadline), self.message(session, message, deadline));
        finished(session, envelope, message)
    }

    /// Checks what is known before the message comes. `dkim`, `dmarc` and `arc` stay absent.
    ///
    /// - `spf_mail_from` is absent for the null sender, where RFC 7208 §2.4 falls back to the EHLO name: see `spf_helo`. A sender
    ///   without a domain name has the result `none`.
    /// - `spf_helo` is `none` without a look-up where the EHLO name is an address literal or no host name of two labels.
    /// - `iprev`: see [`iprev`](Verifier::iprev).
    ///
    /// Returns at the deadline at the latest. Dropping the future stops the look-ups.
    pub async fn verify_envelope(&self, session: &Session<'_>) -> AuthResults {
        let results = self.envelope(session, self.deadline()).await;
        tracing::debug!(?results, client = %session.client, "verified the envelope");
        results
    }

    /// Checks the message where [`verify_envelope`](Verifier::verify_envelope) gave `envelope` for the same session: nothing that it
    /// looked up is looked up again. Returns `envelope` with the rest filled in.
    ///
    /// - `dkim` has an entry for each of the first [`MAX_SIGNATURES`] signatures, and for as many that cannot be checked.
    /// - `dmarc` is `permerror`, without a domain, where the From field is missing, comes twice, is malformed, or has addresses of
    ///   several domains.
    ///   For the null sender, SPF counts for the EHLO name (RFC 7489 §3.1.2). Signatures under keys for testing do not count.
    /// - `arc` is `none` for a message without ARC fields, and lists the sealers also where the chain does not hold.
    ///
    /// Returns at the deadline at the latest, which begins with this call, plus the time that hashing takes. Dropping the future
    /// stops the look-ups.
    pub async fn verify_message(&self, session: &Session<'_>, envelope: AuthResults, message: &[u8]) -> AuthResults {
        let message = self.message(session, message, self.deadline()).await;
        finished(session, envelope, message)
    }

    /// Whether the client's reverse name leads back to its address (RFC 8601 §2.7.3). `permerror` where there is no reverse name,
    /// `fail` where none of the first [`MAX_CLIENT_NAMES`] leads back. The name of a `pass` is in lower case, without a final dot; of
    /// several that lead back, it is the first by the alphabet.
    ///
    /// Returns at the deadline at the latest.
    pub async fn iprev(&self, client: IpAddr) -> Iprev {
        iprev::check(&self.dns, client.to_canonical(), self.deadline()).await
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.deadline
    }

    async fn envelope(&self, session: &Session<'_>, deadline: Instant) -> AuthResults {
        let client = session.client.to_canonical();
        let check = spf::Check { dns: &self.dns, client, ehlo_name: session.ehlo_name, deadline };
        let mail_from = async {
            match session.mail_from {
                "" => None,
                sender => Some(check.mail_from(sender).await),
            }
        };
        let (spf_mail_from, spf_helo, iprev) = tokio::join!(mail_from, check.helo(), iprev::check(&self.dns, client, deadline));
        AuthResults { spf_mail_from, spf_helo: Some(spf_helo), iprev: Some(iprev), ..AuthResults::default() }
    }

    async fn message(&self, session: &Session<'_>, raw: &[u8], deadline: Instant) -> MessageResults {
        // Strict: a signature with `l=` does not count, for anything could have been appended (RFC 6376 §8.2).
        let Some(mut message) = AuthenticatedMessage::parse(raw) else { return MessageResults::of_no_header() };
        let refused = dkim::refuse(&mut message);
        let author = Author::of(&message);
        let mut identifiers: Vec<String> =
            message.dkim_signatures().iter().map(|signature| dkim::domain(&signature.header)).collect();
        identifiers.extend(spf::domain(session));
        let (dkim, records, arc) = tokio::join!(
            dkim::verify(&self.authenticator, &self.dns, &message, refused, deadline),
            dmarc::Records::fetch(&self.dns, &author, identifiers, deadline),
            arc::verify(&self.authenticator, &self.dns, &message, deadline),
        );
        MessageResults { dkim, author, records, arc }
    }
}

/// What is known of a message by itself.
struct MessageResults {
    dkim: Vec<Dkim>,
    author: Author,
    records: dmarc::Records,
    arc: Arc,
}

impl MessageResults {
    fn of_no_header() -> MessageResults {
        let arc = Arc { result: AuthResult::None, sealers: Vec::new() };
        MessageResults { dkim: Vec::new(), author: Author::Unclear, records: dmarc::Records::default(), arc }
    }
}

fn finished(session: &Session<'_>, envelope: AuthResults, message: MessageResults) -> AuthResults {
    let MessageResults { dkim, author, records, arc } = message;
    let spf: Option<&Spf> =
        if session.mail_from.is_empty() { envelope.spf_helo.as_ref() } else { envelope.spf_mail_from.as_ref() };
    let dmarc: Dmarc = dmarc::result(&author, &records, spf, &dkim);
    let results = AuthResults { dkim: Some(dkim), dmarc: Some(dmarc), arc: Some(arc), ..envelope };
    tracing::debug!(?results, client = %session.client, "verified");
    results
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

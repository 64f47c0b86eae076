//! SPF (RFC 7208), for each of its two identities by itself: who is asked about, and what becomes of the answer.

use std::net::IpAddr;

use smtp_fallback_policy::contract::{AuthResult, Spf};
use tokio::time::{Instant, timeout_at};

use crate::Session;
use crate::dns::Dns;
use crate::evaluation::Evaluation;
use crate::names::{domain_name, reported};

/// What the checks of one message share.
pub(crate) struct Check<'a> {
    pub(crate) dns: &'a Dns,
    /// Not IPv4-mapped.
    pub(crate) client: IpAddr,
    pub(crate) ehlo_name: &'a str,
    pub(crate) deadline: Instant,
}

impl Check<'_> {
    /// The MAIL FROM identity (RFC 7208 §2.4). `sender` is not empty.
    pub(crate) async fn mail_from(&self, sender: &str) -> Spf {
        let (local_part, domain) = sender.rsplit_once('@').unwrap_or((sender, ""));
        match domain_name(domain) {
            Some(name) => self.run(local_part, name).await,
            None => none(domain),
        }
    }

    /// The HELO identity (RFC 7208 §2.3).
    pub(crate) async fn helo(&self) -> Spf {
        match domain_name(self.ehlo_name) {
            Some(name) => self.run("", name).await,
            None => none(self.ehlo_name),
        }
    }

    async fn run(&self, local_part: &str, domain: String) -> Spf {
        // RFC 7208 §4.3: where there is no local part, it is this.
        let local_part = if local_part.is_empty() { "postmaster" } else { local_part };
        // mail-auth takes the first `@` for the one before the domain. In a quoted local part there may be others: a macro with such
        // a local part then names nothing.
        let sender = format!("{}@{domain}", local_part.replace('@', "\u{fffd}"));
        let ehlo_name = domain_name(self.ehlo_name).unwrap_or_else(|| self.ehlo_name.to_owned());
        let evaluation = Evaluation::new(self.dns, self.client, &sender, &ehlo_name);
        let result = timeout_at(self.deadline, evaluation.run(&domain)).await.unwrap_or(AuthResult::Temperror);
        Spf { result, domain }
    }
}

/// The domain of the identity that counts for DMARC (RFC 7489 §3.1.2), where it can be looked up.
pub(crate) fn domain(session: &Session<'_>) -> Option<String> {
    match session.mail_from {
        "" => domain_name(session.ehlo_name),
        sender => domain_name(sender.rsplit_once('@').map_or("", |(_, domain)| domain)),
    }
}

/// RFC 7208 §4.3: without a domain name there is nothing to check.
fn none(domain: &str) -> Spf {
    Spf { result: AuthResult::None, domain: reported(domain) }
}

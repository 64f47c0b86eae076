//! Whether a message is authenticated: verified here, or by the field of a filter before this one.

use std::time::{SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::authentication_results::authserv_id;
use smtp_fallback_policy::contract::{Arc, AuthResult, AuthResults, Dkim, Dmarc, Iprev, Spf};
use smtp_fallback_verify::Session;

use super::client::Client;
use super::mail::Mail;
use super::{Authentication, Service};

impl Service {
    /// What is known of the message's authentication; nothing where nobody asks for it.
    pub(super) async fn results(&self, client: &Client, mail: &Mail) -> Option<AuthResults> {
        if !client.is_in_question(self) {
            return None;
        }
        let results = match &self.authentication {
            Authentication::Fields(ids) => {
                let Trusted { fields, all_spoke } = Trusted::of(&mail.results, ids);
                let results = self.policy.authentication_results(&fields, ids)?;
                if all_spoke { complete(results) } else { results }
            }
            Authentication::Verifier(verifier) => {
                let session = Session {
                    client: client.ip,
                    ehlo_name: client.ehlo_name.as_deref().unwrap_or_default(),
                    mail_from: &mail.mail_from,
                };
                match mail.text() {
                    Some(text) => verifier.verify(&session, text).await,
                    None => {
                        tracing::warn!(event = "not-verified", client = %client.ip, size = mail.size(), "too large: its signatures are not verified");
                        unread(verifier.verify_envelope(&session).await)
                    }
                }
            }
        };
        self.temporary_errors.saw(&results, now());
        Some(results)
    }
}

/// The fields of the trusted ids.
struct Trusted {
    fields: Vec<String>,
    /// There is one of each id, whether it counts or not.
    all_spoke: bool,
}

impl Trusted {
    /// The topmost field of each trusted id. Where there is a second one with the same id, somebody has forged one, and which of them cannot
    /// be told: none of them counts.
    fn of(fields: &[String], ids: &[String]) -> Trusted {
        let mut trusted = Trusted { fields: Vec::new(), all_spoke: true };
        for id in ids {
            let mut own = fields.iter().filter(|field| authserv_id(field).is_some_and(|found| found.eq_ignore_ascii_case(id)));
            match (own.next(), own.next()) {
                (Some(field), None) => trusted.fields.push(field.clone()),
                (Some(_), Some(_)) => tracing::warn!(
                    event = "forged-results",
                    authserv_id = id,
                    "more than one Authentication-Results field has this id: none of them counts; the filter before this one must remove those \
                     that came with the message"
                ),
                (None, _) => trusted.all_spoke = false,
            }
        }
        trusted
    }
}

/// The filters have spoken, so a method that none of them names has no result. While one of them is silent, it may have been about to.
fn complete(results: AuthResults) -> AuthResults {
    let (result, domain) = (AuthResult::None, String::new());
    let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = results;
    AuthResults {
        spf_mail_from: spf_mail_from.or(Some(Spf { result, domain: domain.clone() })),
        spf_helo: spf_helo.or(Some(Spf { result, domain: domain.clone() })),
        dkim: dkim.or(Some(Vec::new())),
        dmarc: dmarc.or(Some(Dmarc { result, domain })),
        arc: arc.or(Some(Arc { result, sealers: Vec::new() })),
        iprev: iprev.or(Some(Iprev { result, name: None })),
    }
}

/// What stands for the results of a message that was too large to be looked at: they may have been good.
fn unread(envelope: AuthResults) -> AuthResults {
    let result = AuthResult::Temperror;
    AuthResults {
        dkim: Some(vec![Dkim { result, domain: String::new(), selector: String::new(), testing: false }]),
        dmarc: Some(Dmarc { result, domain: String::new() }),
        arc: Some(Arc { result, sealers: Vec::new() }),
        ..envelope
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

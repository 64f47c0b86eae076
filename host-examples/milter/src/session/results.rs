//! Whether a message is authenticated: verified here, or by the field of a filter before this one.

use std::time::{SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::authentication_results::authserv_id;
use smtp_fallback_policy::contract::{Arc, AuthResult, AuthResults, Dkim, Dmarc};
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
                let fields = trusted_fields(&mail.results, ids);
                self.policy.authentication_results(&fields, ids)?
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

/// The topmost field of each trusted id. Where there is a second one with the same id, somebody has forged one, and which of them cannot be
/// told: none of them counts.
fn trusted_fields(fields: &[String], ids: &[String]) -> Vec<String> {
    let mut trusted = Vec::new();
    for id in ids {
        let mut own = fields.iter().filter(|field| authserv_id(field).is_some_and(|found| found.eq_ignore_ascii_case(id)));
        match (own.next(), own.next()) {
            (Some(field), None) => trusted.push(field.clone()),
            (Some(_), Some(_)) => tracing::warn!(
                event = "forged-results",
                authserv_id = id,
                "more than one Authentication-Results field has this id: none of them counts; the filter before this one must remove those that \
                 came with the message"
            ),
            (None, _) => {}
        }
    }
    trusted
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

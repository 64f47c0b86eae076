//! The policy, asked with what the session knows.

use smtp_fallback_daemon::policy::{Allowance, Question};
use smtp_fallback_policy::contract::{AuthResults, Connection, Envelope, Message, Stage, Verdict};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Session, now};
use crate::reply::Reply;

/// What is known of a transaction.
pub(super) struct Facts<'a> {
    pub(super) envelope: Envelope,
    pub(super) message: Option<Message>,
    pub(super) results: Option<AuthResults>,
    pub(super) id: Option<&'a str>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// The policy's refusal, or nothing.
    pub(super) async fn ask(&mut self, stage: Stage, facts: Option<Facts<'_>>) -> Option<Reply> {
        if self.settled {
            return None;
        }
        let connection = Connection {
            stage,
            client: self.address,
            listener: self.origin.kind,
            ehlo_name: self.hello.as_ref().map(|hello| hello.name.clone()),
            tls: self.tls.clone(),
            authenticated: false,
            listener_offers: self.origin.offers,
            keyword_shown: self.keyword_shown,
            acknowledged: self.acknowledged,
            reachable_over_ipv4: self.service.reachable_over_ipv4,
            ipv4_arrivals_visible: self.service.sees_ipv4_arrivals,
            now: now(),
            nonce: self.nonce,
            records: Vec::new(),
        };
        let (envelope, message, results, id) = match facts {
            Some(Facts { envelope, message, results, id }) => (Some(envelope), message, results, id),
            None => (None, None, None, None),
        };
        let question = Question { connection, envelope, message, results };
        if stage == Stage::Mail && std::mem::replace(&mut self.had_transaction, true) {
            // The first message of a session shares its time with the greeting and EHLO.
            self.store_time = Allowance::new(self.service.store_time);
        }
        let (decision, pending) = self.service.policy.ask(self.client, id, question, &mut self.store_time).await;
        // Of two decisions before one reply (both at DATA), the first one's records would be lost.
        if let Some(earlier) = std::mem::replace(&mut self.pending, pending) {
            self.service.policy.store(earlier, &mut self.store_time).await;
        }
        match decision.verdict {
            Verdict::Continue => None,
            Verdict::Accept => {
                // Before the end it holds for the whole connection (A13).
                self.settled = stage != Stage::EndOfData;
                None
            }
            Verdict::Refuse(reply) => Some(reply.into()),
        }
    }

    /// SPF and the reverse name, where the policy can use them: IPv4 passes without.
    pub(super) async fn verify_envelope(&self, mail_from: &str) -> Option<AuthResults> {
        let verifier = self.service.verifier.as_ref().filter(|_| self.needs_results())?;
        Some(verifier.verify_envelope(&self.verified_session(mail_from)).await)
    }

    /// The rest, once the message is there.
    pub(super) async fn verify_message(
        &self,
        mail_from: &str,
        envelope: Option<AuthResults>,
        message: &[u8],
    ) -> Option<AuthResults> {
        let verifier = self.service.verifier.as_ref().filter(|_| self.needs_results())?;
        let session = self.verified_session(mail_from);
        Some(match envelope {
            Some(envelope) => verifier.verify_message(&session, envelope, message).await,
            None => verifier.verify(&session, message).await,
        })
    }

    fn needs_results(&self) -> bool {
        !self.settled && !self.address.is_ipv4() && self.service.policy.is_loaded()
    }

    fn verified_session<'a>(&'a self, mail_from: &'a str) -> smtp_fallback_verify::Session<'a> {
        let ehlo_name = self.hello.as_ref().map_or("", |hello| &hello.name);
        smtp_fallback_verify::Session { client: self.client, ehlo_name, mail_from }
    }
}

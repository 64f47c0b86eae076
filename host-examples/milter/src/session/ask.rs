//! The policy, asked with what is known, and its answer in the words of the protocol.

use smtp_fallback_daemon::policy::{Question, now};
use smtp_fallback_milter_codec::{Refusal, Reply};
use smtp_fallback_policy::contract::{AuthResults, Connection, Stage, Verdict};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Session;
use super::mail::Mail;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// The policy's refusal, or nothing. At MAIL the message that has begun counts.
    pub(super) async fn ask(&mut self, stage: Stage, message: Option<(&Mail, Option<AuthResults>)>) -> Option<Reply> {
        let client = self.client.as_ref().filter(|client| !client.settled)?;
        let connection = Connection {
            stage,
            client: client.address,
            listener: client.kind,
            ehlo_name: client.ehlo_name.clone(),
            tls: client.tls.clone(),
            authenticated: client.authenticated,
            listener_offers: client.front_offers,
            keyword_shown: client.keyword_shown(),
            acknowledged: client.acknowledged,
            reachable_over_ipv4: self.service.reachable_over_ipv4,
            ipv4_arrivals_visible: self.service.sees_ipv4_arrivals,
            now: now(),
            nonce: client.nonce,
            records: Vec::new(),
        };
        let ip = client.ip;
        let id = self.queue_id();
        let question = match message {
            Some((mail, results)) => {
                Question { connection, envelope: Some(mail.envelope()), message: Some(mail.message()), results }
            }
            None => Question { connection, envelope: self.mail.as_ref().map(Mail::envelope), message: None, results: None },
        };
        let (decision, pending) = self.service.policy.ask(ip, id.as_deref(), question, &mut self.store_time).await;
        // Of two decisions before one reply, the first one's records would be lost.
        if let Some(earlier) = std::mem::replace(&mut self.pending, pending) {
            self.service.policy.store(earlier, &mut self.store_time).await;
        }
        match decision.verdict {
            Verdict::Continue => None,
            Verdict::Accept => {
                if let Some(client) = self.client.as_mut().filter(|_| stage != Stage::EndOfData) {
                    // Before the end it holds for the whole connection (A13).
                    client.settled = true;
                }
                None
            }
            Verdict::Refuse(reply) => match Refusal::new(reply.code, &reply.enhanced_code, &reply.lines) {
                Ok(refusal) => Some(Reply::Refuse(refusal)),
                Err(error) => {
                    // The records that go with it say that the client was refused.
                    self.pending = None;
                    tracing::error!(
                        event = "refusal-failure",
                        client = %ip,
                        id,
                        %error,
                        "an MTA would not pass this refusal on: the mail is accepted"
                    );
                    None
                }
            },
        }
    }
}

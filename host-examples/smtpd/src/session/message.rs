//! From DATA to the reply to the dot.

use std::sync::Arc;

use smtp_fallback_policy::contract::{AuthResults, Envelope, Stage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Facts, Session, Transaction, nonce, now, too_large};
use crate::data::{Decoder, Fault, LINE_MAX, Text};
use crate::header::Trace;
use crate::reply::Reply;
use crate::wire::End;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// DATA, up to the reply to the dot.
    pub(super) async fn data(&mut self) -> Result<Option<Reply>, End> {
        let Some(transaction) = &self.transaction else {
            let reply = self.mistake(Reply::new(503, "5.5.1", "MAIL must come first"));
            return self.no_message(reply).await;
        };
        if transaction.recipients.is_empty() {
            let reply = self.mistake(Reply::new(554, "5.5.1", "no valid recipients"));
            return self.no_message(reply).await;
        }
        let envelope = transaction.envelope();
        if let Some(refusal) = self.ask(Stage::Data, Some(envelope)).await {
            self.transaction = None;
            return self.no_message(refusal).await;
        }
        self.send(Reply::bare(354, "send the message; a line with a single dot ends it")).await?;
        let limits = &self.service.limits;
        let mut decoder = Decoder::new(limits.message_size, &self.service.memory);
        let deadline = Instant::now() + limits.message_time;
        self.wire.message(&mut decoder, deadline).await?;
        self.idle_commands = 0;
        let transaction = self.transaction.take().expect("only this function ends a transaction while a message is read");
        // Else so much of it was thrown away that its end is not waited for: there is no place where a command could start.
        let ended = decoder.is_done();
        let reply = match decoder.finish() {
            Ok(text) => self.end_of_data(transaction, text).await,
            Err(fault) => {
                let reply = self.spoiled(fault);
                self.mistake(reply)
            }
        };
        Ok(Some(if ended { reply } else { reply.and_close() }))
    }

    /// The reply in place of 354. A client waits for it before it sends more (RFC 2920 §3.1); what has come already is perhaps a message,
    /// whose lines must not be read as commands.
    async fn no_message(&mut self, refusal: Reply) -> Result<Option<Reply>, End> {
        if refusal.close || !self.wire.has_input() {
            return Ok(Some(refusal));
        }
        self.send(refusal).await?;
        Ok(Some(Reply::new(421, "4.7.0", "more was sent before the reply to DATA; closing").and_close()))
    }

    async fn end_of_data(&mut self, transaction: Transaction, text: Text) -> Reply {
        let id = message_id();
        let client = self.origin.client;
        let envelope = transaction.envelope();
        if !self.settled {
            let results = self.verify(&envelope, &text).await;
            let message = smtp_fallback_verify::summary(text.octets());
            let facts = Facts { envelope: envelope.clone(), message: Some(message), results, id: Some(&id) };
            // A refused message is discarded here, never delivered later (R8).
            if let Some(refusal) = self.ask_with(Stage::EndOfData, Some(facts)).await {
                return refusal;
            }
        }
        let (name, extended) = self.hello.as_ref().map_or(("", false), |hello| (hello.name.as_str(), hello.extended));
        let fields = Trace {
            mail_from: &envelope.mail_from,
            recipients: &envelope.recipients,
            ehlo_name: name,
            client,
            extended,
            host_name: &self.service.host_name,
            id: &id,
            now: now(),
        }
        .fields();
        let size = text.octets().len();
        let (maildir, file_id) = (Arc::clone(&self.service.maildir), id.clone());
        let delivered = tokio::task::spawn_blocking(move || maildir.deliver(&file_id, &[fields.as_bytes(), text.octets()])).await;
        match delivered {
            Ok(Ok(file)) => {
                let recipients = envelope.recipients.len();
                tracing::info!(event = "delivered", %client, id, mail_from = envelope.mail_from, recipients, size, file);
                Reply::new(250, "2.0.0", format!("OK, kept as {id}"))
            }
            failed => {
                let error = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "the writing thread failed".to_owned(),
                };
                tracing::error!(event = "delivery-failure", %client, id, error, "the message was not kept; the client will try again");
                // This host's own trouble: never 4.4.8, which is the policy's alone (A15).
                Reply::new(451, "4.3.0", "the message could not be kept; try again later")
            }
        }
    }

    /// Results only where the policy can use them: IPv4 passes without.
    async fn verify(&self, envelope: &Envelope, text: &Text) -> Option<AuthResults> {
        if self.address.is_ipv4() || !self.service.policy.is_loaded() {
            return None;
        }
        let session = smtp_fallback_verify::Session {
            client: self.origin.client,
            ehlo_name: self.hello.as_ref().map_or("", |hello| &hello.name),
            mail_from: &envelope.mail_from,
        };
        match &self.service.verifier {
            Some(verifier) => Some(verifier.verify(&session, text.octets()).await),
            None => None,
        }
    }

    /// The reply to a message that is refused for its form.
    fn spoiled(&mut self, fault: Fault) -> Reply {
        let client = self.origin.client;
        self.ambiguous |= matches!(fault, Fault::BareCr | Fault::BareLf | Fault::Nul);
        tracing::info!(event = "message-refused", %client, fault = ?fault);
        match fault {
            Fault::BareCr => Reply::new(550, "5.6.0", "the message has a CR without LF: lines end with CRLF"),
            Fault::BareLf => Reply::new(550, "5.6.0", "the message has an LF without CR: lines end with CRLF"),
            Fault::Nul => Reply::new(550, "5.6.0", "the message has a NUL octet"),
            Fault::LineTooLong => Reply::new(550, "5.6.0", format!("the message has a line longer than {} octets", LINE_MAX)),
            Fault::TooLarge => too_large(self.service.limits.message_size),
            Fault::OutOfMemory => Reply::new(452, "4.3.1", "too many messages at once; try again later"),
        }
    }
}

/// Names a message in replies, logs, its Received field and its file name.
fn message_id() -> String {
    let bits = getrandom::u64().unwrap_or_else(|_| u64::from(nonce()));
    format!("{bits:016x}")
}

//! What becomes of an accepted message: into the Maildir, or to upstream, whose reply is passed on word for word.

use std::sync::Arc;

use smtp_fallback_policy::contract::Tls;
use tokio::io::{AsyncRead, AsyncWrite};

use super::transaction::Transaction;
use super::{Destination, Session, now};
use crate::header::{Protocol, Trace};
use crate::maildir::Maildir;
use crate::reply::Reply;
use crate::text::Text;
use crate::upstream::Tell;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Brings the message to where it goes; the reply to its end.
    pub(super) async fn deliver(&mut self, transaction: &Transaction, text: Text, id: &str) -> Reply {
        match &self.service.destination {
            Destination::Maildir(maildir) => {
                let maildir = Arc::clone(maildir);
                self.keep(maildir, transaction, text, id).await
            }
            Destination::Upstream(_) => self.relay_message(transaction, text, id).await,
        }
    }

    async fn keep(&self, maildir: Arc<Maildir>, transaction: &Transaction, text: Text, id: &str) -> Reply {
        let (mail_from, recipients) = (transaction.mail_from.address(), transaction.recipients.len());
        let mut fields = format!("Return-Path: <{mail_from}>\r\n");
        for recipient in &transaction.recipients {
            fields.push_str(&format!("Delivered-To: {}\r\n", recipient.address));
        }
        fields.push_str(&self.received(transaction, id));
        let size = text.octets().len();
        let file_id = id.to_owned();
        let delivered = tokio::task::spawn_blocking(move || maildir.deliver(&file_id, &[fields.as_bytes(), text.octets()])).await;
        match delivered {
            Ok(Ok(file)) => {
                tracing::info!(event = "delivered", client = %self.client, id, mail_from, recipients, size, file);
                Reply::new(250, "2.0.0", format!("OK, kept as {id}"))
            }
            failed => {
                let error = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "the writing thread failed".to_owned(),
                };
                let text = "the message was not kept; the client will try again";
                tracing::error!(event = "delivery-failure", client = %self.client, id, error, "{text}");
                Reply::new(451, "4.3.0", "the message could not be kept; try again later")
            }
        }
    }

    async fn relay_message(&mut self, transaction: &Transaction, text: Text, id: &str) -> Reply {
        // Where upstream knows the client, its own Received field names it; else nobody would.
        let fields = match &self.service.destination {
            Destination::Upstream(settings) if settings.tell == Tell::Nothing => self.received(transaction, id),
            _ => String::new(),
        };
        let Some(upstream) = &mut self.upstream else {
            return self.upstream_failed(&"it went away while the message came in");
        };
        match upstream.message(&[fields.as_bytes(), text.octets()], transaction.recipients.len()).await {
            Ok(delivered) => {
                let reply = Reply::from(delivered.combined());
                let (mail_from, recipients) = (transaction.mail_from.address(), transaction.recipients.len());
                let event = if reply.is_positive() { "relayed" } else { "refused-by-upstream" };
                let (size, code, text) = (text.octets().len(), reply.code, reply.lines.join(" / "));
                tracing::info!(event, client = %self.client, id, mail_from, recipients, size, code, text);
                if !reply.is_positive() {
                    // After a refusal at DATA upstream still has the envelope.
                    self.give_up_upstream(&reply).await;
                }
                reply
            }
            Err(error) => {
                self.upstream = None;
                if error.is_outcome_unknown() {
                    let text = "upstream may have the message all the same: then the client's next try is a duplicate";
                    tracing::warn!(event = "delivery-in-doubt", client = %self.client, id, "{text}");
                }
                self.upstream_failed(&error)
            }
        }
    }

    fn received(&self, transaction: &Transaction, id: &str) -> String {
        let (name, extended) = self.hello.as_ref().map_or(("", false), |hello| (hello.name.as_str(), hello.extended));
        let recipient = match transaction.recipients.as_slice() {
            // Naming one of several recipients would tell each about the other.
            [recipient] => Some(recipient.address.as_str()),
            _ => None,
        };
        Trace {
            ehlo_name: name,
            client: self.client,
            protocol: Protocol { extended, tls: self.tls != Tls::None, utf8: transaction.smtputf8 },
            tls: self.wire.tls_description().as_deref(),
            host_name: &self.service.host_name,
            id,
            recipient,
            now: now(),
        }
        .received()
    }
}

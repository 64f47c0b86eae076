//! What becomes of an accepted message: into the Maildir, or to upstream, whose replies are passed on word for word.
//!
//! When upstream cannot be used the client gets a temporary refusal of this server's own, never with 4.4.8, which is the policy's alone
//! (A15).

use std::sync::Arc;

use smtp_fallback_policy::contract::{AuthResult, Tls};
use tokio::io::{AsyncRead, AsyncWrite};

use super::hello::Hello;
use super::transaction::{Transaction, mail_command, rcpt_command};
use super::{Destination, Session, now};
use crate::command::{MailParameters, RcptParameters};
use crate::header::{Protocol, Trace};
use crate::maildir::Maildir;
use crate::path::{ForwardPath, ReversePath};
use crate::reply::Reply;
use crate::text::Text;
use crate::upstream::{Client, Error, Name, Tell, Upstream};

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
            return self.upstream_failed("at the end of the message", &"it went away while the message came in");
        };
        match upstream.message(&[fields.as_bytes(), text.octets()], transaction.recipients.len()).await {
            Ok(delivered) => {
                let reply = Reply::from(delivered.combined());
                let (mail_from, recipients) = (transaction.mail_from.address(), transaction.recipients.len());
                let event = if reply.is_positive() { "relayed" } else { "refused-by-upstream" };
                let (size, code, text) = (text.octets().len(), reply.code, reply.lines.join(" / "));
                tracing::info!(event, client = %self.client, id, mail_from, recipients, size, code, text);
                reply
            }
            Err(error) => {
                self.upstream = None;
                self.upstream_failed("at the end of the message", &error)
            }
        }
    }

    /// In front mode, connects to upstream and tells it who the client is, so that EHLO can show what both sides can do.
    pub(super) async fn introduce(&mut self, hello: &Hello) -> Result<(), Reply> {
        if !matches!(self.service.destination, Destination::Upstream(_)) {
            return Ok(());
        }
        // Upstream has heard of the client under its old name.
        if let Some(upstream) = self.upstream.take() {
            upstream.abort();
        }
        let upstream = self.connect_upstream(hello).await?;
        self.upstream = Some(upstream);
        Ok(())
    }

    pub(super) async fn relay_mail(&mut self, from: &ReversePath, parameters: &MailParameters) -> Reply {
        let Some(hello) = self.hello.clone() else { return self.upstream_unusable("at MAIL", &"there was no EHLO") };
        // Between two messages nothing is lost with a connection: upstream may have timed out, or was restarted.
        for attempt in 0..2 {
            if !self.upstream.as_mut().is_some_and(|upstream| upstream.is_alive()) {
                match self.connect_upstream(&hello).await {
                    Ok(upstream) => self.upstream = Some(upstream),
                    Err(reply) => return reply,
                }
            }
            let Some(upstream) = &mut self.upstream else { break };
            let line = mail_command(from, parameters, upstream.offers().size.is_some());
            match upstream.command(&line).await {
                Ok(reply) if reply.code == 421 && attempt == 0 => self.upstream = None,
                Ok(reply) => return reply.into(),
                Err(error @ (Error::Closed(_) | Error::Broken { .. })) if attempt == 0 => {
                    tracing::debug!(event = "upstream-failure", at = "at MAIL", %error, "connecting anew");
                    self.upstream = None;
                }
                Err(error) => return self.upstream_unusable("at MAIL", &error),
            }
        }
        self.upstream_unusable("at MAIL", &"it closed the connection twice")
    }

    pub(super) async fn relay_rcpt(&mut self, to: &ForwardPath, parameters: &RcptParameters) -> Reply {
        let Some(upstream) = &mut self.upstream else { return self.upstream_unusable("at RCPT", &"the connection is gone") };
        match upstream.command(&rcpt_command(to, parameters)).await {
            Ok(reply) => reply.into(),
            Err(error) => self.upstream_unusable("at RCPT", &error),
        }
    }

    /// Ends the transaction that upstream has open. If that cannot be done the connection goes, and the transaction with it.
    pub(super) async fn relay_reset(&mut self) {
        if let Some(upstream) = &mut self.upstream {
            let reply = upstream.command("RSET").await;
            if !reply.is_ok_and(|reply| reply.is_positive()) {
                self.upstream = None;
            }
        }
    }

    /// After a refusal upstream must not keep anything of the message (R8).
    pub(super) async fn give_up_upstream(&mut self, refusal: &Reply) {
        if refusal.close {
            if let Some(upstream) = self.upstream.take() {
                upstream.abort();
            }
        } else {
            self.relay_reset().await;
        }
    }

    async fn connect_upstream(&self, hello: &Hello) -> Result<Box<Upstream>, Reply> {
        let Destination::Upstream(settings) = &self.service.destination else {
            return Err(self.upstream_unusable("at EHLO", &"none is configured"));
        };
        let name = match (&self.service.verifier, settings.tell) {
            (Some(verifier), Tell::Xclient) => match verifier.iprev(self.client).await {
                iprev if iprev.result == AuthResult::Temperror => Name::TemporarilyUnknown,
                iprev => iprev.name.map_or(Name::None, Name::Confirmed),
            },
            _ => Name::None,
        };
        let client = Client {
            address: self.origin.client,
            destination: self.origin.local,
            ehlo_name: &hello.name,
            extended: hello.extended,
            name,
        };
        match Upstream::connect(settings, &client).await {
            Ok(upstream) => Ok(Box::new(upstream)),
            // Upstream wants nothing of this client: that is for the client to hear, in upstream's words.
            Err(Error::Refused(reply)) => Err(Reply::from(reply).and_close()),
            Err(error) => Err(self.upstream_unusable("at EHLO", &error)),
        }
    }

    /// Before the message: the client is sent to another host.
    fn upstream_unusable(&self, at: &str, error: &dyn std::fmt::Display) -> Reply {
        tracing::error!(event = "upstream-failure", client = %self.client, at, %error, "the client will try again");
        Reply::new(421, "4.3.2", "the mail system behind this host does not answer; try again later").and_close()
    }

    /// After the message. Where upstream had it already, the client's next try is a duplicate: better than a loss.
    fn upstream_failed(&self, at: &str, error: &dyn std::fmt::Display) -> Reply {
        tracing::error!(event = "upstream-failure", client = %self.client, at, %error, "the client will try again");
        Reply::new(451, "4.3.0", "the mail system behind this host does not answer; try again later")
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

impl From<crate::upstream::Reply> for Reply {
    fn from(reply: crate::upstream::Reply) -> Self {
        Reply::relayed(reply.code, reply.lines)
    }
}

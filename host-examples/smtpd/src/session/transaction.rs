//! MAIL, RCPT and RSET: the envelope.

use smtp_fallback_policy::contract::{AuthResults, Envelope, Stage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::ask::Facts;
use super::{Destination, Service, Session};
use crate::chunks::Chunks;
use crate::command::{Mail, MailParameters, Rcpt};
use crate::path::{ForwardPath, ReversePath};
use crate::reply::Reply;
use crate::upstream::{Protocol, Tell};

/// So many times the limit of recipients may be offered before the client is disconnected.
const EXCESS: usize = 10;

/// A mail transaction, from MAIL on.
pub(super) struct Transaction {
    pub(super) mail_from: ReversePath,
    pub(super) smtputf8: bool,
    pub(super) recipients: Vec<Recipient>,
    /// How many were offered, accepted or not.
    offered: usize,
    /// What was found out before the message came.
    pub(super) results: Option<AuthResults>,
    /// The message comes by BDAT; what has come of it.
    pub(super) chunks: Option<Chunks>,
    /// By when the message has to begin; once it has begun, by when it has to be there.
    pub(super) deadline: Instant,
}

/// A recipient that was accepted.
pub(super) struct Recipient {
    /// As it was sent.
    pub(super) address: String,
    /// With its domain in ASCII, for the policy.
    ascii: String,
}

impl Transaction {
    pub(super) fn envelope(&self) -> Envelope {
        Envelope {
            mail_from: self.mail_from.with_ascii_domain(),
            recipients: self.recipients.iter().map(|recipient| recipient.ascii.clone()).collect(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) async fn mail(&mut self, mail: Mail) -> Result<Reply, Reply> {
        let Some(hello) = &self.hello else {
            return Err(Reply::new(503, "5.5.1", "EHLO or HELO must come first"));
        };
        if self.transaction.is_some() {
            return Err(Reply::new(503, "5.5.1", "there is a transaction already; RSET ends it"));
        }
        if !mail.parameters.is_empty() && !hello.extended {
            return Err(Reply::new(555, "5.5.4", "parameters need EHLO"));
        }
        self.check_offered(&mail.parameters)?;
        self.smtputf8 = mail.parameters.smtputf8;
        if !mail.from.is_ascii() && !mail.parameters.smtputf8 {
            return Err(needs_smtputf8());
        }
        if mail.parameters.size.is_some_and(|size| size > self.size_limit() as u64) {
            return Err(self.too_large());
        }
        let transaction = Transaction {
            mail_from: mail.from,
            smtputf8: mail.parameters.smtputf8,
            recipients: Vec::new(),
            offered: 0,
            results: None,
            chunks: None,
            deadline: Instant::now() + self.service.limits.message_time,
        };
        let facts = Facts { envelope: transaction.envelope(), message: None, results: None, id: None };
        if let Some(refusal) = self.ask(Stage::Mail, Some(facts)).await {
            return Ok(refusal);
        }
        let reply = match &self.service.destination {
            Destination::Maildir(_) => Reply::new(250, "2.1.0", "OK"),
            Destination::Upstream(_) => self.relay_mail(&transaction.mail_from, &mail.parameters).await,
        };
        if reply.is_positive() {
            self.transaction = Some(transaction);
            self.last_words = None;
        }
        Ok(reply)
    }

    pub(super) async fn rcpt(&mut self, rcpt: Rcpt) -> Result<Reply, Reply> {
        let Rcpt { to, parameters } = rcpt;
        let most = match &self.service.destination {
            // LMTP answers for each recipient after the dot, and SMTP once for all: with one recipient they say the same.
            Destination::Upstream(upstream) if upstream.protocol == Protocol::Lmtp => 1,
            _ => self.service.limits.recipients,
        };
        let excess = self.service.limits.recipients.saturating_mul(EXCESS);
        let Some(transaction) = &mut self.transaction else {
            return Err(Reply::new(503, "5.5.1", "MAIL must come first"));
        };
        if transaction.chunks.is_some() {
            return Err(Reply::new(503, "5.5.1", "the message has begun; BDAT ... LAST ends it"));
        }
        transaction.offered += 1;
        if transaction.offered > excess {
            return Ok(Reply::new(421, "4.7.0", "far too many recipients; closing").and_close());
        }
        if !to.is_ascii() && !transaction.smtputf8 {
            return Err(needs_smtputf8());
        }
        if !parameters.is_empty() && !self.offered.dsn {
            return Err(not_offered("NOTIFY and ORCPT"));
        }
        let recipient = self.recipient(&to)?;
        let Some(transaction) = &self.transaction else {
            return Err(Reply::new(503, "5.5.1", "MAIL must come first"));
        };
        if transaction.recipients.iter().any(|known| known.address == recipient.address) {
            return Ok(Reply::new(250, "2.1.5", "OK, already named"));
        }
        if transaction.recipients.len() >= most {
            return Ok(Reply::new(452, "4.5.3", "too many recipients: send the message again for the others"));
        }
        let reply = match &self.service.destination {
            Destination::Maildir(_) => Reply::new(250, "2.1.5", "OK"),
            Destination::Upstream(_) => self.relay_rcpt(&to, &parameters).await,
        };
        if reply.is_positive()
            && let Some(transaction) = &mut self.transaction
        {
            transaction.recipients.push(recipient);
        }
        Ok(reply)
    }

    /// The acknowledgement belongs to the session: it stays (A9).
    pub(super) async fn reset(&mut self) -> Reply {
        self.transaction = None;
        self.relay_reset().await;
        Reply::new(250, "2.0.0", "OK")
    }

    /// Octets of the largest message: what was announced, or the server's own limit after HELO.
    pub(super) fn size_limit(&self) -> usize {
        if self.offered.by_ehlo { self.offered.size } else { self.service.limits.message_size }
    }

    pub(super) fn too_large(&self) -> Reply {
        Reply::new(552, "5.3.4", format!("the message is longer than {} octets", self.size_limit()))
    }

    /// The recipient, where mail is taken for it.
    fn recipient(&self, to: &ForwardPath) -> Result<Recipient, Reply> {
        let Service { host_name, domains, any_domain, destination, .. } = self.service.as_ref();
        let mailbox = match to {
            ForwardPath::Postmaster => {
                let address = format!("postmaster@{host_name}");
                return Ok(Recipient { ascii: address.clone(), address });
            }
            ForwardPath::Mailbox(mailbox) => mailbox,
        };
        let refuse = |text: &'static str| Err(Reply::new(550, "5.7.1", text));
        let domain = mailbox.ascii_domain();
        let postmaster = mailbox.local_part().eq_ignore_ascii_case("postmaster") && domain == host_name.to_ascii_lowercase();
        if *any_domain {
            // Upstream would relay for this host, and for a proxy in front of it, as for its own.
            if !self.origin.known {
                return refuse("relaying refused: this server does not know who its client is");
            }
        } else if !domains.contains(&domain) && !postmaster {
            return refuse("relaying refused: this server takes mail for its own domains only");
        }
        // Postfix and others take what is before these characters for a route, and upstream trusts this host.
        let trusted = matches!(destination, Destination::Upstream(settings) if settings.tell == Tell::Nothing);
        if trusted && mailbox.local_part().contains(['%', '!', '@']) {
            return refuse("relaying refused: no routes in addresses");
        }
        Ok(Recipient { address: mailbox.address().to_owned(), ascii: mailbox.with_ascii_domain() })
    }

    fn check_offered(&self, parameters: &MailParameters) -> Result<(), Reply> {
        if parameters.body.is_some() && !self.offered.eight_bit_mime {
            return Err(not_offered("BODY"));
        }
        if parameters.smtputf8 && !self.offered.smtputf8 {
            return Err(not_offered("SMTPUTF8"));
        }
        if parameters.wants_reports() && !self.offered.dsn {
            return Err(not_offered("RET and ENVID"));
        }
        Ok(())
    }
}

fn needs_smtputf8() -> Reply {
    Reply::new(553, "5.6.7", "addresses beyond ASCII need SMTPUTF8 after MAIL, where EHLO announces it")
}

fn not_offered(what: &str) -> Reply {
    Reply::new(555, "5.5.4", format!("{what}: not announced in the reply to EHLO"))
}

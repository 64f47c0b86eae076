//! EHLO and HELO, STARTTLS, and the verb of the extension: what the two sides know of each other.

use smtp_fallback_policy::contract::{KEYWORD, Stage, Tls};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Destination, Session};
use crate::reply::Reply;
use crate::wire::End;

/// How the client introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) name: String,
    /// By EHLO.
    pub(super) extended: bool,
}

/// What a reply to EHLO announced beyond what this server always does: in front mode, what upstream does as well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offered {
    /// There was a reply to EHLO; HELO announces nothing.
    pub(super) by_ehlo: bool,
    pub(super) enhanced_status_codes: bool,
    pub(super) eight_bit_mime: bool,
    pub(super) smtputf8: bool,
    pub(super) dsn: bool,
    /// Octets of the largest message.
    pub(super) size: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) async fn hello(&mut self, hello: Hello) -> Reply {
        let extended = hello.extended;
        self.forget();
        self.hello = Some(hello.clone());
        if let Some(refusal) = self.ask(Stage::Ehlo, None).await {
            return refusal;
        }
        if let Err(reply) = self.introduce(&hello).await {
            return reply;
        }
        let mut reply = Reply::bare(250, self.service.host_name.clone());
        if extended {
            self.offered = self.offers();
            let Offered { enhanced_status_codes, eight_bit_mime, smtputf8, dsn, size, .. } = self.offered;
            self.keyword_shown = self.offers_fallback();
            let size = format!("SIZE {size}");
            let keywords = [
                (true, "PIPELINING"),
                (true, size.as_str()),
                (self.offers_tls(), "STARTTLS"),
                (enhanced_status_codes, "ENHANCEDSTATUSCODES"),
                (eight_bit_mime, "8BITMIME"),
                (dsn, "DSN"),
                (true, "CHUNKING"),
                (smtputf8, "SMTPUTF8"),
                (self.keyword_shown, KEYWORD),
            ];
            reply
                .lines
                .extend(keywords.into_iter().filter(|(offered, _)| *offered).map(|(_, keyword)| keyword.to_owned().into()));
        }
        reply
    }

    /// STARTTLS (RFC 3207): the reply, the handshake, and the session begins anew.
    pub(super) async fn starttls(&mut self) -> Result<Option<Reply>, End> {
        let refusal = match &self.service.certificates {
            None => Some(Reply::new(502, "5.5.1", "command not implemented")),
            Some(_) if self.tls != Tls::None => Some(Reply::new(503, "5.5.1", "TLS is in use already")),
            Some(_) if !self.offered.by_ehlo => Some(Reply::new(503, "5.5.1", "EHLO must come first")),
            Some(certificates) => {
                let loaded = certificates.current();
                self.send(Reply::new(220, "2.0.0", "ready to start TLS")).await?;
                let octets = self.wire.discard_input();
                if octets > 0 {
                    tracing::warn!(event = "commands-discarded", client = %self.client, octets, "sent in the clear behind STARTTLS");
                }
                self.wire.start_tls(loaded.acceptor(), self.service.limits.tls_handshake).await?;
                self.tls = loaded.verified_names(self.wire.client_certificates()).map_or(Tls::Encrypted, Tls::Verified);
                tracing::debug!(event = "tls", client = %self.client, protocol = self.wire.tls_description(), tls = ?self.tls);
                // What was said before, anybody may have changed (RFC 3207 §4.2), the acknowledgement too (A11).
                self.forget();
                self.hello = None;
                None
            }
        };
        Ok(refusal.map(|reply| self.mistake(reply)))
    }

    /// The verb of the extension, by A8.
    pub(super) fn fallback(&mut self, argument: bool) -> Result<Reply, Reply> {
        if !self.offers_fallback() {
            return Err(Reply::new(502, "5.5.1", "command not implemented on this connection"));
        }
        if argument {
            return Err(Reply::new(501, "5.5.4", format!("{KEYWORD} takes no argument")));
        }
        if !self.keyword_shown {
            return Err(Reply::new(503, "5.5.1", "EHLO must come first"));
        }
        if self.transaction.is_some() {
            return Err(Reply::new(503, "5.5.1", "not inside a transaction"));
        }
        self.acknowledged = true;
        Ok(Reply::new(250, "2.0.0", "OK"))
    }

    /// A new EHLO makes what went before void (RFC 5321 §4.1.4), the acknowledgement too (A10).
    fn forget(&mut self) {
        self.transaction = None;
        // Upstream has heard of the client under its old name.
        self.upstream = None;
        self.smtputf8 = false;
        self.keyword_shown = false;
        self.acknowledged = false;
        self.offered = Offered::default();
    }

    /// Whether STARTTLS would begin a handshake.
    pub(super) fn offers_tls(&self) -> bool {
        self.service.certificates.is_some() && self.tls == Tls::None
    }

    /// Only clients over IPv6 have something to fall back from (A23).
    fn offers_fallback(&self) -> bool {
        self.origin.offers && !self.address.is_ipv4()
    }

    /// What both sides can do. PIPELINING and CHUNKING are between this server and its client alone: a message goes on whole, by DATA.
    fn offers(&self) -> Offered {
        let size = self.service.limits.message_size;
        let ours = Offered { by_ehlo: true, enhanced_status_codes: true, eight_bit_mime: true, smtputf8: true, dsn: false, size };
        match (&self.service.destination, &self.upstream) {
            // A report of success would be due for NOTIFY=SUCCESS (RFC 3461 §5.2.3), and this server sends no mail.
            (Destination::Maildir(_), _) => ours,
            (Destination::Upstream(_), None) => Offered { by_ehlo: true, size, ..Offered::default() },
            (Destination::Upstream(_), Some(upstream)) => {
                let theirs = upstream.offers();
                Offered {
                    enhanced_status_codes: theirs.enhanced_status_codes,
                    eight_bit_mime: theirs.eight_bit_mime,
                    smtputf8: theirs.smtputf8,
                    dsn: theirs.dsn,
                    size: theirs.size.flatten().map_or(size, |limit| size.min(usize::try_from(limit).unwrap_or(usize::MAX))),
                    ..ours
                }
            }
        }
    }
}

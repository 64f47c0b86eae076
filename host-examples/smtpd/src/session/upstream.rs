//! The session's connection to upstream, in front mode: when it is made and given up, and the envelope that it hears.
//!
//! When upstream cannot be used the client gets a temporary refusal of this server's own, never with 4.4.8, which is the policy's alone
//! (A15).

use std::fmt::Display;
use std::time::Duration;

use smtp_fallback_policy::contract::AuthResult;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::hello::Hello;
use super::{Destination, Session};
use crate::command::{MailParameters, RcptParameters};
use crate::path::{ForwardPath, ReversePath};
use crate::reply::Reply;
use crate::upstream::{Client, Error, Name, Settings, Tell, Upstream};

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Connects to upstream and tells it who the client is, so that EHLO can show what both sides can do.
    pub(super) async fn introduce(&mut self, hello: &Hello) -> Result<(), Reply> {
        if let Destination::Upstream(settings) = &self.service.destination {
            self.upstream = Some(self.connect_upstream(settings, hello).await?);
        }
        Ok(())
    }

    pub(super) async fn relay_mail(&mut self, from: &ReversePath, parameters: &MailParameters) -> Reply {
        let Destination::Upstream(settings) = &self.service.destination else { return self.upstream_unusable("at MAIL", &NONE) };
        let time = settings.timeouts.command;
        match timeout(time, self.try_mail(from, parameters)).await {
            Ok(reply) => reply,
            Err(_) => {
                self.upstream = None;
                self.upstream_unusable("at MAIL", &"it took too long, with a new connection")
            }
        }
    }

    /// Between two messages nothing is lost with a connection: upstream may have timed out, or was restarted. So it is tried twice.
    async fn try_mail(&mut self, from: &ReversePath, parameters: &MailParameters) -> Reply {
        let service = std::sync::Arc::clone(&self.service);
        let (Destination::Upstream(settings), Some(hello)) = (&service.destination, self.hello.clone()) else {
            return self.upstream_unusable("at MAIL", &NONE);
        };
        for attempt in 0..2 {
            if !self.upstream.as_mut().is_some_and(|upstream| upstream.is_alive()) {
                match self.connect_upstream(settings, &hello).await {
                    Ok(upstream) => self.upstream = Some(upstream),
                    Err(reply) => return reply,
                }
            }
            let Some(upstream) = &mut self.upstream else { break };
            let line = mail_command(from, parameters, upstream.offers().size.is_some());
            match upstream.command(&line).await {
                // That is about this server, not about the client, who would take it for its own mail's end.
                Ok(reply) if matches!(reply.code, 530 | 534 | 535 | 538) => {
                    let error = format!("it wants TLS or authentication of this server, which has neither for it: {reply}");
                    return self.upstream_unusable("at MAIL", &error);
                }
                Ok(reply) => return reply.into(),
                Err(error @ (Error::Closed(_) | Error::Broken { .. })) if attempt == 0 => {
                    let error = error.to_string();
                    tracing::debug!(event = "upstream-failure", client = %self.client, at = "at MAIL", error, "connecting anew");
                    self.upstream = None;
                }
                Err(error) => return self.upstream_unusable("at MAIL", &error),
            }
        }
        self.upstream_unusable("at MAIL", &"it closed the connection twice")
    }

    pub(super) async fn relay_rcpt(&mut self, to: &ForwardPath, parameters: &RcptParameters) -> Reply {
        let Some(upstream) = &mut self.upstream else { return self.without_upstream("at RCPT") };
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
            self.upstream = None;
        } else {
            self.relay_reset().await;
        }
    }

    /// In front mode, the reply to DATA when upstream is known to be gone: then the message need not come.
    pub(super) fn upstream_gone(&mut self) -> Option<Reply> {
        let alive = self.upstream.as_mut().is_some_and(|upstream| upstream.is_alive());
        let needed = matches!(self.service.destination, Destination::Upstream(_));
        (needed && !alive).then(|| self.without_upstream("at DATA"))
    }

    /// In place of upstream's reply, when it is gone: what it said when it went, or that it does not answer.
    fn without_upstream(&mut self, at: &str) -> Reply {
        self.last_words.take().unwrap_or_else(|| self.upstream_unusable(at, &NONE))
    }

    async fn connect_upstream(&self, settings: &Settings, hello: &Hello) -> Result<Box<Upstream>, Reply> {
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
    fn upstream_unusable(&self, at: &str, error: &dyn Display) -> Reply {
        let error = error.to_string();
        tracing::error!(event = "upstream-failure", client = %self.client, at, error, "the client will try again");
        Reply::new(421, "4.3.2", "the mail system behind this host does not answer; try again later").and_close()
    }

    /// After the message. Where upstream had it already, the client's next try is a duplicate: better than a loss.
    pub(super) fn upstream_failed(&self, error: &dyn Display) -> Reply {
        let (at, error) = ("at the end of the message", error.to_string());
        tracing::error!(event = "upstream-failure", client = %self.client, at, error, "the client will try again");
        Reply::new(451, "4.3.0", "the mail system behind this host does not answer; try again later")
    }
}

const NONE: &str = "there is no connection";

/// Reads from the client, however long that takes, and lets upstream not time out meanwhile. If upstream goes away, that shows when it is
/// needed; the 421 that it said on going is kept in `last_words`.
pub(super) async fn kept_alive<T>(
    upstream: &mut Option<Box<Upstream>>,
    last_words: &mut Option<Reply>,
    reading: impl Future<Output = T>,
) -> T {
    let Some(connection) = upstream else { return reading.await };
    let mut reading = std::pin::pin!(reading);
    let gone = tokio::select! {
        biased;
        read = &mut reading => return read,
        gone = connection.keep_alive() => gone,
    };
    let error = match &gone {
        Error::Refused(reply) => format!("upstream closed the connection: {reply}"),
        error => error.to_string(),
    };
    tracing::warn!(event = "upstream-failure", at = "waiting for the client", error);
    if let Error::Refused(reply) = gone {
        *last_words = Some(reply.into());
    }
    *upstream = None;
    reading.await
}

/// Reads from the client between transactions, and gives upstream up if that takes longer than `idle`. At the next MAIL it is connected to
/// anew.
pub(super) async fn kept_for_a_while<T>(
    upstream: &mut Option<Box<Upstream>>,
    idle: Duration,
    reading: impl Future<Output = T>,
) -> T {
    if upstream.is_none() {
        return reading.await;
    }
    let mut reading = std::pin::pin!(reading);
    if let Ok(read) = timeout(idle, &mut reading).await {
        return read;
    }
    let farewell = async {
        if let Some(upstream) = upstream.take() {
            upstream.quit().await;
        }
    };
    tokio::join!(reading, farewell).0
}

fn mail_command(from: &ReversePath, parameters: &MailParameters, with_size: bool) -> String {
    let MailParameters { size, body, smtputf8, ret, envid } = parameters;
    let mut line = format!("MAIL FROM:<{}>", from.address());
    let parameters = [
        size.filter(|_| with_size).map(|size| format!("SIZE={size}")),
        body.map(|body| format!("BODY={}", body.as_str())),
        smtputf8.then(|| "SMTPUTF8".to_owned()),
        ret.map(|ret| format!("RET={}", ret.as_str())),
        envid.as_ref().map(|envid| format!("ENVID={envid}")),
    ];
    for parameter in parameters.into_iter().flatten() {
        line.push(' ');
        line.push_str(&parameter);
    }
    line
}

fn rcpt_command(to: &ForwardPath, parameters: &RcptParameters) -> String {
    let RcptParameters { notify, orcpt } = parameters;
    let mut line = format!("RCPT TO:{to}");
    if let Some(notify) = notify {
        line.push_str(&format!(" NOTIFY={notify}"));
    }
    if let Some(orcpt) = orcpt {
        line.push_str(&format!(" ORCPT={orcpt}"));
    }
    line
}

impl From<crate::upstream::Reply> for Reply {
    fn from(reply: crate::upstream::Reply) -> Self {
        Reply::relayed(reply.code, reply.lines)
    }
}

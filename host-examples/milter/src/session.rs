//! One connection of the MTA: a client and its messages, and where the policy is asked.
//!
//! | file | what |
//! |---|---|
//! | `session.rs` | which command leads to what |
//! | `session/client.rs` | what is known of the client, from commands and macros |
//! | `session/mail.rs` | the message that is coming in, as far as it is wanted |
//! | `session/results.rs` | whether it is authenticated: verified here, or by the field of a filter before this one |
//! | `session/ask.rs` | the policy, and its answer in the words of the protocol |
//!
//! The policy is asked at HELO, where a client with a penalty is refused, at MAIL, where it may say that nothing needs to be looked at, and at
//! the end of the message. Not before HELO: there neither MTA passes on the words of a refusal.

mod ask;
mod client;
mod mail;
mod results;

use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_daemon::log::TemporaryErrors;
use smtp_fallback_daemon::memory::Memory;
use smtp_fallback_daemon::policy::{Allowance, Pending, Policy};
use smtp_fallback_milter_codec::{Command, Connection, ConnectionError, Path, Reply, TimeLimits, Wishes};
use smtp_fallback_policy::contract::Stage;
use smtp_fallback_verify::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::config::Limits;
use crate::server::stopped;
use client::Client;
use mail::Mail;

/// What all sessions share.
pub struct Service {
    /// The policy.
    pub policy: Arc<Policy>,
    /// How messages are found to be authenticated.
    pub authentication: Authentication,
    /// The limits.
    pub limits: Limits,
    /// The memory for messages being received.
    pub memory: Arc<Memory>,
    /// The same mail would be taken over IPv4 (A20).
    pub reachable_over_ipv4: bool,
    /// The same mail's arrival over IPv4 is seen, here or on hosts that share the records (A34, A37).
    pub sees_ipv4_arrivals: bool,
    /// Which services of the MTA are which.
    pub services: Services,
    /// How long a message may wait for its records.
    pub store_time: Duration,
    /// Notices name servers that are gone.
    pub temporary_errors: TemporaryErrors,
}

/// How messages are found to be authenticated.
pub enum Authentication {
    /// By looking at them.
    Verifier(Box<Verifier>),
    /// By the Authentication-Results of the filters with these ids.
    Fields(Vec<String>),
}

/// The services of the MTA that are not plainly its port 25, by `{daemon_name}`.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// They take mail of own users.
    pub submission: Vec<String>,
    /// Only a front can reach them.
    pub fronts: Vec<String>,
    /// The fronts leave the decision to this filter.
    pub behind_front: bool,
}

/// Serves a connection of the MTA to its end. `stopping` becomes true when the filter shuts down: what is in hand is finished, and no more is
/// begun.
///
/// # Errors
/// The MTA did something that it should not, or is gone. It does what it is configured to do without the filter.
pub async fn serve<S>(service: Arc<Service>, stream: S, mut stopping: watch::Receiver<bool>) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = TimeLimits { command: service.limits.idle, ..TimeLimits::default() };
    let opened = tokio::select! {
        biased;
        opened = Connection::open(stream, &Wishes::POLICY, limits) => opened?,
        // Somebody who says nothing must not hold the end up.
        () = stopped(&mut stopping) => return Ok(()),
    };
    let Some(connection) = opened else { return Ok(()) };
    tracing::debug!(event = "mta-connected", version = connection.agreement().version(), agreement = ?connection.agreement());
    let mut session =
        Session { store_time: Allowance::new(service.store_time), service, connection, client: None, mail: None, pending: None };
    loop {
        let command = tokio::select! {
            biased;
            command = session.connection.next() => command?,
            // Between two messages, so that the MTA has no message that it must do something about.
            () = stopped(&mut stopping), if session.mail.is_none() => return Ok(()),
        };
        let Some(command) = command else { return Ok(()) };
        session.execute(command).await?;
    }
}

struct Session<S> {
    service: Arc<Service>,
    connection: Connection<S>,
    client: Option<Client>,
    mail: Option<Mail>,
    /// Records of the last decision, to be stored while its reply is sent.
    pending: Option<Pending>,
    /// How long the message that comes next, or is coming, may still wait for its records.
    store_time: Allowance,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn execute(&mut self, command: Command) -> Result<(), ConnectionError> {
        let reply = match command {
            Command::Connect { host: _, client } => {
                self.mail = None;
                self.client = Client::new(&client, self.connection.macros(), &self.service.services);
                // Of a client without an address, such as one on a UNIX socket, there is nothing to decide.
                if self.client.is_some() { Reply::Continue } else { Reply::Accept }
            }
            Command::Helo(name) => {
                self.mail = None;
                self.helo(&name.to_text()).await
            }
            Command::Mail(path) => self.mail(&path).await,
            Command::Rcpt(path) => {
                if let Some(mail) = &mut self.mail {
                    mail.recipient(text(path.mailbox()));
                }
                Reply::Continue
            }
            Command::Unknown(line) => {
                let within_message = self.mail.is_some();
                if let Some(client) = &mut self.client {
                    client.unknown_command(line.as_bytes(), within_message);
                }
                Reply::Continue
            }
            Command::Header { name, value } => {
                if let Some(mail) = &mut self.mail {
                    let ids = self.service.trusted_ids();
                    mail.field(self.connection.agreement(), ids, name.as_bytes(), value.as_bytes());
                }
                Reply::Continue
            }
            Command::Body(octets) => {
                if let Some(mail) = &mut self.mail {
                    mail.body(octets.as_bytes());
                }
                Reply::Continue
            }
            Command::EndOfMessage(octets) => match self.mail.take() {
                Some(mut mail) => {
                    // Also an empty body begins behind an empty line.
                    mail.body(octets.as_bytes());
                    self.end_of_message(mail).await
                }
                None => Reply::Continue,
            },
            Command::Abort => {
                self.mail = None;
                Reply::Continue
            }
            Command::Quit | Command::QuitNewConnection => {
                (self.client, self.mail) = (None, None);
                Reply::Continue
            }
            // DATA, and what later versions of the protocol may have.
            _ => Reply::Continue,
        };
        self.reply(&reply).await
    }

    /// Sends the reply, where one is waited for. When there are records to store, they are stored at the same time, and both are done before the
    /// next command is read, unless the store takes too long: what the client does next finds them.
    async fn reply(&mut self, reply: &Reply) -> Result<(), ConnectionError> {
        let due = self.connection.due().is_some();
        let Some(pending) = self.pending.take() else {
            return if due { self.connection.reply(reply).await } else { Ok(()) };
        };
        // First the store: one in memory is done before the client can have the reply and come back.
        let stored = Box::pin(self.service.policy.store(pending, &mut self.store_time));
        let sent = async { if due { self.connection.reply(reply).await } else { Ok(()) } };
        let ((), sent) = tokio::join!(biased; stored, sent);
        sent
    }

    async fn helo(&mut self, name: &str) -> Reply {
        let macros = self.connection.macros();
        let Some(client) = &mut self.client else { return Reply::Accept };
        client.helo(name, macros);
        let refusal = self.ask(Stage::Ehlo, None).await;
        self.answer(refusal)
    }

    async fn mail(&mut self, path: &Path) -> Reply {
        let macros = self.connection.macros();
        let Some(client) = &mut self.client else { return Reply::Accept };
        client.mail(macros);
        let share = self.service.memory.share(client.network());
        let wants_text = self.service.wants_text(client);
        self.mail = Some(Mail::new(text(path.mailbox()), wants_text.then_some((share, self.service.limits.message_size))));
        self.store_time = Allowance::new(self.service.store_time);
        let refusal = self.ask_at_mail().await;
        let reply = self.answer(refusal);
        if reply != Reply::Continue {
            // The MTA says no more of it.
            self.mail = None;
        }
        reply
    }

    async fn ask_at_mail(&mut self) -> Option<Reply> {
        // A client that does without HELO is not to do without its penalty.
        if self.client.as_ref().is_some_and(|client| client.ehlo_name.is_none())
            && let Some(refusal) = self.ask(Stage::Ehlo, None).await
        {
            return Some(refusal);
        }
        // There is no answer before the end of the message but this: that nothing needs to be looked at.
        self.ask(Stage::Mail, None).await
    }

    /// Before there is a message to judge: the refusal, or whether the MTA is to go on asking.
    fn answer(&self, refusal: Option<Reply>) -> Reply {
        let settled = self.client.as_ref().is_none_or(|client| client.settled);
        refusal.unwrap_or(if settled { Reply::Accept } else { Reply::Continue })
    }

    async fn end_of_message(&mut self, mail: Mail) -> Reply {
        let Some(client) = &self.client else { return Reply::Continue };
        let id = self.queue_id();
        let results = self.service.results(client, &mail, id.as_deref()).await;
        self.ask(Stage::EndOfData, Some((&mail, results))).await.unwrap_or(Reply::Continue)
    }

    /// The MTA's name of the message.
    fn queue_id(&self) -> Option<String> {
        self.connection.macros().get("i").map(|id| id.to_text().into_owned()).filter(|id| !id.is_empty())
    }
}

impl Service {
    /// Whether a message of this client is verified here, so that its text is needed. Mail over IPv4 passes without.
    fn wants_text(&self, client: &Client) -> bool {
        matches!(self.authentication, Authentication::Verifier(_)) && client.is_in_question(self)
    }

    /// The ids of the filters whose fields count.
    fn trusted_ids(&self) -> &[String] {
        match &self.authentication {
            Authentication::Fields(ids) => ids,
            Authentication::Verifier(_) => &[],
        }
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

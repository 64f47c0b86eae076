//! One SMTP session: what each command does, and where the policy is asked.
//!
//! It is asked at the greeting, at EHLO or HELO, at MAIL, at DATA and at the end of data. Not at RCPT: nothing is decided before the last
//! recipient is known (A13).

mod message;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResults, Connection, Envelope, KEYWORD, Listener as Kind, Message, Stage, Tls, Verdict,
};
use smtp_fallback_verify::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::command::{Command, Mail};
use crate::config::Limits;
use crate::data::Memory;
use crate::maildir::Maildir;
use crate::path::{ForwardPath, ReversePath};
use crate::policy::{Pending, Policy, Question};
use crate::reply::Reply;
use crate::wire::{End, Fault, Line, Phase, Wire};

/// Commands in a row that bring no message forward, before the client is disconnected.
const IDLE_COMMANDS: usize = 100;
/// So many times the limit of recipients may be offered before the client is disconnected.
const EXCESS: usize = 10;

/// What all sessions share.
pub struct Service {
    /// This host.
    pub host_name: String,
    /// The domains whose mail is taken, in lower case.
    pub domains: Vec<String>,
    /// The limits.
    pub limits: Limits,
    /// The same mail would be taken over IPv4 (A20).
    pub reachable_over_ipv4: bool,
    /// This server has an IPv4 listener for the same mail (A34).
    pub sees_ipv4_arrivals: bool,
    /// The policy.
    pub policy: Policy,
    /// What verifies messages. Without it, none is verified.
    pub verifier: Option<Verifier>,
    /// Where messages are kept.
    pub maildir: Arc<Maildir>,
    /// The memory for messages being received.
    pub memory: Arc<Memory>,
}

/// Where the client came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The client's address.
    pub client: IpAddr,
    /// The kind of the listener.
    pub kind: Kind,
    /// The listener announces the extension (R1), to clients over IPv6 (A23).
    pub offers: bool,
}

/// Runs a session to its end and closes the connection. `phase` tells it when the server shuts down.
pub async fn serve<S>(service: Arc<Service>, origin: Origin, stream: S, phase: watch::Receiver<Phase>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let wire = Wire::new(stream, service.limits.idle, phase);
    let client = origin.client.to_canonical();
    let address = Address::from(client);
    let mut session = Session {
        wire,
        origin: Origin { client, ..origin },
        address,
        nonce: nonce(),
        hello: None,
        keyword_shown: false,
        acknowledged: false,
        settled: false,
        transaction: None,
        pending: None,
        ambiguous: false,
        errors: 0,
        idle_commands: 0,
        service,
    };
    let farewell = match session.dialogue().await {
        Ok(()) | Err(End::Closed) => None,
        Err(End::Idle) => Some(Reply::new(421, "4.4.2", "the session was idle for too long; closing")),
        Err(End::ShuttingDown) => Some(Reply::new(421, "4.3.2", "the server is shutting down; try again later")),
        Err(End::Flood) => Some(Reply::new(421, "4.7.0", "too much input that is no mail; closing")),
    };
    if let Some(reply) = farewell {
        tracing::debug!(event = "session-ended", %client, code = reply.code, text = reply.lines[0].as_ref());
        reply.write_to(session.wire.output());
    }
    session.wire.close().await;
}

struct Session<S> {
    service: Arc<Service>,
    wire: Wire<S>,
    origin: Origin,
    address: Address,
    nonce: u32,
    hello: Option<Hello>,
    /// The keyword was in the reply to the last EHLO.
    keyword_shown: bool,
    /// The client has issued the verb since.
    acknowledged: bool,
    /// The policy has accepted whatever comes on this connection.
    settled: bool,
    transaction: Option<Transaction>,
    /// Records of the last decision, to be stored while its reply is sent.
    pending: Option<Pending>,
    /// A message had line ends that others may read otherwise: what follows it may not be the client's own.
    ambiguous: bool,
    errors: usize,
    idle_commands: usize,
}

/// How the client introduced itself.
struct Hello {
    name: String,
    /// By EHLO.
    extended: bool,
}

struct Transaction {
    mail_from: ReversePath,
    recipients: Vec<String>,
    /// How many were offered, accepted or not.
    offered: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Up to the reply that closes the connection, which is written but perhaps not sent.
    async fn dialogue(&mut self) -> Result<(), End> {
        let greeting = match self.ask(Stage::Greeting, None).await {
            // In place of the greeting, whatever closes or not: there is no session to go on with.
            Some(refusal) => refusal.and_close(),
            None => Reply::bare(220, format!("{} ESMTP", self.service.host_name)),
        };
        if self.send(greeting).await? {
            return Ok(());
        }
        loop {
            // A transaction in hand is finished before the server stops.
            let interrupted_by = if self.transaction.is_some() { Phase::Stopping } else { Phase::Draining };
            let command = match self.wire.command(interrupted_by).await? {
                Line::Complete(line) => Command::parse(&line),
                Line::Bad(fault) => Err(bad_line(fault)),
            };
            let reply = match command {
                // Also what is no command: it may be the rest of the message.
                command if self.ambiguous && command != Ok(Command::Quit) => {
                    let text = "closing, since the last message had a bare CR, a bare LF or NUL";
                    Some(Reply::new(421, "4.7.0", text).and_close())
                }
                Ok(command) => self.execute(command).await?,
                Err(reply) => Some(self.mistake(reply)),
            };
            if let Some(reply) = reply
                && self.send(reply).await?
            {
                return Ok(());
            }
        }
    }

    /// Writes a reply; says whether it is the last. When there are records to store, the client gets it now and they are stored at the same
    /// time, and both are done before the next command is read: what the client does next finds them.
    async fn send(&mut self, reply: Reply) -> Result<bool, End> {
        reply.write_to(self.wire.output());
        if let Some(pending) = self.pending.take() {
            // First the store: one in memory is done before the client can have the reply and come back.
            let stored = self.service.policy.store(pending);
            let ((), sent) = tokio::join!(biased; stored, self.wire.flush());
            sent?;
        }
        Ok(reply.close)
    }

    async fn execute(&mut self, command: Command) -> Result<Option<Reply>, End> {
        if !matches!(command, Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::Quit) {
            self.idle_commands += 1;
            if self.idle_commands > IDLE_COMMANDS {
                return Ok(Some(Reply::new(421, "4.7.0", "too many commands without mail; closing").and_close()));
            }
        }
        let policy = match command {
            Command::Ehlo(name) => return Ok(Some(self.hello(Hello { name, extended: true }).await)),
            Command::Helo(name) => return Ok(Some(self.hello(Hello { name, extended: false }).await)),
            Command::Mail(mail) => self.mail(mail).await,
            Command::Data => return self.data().await,
            Command::Rcpt(to) => self.rcpt(to),
            Command::Rset => {
                // The acknowledgement belongs to the session: it stays (A9).
                self.transaction = None;
                Ok(Reply::new(250, "2.0.0", "OK"))
            }
            Command::Noop => Ok(Reply::new(250, "2.0.0", "OK")),
            Command::Vrfy => Ok(Reply::new(252, "2.5.0", "send some mail, and it will be tried")),
            Command::Help => Ok(Reply::new(214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT")),
            Command::Fallback { argument } => self.fallback(argument),
            Command::Quit => Ok(Reply::new(221, "2.0.0", "closing").and_close()),
        };
        Ok(Some(policy.unwrap_or_else(|mistake| self.mistake(mistake))))
    }

    /// Counts a reply to a client's mistake; the one too many closes the connection.
    fn mistake(&mut self, reply: Reply) -> Reply {
        self.errors += usize::from(reply.is_error());
        if self.errors > self.service.limits.errors {
            tracing::info!(event = "too-many-errors", client = %self.origin.client, errors = self.errors);
            return Reply::new(421, "4.7.0", "too many errors; closing").and_close();
        }
        reply
    }

    async fn hello(&mut self, hello: Hello) -> Reply {
        let extended = hello.extended;
        // What went before is void (RFC 5321 §4.1.4), the acknowledgement too (A10).
        self.transaction = None;
        self.keyword_shown = false;
        self.acknowledged = false;
        self.hello = Some(hello);
        if let Some(refusal) = self.ask(Stage::Ehlo, None).await {
            return refusal;
        }
        let mut reply = Reply::bare(250, self.service.host_name.clone());
        if extended {
            let size = format!("SIZE {}", self.service.limits.message_size);
            reply.lines.extend(["PIPELINING".into(), size.into(), "8BITMIME".into(), "ENHANCEDSTATUSCODES".into()]);
            if self.offers() {
                reply.lines.push(KEYWORD.into());
                self.keyword_shown = true;
            }
        }
        reply
    }

    /// The verb of the extension, by A8.
    fn fallback(&mut self, argument: bool) -> Result<Reply, Reply> {
        if !self.offers() {
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

    /// Only clients over IPv6 have something to fall back from (A23).
    fn offers(&self) -> bool {
        self.origin.offers && !self.address.is_ipv4()
    }

    async fn mail(&mut self, mail: Mail) -> Result<Reply, Reply> {
        let Some(hello) = &self.hello else {
            return Err(Reply::new(503, "5.5.1", "EHLO or HELO must come first"));
        };
        if self.transaction.is_some() {
            return Err(Reply::new(503, "5.5.1", "there is a transaction already; RSET ends it"));
        }
        if mail.extended && !hello.extended {
            return Err(Reply::new(555, "5.5.4", "parameters need EHLO"));
        }
        let most = self.service.limits.message_size;
        if mail.size.is_some_and(|size| size > most as u64) {
            return Err(too_large(most));
        }
        let transaction = Transaction { mail_from: mail.from, recipients: Vec::new(), offered: 0 };
        if let Some(refusal) = self.ask(Stage::Mail, Some(transaction.envelope())).await {
            return Ok(refusal);
        }
        self.transaction = Some(transaction);
        Ok(Reply::new(250, "2.1.0", "OK"))
    }

    fn rcpt(&mut self, to: ForwardPath) -> Result<Reply, Reply> {
        let Some(transaction) = &mut self.transaction else {
            return Err(Reply::new(503, "5.5.1", "MAIL must come first"));
        };
        let most = self.service.limits.recipients;
        transaction.offered += 1;
        if transaction.offered > most.saturating_mul(EXCESS) {
            return Ok(Reply::new(421, "4.7.0", "far too many recipients; closing").and_close());
        }
        let recipient = match &to {
            ForwardPath::Postmaster => format!("postmaster@{}", self.service.host_name),
            ForwardPath::Mailbox(mailbox) => {
                let domain = mailbox.domain().to_ascii_lowercase();
                let ours = self.service.domains.contains(&domain);
                let postmaster = mailbox.local_part().eq_ignore_ascii_case("postmaster")
                    && domain == self.service.host_name.to_ascii_lowercase();
                if !ours && !postmaster {
                    return Err(Reply::new(550, "5.7.1", "relaying refused: this server takes mail for its own domains only"));
                }
                mailbox.address().to_owned()
            }
        };
        if transaction.recipients.contains(&recipient) {
            return Ok(Reply::new(250, "2.1.5", "OK, already named"));
        }
        if transaction.recipients.len() >= most {
            return Ok(Reply::new(452, "4.5.3", "too many recipients: send the message again for the others"));
        }
        transaction.recipients.push(recipient);
        Ok(Reply::new(250, "2.1.5", "OK"))
    }

    async fn ask(&mut self, stage: Stage, envelope: Option<Envelope>) -> Option<Reply> {
        let facts = envelope.map(|envelope| Facts { envelope, message: None, results: None, id: None });
        self.ask_with(stage, facts).await
    }

    /// The policy's refusal, or nothing.
    async fn ask_with(&mut self, stage: Stage, facts: Option<Facts<'_>>) -> Option<Reply> {
        if self.settled {
            return None;
        }
        let connection = Connection {
            stage,
            client: self.address,
            listener: self.origin.kind,
            ehlo_name: self.hello.as_ref().map(|hello| hello.name.clone()),
            tls: Tls::None,
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
        let (decision, pending) = self.service.policy.ask(self.origin.client, id, question).await;
        // Of two decisions before one reply (both at DATA), the first one's records would be lost.
        if let Some(earlier) = std::mem::replace(&mut self.pending, pending) {
            self.service.policy.store(earlier).await;
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
}

/// What is known of a transaction.
struct Facts<'a> {
    envelope: Envelope,
    message: Option<Message>,
    results: Option<AuthResults>,
    id: Option<&'a str>,
}

impl Transaction {
    fn envelope(&self) -> Envelope {
        Envelope { mail_from: self.mail_from.address().to_owned(), recipients: self.recipients.clone() }
    }
}

fn bad_line(fault: Fault) -> Reply {
    let text = match fault {
        Fault::TooLong => format!("the line is longer than {} octets", crate::wire::COMMAND_MAX),
        Fault::BareCr => "the line has a CR without LF: lines end with CRLF".to_owned(),
        Fault::BareLf => "the line has an LF without CR: lines end with CRLF".to_owned(),
        Fault::Nul => "the line has a NUL octet".to_owned(),
    };
    Reply::new(500, "5.5.2", text)
}

fn too_large(most: usize) -> Reply {
    Reply::new(552, "5.3.4", format!("the message is longer than {most} octets"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// One for each connection. Without a source of randomness the clock must do: it only spreads probes and jitter.
fn nonce() -> u32 {
    getrandom::u32().unwrap_or_else(|_| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos())
}

#[cfg(test)]
mod tests;

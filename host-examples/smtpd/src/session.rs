//! One SMTP session: what each command does, and where the policy is asked.
//!
//! | file | commands |
//! |---|---|
//! | `session.rs` | the dialogue, NOOP, VRFY, HELP, QUIT |
//! | `session/hello.rs` | EHLO, HELO, STARTTLS, IPV6-IPV4-FALLBACK |
//! | `session/transaction.rs` | MAIL, RCPT, RSET |
//! | `session/message.rs` | DATA, BDAT, the end of data |
//! | `session/delivery.rs` | into the Maildir, or to upstream |
//! | `session/upstream.rs` | the connection to upstream, and the envelope that it hears |
//! | `session/ask.rs` | the policy |
//! | `session/said.rs` | what the log says of a command that was refused |
//!
//! The policy is asked at the greeting, at EHLO or HELO, at MAIL, at DATA or the first BDAT, and at the end of data. Not at RCPT: nothing is
//! decided before the last recipient is known (A13).

mod ask;
mod delivery;
mod hello;
mod message;
mod said;
mod transaction;
mod upstream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smtp_fallback_daemon::log::TemporaryErrors;
use smtp_fallback_daemon::memory::Memory;
use smtp_fallback_daemon::policy::{Allowance, Pending, Policy, now};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Listener as Kind, Stage, Tls};
use smtp_fallback_policy::network::Network;
use smtp_fallback_verify::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::command::Command;
use crate::config::Limits;
use crate::maildir::Maildir;
use crate::reply::{ClientReads, Reply};
use crate::tls::Certificates;
use crate::upstream::{Settings, Upstream};
use crate::wire::{End, Fault, Line, Patience, Phase, Wire};
use hello::{Hello, Offered};
use said::Said;
use transaction::Transaction;

/// Commands in a row that bring no message forward, before the client is disconnected.
const IDLE_COMMANDS: usize = 100;

/// What all sessions share.
pub struct Service {
    /// This host.
    pub host_name: String,
    /// The domains whose mail is taken, in lower case and ASCII.
    pub domains: Vec<String>,
    /// Whose mail is taken is for upstream to say, which knows the client.
    pub any_domain: bool,
    /// The limits.
    pub limits: Limits,
    /// The same mail would be taken over IPv4 (A20).
    pub reachable_over_ipv4: bool,
    /// The same mail's arrival over IPv4 is seen, here or on hosts that share the records (A34, A37).
    pub sees_ipv4_arrivals: bool,
    /// The policy.
    pub policy: Arc<Policy>,
    /// How long a message may wait for its records.
    pub store_time: Duration,
    /// What verifies messages. Without it, none is verified.
    pub verifier: Option<Verifier>,
    /// Where messages go.
    pub destination: Destination,
    /// The memory for messages being received.
    pub memory: Arc<Memory>,
    /// For STARTTLS, which is not offered without.
    pub certificates: Option<Certificates>,
    /// Notices name servers that are gone.
    pub temporary_errors: TemporaryErrors,
}

/// Where accepted messages go.
pub enum Destination {
    /// Kept here.
    Maildir(Arc<Maildir>),
    /// Handed to the mail system behind this one, within the client's session.
    Upstream(Settings),
}

impl Destination {
    /// How long a connection is kept between two messages.
    fn idle_time(&self) -> Duration {
        match self {
            Destination::Maildir(_) => Duration::ZERO,
            Destination::Upstream(settings) => settings.timeouts.idle,
        }
    }
}

/// Where the client came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The client's true address (R11). Port 0 where it is not known.
    pub client: SocketAddr,
    /// The address is one that somebody elsewhere has: neither this host's, nor a proxy's in place of its client's.
    pub known: bool,
    /// The network that the client is counted to.
    pub network: Network,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// The kind of the listener.
    pub kind: Kind,
    /// The listener announces the extension (R1), to clients over IPv6 (A23).
    pub offers: bool,
}

/// Runs a session to its end and closes the connection. `phase` tells when the server shuts down.
pub async fn serve<S>(service: Arc<Service>, origin: Origin, stream: S, phase: watch::Receiver<Phase>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let patience = Patience { command: service.limits.idle, block: service.limits.data_block };
    let wire = Wire::new(stream, patience, phase);
    let client = origin.client.ip().to_canonical();
    let mut session = Session {
        wire,
        origin,
        client,
        address: Address::from(client),
        nonce: nonce(),
        tls: Tls::None,
        hello: None,
        offered: Offered::default(),
        keyword_shown: false,
        acknowledged: false,
        settled: false,
        transaction: None,
        smtputf8: false,
        pending: None,
        store_time: Allowance::new(service.store_time),
        had_transaction: false,
        upstream: None,
        last_words: None,
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
        Err(End::Handshake(error)) => {
            tracing::info!(event = "tls-failure", %client, error);
            None
        }
    };
    if let Some(reply) = farewell {
        tracing::debug!(event = "session-ended", %client, code = reply.code, text = reply.lines[0].as_ref());
        session.write(&reply);
    }
    if let Some(pending) = session.pending.take() {
        session.service.policy.store(pending, &mut session.store_time).await;
    }
    let Session { wire, upstream, .. } = session;
    // Upstream is told whatever the client does meanwhile; a transaction that it has open ends with the connection.
    let farewell = async {
        if let Some(upstream) = upstream {
            upstream.quit().await;
        }
    };
    tokio::join!(wire.close(), farewell);
}

struct Session<S> {
    service: Arc<Service>,
    wire: Wire<S>,
    origin: Origin,
    /// The client's address, not IPv4-mapped.
    client: IpAddr,
    /// The same, for the policy.
    address: Address,
    nonce: u32,
    tls: Tls,
    hello: Option<Hello>,
    /// What the last reply to EHLO announced.
    offered: Offered,
    /// The keyword was in the reply to the last EHLO.
    keyword_shown: bool,
    /// The client has issued the verb since.
    acknowledged: bool,
    /// The policy has accepted whatever comes on this connection.
    settled: bool,
    transaction: Option<Transaction>,
    /// The client used SMTPUTF8 in its last MAIL.
    smtputf8: bool,
    /// Records of the last decision, to be stored while its reply is sent.
    pending: Option<Pending>,
    /// How long the message that comes next, or is coming, may still wait for its records.
    store_time: Allowance,
    /// A transaction was begun.
    had_transaction: bool,
    /// The connection to the mail system behind, from EHLO on. Boxed: most sessions of a Maildir have none.
    upstream: Option<Box<Upstream>>,
    /// What upstream said when it went away in the middle of a transaction.
    last_words: Option<Reply>,
    /// A message had line ends that others may read otherwise: what follows it may not be the client's own.
    ambiguous: bool,
    errors: usize,
    idle_commands: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Up to the reply that closes the connection, which is written but perhaps not sent.
    async fn dialogue(&mut self) -> Result<(), End> {
        let greeting = self.greeting().await?;
        if self.send(greeting).await? {
            return Ok(());
        }
        loop {
            // A transaction in hand is finished before the server stops.
            let interrupted_by = if self.transaction.is_some() { Phase::Stopping } else { Phase::Draining };
            let latest = self.transaction.as_ref().map(|transaction| transaction.deadline);
            let line = self.wire.command(interrupted_by, latest);
            let line = match &self.transaction {
                // Upstream must not give a transaction up while the client takes its time.
                Some(_) => upstream::kept_alive(&mut self.upstream, &mut self.last_words, line).await?,
                None => upstream::kept_for_a_while(&mut self.upstream, self.service.destination.idle_time(), line).await?,
            };
            let mut said = Said::default();
            let command = match line {
                Line::Complete(line) => {
                    let command = Command::parse(&line);
                    said = Said::of(&line, &command);
                    command
                }
                Line::Bad(fault) => Err(bad_line(fault)),
                Line::BadChunk(fault) => Err(bad_line(fault).and_close()),
            };
            let reply = match command {
                // Also what is no command: it may be the rest of the message.
                command if self.ambiguous && command != Ok(Command::Quit) => {
                    let text = "closing, since the last message had a bare CR, a bare LF or NUL";
                    Some(Reply::new(421, "4.7.0", text).and_close())
                }
                // On the heap: what a command needs while it runs is not held by the sessions that wait for one.
                Ok(command) => Box::pin(self.execute(command)).await?,
                Err(reply) => Some(self.mistake(reply)),
            };
            if let Some(reply) = reply {
                said.log_refusal(self.client, self.ehlo_name(), &reply);
                if self.send(reply).await? {
                    return Ok(());
                }
            }
        }
    }

    async fn greeting(&mut self) -> Result<Reply, End> {
        if let Some(refusal) = Box::pin(self.ask(Stage::Greeting, None)).await {
            // In place of the greeting, whatever closes or not: there is no session to go on with.
            return Ok(refusal.and_close());
        }
        let delay = self.service.limits.greeting_delay;
        if !delay.is_zero() && self.wire.speaks_within(delay).await? {
            tracing::info!(event = "early-talker", client = %self.client);
            return Ok(Reply::new(554, "5.5.0", "commands came before the greeting; closing").and_close());
        }
        Ok(Reply::bare(220, format!("{} ESMTP", self.service.host_name)))
    }

    /// Writes a reply; says whether it is the last. When there are records to store, the client gets it now and they are stored at the same
    /// time, and both are done before the next command is read, unless the store takes too long: what the client does next finds them.
    async fn send(&mut self, reply: Reply) -> Result<bool, End> {
        self.write(&reply);
        if let Some(pending) = self.pending.take() {
            // First the store: one in memory is done before the client can have the reply and come back.
            let stored = Box::pin(self.service.policy.store(pending, &mut self.store_time));
            let ((), sent) = tokio::join!(biased; stored, self.wire.flush());
            sent?;
        }
        Ok(reply.close)
    }

    fn ehlo_name(&self) -> Option<&str> {
        self.hello.as_ref().map(|hello| hello.name.as_str())
    }

    fn write(&mut self, reply: &Reply) {
        // Enhanced codes belong to every reply where they were announced (RFC 2034 §4), and where nothing was announced yet they do no
        // harm; only where EHLO was answered without them they are left out (R6).
        let enhanced = self.offered.enhanced_status_codes || !self.offered.by_ehlo;
        reply.write_to(self.wire.output(), ClientReads { enhanced, utf8: self.smtputf8 });
    }

    async fn execute(&mut self, command: Command) -> Result<Option<Reply>, End> {
        let brings_mail = match &command {
            // Not MAIL: one that upstream refuses brings nothing, and could be tried for ever.
            Command::Rcpt(_) | Command::Data | Command::Quit => true,
            Command::Bdat(chunk) => chunk.size > 0 || chunk.last,
            _ => false,
        };
        if !brings_mail {
            self.idle_commands += 1;
            if self.idle_commands > IDLE_COMMANDS {
                return Ok(Some(Reply::new(421, "4.7.0", "too many commands without mail; closing").and_close()));
            }
        }
        let answer = match command {
            Command::Ehlo(name) => Ok(self.hello(Hello { name, extended: true }).await),
            Command::Helo(name) => Ok(self.hello(Hello { name, extended: false }).await),
            Command::Starttls => return self.starttls().await,
            Command::Mail(mail) => self.mail(mail).await,
            Command::Rcpt(rcpt) => self.rcpt(rcpt).await,
            Command::Data => return self.data().await,
            Command::Bdat(chunk) => return self.bdat(chunk).await.map(Some),
            Command::Rset => Ok(self.reset().await),
            Command::Noop => Ok(Reply::new(250, "2.0.0", "OK")),
            Command::Vrfy => Ok(Reply::new(252, "2.5.0", "send some mail, and it will be tried")),
            Command::Help => {
                let starttls = if self.offers_tls() { "STARTTLS " } else { "" };
                let text = format!("EHLO HELO {starttls}MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT");
                Ok(Reply::new(214, "2.0.0", text))
            }
            Command::Fallback { argument } => self.fallback(argument),
            Command::Quit => Ok(Reply::new(221, "2.0.0", "closing").and_close()),
        };
        Ok(Some(answer.unwrap_or_else(|mistake| self.mistake(mistake))))
    }

    /// Counts a reply to a client's mistake; the one too many closes the connection.
    fn mistake(&mut self, reply: Reply) -> Reply {
        self.errors += usize::from(reply.is_error());
        if self.errors > self.service.limits.errors {
            tracing::info!(event = "too-many-errors", client = %self.client, errors = self.errors);
            return Reply::new(421, "4.7.0", "too many errors; closing").and_close();
        }
        reply
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

/// One for each connection. Without a source of randomness the clock must do: it only spreads probes and jitter.
fn nonce() -> u32 {
    getrandom::u32().unwrap_or_else(|_| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos())
}

#[cfg(test)]
mod tests;

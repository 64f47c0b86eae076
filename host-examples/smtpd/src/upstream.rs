//! The client that hands each message to the MTA behind this server ("upstream") while the client of this server waits.
//!
//! One connection belongs to one session. What upstream answers is passed on word for word, so two things must never happen: that a
//! reply is taken for the answer to another command, for then a client may hear that mail was taken which was not; and that upstream
//! takes the client for us, whose address it trusts. Whatever puts one of them in doubt ends the connection.
//!
//! | module | responsibility |
//! | --- | --- |
//! | `reply` | what upstream answers (RFC 5321 §4.2), and how it is read |
//! | `offers` | what upstream announces in reply to EHLO or LHLO |
//! | `identity` | telling upstream who the client is: the EHLO name, XCLIENT, PROXY |
//! | `text` | the text of a message after DATA, and the replies to it |
//! | `wire` | octets and time-outs |
//! | `settings` | where upstream is, how to speak to it, and for whom |
//! | `error` | what can go wrong |

mod error;
mod identity;
mod offers;
mod reply;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod wire;

use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

pub use error::Error;
pub use offers::Offers;
pub use reply::Reply;
pub use settings::{Address, Client, Name, Protocol, Settings, Tell, Timeouts};
pub use text::Delivered;
pub use wire::Stream;

use error::at;
use text::Stuffer;
use wire::Wire;

/// How long the reply to QUIT is waited for.
const QUIT_TIME: Duration = Duration::from_secs(5);
/// Octets of a message that are written at once, about.
const PIECE: usize = 64 * 1024;
/// The commands that [`Upstream::command`] sends. Others would change what the next line means to upstream (DATA, BDAT, STARTTLS, AUTH),
/// or who it takes the client for (XCLIENT, EHLO).
const COMMANDS: [&str; 3] = ["MAIL", "RCPT", "RSET"];
/// What an upstream that answers a PROXY line needs.
const NO_PROXY: &str = "it seems not to expect the PROXY protocol (Postfix: smtpd_upstream_proxy_protocol = haproxy)";

/// A connection to upstream, past its greeting and EHLO or LHLO.
///
/// After an error, after a reply 421, and after one of its futures was dropped unfinished, the connection is dead: whatever is asked of
/// it next answers [`Error::Closed`]. [`keep_alive`](Self::keep_alive) is the exception, it may be dropped at any time.
pub struct Upstream {
    wire: Wire,
    protocol: Protocol,
    timeouts: Timeouts,
    offers: Offers,
    /// A NOOP was sent, or is on its way, and its reply is yet to come; by then.
    noop: Option<Instant>,
    /// When upstream last had something from us.
    active: Instant,
    /// Replies are in step. Cleared when an exchange begins, and set again when it has ended well.
    usable: bool,
}

impl Upstream {
    /// Connects, and tells upstream who the client is.
    ///
    /// With [`Tell::Xclient`] and [`Tell::ProxyV1`] upstream gets the client's own name by the client's own command, EHLO or HELO. A name
    /// that does not fit in a command is replaced by the literal of the client's address; not by our name, which would be a
    /// forgery in its mouth. With LMTP the command is LHLO.
    pub async fn connect(settings: &Settings, client: &Client<'_>) -> Result<Self, Error> {
        let connected = async {
            Ok::<Box<dyn Stream>, std::io::Error>(match &settings.address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // Each command waits for its reply: nothing is gained by holding its octets back.
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        };
        let stream = timeout(settings.timeouts.connect, connected).await;
        Self::over(stream.map_err(|_| Error::TimedOut(at::CONNECT))?.map_err(Error::Unreachable)?, settings, client).await
    }

    /// The same over a connection that exists.
    pub async fn over(stream: Box<dyn Stream>, settings: &Settings, client: &Client<'_>) -> Result<Self, Error> {
        let timeouts = settings.timeouts;
        let mut upstream = Upstream {
            wire: Wire::new(stream),
            protocol: settings.protocol,
            timeouts,
            offers: Offers::default(),
            noop: None,
            active: Instant::now(),
            usable: false,
        };
        if settings.tell == Tell::ProxyV1 {
            upstream.wire.queue(identity::proxy_v1(client).as_bytes());
        }
        let greeting = upstream.answer(at::GREETING, Instant::now() + timeouts.greeting).await.map_err(|error| match error {
            Error::Broken { fault, .. } if settings.tell == Tell::ProxyV1 => Error::Misconfigured(format!("{NO_PROXY}: {fault}")),
            other => other,
        })?;
        if !greeting.is_positive() {
            return Err(Error::Refused(greeting));
        }
        let deadline = Instant::now() + timeouts.command;
        let name = identity::ehlo_name(client);
        match settings.tell {
            Tell::Nothing => upstream.hello(&settings.host_name, true, deadline).await?,
            Tell::ProxyV1 => upstream.hello_after_proxy(&name, client.extended, deadline).await?,
            Tell::Xclient => {
                upstream.hello(&settings.host_name, true, deadline).await?;
                for command in identity::xclient(&upstream.offers.xclient, client).map_err(Error::Misconfigured)? {
                    let reply = upstream.exchange(&command, at::XCLIENT, deadline).await?;
                    if !reply.is_positive() {
                        return Err(identity::xclient_refused(reply));
                    }
                }
                upstream.hello(&name, client.extended, deadline).await?;
            }
        }
        upstream.active = Instant::now();
        upstream.usable = true;
        Ok(upstream)
    }

    /// What upstream announced in reply to the last EHLO or LHLO.
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Sends a command, without its CRLF, and waits for its reply: MAIL, RCPT or RSET. Any other, and a line
    /// with a control character, is [`Error::Unsendable`]; nothing was written then, and the connection is as it was.
    ///
    /// After a reply 421 the connection is dead. It may be an answer to nothing that upstream sent when it got tired of waiting.
    pub async fn command(&mut self, line: &str) -> Result<Reply, Error> {
        let at = sendable(line)?;
        let deadline = Instant::now() + self.timeouts.command;
        if let Some(closing) = self.begin(deadline).await? {
            return Ok(closing);
        }
        let reply = self.exchange(line, at, deadline).await?;
        is_final(&reply, at)?;
        self.end(&reply);
        Ok(reply)
    }

    /// Sends DATA, the text made of `parts`, and the dot. `recipients` is how many were accepted in this transaction: with LMTP
    /// there are so many replies.
    ///
    /// When upstream refuses early, at DATA or in the middle of the text, that reply counts for each recipient; in the middle of the text
    /// the connection is dead after it. A text with a bare CR, a bare LF or NUL is [`Error::Unsendable`], so is one for no
    /// recipient: nothing was written then. The transaction stays open at upstream in that case, and RSET ends it.
    ///
    /// When [`Error::is_outcome_unknown`], upstream may have taken the message: a client that is told to come back then may deliver it
    /// twice, which is better than not at all.
    pub async fn message(&mut self, parts: &[&[u8]], recipients: usize) -> Result<Delivered, Error> {
        text::check(parts)?;
        let expected = match self.protocol {
            _ if recipients == 0 => return Err(Error::Unsendable("a message needs a recipient that upstream accepted")),
            Protocol::Smtp => 1,
            Protocol::Lmtp => recipients,
        };
        // The client waits for the reply to its own dot all the while.
        let all = Instant::now() + self.timeouts.dot;
        let within = |time: Duration| all.min(Instant::now() + time);
        let deadline = within(self.timeouts.data);
        if let Some(closing) = self.begin(deadline).await? {
            return Ok(Delivered::alike(closing, expected));
        }
        let reply = self.exchange("DATA", at::DATA, deadline).await?;
        if reply.is_refusal() {
            self.end(&reply);
            return Ok(Delivered::alike(reply, expected));
        }
        if reply.code != 354 {
            return Err(Error::Broken { at: at::DATA, fault: "neither 354 nor a refusal" });
        }
        if !self.send_text(parts, all).await? {
            let reply = self.wire.reply(at::TEXT, within(self.timeouts.block)).await?;
            return match reply.is_refusal() {
                true => Ok(Delivered::alike(reply, expected)),
                false => Err(Error::Broken { at: at::TEXT, fault: "a reply that is no refusal, before the end of the text" }),
            };
        }
        let mut replies: Vec<Reply> = Vec::new();
        while replies.len() < expected {
            let reply = self.wire.reply(at::DOT, all).await?;
            is_final(&reply, at::DOT)?;
            if reply.is_closing() {
                // Nothing comes after it.
                replies.resize(expected, reply);
            } else {
                replies.push(reply);
            }
        }
        let last = &replies[expected - 1];
        self.in_step(last, at::DOT)?;
        self.end(last);
        Ok(Delivered { replies })
    }

    /// Keeps the connection from idling out while the client takes its time: NOOP after each [`Timeouts::keep_alive`] of silence.
    /// Returns when upstream has gone away: [`Error::Refused`] has its reply 421, if it sent one.
    ///
    /// May be dropped at any time, and called again: the silence is counted on, and a reply that is still owed is read before the next
    /// command goes out.
    pub async fn keep_alive(&mut self) -> Error {
        if !self.usable {
            return Error::Closed(at::EARLIER);
        }
        // Each round waits, for the silence to pass or for upstream.
        let error = loop {
            if let Err(error) = self.idle().await {
                break error;
            }
        };
        self.usable = false;
        error
    }

    /// Whether the connection can be used, as far as is known without waiting: nothing went wrong on it, and upstream has not closed it
    /// or said something unasked since.
    pub fn is_alive(&mut self) -> bool {
        if self.usable {
            self.wire.look();
            self.usable = !self.wire.has_ended() && (self.noop.is_some() || !self.wire.has_input());
        }
        self.usable
    }

    /// Ends the session with upstream: QUIT, and its reply if that comes within 5 s.
    pub async fn quit(mut self) {
        let limit = QUIT_TIME.min(self.timeouts.command);
        let deadline = Instant::now() + limit;
        let dialogue = async {
            if let Ok(None) = self.begin(deadline).await {
                // Whatever it answers, this is the end.
                let _ = self.exchange("QUIT", at::QUIT, deadline).await;
                self.wire.close().await;
            }
        };
        let _ = timeout(limit, dialogue).await;
    }

    /// Closes the connection without a word. A message without its dot is not delivered.
    pub fn abort(self) {}

    /// EHLO, and HELO where that is refused; HELO at once if not `extended`; LHLO in any case with LMTP.
    async fn hello(&mut self, name: &str, extended: bool, deadline: Instant) -> Result<(), Error> {
        let verb = self.hello_verb(extended);
        let mut reply = self.hello_once(verb, name, deadline).await?;
        if verb == "EHLO" && (500..600).contains(&reply.code) {
            reply = self.hello_once("HELO", name, deadline).await?;
        }
        welcome(reply, "it seems to speak another protocol: SMTP in place of LMTP, or the reverse")
    }

    /// The same without a second attempt: for an upstream that expects no PROXY line, that is an unknown command, and its reply 5yz comes
    /// where the one to EHLO belongs. All replies would be one behind from there on, and the client would be us.
    async fn hello_after_proxy(&mut self, name: &str, extended: bool, deadline: Instant) -> Result<(), Error> {
        let reply = self.hello_once(self.hello_verb(extended), name, deadline).await?;
        welcome(reply, NO_PROXY)
    }

    fn hello_verb(&self, extended: bool) -> &'static str {
        match self.protocol {
            Protocol::Lmtp => "LHLO",
            Protocol::Smtp if extended => "EHLO",
            Protocol::Smtp => "HELO",
        }
    }

    async fn hello_once(&mut self, verb: &str, name: &str, deadline: Instant) -> Result<Reply, Error> {
        let reply = self.exchange(&format!("{verb} {name}"), at::HELLO, deadline).await?;
        // HELO announces nothing, whatever its reply looks like.
        let announces = reply.is_positive() && verb != "HELO";
        self.offers = if announces { Offers::parse(&reply) } else { Offers::default() };
        Ok(reply)
    }

    /// Sends the text and the dot, until `all` at the latest. False, without all of the dot sent: upstream spoke, closed the connection, or takes nothing more.
    async fn send_text(&mut self, parts: &[&[u8]], all: Instant) -> Result<bool, Error> {
        let block = self.timeouts.block;
        let deadline = || all.min(Instant::now() + block);
        let mut stuffer = Stuffer::default();
        for piece in parts.iter().flat_map(|part| part.chunks(PIECE)) {
            stuffer.push(piece, self.wire.output());
            if self.wire.output().len() >= PIECE && !self.wire.send(at::TEXT, deadline()).await? {
                return Ok(false);
            }
        }
        stuffer.finish(self.wire.output());
        self.wire.send(at::TEXT, deadline()).await
    }

    /// Makes sure that the next reply will belong to the next command. A reply is returned if it is 421, which is the last.
    async fn begin(&mut self, deadline: Instant) -> Result<Option<Reply>, Error> {
        if !self.usable {
            return Err(Error::Closed(at::EARLIER));
        }
        self.usable = false;
        if self.noop.is_some() {
            let reply = self.noop_answer(deadline).await?;
            if reply.is_closing() {
                return Ok(Some(reply));
            }
        }
        self.wire.look();
        if self.wire.has_input() {
            return self.unasked(deadline).await.map(Some);
        }
        if self.wire.has_ended() {
            return Err(Error::Closed(at::IDLE));
        }
        Ok(None)
    }

    fn end(&mut self, reply: &Reply) {
        self.usable = !reply.is_closing();
        self.active = Instant::now();
    }

    /// One round of [`keep_alive`](Self::keep_alive). Each wait in it can be dropped: what was read or written by then is on record.
    async fn idle(&mut self) -> Result<(), Error> {
        if let Some(deadline) = self.noop {
            let reply = self.noop_answer(deadline).await?;
            return if reply.is_closing() { Err(Error::Refused(reply)) } else { Ok(()) };
        }
        if self.wire.has_input() {
            let closing = self.unasked(Instant::now() + self.timeouts.command).await?;
            return Err(Error::Refused(closing));
        }
        if self.wire.has_ended() {
            return Err(Error::Closed(at::IDLE));
        }
        if !self.wire.progress(self.active + self.timeouts.keep_alive).await {
            self.wire.queue(b"NOOP\r\n");
            self.noop = Some(Instant::now() + self.timeouts.command);
        }
        Ok(())
    }

    /// The reply to NOOP. Upstream may like it or not: it has heard from us.
    async fn noop_answer(&mut self, deadline: Instant) -> Result<Reply, Error> {
        let reply = self.answer(at::NOOP, deadline).await?;
        is_final(&reply, at::NOOP)?;
        self.noop = None;
        self.active = Instant::now();
        Ok(reply)
    }

    /// The 421 that nobody asked for.
    async fn unasked(&mut self, deadline: Instant) -> Result<Reply, Error> {
        let reply = self.wire.reply(at::IDLE, deadline).await?;
        if reply.is_closing() { Ok(reply) } else { Err(Error::Broken { at: at::IDLE, fault: "a reply to no command" }) }
    }

    async fn exchange(&mut self, line: &str, at: &'static str, deadline: Instant) -> Result<Reply, Error> {
        self.wire.queue(line.as_bytes());
        self.wire.queue(b"\r\n");
        self.answer(at, deadline).await
    }

    /// The one reply to what was queued.
    async fn answer(&mut self, at: &'static str, deadline: Instant) -> Result<Reply, Error> {
        let reply = self.wire.reply(at, deadline).await?;
        if !reply.is_closing() && self.wire.has_output() {
            return Err(Error::Broken { at, fault: "a reply before the command was sent" });
        }
        self.in_step(&reply, at)?;
        Ok(reply)
    }

    /// Nothing may follow the last reply, except one that closes the connection: that is looked at next time.
    fn in_step(&self, last: &Reply, at: &'static str) -> Result<(), Error> {
        if last.is_closing() || self.wire.may_be_closing() {
            return Ok(());
        }
        Err(Error::Broken { at, fault: "more than one reply" })
    }
}

/// What a reply to EHLO, HELO or LHLO means. One that does not know the command says nothing about the client: `otherwise` is why.
fn welcome(reply: Reply, otherwise: &str) -> Result<(), Error> {
    match reply.code {
        200..300 => Ok(()),
        500 | 502 | 503 => Err(Error::Misconfigured(format!("{otherwise}: {reply}"))),
        _ => Err(Error::Refused(reply)),
    }
}

fn is_final(reply: &Reply, at: &'static str) -> Result<(), Error> {
    match reply.is_intermediate() {
        true => Err(Error::Broken { at, fault: "a reply that asks for more, where nothing can follow" }),
        false => Ok(()),
    }
}

/// Whether a line can be sent by [`Upstream::command`]; and which command it is.
fn sendable(line: &str) -> Result<&'static str, Error> {
    if line.chars().any(|c| c.is_ascii_control() && c != '\t') {
        return Err(Error::Unsendable("a command cannot have a control character"));
    }
    let verb = line.split(' ').next().unwrap_or_default();
    let known = COMMANDS.into_iter().find(|command| command.eq_ignore_ascii_case(verb));
    known.ok_or(Error::Unsendable("a command that is not passed on to upstream"))
}

//! One connection of an MTA.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::command::{Command, CommandError};
use crate::edit::Edit;
use crate::macros::Macros;
use crate::negotiate::{Agreement, NegotiateError, Wishes};
use crate::order::{Order, OrderError};
use crate::packet::{self, Decoder, PacketError};
use crate::protocol::Stage;
use crate::reply::Reply;

/// Octets asked for at once.
const READ: usize = 16 * 1024;

/// How long is waited for the MTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// For the next command. The MTA waits for its client meanwhile, which has five to ten minutes for a command and as many for each
    /// part of a message (RFC 5321 §4.5.3.2); and while the message comes in the filter hears nothing.
    pub command: Duration,
    /// For the rest of a packet that has begun, and for the negotiation.
    pub packet: Duration,
    /// For taking a reply, which the MTA is waiting for.
    pub write: Duration,
}

impl Default for TimeLimits {
    /// 7210 s for a command, as in libmilter; 60 s for a packet and 30 s for a reply.
    fn default() -> Self {
        TimeLimits { command: Duration::from_secs(7210), packet: Duration::from_secs(60), write: Duration::from_secs(30) }
    }
}

/// What is wrong with what the MTA sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// What came are no packets.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A packet is no command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A command came where it cannot be.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// There was nothing to agree on.
    #[error(transparent)]
    Negotiate(#[from] NegotiateError),
}

/// Why a connection has to be closed. The MTA then does what it is configured to do without the filter (Postfix:
/// `milter_default_action`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Reading or writing failed.
    #[error("connection to the MTA: {0}")]
    Io(#[from] io::Error),
    /// What came makes no sense.
    #[error(transparent)]
    Protocol(ProtocolError),
    /// The MTA was too slow.
    #[error("the MTA did not {what} within {limit:?}")]
    Slow {
        /// What it did not do.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The next command was asked for although the MTA waits for a reply.
    #[error("the reply to {0} is missing")]
    ReplyMissing(Stage),
    /// A reply that is not expected now: it would be taken for the one to a later command.
    #[error("a reply that the MTA does not wait for")]
    NotDue,
    /// A reply or an edit that is not possible here.
    #[error("{what} at {stage}; {expected}")]
    NotHere {
        /// What was to be sent.
        what: &'static str,
        /// The stage that waits for a reply.
        stage: Stage,
        /// Where it is possible.
        expected: &'static str,
    },
    /// Writing was given up before; the MTA may have got a part of a packet.
    #[error("an earlier reply was not sent as a whole")]
    Broken,
}

impl<E: Into<ProtocolError>> From<E> for ConnectionError {
    fn from(error: E) -> Self {
        ConnectionError::Protocol(error.into())
    }
}

/// A connection on which the negotiation is done.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    decoder: Decoder,
    limits: TimeLimits,
    agreement: Agreement,
    order: Order,
    macros: Macros,
    due: Option<Stage>,
    /// When the packet began that is not there yet. It is kept here so that a reader that is given up and taken up again does not begin
    /// anew.
    packet_began: Option<Instant>,
    broken: bool,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Negotiates on a new connection. `None`: the MTA, or a check of its health, has closed it without a word.
    ///
    /// # Errors
    ///
    /// It is no MTA, one that is too old, or one that does not speak within `limits.packet`.
    pub async fn open(mut stream: S, wishes: &Wishes, limits: TimeLimits) -> Result<Option<Self>, ConnectionError> {
        let mut decoder = Decoder::new();
        let agreement = {
            let read = async {
                loop {
                    if let Some(packet) = decoder.next_packet()? {
                        if packet.command != crate::negotiate::NEGOTIATE {
                            return Err(NegotiateError::Missing(packet.command).into());
                        }
                        break Ok(Some(Command::decode(packet)?));
                    }
                    if receive(&mut stream, &mut decoder).await? == 0 {
                        decoder.finish()?;
                        break Ok(None);
                    }
                }
            };
            let slow = ConnectionError::Slow { what: "negotiate", limit: limits.packet };
            match timeout(limits.packet, read).await.unwrap_or(Err(slow))? {
                Some(Command::Negotiate(offer)) => Agreement::new(offer, wishes)?,
                _ => return Ok(None),
            }
        };
        let mut connection = Connection {
            stream,
            decoder,
            limits,
            agreement,
            order: Order::default(),
            macros: Macros::default(),
            due: None,
            packet_began: None,
            broken: false,
            ended: false,
        };
        connection.write(&agreement.encode()).await?;
        Ok(Some(connection))
    }

    /// What was agreed on.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// The macros that hold at the command that came last. After the end of a message they are still those of the message.
    pub fn macros(&self) -> &Macros {
        &self.macros
    }

    /// The stage that the MTA waits for a reply to.
    pub fn due(&self) -> Option<Stage> {
        self.due
    }

    /// The next command; macros are not among them, see [`macros`](Self::macros). `None`: the connection is over. Postfix closes it without
    /// [`Command::Quit`] after some replies.
    ///
    /// [`Command::Abort`], [`Command::Mail`] and [`Command::Helo`] end the message that has begun, [`Command::QuitNewConnection`] the
    /// client's connection, after which another [`Command::Connect`] comes.
    ///
    /// It may be given up and called again: nothing is lost.
    ///
    /// # Errors
    ///
    /// The connection is to be closed.
    pub async fn next(&mut self) -> Result<Option<Command>, ConnectionError> {
        if self.broken {
            return Err(ConnectionError::Broken);
        }
        if let Some(stage) = self.due {
            return Err(ConnectionError::ReplyMissing(stage));
        }
        if self.ended {
            return Ok(None);
        }
        let idle = Instant::now() + self.limits.command;
        loop {
            while let Some(packet) = self.decoder.next_packet()? {
                self.packet_began = None;
                let command = Command::decode(packet)?;
                self.order.step(&command, &self.agreement)?;
                self.macros.take(&command);
                if !matches!(command, Command::Macros(..)) {
                    self.due = command.stage().filter(|&stage| self.agreement.has_reply(stage));
                    self.ended = command == Command::Quit;
                    return Ok(Some(command));
                }
            }
            let (until, what, limit) = if self.decoder.is_within_packet() {
                let began = *self.packet_began.get_or_insert_with(Instant::now);
                (began + self.limits.packet, "send the rest of a packet", self.limits.packet)
            } else {
                (idle, "send a command", self.limits.command)
            };
            let received = timeout_at(until, receive(&mut self.stream, &mut self.decoder)).await;
            if received.map_err(|_| ConnectionError::Slow { what, limit })?? == 0 {
                self.decoder.finish()?;
                self.ended = true;
                return Ok(None);
            }
        }
    }

    /// Answers the command that came last.
    ///
    /// It must not be given up: the connection is of no use then.
    ///
    /// # Errors
    ///
    /// The MTA waits for no reply, or not for this one: nothing was sent, and another reply can be. Or the connection is to be closed.
    pub async fn reply(&mut self, reply: &Reply) -> Result<(), ConnectionError> {
        let stage = self.due.ok_or(ConnectionError::NotDue)?;
        let refuse = |what, expected| Err(ConnectionError::NotHere { what, stage, expected });
        match reply {
            Reply::Skip if stage != Stage::Body => return refuse("skip", "expected at the body only"),
            Reply::Skip if !self.agreement.can_skip() => return refuse("skip", "it was not agreed on"),
            Reply::Discard if stage < Stage::Mail => return refuse("discard", "expected within a message only"),
            _ => {}
        }
        self.write(&reply.encode()).await?;
        self.due = None;
        Ok(())
    }

    /// Changes the message at its end, before the reply.
    ///
    /// # Errors
    ///
    /// It is not the end of a message, or such changes were not agreed on: nothing was sent. Or the connection is to be closed.
    pub async fn edit(&mut self, edit: &Edit) -> Result<(), ConnectionError> {
        let stage = self.end_of_message("a change of the header")?;
        if !self.agreement.actions().contains(edit.action()) {
            return Err(ConnectionError::NotHere { what: "a change of the header", stage, expected: "it was not agreed on" });
        }
        self.write(&edit.encode(self.agreement.has_leading_space())).await
    }

    /// Says that the reply to the end of a message is still being worked on, so that the MTA waits longer.
    ///
    /// # Errors
    ///
    /// It is not the end of a message (Sendmail takes it nowhere else): nothing was sent. Or the connection is to be closed.
    pub async fn progress(&mut self) -> Result<(), ConnectionError> {
        self.end_of_message("progress")?;
        self.write(&packet::encode(b'p', &[])).await
    }

    fn end_of_message(&self, what: &'static str) -> Result<Stage, ConnectionError> {
        match self.due {
            Some(stage @ Stage::EndOfMessage) => Ok(stage),
            Some(stage) => Err(ConnectionError::NotHere { what, stage, expected: "expected at the end of a message only" }),
            None => Err(ConnectionError::NotDue),
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), ConnectionError> {
        if self.broken {
            return Err(ConnectionError::Broken);
        }
        // Stays true if this is given up half-way.
        self.broken = true;
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        let limit = self.limits.write;
        timeout(limit, write).await.map_err(|_| ConnectionError::Slow { what: "take a reply", limit })??;
        self.broken = false;
        Ok(())
    }
}

/// Reads what there is, and how much that was; 0 at the end.
async fn receive<S: AsyncRead + Unpin>(stream: &mut S, decoder: &mut Decoder) -> io::Result<usize> {
    let buffer = decoder.buffer();
    buffer.reserve(READ);
    stream.read_buf(buffer).await
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;

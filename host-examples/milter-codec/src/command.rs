//! What the MTA says: packets as commands.

use std::fmt;

use smtp_fallback_policy::address::Address;

use crate::negotiate::{NEGOTIATE, Offer};
use crate::octets::Octets;
use crate::packet::Packet;
use crate::protocol::{Actions, Protocol, Stage};

/// Strings in one packet, at most: arguments of MAIL, or macros with their values. Sendmail has 50 macros for a stage.
pub const MAX_STRINGS: usize = 1024;

/// A command of the MTA.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// What the MTA offers; the first command of a connection.
    Negotiate(Offer),
    /// The values of macros, for the command that follows, at this stage.
    Macros(Stage, Vec<(Octets, Octets)>),
    /// A client has connected.
    Connect {
        /// Its name by the reverse DNS, or its address in brackets. Postfix says `unknown` where it knows neither.
        host: Octets,
        /// Its address.
        client: Client,
    },
    /// HELO or EHLO; which of them is not said. It comes again after STARTTLS.
    Helo(Octets),
    /// MAIL: a message begins. One that had begun is over.
    Mail(Path),
    /// RCPT.
    Rcpt(Path),
    /// DATA, or the first BDAT.
    Data,
    /// A command that the MTA does not know, as a line. Here a verb of an extension is seen that the MTA does not have.
    Unknown(Octets),
    /// A header field.
    Header {
        /// Its name.
        name: Octets,
        /// What follows the colon, with LF between its lines. See [`Agreement::write_field`](crate::Agreement::write_field).
        value: Octets,
    },
    /// The end of the header.
    EndOfHeader,
    /// A chunk of the body; a line may go on in the next one.
    Body(Octets),
    /// The end of the message. What is left of the body may be in it; Postfix and Sendmail send that as a chunk before it.
    EndOfMessage(Octets),
    /// The message is over, and was not received: RSET, a refusal by the MTA or another filter, or the client is gone. The connection
    /// goes on. It may come when there is no message.
    Abort,
    /// The connection is over.
    Quit,
    /// The connection is over, and another one follows on the same socket, as agreed before.
    QuitNewConnection,
}

/// Where the client is.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Client {
    /// The MTA does not know (`U`).
    Unknown,
    /// A socket of this machine (`L`), with its path.
    Local(Octets),
    /// An IP address (`4` or `6`) and a port; 0 where the MTA does not know that.
    Internet(Address, u16),
    /// An IP address that is none. It is no error, since a mail must not be lost for it.
    Unreadable(Octets, u16),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Unknown => f.write_str("unknown"),
            Client::Local(path) => write!(f, "local {path:?}"),
            Client::Internet(address, port) => write!(f, "{address} port {port}"),
            Client::Unreadable(text, port) => write!(f, "{text:?} port {port}"),
        }
    }
}

/// A path with its arguments, as the client wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The mailbox, as a rule in angle brackets.
    pub path: Octets,
    /// The ESMTP arguments, such as `SIZE=1000`.
    pub arguments: Vec<Octets>,
}

impl Path {
    /// The mailbox without angle brackets. It is empty for the null sender.
    pub fn mailbox(&self) -> &[u8] {
        let path = self.path.as_bytes();
        path.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">")).unwrap_or(path)
    }
}

/// A packet that is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no command with this octet.
    #[error("unknown command '{}'; expected one of version 6 of the milter protocol: O D C H M R T U L N B E A Q K", .0.escape_ascii())]
    Octet(u8),
    /// Its data are not those of the command.
    #[error("command '{}' with {found} octets of data; expected {expected}", .command.escape_ascii())]
    Data {
        /// The command.
        command: u8,
        /// How many octets of data it has.
        found: usize,
        /// What it should have.
        expected: &'static str,
    },
    /// It has too many strings.
    #[error("command '{}' with more than {MAX_STRINGS} strings", .0.escape_ascii())]
    Strings(u8),
    /// Macros for something that is no stage.
    #[error("macros for '{}'; expected one of the commands C H M R T U L N B E", .0.escape_ascii())]
    MacroStage(u8),
}

impl Command {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// There is no such command, or its data are not what belongs to it. What follows can still be read, but the MTA waits for a reply
    /// to what was not understood, so that the connection is to be closed.
    pub fn decode(packet: Packet) -> Result<Self, CommandError> {
        let Packet { command, data } = packet;
        let wrong = |expected| CommandError::Data { command, found: data.len(), expected };
        let strings = |from: usize| strings(command, &data[from..]);
        let empty = |result| if data.is_empty() { Ok(result) } else { Err(wrong("none")) };
        match command {
            NEGOTIATE => offer(&data).map(Command::Negotiate).ok_or_else(|| wrong("three numbers of four octets")),
            b'D' => {
                let &octet = data.first().ok_or_else(|| wrong("a command and strings, each ended by NUL"))?;
                let stage = Stage::from_octet(octet).ok_or(CommandError::MacroStage(octet))?;
                let pairs = strings(1)?.and_then(pairs).ok_or_else(|| wrong("names and values, each ended by NUL"))?;
                Ok(Command::Macros(stage, pairs))
            }
            b'C' => connect(&data).ok_or_else(|| wrong("a name, a family, and for L, 4 and 6 a port and an address")),
            b'H' => one(strings(0)?).map(Command::Helo).ok_or_else(|| wrong("one string, ended by NUL")),
            b'M' => path(strings(0)?).map(Command::Mail).ok_or_else(|| wrong("one string or more, each ended by NUL")),
            b'R' => path(strings(0)?).map(Command::Rcpt).ok_or_else(|| wrong("one string or more, each ended by NUL")),
            b'T' => empty(Command::Data),
            b'U' => one(strings(0)?).map(Command::Unknown).ok_or_else(|| wrong("one string, ended by NUL")),
            b'L' => match strings(0)?.map(<[Octets; 2]>::try_from) {
                Some(Ok([name, value])) => Ok(Command::Header { name, value }),
                _ => Err(wrong("two strings, each ended by NUL")),
            },
            b'N' => empty(Command::EndOfHeader),
            b'B' => Ok(Command::Body(data.into())),
            b'E' => Ok(Command::EndOfMessage(data.into())),
            b'A' => empty(Command::Abort),
            b'Q' => empty(Command::Quit),
            b'K' => empty(Command::QuitNewConnection),
            _ => Err(CommandError::Octet(command)),
        }
    }

    /// The stage that it reports, where it does.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Command::Connect { .. } => Some(Stage::Connect),
            Command::Helo(_) => Some(Stage::Helo),
            Command::Mail(_) => Some(Stage::Mail),
            Command::Rcpt(_) => Some(Stage::Rcpt),
            Command::Data => Some(Stage::Data),
            Command::Unknown(_) => Some(Stage::Unknown),
            Command::Header { .. } => Some(Stage::Header),
            Command::EndOfHeader => Some(Stage::EndOfHeader),
            Command::Body(_) => Some(Stage::Body),
            Command::EndOfMessage(_) => Some(Stage::EndOfMessage),
            Command::Negotiate(_) | Command::Macros(..) | Command::Abort | Command::Quit | Command::QuitNewConnection => None,
        }
    }
}

/// Strings that each end with NUL, or `None` where something is left over.
fn strings(command: u8, data: &[u8]) -> Result<Option<Vec<Octets>>, CommandError> {
    if data.iter().filter(|&&octet| octet == 0).count() > MAX_STRINGS {
        return Err(CommandError::Strings(command));
    }
    let Some(data) = data.strip_suffix(b"\0") else { return Ok(data.is_empty().then(Vec::new)) };
    Ok(Some(data.split(|&octet| octet == 0).map(Octets::from).collect()))
}

fn one(strings: Option<Vec<Octets>>) -> Option<Octets> {
    let [string] = <[Octets; 1]>::try_from(strings?).ok()?;
    Some(string)
}

fn path(strings: Option<Vec<Octets>>) -> Option<Path> {
    let mut strings = strings?.into_iter();
    Some(Path { path: strings.next()?, arguments: strings.collect() })
}

fn pairs(strings: Vec<Octets>) -> Option<Vec<(Octets, Octets)>> {
    if !strings.len().is_multiple_of(2) {
        return None;
    }
    let mut strings = strings.into_iter();
    Some(std::iter::from_fn(|| strings.next().zip(strings.next())).collect())
}

/// What a later version adds behind the three numbers is passed over.
fn offer(data: &[u8]) -> Option<Offer> {
    let mut rest = data;
    let mut number = || {
        let (number, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        Some(u32::from_be_bytes(*number))
    };
    let (version, actions, protocol) = (number()?, number()?, number()?);
    Some(Offer { version, actions: Actions::from_bits(actions), protocol: Protocol::from_bits(protocol) })
}

fn connect(data: &[u8]) -> Option<Command> {
    let end = data.iter().position(|&octet| octet == 0)?;
    let host = Octets::from(&data[..end]);
    let (&family, rest) = data[end + 1..].split_first()?;
    if family == b'U' {
        return Some(Command::Connect { host, client: Client::Unknown });
    }
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (port, text) = (u16::from_be_bytes(*port), rest.strip_suffix(b"\0").filter(|text| !text.contains(&0))?);
    let client = match family {
        b'L' => Client::Local(text.into()),
        // Sendmail writes `IPv6:2001:db8:0:0:0:0:0:1`, Postfix `2001:db8::1`.
        b'4' | b'6' => match str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
            Some(address) => Client::Internet(address, port),
            None => Client::Unreadable(text.into(), port),
        },
        _ => return None,
    };
    Some(Command::Connect { host, client })
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;

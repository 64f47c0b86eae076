//! The commands of RFC 5321 and its extensions with their arguments, and the verb of the fall-back.

mod parameters;

use crate::path::{ForwardPath, PathError, ReversePath, forward_path, reverse_path};
use crate::reply::Reply;
use smtp_fallback_policy::contract::KEYWORD;

pub use parameters::{Body, MailParameters, RcptParameters, Ret};

/// The longest EHLO or HELO argument: the longest domain (RFC 5321 §4.5.3.1.2).
const NAME_MAX: usize = 255;

/// A command, with its arguments read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO, with the client's name as it was sent: printable ASCII without spaces, 1 to 255 octets, otherwise unchecked.
    Ehlo(String),
    /// HELO; the name as with EHLO.
    Helo(String),
    /// STARTTLS (RFC 3207).
    Starttls,
    /// MAIL.
    Mail(Mail),
    /// RCPT.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// BDAT (RFC 3030); the octets of the chunk follow the line.
    Bdat(Chunk),
    /// RSET.
    Rset,
    /// NOOP; its argument means nothing.
    Noop,
    /// VRFY; this server tells nobody who has a mailbox.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// IPV6-IPV4-FALLBACK. Whether it is known at all depends on the session, so a wrong argument is not judged here (A8).
    Fallback {
        /// There was an argument, which is an error where the verb is known.
        argument: bool,
    },
}

/// The arguments of MAIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The sender.
    pub from: ReversePath,
    /// What follows it.
    pub parameters: MailParameters,
}

/// The arguments of RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// The recipient.
    pub to: ForwardPath,
    /// What follows it.
    pub parameters: RcptParameters,
}

/// The arguments of BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the line.
    pub size: u64,
    /// It is the message's last.
    pub last: bool,
}

impl Command {
    /// Reads a line without its CRLF. The error is the reply to it.
    pub fn parse(line: &[u8]) -> Result<Command, Reply> {
        let line = line.trim_ascii_end();
        let Some(line) = std::str::from_utf8(line).ok().filter(|line| line.chars().all(is_readable)) else {
            return Err(unreadable(line, "control characters, or octets that are not UTF-8, in a command"));
        };
        let (verb, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let argument = argument.trim_start_matches([' ', '\t']);
        let alone = |command: Command| {
            if argument.is_empty() { Ok(command) } else { Err(Reply::new(501, "5.5.4", format!("{verb} takes no argument"))) }
        };
        let verb_upper = verb.to_ascii_uppercase();
        // RFC 6531 §3.1: letters beyond ASCII stand in addresses, and nowhere else.
        if !line.is_ascii() && !matches!(verb_upper.as_str(), "MAIL" | "RCPT" | "VRFY" | "NOOP" | "HELP") {
            return Err(unreadable(line.as_bytes(), "non-ASCII characters in a command"));
        }
        match verb_upper.as_str() {
            "EHLO" => name(argument).map(Command::Ehlo),
            "HELO" => name(argument).map(Command::Helo),
            "STARTTLS" => alone(Command::Starttls),
            "MAIL" => mail(argument).map(Command::Mail),
            "RCPT" => rcpt(argument).map(Command::Rcpt),
            "DATA" => alone(Command::Data),
            "BDAT" => chunk(argument).map(Command::Bdat),
            "RSET" => alone(Command::Rset),
            "NOOP" => Ok(Command::Noop),
            "VRFY" if argument.is_empty() => Err(Reply::new(501, "5.5.4", "syntax: VRFY address")),
            "VRFY" => Ok(Command::Vrfy),
            "HELP" => Ok(Command::Help),
            "QUIT" => alone(Command::Quit),
            KEYWORD => Ok(Command::Fallback { argument: !argument.is_empty() }),
            "EXPN" | "AUTH" | "ETRN" | "TURN" | "SEND" | "SOML" | "SAML" => {
                Err(Reply::new(502, "5.5.1", "command not implemented"))
            }
            // A web client that was led here: the lines that follow are a third party's.
            "GET" | "HEAD" | "POST" | "PUT" | "CONNECT" | "OPTIONS" if !argument.is_empty() => {
                Err(Reply::new(421, "4.7.0", "this is no HTTP server; closing").and_close())
            }
            _ => Err(Reply::new(500, "5.5.1", "command not recognised")),
        }
    }
}

/// What may stand in a command line. Characters that other programs take for the end of a line are controls, too.
fn is_readable(character: char) -> bool {
    character == '\t' || !(character.is_control() || matches!(character, '\u{2028}' | '\u{2029}'))
}

/// The reply to a line that cannot be read. A chunk follows BDAT whatever its line is worth: it must not be read as commands.
fn unreadable(line: &[u8], text: &'static str) -> Reply {
    let reply = Reply::new(500, "5.5.2", text);
    if line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT")) { reply.and_close() } else { reply }
}

fn name(argument: &str) -> Result<String, Reply> {
    let refuse = |text: &'static str| Err(Reply::new(501, "5.5.4", text));
    match argument {
        "" => refuse("a host name or an address literal is needed"),
        _ if argument.len() > NAME_MAX => refuse("the name is longer than 255 octets"),
        _ if argument.contains([' ', '\t']) => refuse("one host name or address literal is needed, without spaces"),
        _ => Ok(argument.to_owned()),
    }
}

fn mail(argument: &str) -> Result<Mail, Reply> {
    let path = after_keyword(argument, "FROM:").ok_or_else(|| Reply::new(501, "5.5.4", "syntax: MAIL FROM:<address>"))?;
    let (from, parameters) = reverse_path(path).map_err(|error| path_error(error, "5.1.7"))?;
    Ok(Mail { from, parameters: MailParameters::parse(parameters)? })
}

fn rcpt(argument: &str) -> Result<Rcpt, Reply> {
    let path = after_keyword(argument, "TO:").ok_or_else(|| Reply::new(501, "5.5.4", "syntax: RCPT TO:<address>"))?;
    let (to, parameters) = forward_path(path).map_err(|error| path_error(error, "5.1.3"))?;
    Ok(Rcpt { to, parameters: RcptParameters::parse(parameters)? })
}

/// `size [LAST]`. Without its size nobody knows where a chunk ends and the next command begins, so an error closes.
fn chunk(argument: &str) -> Result<Chunk, Reply> {
    let syntax = || Reply::new(501, "5.5.4", "syntax: BDAT size [LAST]; closing").and_close();
    let mut words = argument.split([' ', '\t']).filter(|word| !word.is_empty());
    let digits = words.next().filter(|word| word.len() <= 19 && word.bytes().all(|octet| octet.is_ascii_digit()));
    let size = digits.and_then(|digits| digits.parse().ok()).ok_or_else(syntax)?;
    let last = words.next().map(|word| word.eq_ignore_ascii_case("LAST"));
    match (last, words.next()) {
        (None | Some(true), None) => Ok(Chunk { size, last: last.is_some() }),
        _ => Err(syntax()),
    }
}

/// What follows `FROM:` or `TO:`. Many clients put a space after the colon; that is tolerated.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = argument.split_at_checked(keyword.len())?;
    found.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches([' ', '\t']))
}

fn path_error(error: PathError, enhanced: &'static str) -> Reply {
    Reply::new(501, enhanced, error.to_string())
}

#[cfg(test)]
mod tests;

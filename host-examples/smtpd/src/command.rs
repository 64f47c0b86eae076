//! The commands of RFC 5321 and their arguments, and the verb of the extension.

use crate::path::{ForwardPath, PathError, ReversePath, forward_path, reverse_path};
use crate::reply::Reply;
use smtp_fallback_policy::contract::KEYWORD;

/// The longest EHLO or HELO argument: the longest domain (RFC 5321 §4.5.3.1.2).
const NAME_MAX: usize = 255;

/// A command, with its arguments read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO, with the client's name as it was sent: printable ASCII without spaces, 1 to 255 octets, otherwise unchecked.
    Ehlo(String),
    /// HELO; the name as with EHLO.
    Helo(String),
    /// MAIL.
    Mail(Mail),
    /// RCPT.
    Rcpt(ForwardPath),
    /// DATA.
    Data,
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
    /// SIZE= (RFC 1870): the size that the client announces, in octets.
    pub size: Option<u64>,
    /// There were parameters, which only EHLO offers.
    pub extended: bool,
}

impl Command {
    /// Reads a line without its CRLF. The error is the reply to it.
    pub fn parse(line: &[u8]) -> Result<Command, Reply> {
        let line = line.trim_ascii_end();
        if !line.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\t')) {
            return Err(unreadable(line));
        }
        let line = std::str::from_utf8(line).expect("ASCII, as checked above");
        let (verb, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let argument = argument.trim_start();
        let alone = |command: Command| {
            if argument.is_empty() { Ok(command) } else { Err(Reply::new(501, "5.5.4", format!("{verb} takes no argument"))) }
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => name(argument).map(Command::Ehlo),
            "HELO" => name(argument).map(Command::Helo),
            "MAIL" => mail(argument).map(Command::Mail),
            "RCPT" => rcpt(argument).map(Command::Rcpt),
            "DATA" => alone(Command::Data),
            "RSET" => alone(Command::Rset),
            "NOOP" => Ok(Command::Noop),
            "VRFY" => Ok(Command::Vrfy),
            "HELP" => Ok(Command::Help),
            "QUIT" => alone(Command::Quit),
            KEYWORD => Ok(Command::Fallback { argument: !argument.is_empty() }),
            "EXPN" | "STARTTLS" | "AUTH" | "BDAT" | "ETRN" | "TURN" | "SEND" | "SOML" | "SAML" => {
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

fn unreadable(line: &[u8]) -> Reply {
    let verb: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
    let eight_bit = !line.is_ascii();
    match verb.as_slice() {
        b"MAIL" | b"RCPT" if eight_bit => {
            Reply::new(553, "5.6.7", "addresses must be ASCII: this server does not implement SMTPUTF8")
        }
        _ => Reply::new(500, "5.5.2", "control or non-ASCII characters in a command"),
    }
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
    let syntax = || Reply::new(501, "5.5.4", "syntax: MAIL FROM:<address> [SIZE=octets] [BODY=7BIT|8BITMIME]");
    let path = after_keyword(argument, "FROM:").ok_or_else(syntax)?;
    let (from, parameters) = reverse_path(path).map_err(|error| path_error(error, "5.1.7"))?;
    let mut mail = Mail { from, size: None, extended: false };
    let mut body = false;
    for parameter in parameters.split_ascii_whitespace() {
        mail.extended = true;
        let (keyword, value) = parameter.split_once('=').map_or((parameter, None), |(keyword, value)| (keyword, Some(value)));
        match keyword.to_ascii_uppercase().as_str() {
            "SIZE" if mail.size.is_none() => mail.size = Some(value.and_then(size).ok_or_else(syntax)?),
            "BODY" if !body => body = value.is_some_and(|v| v.eq_ignore_ascii_case("7BIT") || v.eq_ignore_ascii_case("8BITMIME")),
            "SIZE" | "BODY" => return Err(syntax()),
            _ => return Err(Reply::new(555, "5.5.4", "parameter not recognised: SIZE and BODY are known")),
        }
        if keyword.eq_ignore_ascii_case("BODY") && !body {
            return Err(syntax());
        }
    }
    Ok(mail)
}

fn rcpt(argument: &str) -> Result<ForwardPath, Reply> {
    let path = after_keyword(argument, "TO:")
        .ok_or_else(|| Reply::new(501, "5.5.4", "syntax: RCPT TO:<address>, without parameters"))?;
    let (to, parameters) = forward_path(path).map_err(|error| path_error(error, "5.1.3"))?;
    if !parameters.is_empty() {
        return Err(Reply::new(555, "5.5.4", "no parameters are known"));
    }
    Ok(to)
}

/// What follows `FROM:` or `TO:`. Many clients put a space after the colon; that is tolerated.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = argument.split_at_checked(keyword.len())?;
    found.eq_ignore_ascii_case(keyword).then(|| rest.trim_start())
}

fn path_error(error: PathError, enhanced: &'static str) -> Reply {
    Reply::new(501, enhanced, error.to_string())
}

/// 1 to 20 digits (RFC 1870 §4).
fn size(digits: &str) -> Option<u64> {
    let valid = matches!(digits.len(), 1..=20) && digits.bytes().all(|octet| octet.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Command {
        Command::parse(line.as_bytes()).unwrap_or_else(|reply| panic!("{line:?}: {reply:?}"))
    }

    fn refused(line: &str) -> (u16, String) {
        let reply = Command::parse(line.as_bytes()).expect_err(line);
        (reply.code, reply.enhanced.expect("has one").into_owned())
    }

    fn code(code: u16, enhanced: &str) -> (u16, String) {
        (code, enhanced.to_owned())
    }

    #[test]
    fn reads_commands_in_any_case_and_with_trailing_space() {
        assert_eq!(parse("ehlo mx.example"), Command::Ehlo("mx.example".into()));
        assert_eq!(parse("HELO  [IPv6:::1]\t "), Command::Helo("[IPv6:::1]".into()));
        assert_eq!(parse("Data"), Command::Data);
        assert_eq!(parse("RSET "), Command::Rset);
        assert_eq!(parse("NOOP whatever"), Command::Noop);
        assert_eq!(parse("quit"), Command::Quit);
        assert_eq!(parse("HELP mail"), Command::Help);
        assert_eq!(parse("VRFY smith"), Command::Vrfy);
    }

    #[test]
    fn a8_reads_the_verb() {
        for verb in ["IPV6-IPV4-FALLBACK", "ipv6-ipv4-fallback", "Ipv6-iPv4-Fallback "] {
            assert_eq!(parse(verb), Command::Fallback { argument: false });
        }
        assert_eq!(parse("IPV6-IPV4-FALLBACK yes"), Command::Fallback { argument: true });
        assert_eq!(refused("IPV6-IPV4-FALLBACKS"), code(500, "5.5.1"));
    }

    #[test]
    fn refuses_what_is_no_command() {
        assert_eq!(refused(""), code(500, "5.5.1"));
        assert_eq!(refused("BREW / HTTP/1.1"), code(500, "5.5.1"));
        assert_eq!(refused("GETTING / HTTP/1.1"), code(500, "5.5.1"));
        assert_eq!(refused("GET"), code(500, "5.5.1"));
        assert_eq!(refused("DATA now"), code(501, "5.5.4"));
        assert_eq!(refused("QUIT please"), code(501, "5.5.4"));
        assert_eq!(refused("AUTH PLAIN"), code(502, "5.5.1"));
        assert_eq!(refused("NOOP\x1b[2J"), code(500, "5.5.2"));
        assert_eq!(refused("NOOP é"), code(500, "5.5.2"));
    }

    #[test]
    fn http_ends_the_session() {
        for line in ["GET / HTTP/1.1", "HEAD /", "POST /mail HTTP/1.1", "PUT /", "CONNECT mx.example:25 HTTP/1.1", "OPTIONS *"] {
            assert_eq!(refused(line), code(421, "4.7.0"), "{line}");
            assert!(Command::parse(line.as_bytes()).expect_err(line).close, "{line}");
        }
    }

    #[test]
    fn a_client_must_name_itself_once() {
        for line in ["EHLO", "HELO ", "EHLO two names"] {
            assert_eq!(refused(line), code(501, "5.5.4"));
        }
        let longest = "x".repeat(255);
        assert_eq!(parse(&format!("EHLO {longest}")), Command::Ehlo(longest.clone()));
        assert_eq!(refused(&format!("EHLO {longest}x")), code(501, "5.5.4"));
    }

    #[test]
    fn reads_mail() {
        let mail = |line: &str| match parse(line) {
            Command::Mail(mail) => (mail.from.address().to_owned(), mail.size, mail.extended),
            other => panic!("{other:?}"),
        };
        assert_eq!(mail("MAIL FROM:<a@b.example>"), ("a@b.example".into(), None, false));
        assert_eq!(mail("mail from: <>"), (String::new(), None, false));
        assert_eq!(mail("MAIL FROM:<a@b> SIZE=12 BODY=8bitmime"), ("a@b".into(), Some(12), true));
        assert_eq!(mail("MAIL FROM:<a@b>  body=7BIT"), ("a@b".into(), None, true));
        assert_eq!(mail("MAIL FROM:<a@b> SIZE=99999999999999999999").1, Some(u64::MAX));
    }

    #[test]
    fn refuses_wrong_arguments_of_mail() {
        for line in [
            "MAIL",
            "MAIL <a@b>",
            "MAIL TO:<a@b>",
            "MAIL FROM:<a@b> SIZE",
            "MAIL FROM:<a@b> SIZE=",
            "MAIL FROM:<a@b> SIZE=-1",
            "MAIL FROM:<a@b> SIZE=999999999999999999999",
            "MAIL FROM:<a@b> SIZE=1 SIZE=2",
            "MAIL FROM:<a@b> BODY=BINARYMIME",
            "MAIL FROM:<a@b> BODY",
            "MAIL FROM:<a@b> BODY=7BIT BODY=7BIT",
        ] {
            assert_eq!(refused(line), code(501, "5.5.4"), "{line}");
        }
        assert_eq!(refused("MAIL FROM:<a@b> SMTPUTF8"), code(555, "5.5.4"));
        assert_eq!(refused("MAIL FROM:<a@b"), code(501, "5.1.7"));
        assert_eq!(refused("MAIL FROM:a@b"), code(501, "5.1.7"));
        assert_eq!(refused("MAIL FROM:<ä@b>"), code(553, "5.6.7"));
    }

    #[test]
    fn reads_rcpt() {
        assert_eq!(parse("RCPT TO:<Postmaster>"), Command::Rcpt(ForwardPath::Postmaster));
        assert!(matches!(parse("rcpt to: <a@b.example>"), Command::Rcpt(ForwardPath::Mailbox(_))));
        assert_eq!(refused("RCPT TO:<>"), code(501, "5.1.3"));
        assert_eq!(refused("RCPT TO:<smith>"), code(501, "5.1.3"));
        assert_eq!(refused("RCPT FROM:<a@b>"), code(501, "5.5.4"));
        assert_eq!(refused("RCPT TO:<a@b> NOTIFY=NEVER"), code(555, "5.5.4"));
    }

    proptest! {
        #[test]
        fn no_line_breaks_out(verb in "(MAIL FROM:|RCPT TO:|EHLO |mail from: ?<|)", rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let line = [verb.as_bytes(), &rest].concat();
            let text = match Command::parse(&line) {
                Ok(Command::Mail(mail)) => mail.from.address().to_owned(),
                Ok(Command::Rcpt(ForwardPath::Mailbox(mailbox))) => mailbox.address().to_owned(),
                Ok(Command::Ehlo(name) | Command::Helo(name)) => name,
                _ => String::new(),
            };
            prop_assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{:?}", text);
        }

        #[test]
        fn any_valid_address_is_read(local in "[a-z0-9.+=_-]{1,64}|\"([ -!#-\\[\\]-~]|\\\\[ -~]){0,20}\"", domain in "[a-z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,3}") {
            let address = format!("{local}@{domain}");
            match parse(&format!("RCPT TO:<{address}>")) {
                Command::Rcpt(ForwardPath::Mailbox(mailbox)) => {
                    prop_assert_eq!(mailbox.address(), address);
                    prop_assert_eq!(mailbox.domain(), domain);
                    prop_assert_eq!(mailbox.local_part(), local);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

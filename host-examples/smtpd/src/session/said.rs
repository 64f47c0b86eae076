//! What the log says of a command that was refused, so that "why was this mail refused?" has an answer in it.

use std::net::IpAddr;

use smtp_fallback_policy::contract::KEYWORD;

use crate::command::Command;
use crate::reply::{By, Reply};

/// A command, as far as the log names it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Its verb, where that is known.
    command: Option<&'static str>,
    /// The address of MAIL or RCPT, where it could be read.
    address: Option<String>,
}

impl Said {
    /// Of the line as it came, and what it was read as.
    pub(super) fn of(line: &[u8], command: &Result<Command, Reply>) -> Said {
        const VERBS: [&str; 11] = ["EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "VRFY", "AUTH", KEYWORD];
        let verb = line.split(|octet| matches!(octet, b' ' | b'\t')).next().unwrap_or_default();
        let address = match command {
            Ok(Command::Mail(mail)) => Some(mail.from.address().to_owned()),
            Ok(Command::Rcpt(rcpt)) => Some(rcpt.to.to_string().trim_matches(['<', '>']).to_owned()),
            _ => None,
        };
        Said { command: VERBS.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(verb)), address }
    }

    /// One line for a refusal, except by the policy, whose decision has one. At `info` where mail was refused or the session ends, at `debug`
    /// what else is a mistake.
    pub(super) fn log_refusal(&self, client: IpAddr, ehlo: Option<&str>, reply: &Reply) {
        let by = match reply.by {
            By::Server => "server",
            By::Upstream => "upstream",
            By::Policy => return,
        };
        if reply.code < 400 {
            return;
        }
        let Said { command, address } = self;
        let (address, code, enhanced) = (address.as_deref(), reply.code, reply.enhanced.as_deref());
        let text = reply.lines.join(" / ");
        if reply.close || matches!(command, Some("MAIL" | "RCPT")) {
            tracing::info!(event = "refused", %client, ehlo, command, address, by, code, enhanced, text);
        } else {
            tracing::debug!(event = "refused", %client, ehlo, command, address, by, code, enhanced, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_command_and_its_address() {
        let said = |line: &str| Said::of(line.as_bytes(), &Command::parse(line.as_bytes()));
        let of = |command, address: Option<&str>| Said { command, address: address.map(str::to_owned) };
        assert_eq!(said("mail FROM:<a@b.example> SIZE=1"), of(Some("MAIL"), Some("a@b.example")));
        assert_eq!(said("RCPT TO:<\"a>\"@b.example>"), of(Some("RCPT"), Some("\"a>\"@b.example")));
        assert_eq!(said("RCPT TO:<a"), of(Some("RCPT"), None), "what cannot be read is not shown");
        assert_eq!(said("ipv6-ipv4-fallback now"), of(Some(KEYWORD), None));
        assert_eq!(said("GET / HTTP/1.1"), of(None, None));
        assert_eq!(said(""), of(None, None));
    }
}

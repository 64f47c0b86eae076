//! The order of commands, as far as a filter relies on it: what belongs to a message comes within one, and its parts in their order.

use crate::command::Command;
use crate::negotiate::Agreement;
use crate::protocol::Stage;

/// A command came where it cannot be. The connection is to be closed: MTA and filter no longer speak of the same message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// A second negotiation.
    #[error("a second negotiation on one connection")]
    Negotiation,
    /// A second client on a connection that has one.
    #[error("a second client on one connection; expected the end of the first one's (quit with a new connection)")]
    SecondClient,
    /// Something before the client has connected.
    #[error("{0} before the client has connected")]
    NoClient(Stage),
    /// A part of a message before MAIL.
    #[error("{0} outside a message; expected mail before it")]
    NoMessage(Stage),
    /// A part of a message after a later one.
    #[error("{found} after {after} of the same message")]
    TooLate {
        /// The command.
        found: Stage,
        /// The last one of the message before it.
        after: Stage,
    },
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    connected: bool,
    /// The last command of a message that has begun and is not over.
    message: Option<Stage>,
}

impl Order {
    /// Goes one command further.
    pub(crate) fn step(&mut self, command: &Command, agreement: &Agreement) -> Result<(), OrderError> {
        let Some(stage) = command.stage() else {
            match command {
                Command::Negotiate(_) => return Err(OrderError::Negotiation),
                Command::Abort => self.message = None,
                Command::Quit | Command::QuitNewConnection => *self = Order::default(),
                _ => {}
            }
            return Ok(());
        };
        if stage == Stage::Connect {
            if self.connected {
                return Err(OrderError::SecondClient);
            }
            *self = Order { connected: true, message: None };
            return Ok(());
        }
        if !self.connected && agreement.is_sent(Stage::Connect) {
            return Err(OrderError::NoClient(stage));
        }
        self.connected = true;
        match stage {
            Stage::Connect | Stage::Unknown => {}
            // EHLO is an RSET, too. A MAIL that the MTA or another filter refused may be followed by another one.
            Stage::Helo => self.message = None,
            Stage::Mail => self.message = Some(Stage::Mail),
            _ => {
                let begun = self.message.or((!agreement.is_sent(Stage::Mail)).then_some(Stage::Mail));
                let after = begun.ok_or(OrderError::NoMessage(stage))?;
                let repeats = matches!(stage, Stage::Rcpt | Stage::Header | Stage::Body);
                if after > stage || (after == stage && !repeats) {
                    return Err(OrderError::TooLate { found: stage, after });
                }
                self.message = (stage != Stage::EndOfMessage).then_some(stage);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::negotiate::{Offer, Wishes};
    use crate::packet::Packet;
    use crate::protocol::{Actions, Protocol};

    /// Commands by their octets.
    fn run(commands: &str, unwanted: &'static [Stage]) -> Result<(), OrderError> {
        let offer = Offer { version: 6, actions: Actions::NONE, protocol: Protocol::from_bits(u32::MAX) };
        let agreement = Agreement::new(offer, &Wishes { unwanted, ..Wishes::POLICY }).expect("version 6");
        let mut order = Order::default();
        commands.bytes().try_for_each(|command| {
            let data = match command {
                b'O' => vec![0; 12],
                b'D' => b"C".to_vec(),
                b'C' => b"localhost\0U".to_vec(),
                b'H' | b'M' | b'R' | b'U' => b"x\0".to_vec(),
                b'L' => b"x\0y\0".to_vec(),
                _ => Vec::new(),
            };
            order.step(&Command::decode(Packet { command, data }).expect("a command"), &agreement)
        })
    }

    #[test]
    fn what_mtas_do() {
        for commands in [
            "CHMRRTLLNBBEAQ",
            "DCDHDMDRDTLNBDEQ",
            "CHHMRTLBE",      // STARTTLS
            "CMRTE",          // no HELO, an empty message
            "CHMRTLEMRTLEQ",  // two messages
            "CHMRAMRTLE",     // RSET
            "CHMMRTLE",       // a refused MAIL
            "CHMRHMRTLE",     // EHLO within a message
            "CHUMURTULNUBE",  // unknown commands anywhere
            "CHMRTLEKCHMRTE", // another connection on the same socket
            "CHKAC",
            "AQ",
            "",
        ] {
            assert_eq!(run(commands, &[]), Ok(()), "{commands}");
        }
    }

    #[test]
    fn what_they_must_not() {
        let too_late = |found, after| OrderError::TooLate { found, after };
        for (commands, error) in [
            ("O", OrderError::Negotiation),
            ("CHO", OrderError::Negotiation),
            ("CC", OrderError::SecondClient),
            ("H", OrderError::NoClient(Stage::Helo)),
            ("M", OrderError::NoClient(Stage::Mail)),
            ("CKM", OrderError::NoClient(Stage::Mail)),
            ("CR", OrderError::NoMessage(Stage::Rcpt)),
            ("CHE", OrderError::NoMessage(Stage::EndOfMessage)),
            ("CMAL", OrderError::NoMessage(Stage::Header)),
            ("CMHB", OrderError::NoMessage(Stage::Body)),
            ("CMRTEE", OrderError::NoMessage(Stage::EndOfMessage)),
            ("CMRTR", too_late(Stage::Rcpt, Stage::Data)),
            ("CMRTT", too_late(Stage::Data, Stage::Data)),
            ("CMRTLBL", too_late(Stage::Header, Stage::Body)),
            ("CMRTLNL", too_late(Stage::Header, Stage::EndOfHeader)),
            ("CMRTNN", too_late(Stage::EndOfHeader, Stage::EndOfHeader)),
        ] {
            assert_eq!(run(commands, &[]), Err(error), "{commands}");
        }
    }

    #[test]
    fn what_is_not_sent_is_not_waited_for() {
        assert_eq!(run("HMRE", &[Stage::Connect]), Ok(()));
        assert_eq!(run("CRTLE", &[Stage::Mail]), Ok(()));
        assert_eq!(run("CRTLE", &[]), Err(OrderError::NoMessage(Stage::Rcpt)));
        assert_eq!(run("CLR", &[Stage::Mail]), Err(OrderError::TooLate { found: Stage::Rcpt, after: Stage::Header }));
    }
}

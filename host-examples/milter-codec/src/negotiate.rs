//! Negotiation: the MTA says what it offers, the filter what it wants of that (`SMFIC_OPTNEG`).
//!
//! Sendmail gives a filter up that answers with a flag it did not offer, and with a version above its own. So what is agreed is always a
//! part of the offer.

use crate::packet;
use crate::protocol::{Actions, Protocol, Stage};

/// The oldest version that is spoken, of Sendmail 8.12.
pub const VERSION_MIN: u32 = 2;
/// The newest version that is spoken, of Sendmail 8.14 and Postfix 2.6.
pub const VERSION_MAX: u32 = 6;

/// The octet of the command and of its answer.
pub(crate) const NEGOTIATE: u8 = b'O';

/// What the MTA offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The newest version of the protocol that it speaks.
    pub version: u32,
    /// What it lets a filter do.
    pub actions: Actions,
    /// What it can leave out, and what it can do beyond version 2.
    pub protocol: Protocol,
}

/// There is nothing to agree on. The connection is to be closed; the MTA then does what is configured for a filter that fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiateError {
    /// The MTA's version is older than any that is spoken here.
    #[error(
        "the MTA speaks version {0} of the milter protocol; expected {VERSION_MIN} or more (Postfix: milter_protocol = 6, the default)"
    )]
    Version(u32),
    /// The connection does not begin with a negotiation.
    #[error("the connection begins with command '{}'; expected 'O', a negotiation", .0.escape_ascii())]
    Missing(u8),
}

/// What a filter wants, where the MTA offers it.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// What it may want to do to messages. The fewer, the less a filter can break.
    pub actions: Actions,
    /// Stages that the MTA need not report.
    pub unwanted: &'static [Stage],
    /// Stages that are reported, and have no reply. Nothing can be accepted or refused there.
    pub silent: &'static [Stage],
    /// Whether it wants to say [`Reply::Skip`](crate::Reply::Skip) when it has seen enough of a body.
    pub skip: bool,
    /// The macros that it reads, by the stage at which they are to come. Where the MTA cannot be asked, it sends those it is configured
    /// to. A name that an MTA does not know is left out by it.
    pub macros: &'static [(Stage, &'static [&'static str])],
}

impl Wishes {
    /// What a policy filter wants: it looks at all of a message and changes nothing. It decides at the greeting, HELO, MAIL, DATA and the
    /// end of the message, and waits nowhere else. The end of the header says nothing that the body does not.
    ///
    /// `skip` is not among it, since it is an answer to chunks of the body, which have none.
    pub const POLICY: Wishes = Wishes {
        actions: Actions::NONE,
        unwanted: &[Stage::EndOfHeader],
        silent: &[Stage::Rcpt, Stage::Header, Stage::Body, Stage::Unknown],
        skip: false,
        macros: &[
            // Which host and which of its addresses the client came to: a listener with an IPv4 address of its own sees arrivals over
            // IPv4. Postfix has `{daemon_addr}`, and in Sendmail that is what it listens on, often `0.0.0.0`, and `{if_addr}` the address.
            // `{client_addr}` stands in for an address that is missing in the command, `{client_resolve}` is `OK` where the reverse name
            // leads back.
            (
                Stage::Connect,
                &["j", "{daemon_name}", "{daemon_addr}", "{daemon_port}", "{if_addr}", "{client_addr}", "{client_resolve}"],
            ),
            // A second HELO with a version of TLS follows STARTTLS.
            (Stage::Helo, &["{tls_version}"]),
            // Authenticated sessions are out of scope. A certificate is read here and not at HELO, since not every client says EHLO again
            // after STARTTLS. In Sendmail it proves something only where `{verify}` is `OK`; Postfix does not have that, and gives
            // `{cert_subject}` only for one that it verified. `i` is there with Sendmail.
            (
                Stage::Mail,
                &[
                    "i",
                    "{mail_addr}",
                    "{auth_authen}",
                    "{auth_type}",
                    "{tls_version}",
                    "{verify}",
                    "{cert_subject}",
                    "{cert_issuer}",
                ],
            ),
            // Postfix has a queue id from the second recipient on.
            (Stage::Rcpt, &["i"]),
            (Stage::Data, &["i"]),
            // For the log. Sendmail takes the list for the end of the message only where there is one for the end of the header.
            (Stage::EndOfHeader, &["i"]),
            (Stage::EndOfMessage, &["i"]),
        ],
    };
}

/// What MTA and filter have agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    version: u32,
    actions: Actions,
    protocol: Protocol,
    macros: &'static [(Stage, &'static [&'static str])],
}

impl Agreement {
    /// What of `wishes` the offer allows.
    ///
    /// # Errors
    ///
    /// The MTA's version is too old.
    pub fn new(offer: Offer, wishes: &Wishes) -> Result<Self, NegotiateError> {
        if offer.version < VERSION_MIN {
            return Err(NegotiateError::Version(offer.version));
        }
        let with_macros = offer.actions.contains(Actions::SET_MACROS) && !wishes.macros.is_empty();
        let for_macros = if with_macros { Actions::SET_MACROS } else { Actions::NONE };
        let not_sent = wishes.unwanted.iter().fold(Protocol::NONE, |all, stage| all | stage.not_sent());
        let no_reply = wishes.silent.iter().fold(Protocol::NONE, |all, stage| all | stage.no_reply());
        let skip = if wishes.skip { Protocol::SKIP } else { Protocol::NONE };
        Ok(Agreement {
            version: offer.version.min(VERSION_MAX),
            actions: (wishes.actions & offer.actions) | for_macros,
            protocol: (not_sent | no_reply | skip | Protocol::LEADING_SPACE) & offer.protocol,
            macros: if with_macros { wishes.macros } else { &[] },
        })
    }

    /// The version of the protocol.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What the filter may do to a message.
    pub fn actions(&self) -> Actions {
        self.actions
    }

    /// The flags as they are sent.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the MTA reports this stage.
    pub fn is_sent(&self, stage: Stage) -> bool {
        self.version >= stage.since() && !self.protocol.contains(stage.not_sent())
    }

    /// Whether the MTA waits for a reply at this stage. Where it does not, a reply would be taken for the one to a later command. An old
    /// MTA waits where a newer one does not.
    pub fn has_reply(&self, stage: Stage) -> bool {
        !self.protocol.contains(stage.no_reply())
    }

    /// Whether a chunk of the body may be answered with [`Reply::Skip`](crate::Reply::Skip).
    pub fn can_skip(&self) -> bool {
        self.protocol.contains(Protocol::SKIP)
    }

    /// Whether values of header fields have the space that follows the colon.
    pub fn has_leading_space(&self) -> bool {
        self.protocol.contains(Protocol::LEADING_SPACE)
    }

    /// Appends a header field as it stands in the message, for signatures: with the space that an MTA without
    /// [`Protocol::LEADING_SPACE`] has taken away (whether there was one it does not say), and CRLF where the lines of its value, which
    /// come with LF, end.
    pub fn write_field(&self, name: &[u8], value: &[u8], field: &mut Vec<u8>) {
        field.extend_from_slice(name);
        field.push(b':');
        if !self.has_leading_space() {
            field.push(b' ');
        }
        for &octet in value {
            if octet == b'\n' && field.last() != Some(&b'\r') {
                field.push(b'\r');
            }
            field.push(octet);
        }
        field.extend_from_slice(b"\r\n");
    }

    /// The answer to the offer, as a packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for number in [self.version, self.actions.bits(), self.protocol.bits()] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        for (stage, names) in self.macros {
            let Some(number) = stage.macros_number() else { continue };
            data.extend_from_slice(&number.to_be_bytes());
            data.extend_from_slice(names.join(" ").as_bytes());
            data.push(0);
        }
        packet::encode(NEGOTIATE, &[&data])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Postfix 2.6 and later offers.
    const POSTFIX: Offer = Offer { version: 6, actions: Actions::from_bits(0x1ff), protocol: Protocol::from_bits(0x1f_ffff) };
    /// What Postfix offers with `milter_protocol = 2`, and Sendmail 8.12.
    const OLD: Offer = Offer { version: 2, actions: Actions::from_bits(0x3f), protocol: Protocol::from_bits(0x7f) };

    fn agree(offer: Offer, wishes: &Wishes) -> Agreement {
        Agreement::new(offer, wishes).expect("a version that is spoken")
    }

    #[test]
    fn versions_2_to_6_are_spoken() {
        for (offered, spoken) in [(2, 2), (5, 5), (6, 6), (7, 6), (u32::MAX, 6)] {
            assert_eq!(agree(Offer { version: offered, ..POSTFIX }, &Wishes::POLICY).version(), spoken);
        }
        for version in [0, 1] {
            let error = Agreement::new(Offer { version, ..POSTFIX }, &Wishes::POLICY).expect_err("too old");
            assert_eq!(error, NegotiateError::Version(version));
        }
    }

    #[test]
    fn a_policy_asks_for_no_action() {
        assert_eq!(agree(POSTFIX, &Wishes::POLICY).actions(), Actions::SET_MACROS);
        assert_eq!(agree(OLD, &Wishes::POLICY).actions(), Actions::NONE);
        let adds = Wishes { actions: Actions::ADD_HEADERS, ..Wishes::POLICY };
        assert!(agree(OLD, &adds).actions().contains(Actions::ADD_HEADERS));
        let nothing = Offer { actions: Actions::NONE, ..OLD };
        assert!(!agree(nothing, &adds).actions().contains(Actions::ADD_HEADERS));
    }

    #[test]
    fn nothing_is_agreed_that_was_not_offered() {
        for bit in 0..32 {
            let offer = Offer { version: 6, actions: Actions::from_bits(1 << bit), protocol: Protocol::from_bits(1 << bit) };
            let wishes = Wishes { actions: Actions::from_bits(u32::MAX), skip: true, ..Wishes::POLICY };
            let agreed = agree(offer, &wishes);
            assert_eq!(agreed.actions().bits() & !(1 << bit), 0);
            assert_eq!(agreed.protocol().bits() & !(1 << bit), 0);
        }
        let rejected_recipients = 1 << 11;
        assert_eq!(agree(POSTFIX, &Wishes::POLICY).protocol().bits() & rejected_recipients, 0);
    }

    #[test]
    fn silence_is_for_an_mta_that_knows_it() {
        let (new, old) = (agree(POSTFIX, &Wishes::POLICY), agree(OLD, &Wishes::POLICY));
        for stage in Stage::ALL {
            assert_eq!(new.has_reply(stage), !Wishes::POLICY.silent.contains(&stage), "{stage}");
            assert!(old.has_reply(stage), "{stage}");
        }
        let all = Wishes { silent: &Stage::ALL, unwanted: &Stage::ALL, ..Wishes::POLICY };
        assert!(agree(POSTFIX, &all).has_reply(Stage::EndOfMessage));
        assert!(agree(POSTFIX, &all).is_sent(Stage::EndOfMessage));
    }

    #[test]
    fn stages_are_sent_by_version_and_wish() {
        let sent = |offer| Stage::ALL.map(|stage| agree(offer, &Wishes::POLICY).is_sent(stage));
        //                                C     H     M     R     T     L     N      B     E     U
        assert_eq!(sent(POSTFIX), [true, true, true, true, true, true, false, true, true, true]);
        let missing =
            |version| Stage::ALL.into_iter().filter(move |s| !agree(Offer { version, ..POSTFIX }, &Wishes::POLICY).is_sent(*s));
        assert!(missing(4).eq([Stage::EndOfHeader]));
        assert!(missing(3).eq([Stage::Data, Stage::EndOfHeader]));
        assert!(missing(2).eq([Stage::Data, Stage::EndOfHeader, Stage::Unknown]));
        let headers_always = Offer { protocol: Protocol::NONE, ..POSTFIX };
        assert!(sent(headers_always).into_iter().all(|sent| sent), "an MTA that cannot leave the end of the header out");
    }

    #[test]
    fn the_answer_as_octets() {
        let small =
            Wishes { macros: &[(Stage::Connect, &["j", "{daemon_addr}"]), (Stage::EndOfMessage, &["i"])], ..Wishes::POLICY };
        let mut expected = b"\0\0\0\x2eO\0\0\0\x06\0\0\x01\0\0\x1a\x80\xc0".to_vec();
        expected.extend_from_slice(b"\0\0\0\0j {daemon_addr}\0");
        expected.extend_from_slice(b"\0\0\0\x05i\0");
        // 0x1a80c0: no end of header (0x40), no reply to headers (0x80), recipients (0x8000), unknown commands (0x20000) and the body
        // (0x80000), and the leading space (0x100000).
        expected[3] = u8::try_from(expected.len() - 4).expect("short");
        assert_eq!(agree(POSTFIX, &small).encode(), expected);
        assert_eq!(agree(OLD, &small).encode(), b"\0\0\0\x0dO\0\0\0\x02\0\0\0\0\0\0\0\x40");
    }

    #[test]
    fn sendmail_takes_the_list_for_the_end_of_the_message() {
        let has = |stage| Wishes::POLICY.macros.iter().any(|(listed, _)| *listed == stage);
        assert!(has(Stage::EndOfMessage) && has(Stage::EndOfHeader));
        assert!(Wishes::POLICY.macros.iter().all(|(stage, names)| stage.macros_number().is_some() && !names.is_empty()));
    }

    #[test]
    fn fields_are_written_as_they_stood() {
        let field = |offer, value: &str| {
            let mut field = Vec::new();
            agree(offer, &Wishes::POLICY).write_field(b"Subject", value.as_bytes(), &mut field);
            String::from_utf8(field).expect("ASCII")
        };
        assert_eq!(field(POSTFIX, " a\n\tb"), "Subject: a\r\n\tb\r\n");
        assert_eq!(field(POSTFIX, "a\r\n b"), "Subject:a\r\n b\r\n");
        assert_eq!(field(POSTFIX, ""), "Subject:\r\n");
        assert_eq!(field(OLD, "a"), "Subject: a\r\n");
    }
}

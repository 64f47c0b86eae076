//! The numbers of the protocol: stages, and what can be negotiated about them.

use std::fmt;
use std::ops::{BitAnd, BitOr};

/// What the MTA reports to a filter, in the order of a message. Each is a command of its own; the MTA waits for a reply to it, unless it
/// was agreed that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// A client has connected.
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or the first BDAT.
    Data,
    /// A header field.
    Header,
    /// The end of the header.
    EndOfHeader,
    /// A chunk of the body.
    Body,
    /// The end of the message.
    EndOfMessage,
    /// A command that the MTA does not know. It comes at any time, and is here at the end since it belongs to no message.
    Unknown,
}

impl Stage {
    /// All stages.
    pub const ALL: [Stage; 10] = [
        Stage::Connect,
        Stage::Helo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Header,
        Stage::EndOfHeader,
        Stage::Body,
        Stage::EndOfMessage,
        Stage::Unknown,
    ];

    /// The octet of its command (`SMFIC_*`).
    pub const fn octet(self) -> u8 {
        match self {
            Stage::Connect => b'C',
            Stage::Helo => b'H',
            Stage::Mail => b'M',
            Stage::Rcpt => b'R',
            Stage::Data => b'T',
            Stage::Header => b'L',
            Stage::EndOfHeader => b'N',
            Stage::Body => b'B',
            Stage::EndOfMessage => b'E',
            Stage::Unknown => b'U',
        }
    }

    /// The stage whose command has this octet.
    pub fn from_octet(octet: u8) -> Option<Self> {
        Stage::ALL.into_iter().find(|stage| stage.octet() == octet)
    }

    /// With it the MTA does not report this stage (`SMFIP_NO*`). The end of the message is always reported.
    pub const fn not_sent(self) -> Protocol {
        Protocol(match self {
            Stage::Connect => 1 << 0,
            Stage::Helo => 1 << 1,
            Stage::Mail => 1 << 2,
            Stage::Rcpt => 1 << 3,
            Stage::Body => 1 << 4,
            Stage::Header => 1 << 5,
            Stage::EndOfHeader => 1 << 6,
            Stage::Unknown => 1 << 8,
            Stage::Data => 1 << 9,
            Stage::EndOfMessage => 0,
        })
    }

    /// With it the MTA waits for no reply at this stage, and must get none (`SMFIP_NR_*`). The end of the message always has one.
    pub const fn no_reply(self) -> Protocol {
        Protocol(match self {
            Stage::Header => 1 << 7,
            Stage::Connect => 1 << 12,
            Stage::Helo => 1 << 13,
            Stage::Mail => 1 << 14,
            Stage::Rcpt => 1 << 15,
            Stage::Data => 1 << 16,
            Stage::Unknown => 1 << 17,
            Stage::EndOfHeader => 1 << 18,
            Stage::Body => 1 << 19,
            Stage::EndOfMessage => 0,
        })
    }

    /// The version of the protocol that brought it.
    pub(crate) const fn since(self) -> u32 {
        match self {
            Stage::Unknown => 3,
            Stage::Data => 4,
            _ => 2,
        }
    }

    /// Its number in a list of macros (`SMFIM_*`), where it can have one.
    pub(crate) const fn macros_number(self) -> Option<u32> {
        match self {
            Stage::Connect => Some(0),
            Stage::Helo => Some(1),
            Stage::Mail => Some(2),
            Stage::Rcpt => Some(3),
            Stage::Data => Some(4),
            Stage::EndOfMessage => Some(5),
            Stage::EndOfHeader => Some(6),
            Stage::Header | Stage::Body | Stage::Unknown => None,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "connect",
            Stage::Helo => "helo",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::Data => "data",
            Stage::Header => "header",
            Stage::EndOfHeader => "end of header",
            Stage::Body => "body",
            Stage::EndOfMessage => "end of message",
            Stage::Unknown => "unknown command",
        })
    }
}

/// Defines a set of bits.
macro_rules! bits {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(u32);

        impl $name {
            /// From the bits on the wire.
            pub const fn from_bits(bits: u32) -> Self {
                $name(bits)
            }

            /// The bits on the wire.
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// Whether all of `other` are in it, of which there is at least one.
            pub const fn contains(self, other: Self) -> bool {
                other.0 != 0 && self.0 & other.0 == other.0
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                $name(self.0 | other.0)
            }
        }

        impl BitAnd for $name {
            type Output = Self;

            fn bitand(self, other: Self) -> Self {
                $name(self.0 & other.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    };
}

bits! {
    /// What a filter may do to a message (`SMFIF_*`).
    Actions
}

bits! {
    /// What the MTA sends, and what it waits for (`SMFIP_*`).
    Protocol
}

impl Actions {
    /// Nothing.
    pub const NONE: Actions = Actions(0);
    /// Add and insert header fields.
    pub const ADD_HEADERS: Actions = Actions(1 << 0);
    /// Change and remove header fields.
    pub const CHANGE_HEADERS: Actions = Actions(1 << 4);
    /// Say which macros are wanted.
    pub const SET_MACROS: Actions = Actions(1 << 8);
}

impl Protocol {
    /// Nothing.
    pub const NONE: Protocol = Protocol(0);
    /// The filter may answer a chunk of the body with [`Reply::Skip`](crate::Reply::Skip).
    pub const SKIP: Protocol = Protocol(1 << 10);
    /// The values of header fields come, and are to be sent, with the space that follows the colon.
    pub const LEADING_SPACE: Protocol = Protocol(1 << 20);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_numbers_of_its_own() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from_octet(stage.octet()), Some(stage));
        }
        assert_eq!(Stage::from_octet(b'Q'), None);
        let all = |bits: fn(Stage) -> Protocol| Stage::ALL.iter().map(|&stage| bits(stage).bits()).sum::<u32>();
        // As in libmilter's mfdef.h; a sum is the union only where no bit comes twice.
        assert_eq!(all(Stage::not_sent), 0x37f);
        assert_eq!(all(Stage::no_reply), 0xf_f080);
        let numbers: std::collections::BTreeSet<_> = Stage::ALL.iter().filter_map(|stage| stage.macros_number()).collect();
        assert!(numbers.into_iter().eq(0..=6));
    }

    #[test]
    fn nothing_is_contained_in_nothing() {
        let both = Actions::ADD_HEADERS | Actions::CHANGE_HEADERS;
        assert!(both.contains(Actions::ADD_HEADERS) && both.contains(both));
        assert!(!Actions::ADD_HEADERS.contains(both));
        assert!(!both.contains(Actions::NONE), "a stage without a bit can not be left out by accident");
        assert_eq!(both & Actions::ADD_HEADERS, Actions::ADD_HEADERS);
        assert_eq!(format!("{both:?}"), "Actions(0x11)");
    }
}

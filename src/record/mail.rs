//! The record of a refused mail (A33).

use std::borrow::Cow;

use crate::network::Network;

/// A mail that was refused, kept under its exact and under its inferred fingerprint. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRecord<Text = String> {
    /// The network that it was last refused from.
    pub network: Network,
    /// When it was first refused.
    pub first_refusal: u64,
    /// When it was last refused.
    pub last_refusal: u64,
    /// How often.
    pub refusals: u32,
    /// Whether the last session had acknowledged the extension.
    pub acknowledged: bool,
    /// Whether the mail itself is known, by its Message-ID.
    pub message_id: MessageId,
    /// Why.
    pub refused_for: RefusedFor,
    /// What it lacked, such as "SPF=none, DKIM=none". The module's words, at most 160 octets.
    pub lacked: Text,
    /// The EHLO name, as the client said it; at most [`MAX_NAME`](MailRecord::MAX_NAME) octets of it.
    pub ehlo_name: Text,
    /// The domain of MAIL FROM, as the client said it; likewise. Empty for the null sender.
    pub sender_domain: Text,
    /// It was seen after its last refusal.
    pub settled: Option<Settled>,
}

/// What was known of a refused mail's Message-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// It had one, and is known by its exact fingerprint.
    Known,
    /// It had none: sender and EHLO name are all there is to know it by.
    Absent,
    /// It was refused at DATA, before its Message-ID was there: any mail of its sender may be it.
    NotYet,
}

/// What a mail was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedFor {
    /// The requirement was not met (P10).
    Unauthenticated,
    /// It was met by distrusted domains only (A30).
    Distrusted,
}

/// That a mail was seen after its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// When; seconds since 1970.
    pub at: u64,
    /// How.
    pub by: SettledBy,
}

/// How a mail was seen after its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledBy {
    /// It arrived over IPv4, as it was asked to.
    Ipv4,
    /// It came over IPv6 again, and was accepted: it passed, was exempt, or nothing was enforced any more.
    Ipv6,
    /// It came over IPv6 again, and was let in (A34).
    LetIn,
    /// It came over IPv6 again, and was rejected (A34).
    Rejected,
}

impl MessageId {
    /// A word, as `inspect` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageId::Known => "known",
            MessageId::Absent => "absent",
            MessageId::NotYet => "not-yet",
        }
    }
}

impl RefusedFor {
    /// The word of the contract's reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusedFor::Unauthenticated => "unauthenticated",
            RefusedFor::Distrusted => "distrusted",
        }
    }
}

impl SettledBy {
    /// A word, as `inspect` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            SettledBy::Ipv4 => "ipv4",
            SettledBy::Ipv6 => "ipv6",
            SettledBy::LetIn => "let-in",
            SettledBy::Rejected => "rejected",
        }
    }
}

/// As a decision reads it: it passes the texts on, and looks at none.
pub(crate) type MailRead<'a> = MailRecord<Cow<'a, str>>;

impl MailRead<'_> {
    /// With texts of its own.
    pub(crate) fn into_owned(self) -> MailRecord {
        MailRecord {
            network: self.network,
            first_refusal: self.first_refusal,
            last_refusal: self.last_refusal,
            refusals: self.refusals,
            acknowledged: self.acknowledged,
            message_id: self.message_id,
            refused_for: self.refused_for,
            lacked: self.lacked.into_owned(),
            ehlo_name: self.ehlo_name.into_owned(),
            sender_domain: self.sender_domain.into_owned(),
            settled: self.settled,
        }
    }
}

/// How long the record of a refused mail is kept after its last refusal, in seconds: 5 days (A33), as long as most MTAs try (RFC 5321
/// §4.5.4.1).
const KEPT: u64 = 5 * 24 * 3600;

impl MailRecord {
    /// The most that is kept of a name, in octets.
    pub const MAX_NAME: usize = 100;
}

impl<Text> MailRecord<Text> {
    /// When it means nothing any more.
    pub(crate) fn ends_at(&self, now: u64) -> u64 {
        self.last_refusal.min(now).saturating_add(KEPT)
    }

    /// Seconds from its first refusal to its last; a clock that went back is no time.
    pub(crate) fn lasted(&self) -> u64 {
        self.last_refusal.saturating_sub(self.first_refusal)
    }
}

/// The beginning of a text, of so many octets at most.
pub(crate) fn shortened(text: &str, octets: usize) -> &str {
    text.get(..text.floor_char_boundary(octets)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened("mail", 4), "mail");
        assert_eq!(shortened("mail", 3), "mai");
        assert_eq!(shortened("ma\u{20ac}x", 4), "ma");
        assert_eq!(shortened("ma\u{20ac}x", 5), "ma\u{20ac}");
    }
}

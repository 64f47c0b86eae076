//! What the module answers: the result of `decide`.

use serde::{Deserialize, Serialize};

use super::input::{Key, Stage};

/// A record that the host should store, by compare-and-set against the value it passed in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordUpdate {
    /// Where to store it.
    pub key: Key,
    /// The octets to store, verbatim.
    pub value: Vec<u8>,
    /// Seconds from `now` after which the record means nothing.
    pub expires_in: u32,
    /// What it costs to lose this record: the lower is evicted first.
    pub weight: u32,
}

/// A reply to send instead of the host's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reply {
    /// The reply code.
    pub code: u16,
    /// The enhanced status code, such as "4.4.8".
    pub enhanced_code: String,
    /// The text of each line, without codes; the first says it all in short.
    pub lines: Vec<String>,
    /// Send the reply, then close the connection in good order (A4).
    pub close: bool,
}

/// What the host is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Go on, and ask again at the next stage.
    Continue,
    /// Accept: this message at the end of data, earlier whatever comes on this connection.
    Accept,
    /// Send this reply.
    Refuse(Reply),
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing speaks against going on.
    Undecided,
    /// The client came over IPv4 (P9).
    Ipv4,
    /// Not an MX listener, or an authenticated session (A18).
    OutOfScope,
    /// There is no way back over IPv4 (A20).
    NotReachableOverIpv4,
    /// An exempt network (A29, A22).
    ExemptNetwork,
    /// An exempt FCrDNS-confirmed name (A29).
    ExemptName,
    /// An exempt authenticated domain (A29).
    ExemptDomain,
    /// Exempt recipients (A16).
    ExemptRecipient,
    /// The network of a client that never falls back was let in (A34).
    LetIn,
    /// The requirement is met (P10).
    Authenticated,
    /// The requirement cannot be met (P10).
    Unauthenticated,
    /// It would be met, but only by distrusted domains (A30).
    Distrusted,
    /// Too much unauthenticated mail came from this network (P6, P12).
    Penalty,
    /// No authentication results were given at the end of data (A27).
    NoEvidence,
    /// A result that decides is missing or temporary: accepted within the budget (A27).
    TemporaryError,
    /// The same, over the budget (A27).
    TemporaryErrorBudget,
    /// Refused often enough, and the operator chose to reject (A34).
    NeverFallsBack,
    /// No policy is configured.
    NoPolicy,
}

impl Reason {
    /// The word of the contract, as logs and metrics show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Undecided => "undecided",
            Reason::Ipv4 => "ipv4",
            Reason::OutOfScope => "out-of-scope",
            Reason::NotReachableOverIpv4 => "not-reachable-over-ipv4",
            Reason::ExemptNetwork => "exempt-network",
            Reason::ExemptName => "exempt-name",
            Reason::ExemptDomain => "exempt-domain",
            Reason::ExemptRecipient => "exempt-recipient",
            Reason::LetIn => "let-in",
            Reason::Authenticated => "authenticated",
            Reason::Unauthenticated => "unauthenticated",
            Reason::Distrusted => "distrusted",
            Reason::Penalty => "penalty",
            Reason::NoEvidence => "no-evidence",
            Reason::TemporaryError => "temporary-error",
            Reason::TemporaryErrorBudget => "temporary-error-budget",
            Reason::NeverFallsBack => "never-falls-back",
            Reason::NoPolicy => "no-policy",
        }
    }
}

/// A remark for logs and metrics that does not change the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// This connection passed its network's penalty as a probe (A7).
    Probe,
    /// It passed because of its own good standing (P13).
    GoodStanding,
    /// It passed because the network is, or may be, capable of the extension (A5).
    Capable,
    /// This message proved that most mail of its network fails (A6).
    PenaltyBegins,
    /// The penalty was renewed for twice its time (A7).
    PenaltyRenewed,
    /// A message passed: the penalty ends (A7).
    PenaltyEnds,
    /// The roll-out does not include this network (A35).
    NotRolledOut,
    /// A record could not be read and counted as absent (A7).
    MalformedRecord,
    /// Clients that never fall back would be rejected, but arrivals over IPv4 cannot be seen (A34).
    Ipv4ArrivalsNotVisible,
    /// The client of this mail does not fall back, and the policy only says so (A34).
    NeverFallsBack,
    /// From now on the network is let in for a time (A34).
    LetInBegins,
    /// The network is let in, but has used up its unauthenticated mail (A34).
    LetInUsedUp,
    /// The network's verb does not spare it a refusal at the greeting (A37).
    VerbNotBelieved,
    /// One that this version does not know.
    Other(String),
}

impl Note {
    /// The word of the contract, as logs show it.
    pub fn as_str(&self) -> &str {
        match self {
            Note::Probe => "probe",
            Note::GoodStanding => "good-standing",
            Note::Capable => "capable",
            Note::PenaltyBegins => "penalty-begins",
            Note::PenaltyRenewed => "penalty-renewed",
            Note::PenaltyEnds => "penalty-ends",
            Note::NotRolledOut => "not-rolled-out",
            Note::MalformedRecord => "malformed-record",
            Note::Ipv4ArrivalsNotVisible => "ipv4-arrivals-not-visible",
            Note::NeverFallsBack => "never-falls-back",
            Note::LetInBegins => "let-in-begins",
            Note::LetInUsedUp => "let-in-used-up",
            Note::VerbNotBelieved => "verb-not-believed",
            Note::Other(word) => word,
        }
    }
}

/// How an earlier refusal was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchKind {
    /// Sender, Message-ID and Date agree.
    Exact,
    /// Sender and EHLO name agree.
    Inferred,
}

/// This mail was refused before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// How it was recognised.
    pub match_kind: MatchKind,
    /// The network that it was refused from.
    pub network: Key,
    /// Since the first refusal.
    pub seconds: u32,
}

/// The answer of `decide`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decision {
    /// What the host is to do.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// What enforce mode would have answered, where this is not enforced (A38, A35).
    pub would: Option<Verdict>,
    /// Domains that SPF, DKIM or DMARC authenticated, in lower case (P11).
    pub authenticated_domains: Vec<String>,
    /// An earlier refusal of this mail.
    pub linked: Option<Link>,
    /// Remarks.
    pub notes: Vec<Note>,
    /// Records to store, off the reply's path.
    pub records: Vec<RecordUpdate>,
}

impl Decision {
    /// What stands in for a decision where there is no policy: the mail passes.
    pub fn without_policy(stage: Stage) -> Self {
        Decision {
            verdict: if stage == Stage::EndOfData { Verdict::Accept } else { Verdict::Continue },
            reason: Reason::NoPolicy,
            would: None,
            authenticated_domains: Vec::new(),
            linked: None,
            notes: Vec::new(),
            records: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_same_word_in_logs_and_in_json() {
        for reason in [
            Reason::Undecided,
            Reason::Ipv4,
            Reason::OutOfScope,
            Reason::NotReachableOverIpv4,
            Reason::ExemptNetwork,
            Reason::ExemptName,
            Reason::ExemptDomain,
            Reason::ExemptRecipient,
            Reason::LetIn,
            Reason::Authenticated,
            Reason::Unauthenticated,
            Reason::Distrusted,
            Reason::Penalty,
            Reason::NoEvidence,
            Reason::TemporaryError,
            Reason::TemporaryErrorBudget,
            Reason::NeverFallsBack,
            Reason::NoPolicy,
        ] {
            assert_eq!(serde_json::to_value(reason).expect("JSON"), reason.as_str());
        }
    }

    #[test]
    fn a_note_has_the_same_word_in_logs_and_in_json() {
        let notes = [
            Note::Probe,
            Note::GoodStanding,
            Note::Capable,
            Note::PenaltyBegins,
            Note::PenaltyRenewed,
            Note::PenaltyEnds,
            Note::NotRolledOut,
            Note::MalformedRecord,
            Note::Ipv4ArrivalsNotVisible,
            Note::NeverFallsBack,
            Note::LetInBegins,
            Note::LetInUsedUp,
            Note::VerbNotBelieved,
        ];
        for note in notes {
            assert_eq!(serde_json::to_value(&note).expect("JSON"), note.as_str());
        }
        assert_eq!(Note::Other("later".to_owned()).as_str(), "later");
    }
}

//! The policy: what the operator asks for, read from JSON and checked.
//!
//! The values here are already right ("parse, don't validate"): whoever holds a [`Policy`] need not check it again.

mod domain;
mod entries;
mod json;
mod nearest;
mod order;
mod parse;
mod print;
mod read;
mod recipient;
mod requirement;
mod schema;
#[cfg(test)]
mod schema_tests;
mod sections;
mod syntax;
mod text;
mod warnings;

pub use domain::DomainList;
pub use parse::parse;
pub use print::print;
pub use recipient::RecipientList;
pub use schema::{defaults, schema};
pub use text::{MAX_FAILED, MAX_TEXT, Template, TextValues};
pub use warnings::checks;

use crate::address::Address;
use crate::contract::{Check, Mode};
use crate::network::Network;

/// The policy in force. [`Policy::default`] is what `{}` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `mode`: whether refusals reach the client (A38).
    pub mode: Mode,
    /// `rollout_percent`, 0 to 100: the share of networks for which they do (A35).
    pub rollout_percent: u8,
    /// `require`: what a message has to fulfil (P1).
    pub require: Requirement,
    /// `trusted_sealers`: whose ARC seals count (A28).
    pub trusted_sealers: DomainList,
    /// `decide_at`: how early an unmet requirement is answered (A13).
    pub decide_at: DecideAt,
    /// `network`: what "the same network" is (P13).
    pub network: NetworkPrefixes,
    /// `exempt`: who is not asked (A29, A16, A22).
    pub exempt: Exempt,
    /// `reputation.distrust`: domains whose pass does not count (A30).
    pub distrust: DomainList,
    /// `penalty`: refusal at the greeting (P6, P7, A6, A7).
    pub penalty: Penalty,
    /// `no_fallback`: what becomes of clients that never fall back (P15, A34).
    pub no_fallback: NoFallback,
    /// `temporary_errors`: how many messages pass on a temporary error (A27).
    pub temporary_errors: TemporaryErrors,
    /// `codes`: the reply codes (A3, A32).
    pub codes: Codes,
    /// `enhanced_codes`: the enhanced status codes (A25).
    pub enhanced_codes: EnhancedCodes,
    /// `url`: where the policy is explained (P14).
    pub url: Option<String>,
    /// `texts`: the lines of the replies (P14).
    pub texts: Texts,
}

/// A requirement: a tree over checks. Depth is bounded when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// This method passes.
    Check(Check),
    /// An authenticated domain (P11) is listed.
    Domains(DomainList),
    /// At least one is met.
    Any(Vec<Requirement>),
    /// Every one is met.
    All(Vec<Requirement>),
    /// Not one is met.
    None(Vec<Requirement>),
}

/// How early an unmet requirement is answered (A13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecideAt {
    /// After the final dot only.
    EndOfData,
    /// As soon as it cannot be met any more, from DATA on.
    Earliest,
}

/// What "the same network" is (P13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPrefixes {
    /// `prefix`, 16 to 128.
    pub default: u8,
    /// `overrides`: a longer or shorter prefix inside a network; the longest network that contains the client applies. Sorted by
    /// length, the longest first.
    pub overrides: Vec<(Network, u8)>,
}

impl NetworkPrefixes {
    /// The client's network.
    pub fn network_of(&self, client: Address) -> Network {
        let length =
            self.overrides.iter().find(|(network, _)| network.contains(client)).map_or(self.default, |&(_, length)| length);
        Network::of(client, length)
    }
}

/// Who is not asked (A29).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exempt {
    /// `local_networks`: ::1, fe80::/10 and fc00::/7 are exempt (A22).
    pub local_networks: bool,
    /// `networks`.
    pub networks: Vec<Network>,
    /// `names`: FCrDNS-confirmed host names.
    pub names: DomainList,
    /// `domains`: authenticated domains.
    pub domains: DomainList,
    /// `recipients`.
    pub recipients: RecipientList,
    /// `recipients_match`: whether any one exempt recipient suffices, or all have to be (A16).
    pub any_recipient: bool,
}

/// Refusal at the greeting (P6, P7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// `at_greeting`: make use of the MAY of P6.
    pub at_greeting: bool,
    /// `confidence` of the majority.
    pub confidence: Confidence,
    /// `half_life` of evidence, in seconds, 1 hour to 30 days.
    pub half_life: u32,
    /// `first` penalty, in seconds, 1 to `maximum`.
    pub first: u32,
    /// `maximum`, in seconds, up to 7 days.
    pub maximum: u32,
    /// `jitter_percent`, 0 to 20: a penalty is longer or shorter by at most this share.
    pub jitter_percent: u8,
    /// `probe_one_in`: one connection in so many passes as a probe; 0 for none.
    pub probe_one_in: u32,
}

/// How sure the majority of P6 has to be (A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// 0.90
    P90,
    /// 0.95
    P95,
    /// 0.99
    P99,
    /// 0.999
    P999,
}

/// What becomes of clients that never fall back (P15, A34).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFallback {
    /// `action`: what is done.
    pub action: NoFallbackAction,
    /// `refusals` of one mail that it takes, 2 to 100.
    pub refusals: u32,
    /// `over`: the time from the first to the last of them at least, in seconds, up to 5 days.
    pub over: u32,
    /// `let_in_for`: how long a network is let in, in seconds, up to 30 days.
    pub let_in_for: u32,
    /// `let_in_per_day`: so many of its messages may lack authentication, within 24 h of the first.
    pub let_in_per_day: u32,
    /// `let_in_per_day_48`: so many from all networks of a /48.
    pub let_in_per_day_48: u32,
}

/// What is done about a client that never falls back (A34).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFallbackAction {
    /// Its network is let in for a time.
    LetIn,
    /// A note says so; the mail is refused as before.
    Alert,
    /// The mail is rejected with 550 (P17).
    Reject,
}

/// How many messages pass on a temporary error, within 24 h of the first (A27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemporaryErrors {
    /// `per_network`
    pub per_network: u32,
    /// `per_48`: per /48.
    pub per_48: u32,
}

/// The reply codes (A3, A32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codes {
    /// `greeting`: 451 or 421.
    pub greeting: u16,
    /// `later`: 421, or 451, which does not close.
    pub later: u16,
}

/// The enhanced status codes, each "4.subject.detail" (A25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnhancedCodes {
    /// `unauthenticated`
    pub unauthenticated: String,
    /// `distrusted`
    pub distrusted: String,
    /// `penalty`
    pub penalty: String,
}

/// The lines of the replies, at least one each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// `unauthenticated`: the requirement is not met.
    pub unauthenticated: Vec<Template>,
    /// `distrusted`: it is met by distrusted domains only.
    pub distrusted: Vec<Template>,
    /// `penalty`: at the greeting and at EHLO.
    pub penalty: Vec<Template>,
    /// `temporary_error`: the 451 4.4.3 of A27.
    pub temporary_error: Vec<Template>,
    /// `never_falls_back`: the 550 5.7.26 of A34.
    pub never_falls_back: Vec<Template>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            mode: Mode::Enforce,
            rollout_percent: 100,
            require: Requirement::Any(vec![Requirement::Check(Check::Spf), Requirement::Check(Check::Dkim)]),
            trusted_sealers: DomainList::default(),
            decide_at: DecideAt::EndOfData,
            network: NetworkPrefixes { default: 64, overrides: Vec::new() },
            exempt: Exempt {
                local_networks: true,
                networks: Vec::new(),
                names: DomainList::default(),
                domains: DomainList::default(),
                recipients: RecipientList::default(),
                any_recipient: false,
            },
            distrust: DomainList::default(),
            penalty: Penalty {
                at_greeting: true,
                confidence: Confidence::P99,
                half_life: 24 * 3600,
                first: 15 * 60,
                maximum: 6 * 3600,
                jitter_percent: 20,
                probe_one_in: 20,
            },
            no_fallback: NoFallback {
                action: NoFallbackAction::LetIn,
                refusals: 3,
                over: 30 * 60,
                let_in_for: 7 * 24 * 3600,
                let_in_per_day: 50,
                let_in_per_day_48: 200,
            },
            temporary_errors: TemporaryErrors { per_network: 10, per_48: 20 },
            codes: Codes { greeting: 451, later: 421 },
            enhanced_codes: EnhancedCodes {
                unauthenticated: "4.4.8".into(),
                distrusted: "4.4.8".into(),
                penalty: "4.4.8".into(),
            },
            url: None,
            texts: Texts::default(),
        }
    }
}

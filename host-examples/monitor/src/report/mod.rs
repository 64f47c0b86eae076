//! The report: what is refused now and why, who does not fall back, what waits (M1 to M3).
//!
//! As JSON its shape is published and stable: fields may be added, none changes. Times are seconds since 1970. Names are what clients
//! said, and may be anything.
//!
//! ```json
//! {"at": 1700000000,
//!  "penalties": {"entries": [
//!    {"network": "2001:db8:1::/64", "refuse-until": 1700000900, "last-failure": 1699999990, "doublings": 0, "failed": 9.25, "passed": 0.5}
//!  ], "more": 0},
//!  "simulated-penalties": {"entries": [], "more": 0},
//!  "never": {"entries": [
//!    {"network": "2001:db8:2::/64", "ehlo-names": {"shown": ["mail.example.net"], "more": false},
//!     "sender-domains": {"shown": ["example.net"], "more": false}, "since": 1699990000, "refusals": 3, "last-refusal": 1699999000,
//!     "lacked": "SPF=none, DKIM=none", "refused-for": "unauthenticated", "oldest-waiting": null, "let-in": {"since": 1699999000, "until": 1700603800, "by-operator": false},
//!     "exempt": "\"exempt\": {\"networks\": [\"2001:db8:2::/64\"]}", "command": "smtp-fallback cache exempt 2001:db8:2:: --for 7d"}
//!  ], "more": 0},
//!  "let-in": {"entries": [
//!    {"network": "2001:db8:2::/64", "since": 1699999000, "until": 1700603800, "by-operator": false}
//!  ], "more": 0},
//!  "waiting": {"mails": 1, "oldest-since": 1699999700, "given-up": 12, "oldest": {"entries": [
//!    {"network": "2001:db8:3::/64", "ehlo-name": "a.example.org", "sender-domain": "example.org", "since": 1699999700,
//!     "last-refusal": 1699999700, "refusals": 1, "refused-for": "unauthenticated", "lacked": "SPF=fail, DKIM=none"}
//!  ], "more": 0}},
//!  "settled": {"ipv4": 120, "ipv6": 4, "let-in": 1, "rejected": 0},
//!  "clients": {"falls-back": 40, "slow": 2, "never": 1, "waiting": 1, "passes": 3, "no-retry": 9, "not-classified": 0},
//!  "records": {"address": 60, "network": 56, "budget": 3, "mail": 254, "unreadable": 0}}
//! ```
//!
//! [`definitions`] holds the times that the words stand for, [`ClientKind`] what kinds of clients there are.

mod builder;
mod mails;
mod text;
mod top;

use serde::Serialize;
use smtp_fallback_policy::record::RefusedFor;
use smtp_fallback_store::Listed;

pub use builder::ReportBuilder;

/// The numbers behind the words of the report. They are those of the default policy, since records do not tell the policy's own. Under a
/// policy with other numbers in `no_fallback`, what the policy itself let in or rejected counts by those, and all else by these.
pub mod definitions {
    /// A client that falls back does so within this time of the first refusal, in seconds: at once, as its next MX record tells it to.
    pub const FALLS_BACK_WITHIN: u64 = 5 * 60;
    /// So many refusals of one mail show that its client does not fall back (A34) …
    pub const NEVER_REFUSALS: u32 = 3;
    /// … when they are spread over at least this time, in seconds (A34).
    pub const NEVER_OVER: u64 = 30 * 60;
    /// A mail whose last refusal is older is given up, in seconds: as long as a refused mail lets probes through (A7).
    pub const GIVEN_UP_AFTER: u64 = 6 * 3600;
    /// So many entries a list has at most.
    pub const MOST_ENTRIES: usize = 1000;
    /// So many of the oldest waiting mails are listed.
    pub const MOST_WAITING: usize = 50;
    /// So many different names are listed of one network.
    pub const MOST_NAMES: usize = 5;
}

/// What the records of a store say, at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// When; seconds since 1970.
    pub at: u64,
    /// Networks that are refused at the greeting now (P6, P7), those with most failed mail first. One that is let in is not among them,
    /// though after the number of mails that the policy lets in a day it may be refused for the rest of that day.
    pub penalties: Listing<PenaltyInForce>,
    /// Networks that would be refused, had observe mode not made their penalty (A38); likewise.
    pub simulated_penalties: Listing<PenaltyInForce>,
    /// Networks whose clients do not fall back (M1): those that are not let in first, then those refused most often.
    pub never: Listing<NeverFallsBack>,
    /// Networks that are let in now (M2), an operator's first, then those let in for longest.
    pub let_in: Listing<LetInNetwork>,
    /// Refused mails that were not seen since (M3).
    pub waiting: WaitingMails,
    /// Refused mails that were seen again.
    pub settled: SettledMails,
    /// Networks by kind.
    pub clients: Clients,
    /// The records that were read.
    pub records: Records,
}

/// The beginning of a list in the order that matters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listing<T> {
    /// Its first entries.
    pub entries: Vec<T>,
    /// How many more there are.
    pub more: u64,
}

/// A network that is refused at the greeting.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PenaltyInForce {
    /// Such as "2001:db8::/64".
    pub network: String,
    /// The first second in which it is not refused any more.
    pub refuse_until: u64,
    /// When a message last failed.
    pub last_failure: u64,
    /// How often the time was doubled.
    pub doublings: u8,
    /// Messages that failed, the older the less, as of the last one; to the nearest hundredth.
    pub failed: f64,
    /// Messages that passed, likewise.
    pub passed: f64,
}

/// A network with a client that does not fall back.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NeverFallsBack {
    /// Such as "2001:db8::/64".
    pub network: String,
    /// EHLO names of its refused mail, as the clients said them.
    pub ehlo_names: Names,
    /// Sender domains of its refused mail, as the clients said them.
    pub sender_domains: Names,
    /// When the first of these mails was first refused; where their records are gone, when the network was let in. Absent where neither
    /// is known: with more than 10,000 such networks, the details of those refused least are not kept.
    pub since: Option<u64>,
    /// How often these mails came without authentication: each time they were refused, but for the last of one that was then let in or
    /// rejected. 0 where that is not known.
    pub refusals: u64,
    /// When one was last refused; absent where that is not known.
    pub last_refusal: Option<u64>,
    /// What the last of them lacked, such as "SPF=none, DKIM=none".
    pub lacked: String,
    /// What the last of them was refused for: "unauthenticated" or "distrusted"; absent where that is not known.
    pub refused_for: Option<&'static str>,
    /// When the oldest of these mails that was not seen yet was first refused.
    pub oldest_waiting: Option<u64>,
    /// It is let in now.
    pub let_in: Option<LetInNow>,
    /// To paste into the policy, where the network is to be let in for good.
    pub exempt: String,
    /// Lets the network in for a week.
    pub command: String,
}

/// That a network is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LetInNow {
    /// Since when.
    pub since: u64,
    /// The first second in which it is not.
    pub until: u64,
    /// By an operator's word, which lets everything in, not by the policy, which lets some unauthenticated mail in (A34).
    pub by_operator: bool,
}

impl LetInNow {
    /// By whom.
    pub(crate) fn by(&self) -> &'static str {
        if self.by_operator { "an operator" } else { "the policy" }
    }
}

/// Who lets in what.
pub(crate) const LETS_IN: &str =
    "An operator's word lets everything of a network in, the policy a limited number of unauthenticated mails a day.";

/// A network that is let in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LetInNetwork {
    /// Such as "2001:db8::/64".
    pub network: String,
    /// Since when, until when, and by whom.
    #[serde(flatten)]
    pub let_in: LetInNow,
}

/// Some of the names that clients of a network used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// Different names, as the clients said them; at most [`definitions::MOST_NAMES`].
    pub shown: Vec<String>,
    /// There are others.
    pub more: bool,
}

/// Refused mails that were not seen since.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WaitingMails {
    /// Mails that are still tried: last refused less than [`definitions::GIVEN_UP_AFTER`] ago.
    pub mails: u64,
    /// When the oldest of them was first refused.
    pub oldest_since: Option<u64>,
    /// Mails that nobody tried for longer than that.
    pub given_up: u64,
    /// The oldest of those that are still tried.
    pub oldest: Listing<WaitingMail>,
}

/// A refused mail that is still tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WaitingMail {
    /// The network that it was last refused from.
    pub network: String,
    /// The EHLO name, as the client said it.
    pub ehlo_name: String,
    /// The domain of MAIL FROM, as the client said it. Empty for the null sender.
    pub sender_domain: String,
    /// When it was first refused.
    pub since: u64,
    /// When it was last refused.
    pub last_refusal: u64,
    /// How often.
    pub refusals: u32,
    /// "unauthenticated" or "distrusted".
    pub refused_for: &'static str,
    /// What it lacked.
    pub lacked: String,
}

/// How refused mails were seen again, within the five days that this is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SettledMails {
    /// They were brought over IPv4, as they were asked to. Whether they were then delivered is not known.
    pub ipv4: u64,
    /// They came over IPv6 again, and passed.
    pub ipv6: u64,
    /// They came over IPv6 again, and were let in.
    pub let_in: u64,
    /// They came over IPv6 again, and were rejected.
    pub rejected: u64,
}

/// What the mails of a network show about its clients. Where they show several things, the first of this list counts.
///
/// A mail's record is kept for five days after its last refusal, and that is how far back the kinds look. Most mails have two records, one
/// under the fingerprint of their own and one under that of their sender; the latter counts only for mails that were refused without a
/// Message-ID, or where nothing else is known of the network. That an operator lets a network in shows nothing about its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKind {
    /// A mail was refused 3 times or more over 30 min or more and not seen, or only let in after that; or it was rejected for that, or the
    /// policy lets the network in for it.
    Never,
    /// The refused mail that was seen last was brought over IPv4 within 5 min of its first refusal.
    FallsBack,
    /// It was brought over IPv4, but later.
    Slow,
    /// A mail was refused within the last 6 h, and has not been seen.
    Waiting,
    /// Refused mail came over IPv6 again and passed, or was let in.
    Passes,
    /// All mail was last refused more than 6 h ago, not often enough to be `Never`, and not seen.
    NoRetry,
}

/// How many networks there are of each [`ClientKind`]. Networks without refused mail are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Clients {
    /// [`ClientKind::FallsBack`].
    pub falls_back: u64,
    /// [`ClientKind::Slow`].
    pub slow: u64,
    /// [`ClientKind::Never`].
    pub never: u64,
    /// [`ClientKind::Waiting`].
    pub waiting: u64,
    /// [`ClientKind::Passes`].
    pub passes: u64,
    /// [`ClientKind::NoRetry`].
    pub no_retry: u64,
    /// Records of mails from networks beyond the 100,000 that one report tells apart. Their mails are counted, but not their networks.
    pub not_classified: u64,
}

/// How many records there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Records {
    /// Of client addresses.
    pub address: u64,
    /// Of networks.
    pub network: u64,
    /// Of /48s.
    pub budget: u64,
    /// Of refused mails; most mails have two.
    pub mail: u64,
    /// Octets that are no record of this version; they count as absent.
    pub unreadable: u64,
}

impl Report {
    /// The report on these records, as of `now`.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a Listed>, now: u64) -> Report {
        let mut builder = ReportBuilder::new(now);
        for record in records {
            builder.add(record);
        }
        builder.finish()
    }

    /// As JSON, in ASCII only: no client's words act on a terminal.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("the report has string keys only");
        crate::visible::ascii_json(&json)
    }

    /// For terminals: plain text, its lines as long as their longest name. Clients' words are escaped as by
    /// [`visible`](crate::visible()).
    pub fn to_text(&self) -> String {
        text::write(self)
    }
}

impl Clients {
    /// Each kind with its count, in the order of the report.
    pub fn by_kind(&self) -> [(ClientKind, u64); 6] {
        [
            (ClientKind::FallsBack, self.falls_back),
            (ClientKind::Slow, self.slow),
            (ClientKind::Never, self.never),
            (ClientKind::Waiting, self.waiting),
            (ClientKind::Passes, self.passes),
            (ClientKind::NoRetry, self.no_retry),
        ]
    }

    fn count(&mut self, kind: ClientKind) {
        *match kind {
            ClientKind::Never => &mut self.never,
            ClientKind::FallsBack => &mut self.falls_back,
            ClientKind::Slow => &mut self.slow,
            ClientKind::Waiting => &mut self.waiting,
            ClientKind::Passes => &mut self.passes,
            ClientKind::NoRetry => &mut self.no_retry,
        } += 1;
    }
}

impl ClientKind {
    /// A word, as metrics and JSON have it.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientKind::Never => "never",
            ClientKind::FallsBack => "falls-back",
            ClientKind::Slow => "slow",
            ClientKind::Waiting => "waiting",
            ClientKind::Passes => "passes",
            ClientKind::NoRetry => "no-retry",
        }
    }

    /// What the status page calls it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            ClientKind::Never => "do not fall back",
            ClientKind::FallsBack => "fall back",
            ClientKind::Slow => "fall back slowly",
            ClientKind::Waiting => "not known yet",
            ClientKind::Passes => "pass later",
            ClientKind::NoRetry => "never try again",
        }
    }

    /// What it means, in a sentence for people.
    pub fn meaning(self) -> &'static str {
        match self {
            ClientKind::Never => {
                "A mail came at least 3 times over at least 30 minutes without authentication and was not brought over IPv4, or the policy let it in or rejected it by its own numbers."
            }
            ClientKind::FallsBack => "Refused mail was brought over IPv4 within 5 minutes.",
            ClientKind::Slow => "Refused mail was brought over IPv4, but later than that.",
            ClientKind::Waiting => "Mail was refused in the last 6 hours and has not arrived yet.",
            ClientKind::Passes => "Refused mail came over IPv6 again and passed, or was let in.",
            ClientKind::NoRetry => "Mail was refused and has not been tried again for 6 hours, as bots do.",
        }
    }
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Listing { entries: Vec::new(), more: 0 }
    }
}

impl<T> Listing<T> {
    /// How many there are, listed or not.
    pub fn total(&self) -> u64 {
        self.entries.len() as u64 + self.more
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl NeverFallsBack {
    /// "unauthenticated" mail lacked something, as a text says; that of "distrusted" domains lacked nothing else.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.refused_for == Some(RefusedFor::Distrusted.as_str())
    }

    /// How its mail came.
    pub(crate) fn without_authentication(&self) -> &'static str {
        if self.is_distrusted() { "" } else { " without authentication" }
    }
}

impl WaitingMail {
    /// Likewise.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.refused_for == RefusedFor::Distrusted.as_str()
    }
}

impl Names {
    fn add(&mut self, name: &str) {
        if name.is_empty() || self.shown.iter().any(|shown| shown == name) {
            return;
        }
        if self.shown.len() < definitions::MOST_NAMES {
            self.shown.push(name.to_owned());
        } else {
            self.more = true;
        }
    }
}

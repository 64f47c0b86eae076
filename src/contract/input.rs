//! What the host knows: the arguments of `keys`, `decide` and `explain`.

use serde::{Deserialize, Serialize};

use crate::address::Address;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// One client address, for its own good standing (P13).
    Address,
    /// The client's network: evidence, penalty, capability (P13).
    Network,
    /// The client's /48, for budgets that many networks share (A27).
    Budget,
    /// A mail, by the hash of sender, Message-ID and Date (A33).
    Exact,
    /// A mail, by the hash of sender and EHLO name only (A33).
    Inferred,
}

/// Names a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Key {
    /// What the record is about.
    pub kind: KeyKind,
    /// The prefix, its other bits zero; for `Exact` and `Inferred` a keyed hash.
    pub address: Address,
    /// Significant bits of `address`, 0 to 128.
    pub prefix_length: u8,
}

/// A record as the host keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StoredRecord {
    /// Under which it was stored.
    pub key: Key,
    /// The octets that the module wrote, verbatim.
    pub value: Vec<u8>,
}

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Before the 220.
    Greeting,
    /// EHLO or HELO was received.
    Ehlo,
    /// MAIL was received.
    Mail,
    /// RCPT was received.
    Rcpt,
    /// DATA or the first BDAT was received: the recipients are complete.
    Data,
    /// The final dot or the last BDAT chunk was received.
    EndOfData,
}

/// The kind of service that the client connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listener {
    /// Mail from other domains' servers: the only kind in scope (A18).
    Mx,
    /// Mail from the domain's own users (RFC 6409).
    Submission,
    /// Local delivery (RFC 2033).
    Lmtp,
}

/// The transport security of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// None.
    #[default]
    None,
    /// Encrypted, without a verified client certificate.
    Encrypted,
    /// Encrypted, and the client's chain was verified; the names are those of its certificate.
    Verified(Vec<String>),
}

/// The session so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Connection {
    /// How far the session has come.
    pub stage: Stage,
    /// The true client address (R11).
    pub client: Address,
    /// The kind of service.
    pub listener: Listener,
    /// The argument of the last EHLO or HELO.
    pub ehlo_name: Option<String>,
    /// The transport security.
    pub tls: Tls,
    /// The client has authenticated by SMTP AUTH.
    pub authenticated: bool,
    /// This listener is configured to announce the extension.
    pub listener_offers: bool,
    /// The keyword was in the reply to the last EHLO.
    pub keyword_shown: bool,
    /// The client has issued the verb since the last EHLO, and got 250.
    pub acknowledged: bool,
    /// The same mail would be taken over IPv4 (A20).
    pub reachable_over_ipv4: bool,
    /// A mail's arrival over IPv4 can be seen (A34).
    pub ipv4_arrivals_visible: bool,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub now: u64,
    /// Random, one for each connection.
    pub nonce: u32,
    /// The records found under the keys that `keys` named.
    pub records: Vec<StoredRecord>,
}

impl Connection {
    /// A client of an MX host of which nothing else is known: it has said nothing yet, there are no records, and it is 1970. The same mail would
    /// be taken over IPv4, and its arrival would not be seen.
    pub fn new(stage: Stage, client: Address) -> Self {
        Connection {
            stage,
            client,
            listener: Listener::Mx,
            ehlo_name: None,
            tls: Tls::None,
            authenticated: false,
            listener_offers: false,
            keyword_shown: false,
            acknowledged: false,
            reachable_over_ipv4: true,
            ipv4_arrivals_visible: false,
            now: 0,
            nonce: 0,
            records: Vec::new(),
        }
    }
}

/// The transaction's envelope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Envelope {
    /// MAIL FROM without angle brackets; empty for the null sender.
    pub mail_from: String,
    /// The recipients accepted so far; complete from DATA on.
    pub recipients: Vec<String>,
}

/// What the message says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Message {
    /// The Message-ID field.
    pub message_id: Option<String>,
    /// The Date field, verbatim.
    pub date: Option<String>,
    /// The domain of the first From address.
    pub from_domain: Option<String>,
    /// Octets received, at most `u32::MAX`.
    pub size: u32,
}

/// A result of an authentication method (RFC 8601 §2.7). Only `Pass` passes (A27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthResult {
    /// Nothing to check was published or present.
    None,
    /// Passed.
    Pass,
    /// Failed.
    Fail,
    /// SPF: probably not authorized.
    Softfail,
    /// Nothing can be said.
    Neutral,
    /// Present, but not acceptable to the checker's own policy.
    Policy,
    /// A later attempt may give a result.
    Temperror,
    /// What was published cannot be read.
    Permerror,
}

impl AuthResult {
    /// The word of RFC 8601.
    pub fn as_str(self) -> &'static str {
        match self {
            AuthResult::None => "none",
            AuthResult::Pass => "pass",
            AuthResult::Fail => "fail",
            AuthResult::Softfail => "softfail",
            AuthResult::Neutral => "neutral",
            AuthResult::Policy => "policy",
            AuthResult::Temperror => "temperror",
            AuthResult::Permerror => "permerror",
        }
    }
}

/// An SPF result (RFC 7208) for one identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spf {
    /// The result.
    pub result: AuthResult,
    /// The domain that was checked.
    pub domain: String,
}

/// The result of one DKIM signature (RFC 6376).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dkim {
    /// The result.
    pub result: AuthResult,
    /// The `d=` tag.
    pub domain: String,
    /// The `s=` tag; empty when not known.
    #[serde(default)]
    pub selector: String,
    /// The key says `t=y`: a pass does not count (A28).
    #[serde(default)]
    pub testing: bool,
}

/// A DMARC result (RFC 7489).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dmarc {
    /// The result.
    pub result: AuthResult,
    /// The domain of the From field.
    pub domain: String,
}

/// The result of the whole ARC chain (RFC 8617).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Arc {
    /// The result.
    pub result: AuthResult,
    /// The `d=` tags of the seals, the oldest (`i=1`) first.
    pub sealers: Vec<String>,
}

/// Whether the client's reverse name leads back to its address (RFC 8601 §2.7.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Iprev {
    /// The result.
    pub result: AuthResult,
    /// The confirmed name.
    pub name: Option<String>,
}

/// The authentication results, each absent until it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuthResults {
    /// SPF for MAIL FROM.
    pub spf_mail_from: Option<Spf>,
    /// SPF for the EHLO or HELO name: counts for the null sender only (A28).
    pub spf_helo: Option<Spf>,
    /// One for each signature; empty for an unsigned message.
    pub dkim: Option<Vec<Dkim>>,
    /// DMARC.
    pub dmarc: Option<Dmarc>,
    /// ARC.
    pub arc: Option<Arc>,
    /// The client's confirmed reverse name.
    pub iprev: Option<Iprev>,
}

impl AuthResults {
    /// Whether no method has a result: "no evidence" at the end of data (A27).
    pub fn is_empty(&self) -> bool {
        let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = self;
        spf_mail_from.is_none() && spf_helo.is_none() && dkim.is_none() && dmarc.is_none() && arc.is_none() && iprev.is_none()
    }
}

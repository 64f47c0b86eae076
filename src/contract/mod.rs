//! The types that cross the module's border, one for one those of `wit/policy.wit`, which says what each field means and who
//! fills it.
//!
//! Through serde they also have a JSON form, the one of the vectors and of every binding that speaks JSON: kebab-case names, an
//! absent option is `null` or missing, an enum is a string, a variant is an object with one key (its name alone where it
//! carries nothing), an address is text, octets are numbers.

mod answer;
mod configuration;
mod input;

pub use answer::{Decision, Link, MatchKind, Note, Reason, RecordUpdate, Reply, Verdict};
pub use configuration::{Check, Description, Mode, PolicyError, PolicyWarning, Summary};
pub use input::{
    Arc, AuthResult, AuthResults, Connection, Dkim, Dmarc, Envelope, Iprev, Key, KeyKind, Listener, Message, Spf, Stage,
    StoredRecord, Tls,
};

/// The version of the contract: that of the WIT package.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// The EHLO keyword of the extension, which is also its verb (draft §5.2).
pub const KEYWORD: &str = "IPV6-IPV4-FALLBACK";

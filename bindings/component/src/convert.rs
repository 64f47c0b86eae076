//! Between the generated types and the contract's: the same fields under the same names, moved and never copied.
//!
//! Every record is taken apart and put together with all its fields named, every enum is matched case by case: a field or case
//! that is added on one side only does not compile.

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract;

use crate::bindings::exports::smtp_fallback::policy::policy as wit;

/// Carries a value across the border.
pub(crate) trait Cross<To> {
    /// The same value on the other side.
    fn cross(self) -> To;
}

impl<From: Cross<To>, To> Cross<Option<To>> for Option<From> {
    fn cross(self) -> Option<To> {
        self.map(Cross::cross)
    }
}

impl<From: Cross<To>, To> Cross<Vec<To>> for Vec<From> {
    fn cross(self) -> Vec<To> {
        self.into_iter().map(Cross::cross).collect()
    }
}

impl<From: Cross<To>, To, FromError: Cross<ToError>, ToError> Cross<Result<To, ToError>> for Result<From, FromError> {
    fn cross(self) -> Result<To, ToError> {
        self.map(Cross::cross).map_err(Cross::cross)
    }
}

impl Cross<wit::Address> for Address {
    fn cross(self) -> wit::Address {
        let [w0, w1, w2, w3] = self.words();
        wit::Address { w0, w1, w2, w3 }
    }
}

impl Cross<Address> for wit::Address {
    fn cross(self) -> Address {
        let wit::Address { w0, w1, w2, w3 } = self;
        Address::from_words([w0, w1, w2, w3])
    }
}

/// Types that are the same on both sides.
macro_rules! same {
    ($($type:ty),*) => { $(
        impl Cross<$type> for $type {
            fn cross(self) -> $type {
                self
            }
        }
    )* };
}

/// Records, from the first type to the second, by all their fields.
macro_rules! record {
    ($($name:ident: $from:ident => $to:ident { $($field:ident),* })*) => { $(
        impl Cross<$to::$name> for $from::$name {
            fn cross(self) -> $to::$name {
                let $from::$name { $($field),* } = self;
                $to::$name { $($field: $field.cross()),* }
            }
        }
    )* };
}

/// Enums and variants, from the first type to the second, by all their cases.
macro_rules! cases {
    ($($name:ident: $from:ident => $to:ident { $($case:ident $(($value:ident))?),* })*) => { $(
        impl Cross<$to::$name> for $from::$name {
            fn cross(self) -> $to::$name {
                match self {
                    $($from::$name::$case $(($value))? => $to::$name::$case $(($value.cross()))?,)*
                }
            }
        }
    )* };
}

same!(bool, u8, u16, u32, u64, String);

// What the host knows.
record! {
    Key: wit => contract { kind, address, prefix_length }
    StoredRecord: wit => contract { key, value }
    Connection: wit => contract {
        stage, client, listener, ehlo_name, tls, authenticated, listener_offers, keyword_shown, acknowledged, reachable_over_ipv4,
        ipv4_arrivals_visible, now, nonce, records
    }
    Envelope: wit => contract { mail_from, recipients }
    Message: wit => contract { message_id, date, from_domain, size }
    Spf: wit => contract { result, domain }
    Dkim: wit => contract { result, domain, selector, testing }
    Dmarc: wit => contract { result, domain }
    Arc: wit => contract { result, sealers }
    Iprev: wit => contract { result, name }
    AuthResults: wit => contract { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev }
}
cases! {
    KeyKind: wit => contract { Address, Network, Budget, Exact, Inferred }
    Stage: wit => contract { Greeting, Ehlo, Mail, Rcpt, Data, EndOfData }
    Listener: wit => contract { Mx, Submission, Lmtp }
    Tls: wit => contract { None, Encrypted, Verified(names) }
    AuthResult: wit => contract { None, Pass, Fail, Softfail, Neutral, Policy, Temperror, Permerror }
}

// What the module answers.
record! {
    Key: contract => wit { kind, address, prefix_length }
    RecordUpdate: contract => wit { key, value, expires_in, weight }
    Reply: contract => wit { code, enhanced_code, lines, close }
    Link: contract => wit { match_kind, network, seconds }
    Decision: contract => wit { verdict, reason, would, authenticated_domains, linked, notes, records }
    Spf: contract => wit { result, domain }
    Dkim: contract => wit { result, domain, selector, testing }
    Dmarc: contract => wit { result, domain }
    Arc: contract => wit { result, sealers }
    Iprev: contract => wit { result, name }
    AuthResults: contract => wit { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev }
    PolicyWarning: contract => wit { pointer, message }
    Summary: contract => wit { mode, checks, warnings }
    PolicyError: contract => wit { pointer, line, column, offset, found, expected, advice }
    Description: contract => wit { contract, keyword, defaults }
}
cases! {
    KeyKind: contract => wit { Address, Network, Budget, Exact, Inferred }
    Verdict: contract => wit { Continue, Accept, Refuse(reply) }
    Reason: contract => wit {
        Undecided, Ipv4, OutOfScope, NotReachableOverIpv4, ExemptNetwork, ExemptName, ExemptDomain, ExemptRecipient, LetIn,
        Authenticated, Unauthenticated, Distrusted, Penalty, NoEvidence, TemporaryError, TemporaryErrorBudget, NeverFallsBack,
        NoPolicy
    }
    Note: contract => wit {
        Probe, GoodStanding, Capable, PenaltyBegins, PenaltyRenewed, PenaltyEnds, NotRolledOut, MalformedRecord,
        Ipv4ArrivalsNotVisible, NeverFallsBack, LetInBegins, LetInUsedUp, VerbNotBelieved, Other(word)
    }
    MatchKind: contract => wit { Exact, Inferred }
    AuthResult: contract => wit { None, Pass, Fail, Softfail, Neutral, Policy, Temperror, Permerror }
    Mode: contract => wit { Observe, Enforce }
    Check: contract => wit { Spf, Dkim, Dmarc, Arc, Fcrdns, Tls }
}

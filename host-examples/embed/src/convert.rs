//! Between the contract's types and the generated ones.
//!
//! On the way in nothing is copied: the generated types borrow. On the way out everything is moved. In both directions every
//! record is taken apart with all its fields named and every enum is matched case by case: a field or case that is added on one
//! side only does not compile.

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

/// Records that the component answers with. The generated name differs where the same record is also an argument.
macro_rules! answers {
    ($($from:ident => $to:ident { $($field:ident),* })*) => { $(
        impl Cross<contract::$to> for wit::$from {
            fn cross(self) -> contract::$to {
                let wit::$from { $($field),* } = self;
                contract::$to { $($field: $field.cross()),* }
            }
        }
    )* };
}

/// Enums and variants, from the first module to the second.
macro_rules! cases {
    ($from:ident => $to:ident: $($name:ident { $($case:ident $(($value:ident))?),* })*) => { $(
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

answers! {
    Key => Key { kind, address, prefix_length }
    RecordUpdate => RecordUpdate { key, value, expires_in, weight }
    Reply => Reply { code, enhanced_code, lines, close }
    Link => Link { match_kind, network, seconds }
    Decision => Decision { verdict, reason, would, authenticated_domains, linked, notes, records }
    SpfResult => Spf { result, domain }
    DkimResult => Dkim { result, domain, selector, testing }
    DmarcResult => Dmarc { result, domain }
    ArcResult => Arc { result, sealers }
    IprevResult => Iprev { result, name }
    AuthResultsResult => AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev }
    PolicyWarning => PolicyWarning { pointer, message }
    Summary => Summary { mode, checks, warnings }
    PolicyError => PolicyError { pointer, line, column, offset, found, expected, advice }
    Description => Description { contract, keyword, defaults }
}

cases! { wit => contract:
    KeyKind { Address, Network, Budget, Exact, Inferred }
    Verdict { Continue, Accept, Refuse(reply) }
    Reason {
        Undecided, Ipv4, OutOfScope, NotReachableOverIpv4, ExemptNetwork, ExemptName, ExemptDomain, ExemptRecipient, LetIn,
        Authenticated, Unauthenticated, Distrusted, Penalty, NoEvidence, TemporaryError, TemporaryErrorBudget, NeverFallsBack,
        NoPolicy
    }
    Note {
        Probe, GoodStanding, Capable, PenaltyBegins, PenaltyRenewed, PenaltyEnds, NotRolledOut, MalformedRecord,
        Ipv4ArrivalsNotVisible, NeverFallsBack, LetInBegins, LetInUsedUp, VerbNotBelieved, Other(word)
    }
    MatchKind { Exact, Inferred }
    AuthResult { None, Pass, Fail, Softfail, Neutral, Policy, Temperror, Permerror }
    Mode { Observe, Enforce }
    Check { Spf, Dkim, Dmarc, Arc, Fcrdns, Tls }
}

cases! { contract => wit:
    KeyKind { Address, Network, Budget, Exact, Inferred }
    Stage { Greeting, Ehlo, Mail, Rcpt, Data, EndOfData }
    Listener { Mx, Submission, Lmtp }
    AuthResult { None, Pass, Fail, Softfail, Neutral, Policy, Temperror, Permerror }
}

impl Cross<wit::Key> for contract::Key {
    fn cross(self) -> wit::Key {
        let contract::Key { kind, address, prefix_length } = self;
        wit::Key { kind: kind.cross(), address: address.cross(), prefix_length }
    }
}

/// The arguments of a call, by reference.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a> {
    pub(crate) connection: &'a contract::Connection,
    pub(crate) envelope: Option<&'a contract::Envelope>,
    pub(crate) message: Option<&'a contract::Message>,
    pub(crate) auth_results: Option<&'a contract::AuthResults>,
}

/// The lists among them: the generated types borrow lists of borrowed items, which must live somewhere. Empty lists cost nothing.
pub(crate) struct Lists<'a> {
    names: Vec<&'a str>,
    records: Vec<wit::StoredRecord<'a>>,
    recipients: Vec<&'a str>,
    dkim: Vec<wit::DkimParam<'a>>,
    sealers: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    /// The lists, to be kept until the call is over.
    pub(crate) fn lists(self) -> Lists<'a> {
        let names = match &self.connection.tls {
            contract::Tls::Verified(names) => borrowed(names),
            contract::Tls::None | contract::Tls::Encrypted => Vec::new(),
        };
        let dkim = self.auth_results.and_then(|results| results.dkim.as_ref());
        let arc = self.auth_results.and_then(|results| results.arc.as_ref());
        Lists {
            names,
            records: self.connection.records.iter().map(stored_record).collect(),
            recipients: self.envelope.map_or_else(Vec::new, |envelope| borrowed(&envelope.recipients)),
            dkim: dkim.map_or_else(Vec::new, |signatures| signatures.iter().map(dkim_result).collect()),
            sealers: arc.map_or_else(Vec::new, |arc| borrowed(&arc.sealers)),
        }
    }

    pub(crate) fn connection(self, lists: &'a Lists<'a>) -> wit::Connection<'a> {
        let contract::Connection {
            stage,
            client,
            listener,
            ehlo_name,
            tls,
            authenticated,
            listener_offers,
            keyword_shown,
            acknowledged,
            reachable_over_ipv4,
            ipv4_arrivals_visible,
            now,
            nonce,
            records: _,
        } = self.connection;
        wit::Connection {
            stage: stage.cross(),
            client: client.cross(),
            listener: listener.cross(),
            ehlo_name: ehlo_name.as_deref(),
            tls: match tls {
                contract::Tls::None => wit::Tls::None,
                contract::Tls::Encrypted => wit::Tls::Encrypted,
                contract::Tls::Verified(_) => wit::Tls::Verified(&lists.names),
            },
            authenticated: *authenticated,
            listener_offers: *listener_offers,
            keyword_shown: *keyword_shown,
            acknowledged: *acknowledged,
            reachable_over_ipv4: *reachable_over_ipv4,
            ipv4_arrivals_visible: *ipv4_arrivals_visible,
            now: *now,
            nonce: *nonce,
            records: &lists.records,
        }
    }

    pub(crate) fn envelope(self, lists: &'a Lists<'a>) -> Option<wit::Envelope<'a>> {
        self.envelope
            .map(|contract::Envelope { mail_from, recipients: _ }| wit::Envelope { mail_from, recipients: &lists.recipients })
    }

    pub(crate) fn message(self) -> Option<wit::Message<'a>> {
        self.message.map(|contract::Message { message_id, date, from_domain, size }| wit::Message {
            message_id: message_id.as_deref(),
            date: date.as_deref(),
            from_domain: from_domain.as_deref(),
            size: *size,
        })
    }

    pub(crate) fn auth_results(self, lists: &'a Lists<'a>) -> Option<wit::AuthResultsParam<'a>> {
        let contract::AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = self.auth_results?;
        Some(wit::AuthResultsParam {
            spf_mail_from: spf_mail_from.as_ref().map(spf_result),
            spf_helo: spf_helo.as_ref().map(spf_result),
            dkim: dkim.as_ref().map(|_| &*lists.dkim),
            dmarc: dmarc.as_ref().map(|contract::Dmarc { result, domain }| wit::DmarcParam { result: result.cross(), domain }),
            arc: arc
                .as_ref()
                .map(|contract::Arc { result, sealers: _ }| wit::ArcParam { result: result.cross(), sealers: &lists.sealers }),
            iprev: iprev
                .as_ref()
                .map(|contract::Iprev { result, name }| wit::IprevParam { result: result.cross(), name: name.as_deref() }),
        })
    }
}

/// Each item by reference.
pub(crate) fn borrowed(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

pub(crate) fn stored_record(record: &contract::StoredRecord) -> wit::StoredRecord<'_> {
    let contract::StoredRecord { key, value } = record;
    wit::StoredRecord { key: key.cross(), value }
}

fn spf_result(spf: &contract::Spf) -> wit::SpfParam<'_> {
    let contract::Spf { result, domain } = spf;
    wit::SpfParam { result: result.cross(), domain }
}

fn dkim_result(dkim: &contract::Dkim) -> wit::DkimParam<'_> {
    let contract::Dkim { result, domain, selector, testing } = dkim;
    wit::DkimParam { result: result.cross(), domain, selector, testing: *testing }
}

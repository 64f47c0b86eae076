//! DKIM (RFC 6376): one result for each signature.
//!
//! The keys are fetched first, all at once and under the deadline; then mail-auth checks the signatures with what is there and
//! asks the DNS nothing more. So a key that does not arrive costs its own signature a result, not the others; the number of
//! queries has a limit; and the key's flags can be seen.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use mail_auth::crypto::Algorithm;
use mail_auth::dkim::{DkimError, DomainKey, Signature, VerifySignature};
use mail_auth::dns::{ToFqdn, TxtRecord};
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DnsCache, DnsError, Error, MessageAuthenticator, NoCache, Parameters,
    ResolverCache,
};
use smtp_fallback_policy::contract::{AuthResult, Dkim};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How many signatures of a message are checked, counted from its top. Of the others, those that cannot be checked are listed
/// with their reason, at most as many again.
pub const MAX_SIGNATURES: usize = 10;

/// An RSA signature is as long as its key: 1024 bits are the least that may count (RFC 8301 §3.2).
const MIN_RSA_OCTETS: usize = 128;

/// Field names in `h=` times lines of the header: a limit on the work of finding the signed fields, far above any real message.
const MAX_HEADER_WORK: usize = 2_000_000;

/// The results of all signatures; empty for an unsigned message.
pub(crate) async fn verify(authenticator: &MessageAuthenticator, raw: &[u8], deadline: Instant) -> Vec<Dkim> {
    // Strict: a signature with `l=` does not count, for anything could have been appended (RFC 6376 §8.2).
    let Some(mut message) = AuthenticatedMessage::parse(raw) else { return Vec::new() };
    let mut not_checked = unreadable(&message);
    let header_lines = message.headers().iter().map(|(_, value)| lines(value)).sum();
    let mut checked = 0;
    message.retain_dkim_signatures(|signature| match refusal(signature, header_lines, checked) {
        None => {
            checked += 1;
            Ok(())
        }
        Some(result) => {
            not_checked.push(entry(result, signature, false));
            // Any error: the list above has the reason.
            Err(DkimError::UnsupportedAlgorithm)
        }
    });
    not_checked.truncate(MAX_SIGNATURES);

    let names = message.dkim_signatures().iter().map(|header| header.header.domain_key()).collect();
    let keys = Keys::fetch(authenticator, names, deadline).await;
    let outputs = authenticator.verify_dkim(Parameters::new(&message).with_cache(&keys)).await;
    let results = outputs.iter().filter_map(|output| {
        let signature = output.signature()?;
        Some(entry(auth_result(output), signature, keys.testing(signature)))
    });
    results.chain(not_checked).collect()
}

fn entry(result: AuthResult, signature: &Signature, testing: bool) -> Dkim {
    Dkim { result, domain: signature.d.to_lowercase(), selector: signature.s.clone(), testing }
}

/// Signatures whose field could not be read, so that neither domain nor selector are known.
fn unreadable(message: &AuthenticatedMessage<'_>) -> Vec<Dkim> {
    let fields = message.errors().iter().filter(|header| header.name.trim_ascii().eq_ignore_ascii_case(b"DKIM-Signature"));
    let results = fields.map(|header| match header.header {
        Error::Dkim(DkimError::BodyLengthTag) => AuthResult::Policy,
        // RFC 8601 §2.7.1: "neutral" is for what is signed but has errors of syntax or cannot be processed.
        _ => AuthResult::Neutral,
    });
    results.map(|result| Dkim { result, domain: String::new(), selector: String::new(), testing: false }).collect()
}

/// The result of a signature that is not worth checking.
fn refusal(signature: &Signature, header_lines: usize, checked: usize) -> Option<AuthResult> {
    let rsa = matches!(signature.a, Algorithm::RsaSha256 | Algorithm::RsaSha1);
    // RFC 8301 §3.1: rsa-sha1 has permanently failed. RFC 6376 §6.1.1: so has what does not sign the From field.
    if signature.a == Algorithm::RsaSha1 || !signature.h.iter().any(|name| name.trim().eq_ignore_ascii_case("from")) {
        Some(AuthResult::Permerror)
    } else if rsa && signature.b.len() < MIN_RSA_OCTETS
        || signature.h.len().saturating_mul(header_lines) > MAX_HEADER_WORK
        || checked >= MAX_SIGNATURES
    {
        Some(AuthResult::Policy)
    } else {
        None
    }
}

fn lines(value: &[u8]) -> usize {
    value.iter().filter(|&&byte| byte == b'\n').count().max(1)
}

fn auth_result(output: &DkimOutput<'_>) -> AuthResult {
    // The signature was right; what the look-up of RFC 6541 says beyond that is not asked.
    if output.is_atps() {
        return AuthResult::Pass;
    }
    match output.result() {
        DkimResult::Pass => AuthResult::Pass,
        // RFC 6376 §6.1.3: the body was changed. mail-auth calls that neutral.
        DkimResult::Fail(_) | DkimResult::Neutral(Error::Dkim(DkimError::BodyHashMismatch)) => AuthResult::Fail,
        DkimResult::Neutral(_) => AuthResult::Neutral,
        DkimResult::PermError(_) => AuthResult::Permerror,
        DkimResult::TempError(_) => AuthResult::Temperror,
        DkimResult::None => AuthResult::None,
    }
}

/// The key records of one message, which mail-auth sees as its cache.
struct Keys(HashMap<Box<str>, TxtRecord>);

impl Keys {
    async fn fetch(authenticator: &MessageAuthenticator, names: Vec<String>, deadline: Instant) -> Keys {
        let late = || TxtRecord::Error(Error::Dns(DnsError::Resolver("no answer before the deadline".to_owned())));
        let mut keys: HashMap<Box<str>, TxtRecord> = names.iter().map(|name| (fqdn(name), late())).collect();
        let mut lookups = JoinSet::new();
        for name in keys.keys().cloned() {
            let authenticator = authenticator.clone();
            lookups.spawn(async move {
                let key = authenticator.txt_lookup::<DomainKey>(&name, None::<&NoCache>).await;
                (name, key.map_or_else(TxtRecord::Error, TxtRecord::DomainKey))
            });
        }
        // Ends when all are there, or at the deadline: what is still under way stops with `lookups`.
        while let Ok(Some(lookup)) = timeout_at(deadline, lookups.join_next()).await {
            match lookup {
                Ok((name, key)) => drop(keys.insert(name, key)),
                Err(error) => tracing::error!(%error, "the look-up of a DKIM key stopped"),
            }
        }
        Keys(keys)
    }

    /// Whether the signature's key says `t=y` (RFC 6376 §3.6.1, A28).
    fn testing(&self, signature: &Signature) -> bool {
        matches!(self.0.get(&fqdn(&signature.domain_key())), Some(TxtRecord::DomainKey(key)) if key.is_testing())
    }
}

/// The name as mail-auth asks its cache.
fn fqdn(name: &str) -> Box<str> {
    name.to_fqdn().into()
}

impl ResolverCache<Box<str>, TxtRecord> for Keys {
    fn get<Q>(&self, name: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // Never "not cached": mail-auth also looks for records about reports and third parties (RFC 6651, RFC 6541), at the
        // wish of whoever signed; none of them changes a result here.
        let absent = || TxtRecord::Error(Error::Dns(DnsError::InvalidRecordType));
        Some(self.0.get(name).cloned().unwrap_or_else(absent))
    }

    fn remove<Q>(&self, _: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: TxtRecord, _: std::time::Instant) {}
}

impl DnsCache for Keys {
    type Txt = Keys;
    type Mx = NoCache;
    type Ipv4 = NoCache;
    type Ipv6 = NoCache;
    type Ptr = NoCache;

    fn txt(&self) -> Option<&Keys> {
        Some(self)
    }

    fn mx(&self) -> Option<&NoCache> {
        None
    }

    fn ipv4(&self) -> Option<&NoCache> {
        None
    }

    fn ipv6(&self) -> Option<&NoCache> {
        None
    }

    fn ptr(&self) -> Option<&NoCache> {
        None
    }
}

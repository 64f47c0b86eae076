//! ARC (RFC 8617): one result for the whole chain, and who sealed it.
//!
//! As with DKIM, the keys are fetched first. A chain that cannot pass whatever its keys are costs no question to the DNS.

use mail_auth::crypto::Algorithm;
use mail_auth::dkim::VerifySignature;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters};
use smtp_fallback_policy::contract::{Arc, AuthResult};
use tokio::time::Instant;

use crate::dkim::{header_lines, is_short, is_too_much_work, signs_from};
use crate::dns::Dns;
use crate::keys::Keys;
use crate::names::{reported, squeezed};
use crate::tags::Tags;

/// How many sets a chain may have (RFC 8617 §4.2.1).
pub const MAX_SETS: usize = 50;

/// All ARC fields together, in octets. Each seal covers all sets below it, so that the work grows with the square of their number.
const MAX_OCTETS: usize = 1 << 20;

/// What the fields' names begin with, without white space: whatever begins like a seal, mail-auth takes for one.
const FIELDS: [&[u8]; 3] = [b"arc-seal", b"arc-message-signature", b"arc-authentication-results"];

/// The result of a chain, and whose seals it has, also where they do not hold.
pub(crate) async fn verify(
    authenticator: &MessageAuthenticator,
    dns: &Dns,
    message: &AuthenticatedMessage<'_>,
    deadline: Instant,
) -> Arc {
    let fields = Fields::count(message);
    let result = result(authenticator, dns, message, &fields, deadline).await;
    // Where there is too much of it, nobody looks who sealed it.
    let sealers = if fields.octets > MAX_OCTETS { Vec::new() } else { sealers(message) };
    Arc { result, sealers }
}

async fn result(
    authenticator: &MessageAuthenticator,
    dns: &Dns,
    message: &AuthenticatedMessage<'_>,
    fields: &Fields,
    deadline: Instant,
) -> AuthResult {
    match fields.count {
        0 => return AuthResult::None,
        // Before the first field is looked at: sets beyond the limit are a failure, whatever is in them.
        count if count > MAX_SETS * FIELDS.len() => return AuthResult::Fail,
        _ if fields.octets > MAX_OCTETS => return AuthResult::Policy,
        _ if fields.misnamed => return AuthResult::Fail,
        _ => {}
    }
    // With no keys at all: whether the chain is whole, and the newest body hash right.
    let without_keys = Keys::none();
    let output = authenticator.verify_arc(Parameters::new(message).with_cache(&without_keys)).await;
    if !matches!(output.result(), DkimResult::PermError(_)) {
        // RFC 8617 §5.2: all that does not validate has failed.
        return AuthResult::Fail;
    }
    let Some(newest) = message.arc_message_signatures().last() else { return AuthResult::Fail };
    let seals = message.arc_seals();
    let has_tags = |value, names: &[&str]| Tags::parse(value).is_some_and(|tags| tags.has(names));
    let well_formed = seals.iter().all(|seal| has_tags(seal.value, &["a", "b", "cv", "d", "i", "s"]))
        && message.arc_message_signatures().iter().all(|signature| {
            has_tags(signature.value, &["a", "b", "bh", "d", "h", "i", "s"])
            // RFC 8617 §4.1.2: seals are not signed.
                && !signature.header.h.iter().any(|name| name.trim().eq_ignore_ascii_case("ARC-Seal"))
        });
    let strong = |algorithm, short: bool| algorithm != Algorithm::RsaSha1 && !short;
    if !well_formed
        || !signs_from(&newest.header.h)
        || !strong(newest.header.a, is_short(&newest.header))
        || !seals.iter().all(|seal| strong(seal.header.a, is_short(&seal.header)))
    {
        return AuthResult::Fail;
    }
    if is_too_much_work(&newest.header.h, header_lines(message)) {
        return AuthResult::Policy;
    }
    let mut names: Vec<String> = seals.iter().map(|seal| seal.header.domain_key()).collect();
    names.push(newest.header.domain_key());
    let keys = Keys::fetch(dns, names.clone(), deadline).await;
    let output = authenticator.verify_arc(Parameters::new(message).with_cache(&keys)).await;
    match output.result() {
        // RFC 6376 §3.6.1, A28: what a key for testing signed counts as not signed.
        DkimResult::Pass if names.iter().any(|name| keys.testing(name)) => AuthResult::Policy,
        DkimResult::Pass => AuthResult::Pass,
        DkimResult::TempError(_) => AuthResult::Temperror,
        // RFC 8617 §5.2: there is no other failure. A key that does not exist is one.
        DkimResult::PermError(_) | DkimResult::Fail(_) | DkimResult::Neutral(_) | DkimResult::None => AuthResult::Fail,
    }
}

/// The ARC fields of a message, by their names.
#[derive(Default)]
struct Fields {
    count: usize,
    octets: usize,
    /// Whether mail-auth would read one that has another name.
    misnamed: bool,
}

impl Fields {
    fn count(message: &AuthenticatedMessage<'_>) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in message.headers() {
            let Some(field) = FIELDS.iter().find(|field| squeezed(name).take(field.len()).eq(field.iter().copied())) else {
                continue;
            };
            // Of the other two it takes whole names only.
            let is_read = field.len() == FIELDS[0].len() || squeezed(name).count() == field.len();
            fields.count += 1;
            fields.octets = fields.octets.saturating_add(name.len() + value.len());
            fields.misnamed |= is_read && !name.trim_ascii_end().eq_ignore_ascii_case(field);
        }
        fields
    }
}

/// The `d=` of the seals that can be read, the oldest first.
fn sealers(message: &AuthenticatedMessage<'_>) -> Vec<String> {
    let mut seals: Vec<_> = message.arc_seals().iter().map(|seal| (seal.header.i, &seal.header.d)).collect();
    // Sorted already, unless some field could not be read.
    seals.sort_by_key(|&(instance, _)| instance);
    seals.truncate(MAX_SETS);
    seals.into_iter().map(|(_, domain)| reported(domain)).collect()
}

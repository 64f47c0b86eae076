//! ARC (RFC 8617): one result for the whole chain, and who sealed it.
//!
//! As with DKIM, the keys are fetched first. A chain that cannot pass whatever its keys are costs no question to the DNS.

use std::collections::HashSet;

use mail_auth::crypto::Algorithm;
use mail_auth::dkim::VerifySignature;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters};
use smtp_fallback_policy::contract::{Arc, AuthResult};
use tokio::time::Instant;

use crate::dkim::{header_lines, is_short, is_too_much_work, signs_from};
use crate::dns::Dns;
use crate::keys::Keys;
use crate::names::a_labels;

/// How many sets a chain may have (RFC 8617 §4.2.1).
pub const MAX_SETS: usize = 50;

/// All ARC fields together, in octets. Each seal covers all sets below it, so that the work grows with the square of their number.
const MAX_OCTETS: usize = 1 << 20;

const FIELDS: [&[u8]; 3] = [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"];

/// The result of a chain, and whose seals it has, also where they do not hold.
pub(crate) async fn verify(
    authenticator: &MessageAuthenticator,
    dns: &Dns,
    message: &AuthenticatedMessage<'_>,
    deadline: Instant,
) -> Arc {
    Arc { result: result(authenticator, dns, message, deadline).await, sealers: sealers(message) }
}

async fn result(
    authenticator: &MessageAuthenticator,
    dns: &Dns,
    message: &AuthenticatedMessage<'_>,
    deadline: Instant,
) -> AuthResult {
    let fields =
        message.headers().iter().filter(|(name, _)| FIELDS.iter().any(|field| name.trim_ascii().eq_ignore_ascii_case(field)));
    let (mut count, mut octets) = (0_usize, 0_usize);
    for (name, value) in fields {
        count += 1;
        octets = octets.saturating_add(name.len() + value.len());
    }
    match count {
        0 => return AuthResult::None,
        // Before the first field is looked at: sets beyond the limit are a failure, whatever is in them.
        _ if count > MAX_SETS * FIELDS.len() => return AuthResult::Fail,
        _ if octets > MAX_OCTETS => return AuthResult::Policy,
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

/// Whether `value` is a tag-list of RFC 6376 §3.2, each tag at most once, with all of `required`. mail-auth is not that strict.
fn has_tags(value: &[u8], required: &[&str]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let text = text.trim_ascii_end();
    let mut names = HashSet::new();
    let well_formed = text.strip_suffix(';').unwrap_or(text).split(';').all(|tag| {
        let Some((name, _)) = tag.split_once('=') else { return false };
        let name = name.trim_ascii();
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && names.insert(name)
    });
    well_formed && required.iter().all(|name| names.contains(name))
}

/// The `d=` of the seals that can be read, the oldest first.
fn sealers(message: &AuthenticatedMessage<'_>) -> Vec<String> {
    let mut seals: Vec<_> = message.arc_seals().iter().map(|seal| (seal.header.i, &seal.header.d)).collect();
    // Sorted already, unless some field could not be read.
    seals.sort_by_key(|&(instance, _)| instance);
    seals.truncate(MAX_SETS);
    seals.into_iter().map(|(_, domain)| a_labels(domain).unwrap_or_else(|| domain.to_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_list_is_read_to_the_letter() {
        for value in [" i=1; a=x", "i=1;a=x;", "\r\n\ti = 1 ;\r\n a = x ; x=;", " a=; i=; x_1=y=z;\r\n"] {
            assert!(has_tags(value.as_bytes(), &["a", "i"]), "{value}");
        }
        for value in [
            "",
            "i=1",
            "i=1; a=x; i=2",
            "i=1;; a=x",
            "i=1; a=x;;",
            "i=1; A=x",
            "i=1; a=x; y",
            "i=1; a=x; =y",
            "i=1; a=x; 1=y",
            "i=1; a=x; _x=y",
            ";i=1; a=x",
        ] {
            assert!(!has_tags(value.as_bytes(), &["a", "i"]), "{value}");
        }
        assert!(!has_tags(b"i=1; a=\xff", &["a", "i"]));
    }
}

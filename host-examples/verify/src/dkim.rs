//! DKIM (RFC 6376): one result for each signature.
//!
//! The keys are fetched first. So a key that does not arrive costs its own signature a result, not the others; the number of
//! queries has a limit; and the key's flags can be seen.

use mail_auth::crypto::Algorithm;
use mail_auth::dkim::{DkimError, Signature, VerifySignature};
use mail_auth::{AuthenticatedMessage, DkimOutput, DkimResult, Error, MessageAuthenticator, Parameters};
use smtp_fallback_policy::contract::{AuthResult, Dkim};
use tokio::time::Instant;

use crate::dns::Dns;
use crate::keys::Keys;
use crate::names::{MAX_NAME, reported};
use crate::tags::Tags;

/// How many signatures of a message are checked, counted from its top. Of the others, those that cannot be checked are listed
/// with their reason, at most as many again.
pub const MAX_SIGNATURES: usize = 10;

/// An RSA signature is as long as its key: 1024 bits are the least that may count (RFC 8301 §3.2).
const MIN_RSA_OCTETS: usize = 128;

/// Field names in `h=`, times those names and the lines of the header together: a limit on the work of finding the signed fields, far
/// above any real message.
const MAX_HEADER_WORK: usize = 2_000_000;

/// Signatures that were not worth checking, taken out of the message.
pub(crate) struct Refused(Vec<Dkim>);

/// Leaves only those signatures in the message that are to be checked.
pub(crate) fn refuse(message: &mut AuthenticatedMessage<'_>) -> Refused {
    let mut refused = unreadable(message);
    let header_lines = header_lines(message);
    let well_formed: Vec<bool> = message.dkim_signatures().iter().map(|header| is_well_formed(header.value)).collect();
    let mut well_formed = well_formed.into_iter();
    let mut checked = 0;
    // Asked about each once, in their order.
    message.retain_dkim_signatures(|signature| {
        match refusal(signature, well_formed.next() == Some(true), header_lines, checked) {
            None => {
                checked += 1;
                Ok(())
            }
            Some(result) => {
                refused.push(entry(result, signature, false));
                // Any error: the list above has the reason.
                Err(DkimError::UnsupportedAlgorithm)
            }
        }
    });
    refused.truncate(MAX_SIGNATURES);
    Refused(refused)
}

/// The results of all signatures; empty for an unsigned message.
pub(crate) async fn verify(
    authenticator: &MessageAuthenticator,
    dns: &Dns,
    message: &AuthenticatedMessage<'_>,
    refused: Refused,
    deadline: Instant,
) -> Vec<Dkim> {
    let names = message.dkim_signatures().iter().map(|header| header.header.domain_key()).collect();
    let keys = Keys::fetch(dns, names, deadline).await;
    let outputs = authenticator.verify_dkim(Parameters::new(message).with_cache(&keys)).await;
    let results = outputs.iter().filter_map(|output| {
        let signature = output.signature()?;
        Some(entry(auth_result(output), signature, keys.testing(&signature.domain_key())))
    });
    results.chain(refused.0).collect()
}

fn entry(result: AuthResult, signature: &Signature, testing: bool) -> Dkim {
    let (domain, selector) = (domain(signature), selector(signature));
    debug_assert!(result != AuthResult::Pass || !(domain.is_empty() || selector.is_empty()), "refused without a name");
    Dkim { result, domain, selector, testing }
}

/// The `d=` of a signature as it is reported; empty where it is longer than any name.
pub(crate) fn domain(signature: &Signature) -> String {
    reported(&signature.d)
}

/// The `s=`, likewise.
fn selector(signature: &Signature) -> String {
    if signature.s.len() <= MAX_NAME { signature.s.clone() } else { String::new() }
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
fn refusal(signature: &Signature, well_formed: bool, header_lines: usize, checked: usize) -> Option<AuthResult> {
    // RFC 8301 §3.1: rsa-sha1 has permanently failed. RFC 6376 §6.1.1: so has what does not sign the From field.
    // What is malformed may mean other things to others, and a key cannot be where no name can be.
    if signature.a == Algorithm::RsaSha1
        || !signs_from(&signature.h)
        || !well_formed
        || domain(signature).is_empty()
        || selector(signature).is_empty()
    {
        Some(AuthResult::Permerror)
    } else if is_short(signature) || is_too_much_work(&signature.h, header_lines) || checked >= MAX_SIGNATURES {
        Some(AuthResult::Policy)
    } else {
        None
    }
}

/// Whether the value of a field is a tag list with all that RFC 6376 §3.5 wants, and with times that are some.
fn is_well_formed(value: &[u8]) -> bool {
    Tags::parse(value)
        .is_some_and(|tags| tags.has(&["v", "a", "b", "bh", "d", "h", "s"]) && tags.has_time("t") && tags.has_time("x"))
}

/// Whether the `h=` of a signature names the From field.
pub(crate) fn signs_from(fields: &[String]) -> bool {
    fields.iter().any(|name| name.trim().eq_ignore_ascii_case("from"))
}

/// Whether the key was too short to count.
pub(crate) fn is_short(signature: &impl VerifySignature) -> bool {
    signature.algorithm() == Algorithm::RsaSha256 && signature.signature().len() < MIN_RSA_OCTETS
}

/// Whether finding the fields of an `h=` would take too long.
pub(crate) fn is_too_much_work(fields: &[String], header_lines: usize) -> bool {
    // Each name is looked for among the lines of the header, and among the names before it.
    fields.len().saturating_mul(header_lines.saturating_add(fields.len())) > MAX_HEADER_WORK
}

/// The lines of the message's header.
pub(crate) fn header_lines(message: &AuthenticatedMessage<'_>) -> usize {
    message.headers().iter().map(|(_, value)| lines(value)).sum()
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

//! Exemptions that are not about the network: confirmed names, authenticated domains, recipients (A29, A16).

use crate::case::Case;
use crate::contract::{AuthResult, Reason};
use crate::requirement::{self, Outcome, Passes};

/// Whether the message is exempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exemption {
    None,
    Exempt(Reason),
    /// A result that could exempt it has a temporary error, or is still to come.
    Unknown,
}

/// The client's confirmed name is exempt (A29). Known at the greeting, where the host looked it up before.
pub(crate) fn of_name(case: &Case<'_>) -> Exemption {
    let names = &case.policy.exempt.names;
    if names.is_empty() {
        return Exemption::None;
    }
    let iprev = case.auth_results.and_then(|results| results.iprev.as_ref());
    match iprev.map(|iprev| (iprev.result, iprev.name.as_deref())) {
        Some((AuthResult::Pass, Some(name))) if names.contains(name) => Exemption::Exempt(Reason::ExemptName),
        Some((AuthResult::Temperror, _)) => Exemption::Unknown,
        // A host that looks no names up is not one whose look-up failed.
        None if !case.is_end_of_data() => Exemption::Unknown,
        _ => Exemption::None,
    }
}

/// Everything that can exempt a message. Asked from DATA on, when all recipients are known.
pub(crate) fn of_message(case: &Case<'_>) -> Exemption {
    let name = of_name(case);
    if matches!(name, Exemption::Exempt(_)) {
        return name;
    }
    if recipients_are_exempt(case) {
        return Exemption::Exempt(Reason::ExemptRecipient);
    }
    match of_domain(case) {
        Exemption::None => name,
        domain => domain,
    }
}

fn of_domain(case: &Case<'_>) -> Exemption {
    let domains = &case.policy.exempt.domains;
    if domains.is_empty() {
        return Exemption::None;
    }
    match requirement::domains(case, domains, Passes::All) {
        Outcome::Met => Exemption::Exempt(Reason::ExemptDomain),
        Outcome::Unknown => Exemption::Unknown,
        Outcome::Unmet => Exemption::None,
    }
}

fn recipients_are_exempt(case: &Case<'_>) -> bool {
    let exempt = &case.policy.exempt;
    let Some(envelope) = case.envelope else { return false };
    let mut recipients = envelope.recipients.iter().map(|recipient| exempt.recipients.contains(recipient));
    if exempt.any_recipient {
        recipients.any(|is_exempt| is_exempt)
    } else {
        !envelope.recipients.is_empty() && recipients.all(|is_exempt| is_exempt)
    }
}

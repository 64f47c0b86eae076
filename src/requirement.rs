//! The requirement, evaluated in three values (P1, P10, P18, A27, A28).

use crate::case::Case;
use crate::contract::{AuthResult, AuthResults, Check, Tls};
use crate::policy::{DomainList, Requirement};

/// Whether a requirement is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Met,
    Unmet,
    /// A result that decides is not known yet, or has a temporary error.
    Unknown,
}

/// Whose passes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    /// All.
    All,
    /// Those of domains that the policy does not distrust (A30).
    Trusted,
}

/// Evaluates the policy's requirement.
pub(crate) fn evaluate(case: &Case<'_>, passes: Passes) -> Outcome {
    node(case, &case.policy.require, passes, false)
}

/// Under an odd number of `none` a pass is a fault: there every pass counts, or distrust would let mail in (A30).
fn node(case: &Case<'_>, requirement: &Requirement, passes: Passes, is_inverted: bool) -> Outcome {
    let child = |child| node(case, child, passes, is_inverted);
    let inverted = |child| node(case, child, passes, !is_inverted);
    match requirement {
        Requirement::Check(check) => self::check(case, *check, passes.counting(is_inverted)),
        Requirement::Domains(list) => domains(case, list, passes.counting(is_inverted)),
        Requirement::Any(children) => any(children.iter().map(child)),
        Requirement::All(children) => any(children.iter().map(|each| child(each).not())).not(),
        Requirement::None(children) => any(children.iter().map(inverted)).not(),
    }
}

impl Passes {
    fn counting(self, all: bool) -> Self {
        if all { Passes::All } else { self }
    }
}

impl Outcome {
    /// As `explain` says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Met => "met",
            Outcome::Unmet => "not met",
            Outcome::Unknown => "not known",
        }
    }

    fn not(self) -> Self {
        match self {
            Outcome::Met => Outcome::Unmet,
            Outcome::Unmet => Outcome::Met,
            Outcome::Unknown => Outcome::Unknown,
        }
    }
}

/// Met if one is met; unmet if all are unmet.
fn any(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let mut all = Outcome::Unmet;
    for outcome in outcomes {
        match outcome {
            Outcome::Met => return Outcome::Met,
            Outcome::Unknown => all = Outcome::Unknown,
            Outcome::Unmet => {}
        }
    }
    all
}

/// Only `pass` passes (A27).
pub(crate) fn of_result(result: AuthResult) -> Outcome {
    match result {
        AuthResult::Pass => Outcome::Met,
        AuthResult::Temperror => Outcome::Unknown,
        AuthResult::None
        | AuthResult::Fail
        | AuthResult::Softfail
        | AuthResult::Neutral
        | AuthResult::Policy
        | AuthResult::Permerror => Outcome::Unmet,
    }
}

/// TLS is a matter of the connection, which needs no results.
const NOTHING: &AuthResults =
    &AuthResults { spf_mail_from: None, spf_helo: None, dkim: None, dmarc: None, arc: None, iprev: None };

/// One method.
pub(crate) fn check(case: &Case<'_>, check: Check, passes: Passes) -> Outcome {
    let Some(results) = case.auth_results.or((check == Check::Tls).then_some(NOTHING)) else { return Outcome::Unknown };
    // What could not count in the end decides nothing now, a temporary error neither.
    let of_domain = |result, domain: &str| match of_result(result) {
        Outcome::Met | Outcome::Unknown if passes == Passes::Trusted && case.policy.distrust.contains(domain) => Outcome::Unmet,
        outcome => outcome,
    };
    match check {
        Check::Tls if matches!(case.connection.tls, Tls::Verified(_)) => Outcome::Met,
        Check::Tls => Outcome::Unmet,
        Check::Spf => {
            let known = any(case.spf_results().map(|spf| of_domain(spf.result, &spf.domain)));
            let is_open = case.spf_results().next().is_none()
                // HELO may still pass for a null sender.
                || case.is_null_sender() && results.spf_helo.is_none() && !case.is_end_of_data();
            if known == Outcome::Unmet && is_open { Outcome::Unknown } else { known }
        }
        Check::Dkim => results.dkim.as_ref().map_or(Outcome::Unknown, |signatures| {
            let counting = signatures.iter().filter(|dkim| !dkim.testing);
            any(counting.map(|dkim| of_domain(dkim.result, &dkim.domain)))
        }),
        Check::Dmarc => results.dmarc.as_ref().map_or(Outcome::Unknown, |dmarc| of_domain(dmarc.result, &dmarc.domain)),
        Check::Arc => results.arc.as_ref().map_or(Outcome::Unknown, |arc| match of_result(arc.result) {
            Outcome::Met if arc.sealers.is_empty() => Outcome::Unmet,
            // Each sealer could have changed the mail before it sealed it again: all have to be trusted.
            _ if !arc.sealers.iter().all(|sealer| case.policy.trusted_sealers.contains(sealer)) => Outcome::Unmet,
            outcome => outcome,
        }),
        Check::Fcrdns => results.iprev.as_ref().map_or(Outcome::Unknown, |iprev| of_result(iprev.result)),
    }
}

/// Whether an authenticated domain is listed. One that was not authenticated yet may be; at the end of data, a host without DMARC results
/// is one that gives none.
pub(crate) fn domains(case: &Case<'_>, list: &DomainList, passes: Passes) -> Outcome {
    let mut listed = false;
    case.for_each_pass(|domain| {
        listed |= list.contains(domain) && (passes == Passes::All || !case.policy.distrust.contains(domain));
    });
    if listed {
        return Outcome::Met;
    }
    let is_open = |check| self::check(case, check, passes) == Outcome::Unknown;
    let has_dmarc = case.auth_results.is_some_and(|results| results.dmarc.is_some());
    if is_open(Check::Spf) || is_open(Check::Dkim) || (has_dmarc || !case.is_end_of_data()) && is_open(Check::Dmarc) {
        Outcome::Unknown
    } else {
        Outcome::Unmet
    }
}

//! The requirement, evaluated in three values (P1, P10, P18, A27, A28).

use crate::case::Case;
use crate::contract::{AuthResult, Check, Stage, Tls};
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
    node(case, &case.policy.require, passes)
}

fn node(case: &Case<'_>, requirement: &Requirement, passes: Passes) -> Outcome {
    let child = |child| node(case, child, passes);
    match requirement {
        Requirement::Check(check) => self::check(case, *check, passes),
        Requirement::Domains(list) => domains(case, list, passes),
        Requirement::Any(children) => any(children.iter().map(child)),
        Requirement::All(children) => any(children.iter().map(|each| child(each).not())).not(),
        Requirement::None(children) => any(children.iter().map(child)).not(),
    }
}

impl Outcome {
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

fn check(case: &Case<'_>, check: Check, passes: Passes) -> Outcome {
    let counts = |domain: &str| passes == Passes::All || !case.policy.distrust.contains(domain);
    let trusted = |outcome, domain: &str| if outcome == Outcome::Met && !counts(domain) { Outcome::Unmet } else { outcome };
    if check == Check::Tls {
        return tls(case);
    }
    let Some(results) = case.auth_results else { return Outcome::Unknown };
    match check {
        Check::Spf => {
            let mut known = case.spf_results().map(|spf| trusted(of_result(spf.result), &spf.domain)).peekable();
            if known.peek().is_none() { Outcome::Unknown } else { any(known) }
        }
        Check::Dkim => results.dkim.as_ref().map_or(Outcome::Unknown, |signatures| {
            any(signatures.iter().map(|dkim| match of_result(dkim.result) {
                Outcome::Met if dkim.testing => Outcome::Unmet,
                outcome => trusted(outcome, &dkim.domain),
            }))
        }),
        Check::Dmarc => results.dmarc.as_ref().map_or(Outcome::Unknown, |dmarc| trusted(of_result(dmarc.result), &dmarc.domain)),
        Check::Arc => results.arc.as_ref().map_or(Outcome::Unknown, |arc| match of_result(arc.result) {
            // Each sealer could have changed the mail before it sealed it again: all have to be trusted.
            Outcome::Met if arc.sealers.is_empty() => Outcome::Unmet,
            Outcome::Met if !arc.sealers.iter().all(|sealer| case.policy.trusted_sealers.contains(sealer)) => Outcome::Unmet,
            outcome => outcome,
        }),
        Check::Fcrdns => results.iprev.as_ref().map_or(Outcome::Unknown, |iprev| of_result(iprev.result)),
        Check::Tls => tls(case),
    }
}

/// A verified client certificate. Until MAIL, STARTTLS may still come.
fn tls(case: &Case<'_>) -> Outcome {
    match case.connection.tls {
        Tls::Verified(_) => Outcome::Met,
        Tls::None | Tls::Encrypted if case.connection.stage < Stage::Mail => Outcome::Unknown,
        Tls::None | Tls::Encrypted => Outcome::Unmet,
    }
}

/// Whether an authenticated domain is listed. One that was not authenticated yet may be.
pub(crate) fn domains(case: &Case<'_>, list: &DomainList, passes: Passes) -> Outcome {
    let mut listed = false;
    case.for_each_pass(|domain| {
        listed |= list.contains(domain) && (passes == Passes::All || !case.policy.distrust.contains(domain));
    });
    if listed {
        return Outcome::Met;
    }
    let open = [Check::Spf, Check::Dkim].into_iter().any(|each| check(case, each, Passes::All) == Outcome::Unknown);
    if open { Outcome::Unknown } else { Outcome::Unmet }
}

/// The checks that stand in the way, with their results: "SPF=none", "DKIM=fail". Made of fixed words only.
pub(crate) fn failed(case: &Case<'_>) -> Vec<String> {
    let mut words = Vec::new();
    describe_unmet(case, &case.policy.require, true, &mut words);
    words
}

/// The names of the checks that the requirement asks for: "SPF, DKIM".
pub(crate) fn names(requirement: &Requirement) -> String {
    fn collect(requirement: &Requirement, names: &mut Vec<&str>) {
        let name = match requirement {
            Requirement::Check(check) => check_name(*check),
            Requirement::Domains(_) => "DOMAIN",
            Requirement::Any(children) | Requirement::All(children) | Requirement::None(children) => {
                return children.iter().for_each(|child| collect(child, names));
            }
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut names = Vec::new();
    collect(requirement, &mut names);
    names.join(", ")
}

/// Collects the leaves whose outcome is not the one `wanted`.
fn describe_unmet(case: &Case<'_>, requirement: &Requirement, wanted: bool, words: &mut Vec<String>) {
    let word = match requirement {
        Requirement::Any(children) | Requirement::All(children) => {
            return children.iter().for_each(|child| describe_unmet(case, child, wanted, words));
        }
        Requirement::None(children) => {
            return children.iter().for_each(|child| describe_unmet(case, child, !wanted, words));
        }
        Requirement::Check(check) => {
            if (self::check(case, *check, Passes::All) == Outcome::Met) == wanted {
                return;
            }
            [check_name(*check), "=", check_word(case, *check)].concat()
        }
        Requirement::Domains(list) => {
            if (domains(case, list, Passes::All) == Outcome::Met) == wanted {
                return;
            }
            if wanted { "DOMAIN=not-listed".into() } else { "DOMAIN=listed".into() }
        }
    };
    if !words.contains(&word) {
        words.push(word);
    }
}

fn check_name(check: Check) -> &'static str {
    match check {
        Check::Spf => "SPF",
        Check::Dkim => "DKIM",
        Check::Dmarc => "DMARC",
        Check::Arc => "ARC",
        Check::Fcrdns => "FCrDNS",
        Check::Tls => "TLS",
    }
}

/// The result in a word; "unknown" where the host gave none.
fn check_word(case: &Case<'_>, check: Check) -> &'static str {
    const UNKNOWN: &str = "unknown";
    let results = case.auth_results;
    match check {
        Check::Spf => {
            // Of the two results of a null sender the better one, which is what counts.
            let results = case.spf_results().map(|spf| spf.result);
            let best = results.min_by_key(|&result| (result != AuthResult::Pass, result == AuthResult::None));
            best.map_or(UNKNOWN, AuthResult::as_str)
        }
        Check::Dkim => results.and_then(|results| results.dkim.as_ref()).map_or(UNKNOWN, |signatures| {
            let passes = signatures.iter().find(|dkim| dkim.result == AuthResult::Pass);
            match (passes, signatures.first()) {
                (Some(pass), _) if pass.testing && !signatures.iter().any(|d| d.result == AuthResult::Pass && !d.testing) => {
                    "testing"
                }
                (Some(_), _) => "pass",
                (None, Some(first)) => first.result.as_str(),
                (None, None) => "none",
            }
        }),
        Check::Dmarc => results.and_then(|results| results.dmarc.as_ref()).map_or(UNKNOWN, |dmarc| dmarc.result.as_str()),
        Check::Arc => results.and_then(|results| results.arc.as_ref()).map_or(UNKNOWN, |arc| match arc.result {
            AuthResult::Pass if self::check(case, Check::Arc, Passes::All) != Outcome::Met => "untrusted",
            result => result.as_str(),
        }),
        Check::Fcrdns => results.and_then(|results| results.iprev.as_ref()).map_or(UNKNOWN, |iprev| iprev.result.as_str()),
        Check::Tls => match case.connection.tls {
            Tls::None => "none",
            Tls::Encrypted => "no-certificate",
            Tls::Verified(_) => "pass",
        },
    }
}

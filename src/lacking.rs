//! What a message lacks, in words of a fixed list, for the replies (P14).

use crate::case::Case;
use crate::contract::{AuthResult, Check, Tls};
use crate::policy::{MAX_FAILED, Requirement};
use crate::requirement::{self, Outcome, Passes};

/// A check and its result: "SPF", "none". Fixed words only.
pub(crate) type Word = (&'static str, &'static str);

/// The checks that stand in the way, with their results.
pub(crate) fn failed(case: &Case<'_>) -> Vec<Word> {
    let mut words = Vec::new();
    collect(case, &case.policy.require, true, |outcome, should_be_met| (outcome == Outcome::Met) != should_be_met, &mut words);
    words
}

/// The checks that are not known, of the requirement and of what could have exempted the message: "SPF=temperror".
pub(crate) fn unknown(case: &Case<'_>) -> String {
    let mut words = Vec::new();
    collect(case, &case.policy.require, true, |outcome, _| outcome == Outcome::Unknown, &mut words);
    let exempt = &case.policy.exempt;
    let exempting = [
        (Check::Fcrdns, !exempt.names.is_empty()),
        (Check::Spf, !exempt.domains.is_empty()),
        (Check::Dkim, !exempt.domains.is_empty()),
    ];
    for (check, _) in exempting.into_iter().filter(|(_, asked)| *asked) {
        if requirement::check(case, check, Passes::All) == Outcome::Unknown {
            add(&mut words, word(case, check));
        }
    }
    if words.is_empty() { "authentication".into() } else { listed(&words) }
}

/// The words in one text: "SPF=none, DKIM=none".
pub(crate) fn listed(words: &[Word]) -> String {
    // All words there are fit. In place of `join`, which is 600 octets of the component for each type of text.
    let mut text = String::with_capacity(MAX_FAILED);
    for (check, result) in words {
        let comma = if text.is_empty() { "" } else { ", " };
        [comma, check, "=", result].into_iter().for_each(|part| text.push_str(part));
    }
    text
}

/// The names of the checks that the requirement asks for: "SPF, DKIM".
pub(crate) fn names(requirement: &Requirement) -> String {
    fn name_all(requirement: &Requirement, names: &mut Vec<&str>) {
        let name = match requirement {
            Requirement::Check(check) => check_name(*check),
            Requirement::Domains(_) => DOMAIN,
            Requirement::Any(children) | Requirement::All(children) | Requirement::None(children) => {
                return children.iter().for_each(|child| name_all(child, names));
            }
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut names = Vec::new();
    name_all(requirement, &mut names);
    names.join(", ")
}

/// Walks over the leaves. What `picks` says of a leaf's outcome, and of whether it should be met, decides whether it is named.
fn collect(
    case: &Case<'_>,
    requirement: &Requirement,
    should_be_met: bool,
    picks: fn(Outcome, bool) -> bool,
    words: &mut Vec<Word>,
) {
    let word = match requirement {
        Requirement::Any(children) | Requirement::All(children) => {
            return children.iter().for_each(|child| collect(case, child, should_be_met, picks, words));
        }
        Requirement::None(children) => {
            return children.iter().for_each(|child| collect(case, child, !should_be_met, picks, words));
        }
        Requirement::Check(check) => {
            if !picks(requirement::check(case, *check, Passes::All), should_be_met) {
                return;
            }
            word(case, *check)
        }
        Requirement::Domains(list) => {
            let outcome = requirement::domains(case, list, Passes::All);
            if !picks(outcome, should_be_met) {
                return;
            }
            let result = match outcome {
                Outcome::Met => "listed",
                Outcome::Unmet => "not-listed",
                Outcome::Unknown => "unknown",
            };
            (DOMAIN, result)
        }
    };
    add(words, word);
}

fn add(words: &mut Vec<Word>, word: Word) {
    if !words.contains(&word) {
        words.push(word);
    }
}

fn word(case: &Case<'_>, check: Check) -> Word {
    (check_name(check), check_word(case, check))
}

/// What a requirement that is a list of domains is called.
const DOMAIN: &str = "DOMAIN";

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
            AuthResult::Pass if requirement::check(case, Check::Arc, Passes::All) != Outcome::Met => "untrusted",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_there_are_fit() {
        let results = [
            AuthResult::None,
            AuthResult::Pass,
            AuthResult::Fail,
            AuthResult::Softfail,
            AuthResult::Neutral,
            AuthResult::Policy,
            AuthResult::Temperror,
            AuthResult::Permerror,
        ];
        let results = results.map(AuthResult::as_str).into_iter().chain(["unknown", "testing", "untrusted"]);
        let longest = results.max_by_key(|result| result.len()).expect("there are some");
        let checks = [Check::Spf, Check::Dkim, Check::Dmarc, Check::Arc, Check::Fcrdns].map(|check| (check_name(check), longest));
        // One list of domains may be met, another not, and a third not known.
        let lists = ["listed", "not-listed", "unknown"].map(|result| (DOMAIN, result));
        let all = [&checks[..], &[(check_name(Check::Tls), "no-certificate")], &lists].concat();
        assert!(listed(&all).len() <= MAX_FAILED, "{}", listed(&all).len());
    }
}

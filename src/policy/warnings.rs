//! Settings that are allowed but stricter or riskier than usual (P16).

use super::print::duration;
use super::{DecideAt, NoFallbackAction, Policy, Requirement};
use crate::contract::{Check, Mode, PolicyWarning};

/// What is unusual about the policy, in the order of its settings.
pub(super) fn warnings(policy: &Policy) -> Vec<PolicyWarning> {
    let mut warnings = Vec::new();
    let mut warn = |pointer: &str, message: &str| {
        warnings.push(PolicyWarning { pointer: pointer.into(), message: message.into() });
    };
    let enforce = policy.mode == Mode::Enforce;

    if enforce && policy.rollout_percent == 0 {
        warn(
            "/rollout_percent",
            "0 % of the networks: nothing is refused although the mode is enforce; \"observe\" says so plainly",
        );
    }
    if !met_by(&policy.require, Check::Spf) || !met_by(&policy.require, Check::Dkim) {
        warn(
            "/require",
            "stricter than SPF or DKIM: mail that passes one of them, or both, can be refused over IPv6 and is delayed until it comes over IPv4",
        );
    }
    if !policy.trusted_sealers.is_empty() && !names(&policy.require, Check::Arc) {
        warn("/trusted_sealers", "without effect: require does not name arc, so mail from these sealers gets no credit");
    }
    if policy.decide_at == DecideAt::Earliest {
        warn(
            "/decide_at",
            "refusals at DATA come before the message is seen: what only the message could show cannot help there (A13)",
        );
    }
    if policy.network.default < 48 {
        let message = "a prefix under 48 joins many customers of a provider: all of them are refused at the greeting for the failures of a few";
        warn("/network/prefix", message);
    }
    if policy.network.overrides.iter().any(|&(_, prefix)| prefix < 48) {
        let message = "an override with a prefix under 48 joins many customers of a provider: all are refused at the greeting for the failures of a few";
        warn("/network/overrides", message);
    }
    for (at, network) in policy.exempt.networks.iter().enumerate().filter(|(_, network)| network.length() < 16) {
        let pointer = format!("/exempt/networks/{at}");
        warn(&pointer, &format!("{network} is very large: unauthenticated mail from all of it is accepted"));
    }
    if policy.exempt.any_recipient && !policy.exempt.recipients.entries().is_empty() {
        let message =
            "one exempt recipient exempts a message for all its recipients: adding postmaster is enough to pass the policy (A16)";
        warn("/exempt/recipients_match", message);
    }
    if policy.penalty.at_greeting {
        if policy.penalty.first > 3600 {
            let message = format!(
                "a first penalty over 1h: a sender that has put things right is refused for up to {} all the same",
                duration(policy.penalty.first)
            );
            warn("/penalty/first", &message);
        }
        if policy.penalty.probe_one_in == 0 {
            warn(
                "/penalty/probe_one_in",
                "no probes: a sender that has put things right is noticed only when its penalty is over",
            );
        }
        if policy.penalty.maximum > 24 * 3600 {
            let message = format!(
                "penalties over 1d: a sender that has put things right may be refused for up to {} all the same",
                duration(policy.penalty.maximum)
            );
            warn("/penalty/maximum", &message);
        }
    }
    match policy.no_fallback.action {
        NoFallbackAction::Alert if enforce => warn(
            "/no_fallback/action",
            "clients that never fall back are only noted: their mail is lost unless you exempt them by hand (P15)",
        ),
        NoFallbackAction::Reject => {
            warn("/no_fallback/action", "mail of clients that never fall back is rejected for good, with 550 (P17)")
        }
        NoFallbackAction::LetIn if policy.no_fallback.let_in_per_day == 0 || policy.no_fallback.let_in_per_day_48 == 0 => {
            let setting = if policy.no_fallback.let_in_per_day == 0 { "let_in_per_day" } else { "let_in_per_day_48" };
            let message = "0 messages: nothing is let in, and mail of clients that never fall back is lost";
            warn(&format!("/no_fallback/{setting}"), message);
        }
        _ => {}
    }
    if policy.temporary_errors.per_network == 0 || policy.temporary_errors.per_48 == 0 {
        let setting = if policy.temporary_errors.per_network == 0 { "per_network" } else { "per_48" };
        let message = "0 messages: the first DNS error delays mail that would pass, with 451 4.4.3";
        warn(&format!("/temporary_errors/{setting}"), message);
    } else if policy.temporary_errors.per_network > policy.temporary_errors.per_48 {
        warn(
            "/temporary_errors/per_network",
            "more than per_48: one network uses up what its whole /48 may have, and is never given all of it",
        );
    }
    if policy.codes.later == 451 {
        let message = "451 leaves the session open: a client without the extension goes on sending over IPv6 and is refused for every message (A14, A32)";
        warn("/codes/later", message);
    }
    if enforce && policy.url.is_none() {
        warn(
            "/url",
            "replies name no page that explains the policy: people whose mail is refused cannot read why, nor what to do",
        );
    }
    warnings
}

/// Whether a pass of this check alone meets the requirement, by its form: a `none` or `domains` never counts as met.
fn met_by(requirement: &Requirement, check: Check) -> bool {
    match requirement {
        Requirement::Check(named) => *named == check,
        Requirement::Any(list) => list.iter().any(|requirement| met_by(requirement, check)),
        Requirement::All(list) => list.iter().all(|requirement| met_by(requirement, check)),
        Requirement::Domains(_) | Requirement::None(_) => false,
    }
}

/// Whether the requirement names this check.
fn names(requirement: &Requirement, check: Check) -> bool {
    let mut checks = Vec::new();
    leaves(requirement, &mut checks);
    checks.contains(&check)
}

/// The methods whose results can change a decision of this policy, sorted: those that `require` names; SPF, DKIM and DMARC where
/// authenticated domains matter (P11); the reverse name where names are exempt (A29).
pub fn checks(policy: &Policy) -> Vec<Check> {
    let mut named = Vec::new();
    leaves(&policy.require, &mut named);
    if !policy.exempt.domains.is_empty() {
        named.extend([Check::Spf, Check::Dkim, Check::Dmarc]);
    }
    if !policy.exempt.names.is_empty() {
        named.push(Check::Fcrdns);
    }
    let all = [Check::Spf, Check::Dkim, Check::Dmarc, Check::Arc, Check::Fcrdns, Check::Tls];
    all.into_iter().filter(|check| named.contains(check)).collect()
}

fn leaves(requirement: &Requirement, checks: &mut Vec<Check>) {
    match requirement {
        Requirement::Check(check) => checks.push(*check),
        Requirement::Domains(_) => checks.extend([Check::Spf, Check::Dkim, Check::Dmarc]),
        Requirement::Any(list) | Requirement::All(list) | Requirement::None(list) => {
            list.iter().for_each(|requirement| leaves(requirement, checks));
        }
    }
}

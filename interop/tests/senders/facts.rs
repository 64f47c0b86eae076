//! What each sender is known to do. The tests hold it against what they see; the head of the generated document rests on it.

use smtp_fallback_interop::senders::Mta;

use crate::layouts::Layout;
use crate::refusals::Refusal;
use crate::trial::{Case, Outcome, Trial};

/// Whether this may come of a message, by all that is known.
fn is_known(mta: Mta, (refusal, layout): Case, outcome: Outcome) -> bool {
    let chance = matches!(layout, Layout::Pair | Layout::TwoPairs | Layout::DualStack);
    if outcome == Outcome::Ipv4First {
        return chance;
    }
    if refusal == Refusal::Dot550 {
        return outcome == Outcome::Bounced;
    }
    if layout == Layout::Ipv6Only {
        return outcome == Outcome::Waits;
    }
    let at_once = matches!(outcome, Outcome::AtOnce(_));
    let before_mail = matches!(refusal, Refusal::Greeting451 | Refusal::Ehlo421);
    match mta {
        // Two sessions a message and no more, of which those that are refused before MAIL do not count.
        Mta::Postfix if before_mail => at_once,
        Mta::Postfix if layout == Layout::TwoPairs => at_once || matches!(outcome, Outcome::AfterRun | Outcome::Waits),
        Mta::Postfix if layout == Layout::TwoIpv6BeforeIpv4 => outcome == Outcome::Waits,
        Mta::Postfix => at_once,
        // One address of a host, the first.
        Mta::Sendmail if layout == Layout::DualStack => outcome == Outcome::Waits,
        Mta::Sendmail => at_once,
        Mta::Exim => at_once,
        Mta::OpenSmtpd if before_mail => at_once,
        Mta::OpenSmtpd => matches!(outcome, Outcome::Waits | Outcome::AfterRun),
        // The next retry begins anew; which of equal hosts it tries first is chance.
        Mta::Haraka => outcome == Outcome::Waits || matches!(outcome, Outcome::Later(_)) && chance,
    }
}

/// Panics with all that is not known, if anything is.
pub(crate) fn check(trial: &Trial) {
    let unknown: Vec<_> = trial
        .outcomes
        .iter()
        .flat_map(|(&case, outcomes)| outcomes.iter().map(move |&outcome| (case, outcome)))
        .filter(|&(case, outcome)| !is_known(trial.mta, case, outcome))
        .map(|(case, outcome)| format!("{case:?}: {outcome:?}\n"))
        .collect();
    assert!(
        unknown.is_empty(),
        "{} ({}) does what is not known of it; correct facts.rs, or the test:\n{}",
        trial.mta.name(),
        trial.version,
        unknown.concat()
    );
}

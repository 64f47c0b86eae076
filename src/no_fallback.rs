//! Clients that do not fall back (P15, A34), and those that issue the verb but do not (A37).

use crate::policy::NoFallback;
use crate::record::{BudgetRecord, LetIn, MailRead, NetworkRecord, VERB_WATCHED, Window};

/// For so long a network whose verb turned out to be a pretext is not believed, in seconds (A37).
const NOT_BELIEVED_FOR: u64 = 7 * 24 * 3600;
/// So many distinct mails make it one (A37).
const PRETEXTS: usize = 3;
/// So long they were not seen, in seconds (A37).
const UNSEEN_FOR: u64 = 3600;

/// Whether this mail was refused so often, and over such a time, that its client does not fall back.
pub(crate) fn is_reached(policy: &NoFallback, mail: &MailRead<'_>) -> bool {
    mail.refusals >= policy.refusals && mail.lasted() >= policy.over.into()
}

/// Whether a network is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is not.
    None,
    /// It is.
    Open,
    /// It is, but has used up its unauthenticated mail.
    UsedUp,
}

/// Whether the network is let in at the greeting, where its /48 is not asked.
pub(crate) fn at_greeting(policy: &NoFallback, network: &NetworkRecord, now: u64) -> Admission {
    admission(policy, network, &BudgetRecord::default(), now)
}

/// Whether an unauthenticated mail of the network is let in.
pub(crate) fn admission(policy: &NoFallback, network: &NetworkRecord, budget: &BudgetRecord, now: u64) -> Admission {
    match network.let_in.filter(|let_in| let_in.in_force(now)) {
        None => Admission::None,
        Some(let_in) if let_in.by_operator || next(policy, let_in, budget, now).is_some() => Admission::Open,
        Some(_) => Admission::UsedUp,
    }
}

/// Lets one unauthenticated mail in; `false`, and nothing taken, when the network is not let in or has used up what it may send.
pub(crate) fn take(policy: &NoFallback, network: &mut NetworkRecord, budget: &mut BudgetRecord, now: u64) -> bool {
    let Some(let_in) = network.let_in.as_mut().filter(|let_in| let_in.in_force(now)) else { return false };
    if let_in.by_operator {
        return true;
    }
    let Some((failing, of_48)) = next(policy, *let_in, budget, now) else { return false };
    let_in.failing = Some(failing);
    budget.let_in = Some(of_48);
    true
}

/// Begins to let the network in.
pub(crate) fn begin(policy: &NoFallback, network: &mut NetworkRecord, now: u64) {
    let until = now.saturating_add(policy.let_in_for.into());
    network.let_in = Some(LetIn { since: now, until, by_operator: false, failing: None });
}

fn next(policy: &NoFallback, let_in: LetIn, budget: &BudgetRecord, now: u64) -> Option<(Window, Window)> {
    let failing = Window::one_more(let_in.failing, policy.let_in_per_day, now)?;
    Some((failing, Window::one_more(budget.let_in, policy.let_in_per_day_48, now)?))
}

/// Whether the network's acknowledgements count for nothing (A37): it is known, or seen from the mails that wait. `visible`: arrivals over
/// IPv4 can be seen.
pub(crate) fn is_not_believed(record: &NetworkRecord, visible: bool, now: u64) -> bool {
    // A time beyond any that was set is of another clock.
    let known = record.not_believed_until.is_some_and(|until| until > now && until - now <= NOT_BELIEVED_FOR);
    let unseen = |waiting: &&crate::record::Waiting| {
        let seconds = now.saturating_sub(waiting.since);
        waiting.acknowledged && (UNSEEN_FOR..VERB_WATCHED).contains(&seconds)
    };
    known || visible && record.waiting.iter().flatten().filter(unseen).count() >= PRETEXTS
}

/// Notes what [`is_not_believed`] sees; whether that is new.
pub(crate) fn note_not_believed(record: &mut NetworkRecord, visible: bool, now: u64) -> bool {
    let known = is_not_believed(&NetworkRecord { waiting: [None; 4], ..*record }, visible, now);
    if known || !is_not_believed(record, visible, now) {
        return false;
    }
    record.not_believed_until = Some(now.saturating_add(NOT_BELIEVED_FOR));
    record.capable_at = None;
    // They have done their work: only mails from now on can renew it.
    for place in &mut record.waiting {
        if place.is_some_and(|waiting| waiting.acknowledged) {
            *place = None;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::record::Waiting;

    const NOW: u64 = 1_700_000_000;

    fn policy() -> NoFallback {
        Policy::default().no_fallback
    }

    #[test]
    fn fifty_a_day_for_a_network_and_two_hundred_for_its_48() {
        let mut budget = BudgetRecord::default();
        for n in 0..5 {
            let mut network = NetworkRecord::default();
            assert!(!take(&policy(), &mut network, &mut budget, NOW), "it is not let in");
            begin(&policy(), &mut network, NOW);
            let taken = (0..60).filter(|_| take(&policy(), &mut network, &mut budget, NOW)).count();
            assert_eq!(taken, if n < 4 { 50 } else { 0 });
            assert_eq!(admission(&policy(), &network, &budget, NOW), Admission::UsedUp);
            assert_eq!(admission(&policy(), &network, &budget, NOW + 24 * 3600), Admission::Open);
            assert_eq!(admission(&policy(), &network, &budget, NOW + 7 * 24 * 3600 - 1), Admission::Open);
            assert_eq!(admission(&policy(), &network, &budget, NOW + 7 * 24 * 3600), Admission::None);
        }
    }

    #[test]
    fn an_operator_s_word_has_no_limit_but_its_time() {
        let let_in = LetIn { since: NOW, until: NOW + 60, by_operator: true, failing: None };
        let mut network = NetworkRecord { let_in: Some(let_in), ..NetworkRecord::default() };
        let mut budget = BudgetRecord::default();
        assert!((0..1000).all(|_| take(&policy(), &mut network, &mut budget, NOW + 59)));
        assert!(!take(&policy(), &mut network, &mut budget, NOW + 60));
    }

    fn waiting(mails: u32, acknowledged: bool) -> NetworkRecord {
        let mut record = NetworkRecord { capable_at: Some(NOW), ..NetworkRecord::default() };
        for n in 1..=mails {
            record.add_waiting(Waiting { exact: n, inferred: 0, since: NOW, acknowledged }, NOW);
        }
        record
    }

    #[test]
    fn three_mails_unseen_for_an_hour_make_the_verb_a_pretext() {
        let hour = NOW + 3600;
        assert!(is_not_believed(&waiting(3, true), true, hour));
        assert!(!is_not_believed(&waiting(3, true), true, hour - 1));
        assert!(!is_not_believed(&waiting(2, true), true, hour));
        assert!(!is_not_believed(&waiting(3, false), true, hour), "sessions without the verb are not about it");
        assert!(!is_not_believed(&waiting(3, true), false, hour), "arrivals cannot be seen");
    }

    #[test]
    fn it_is_noted_once_and_lasts_for_seven_days() {
        let mut record = waiting(3, true);
        assert!(note_not_believed(&mut record, true, NOW + 3600));
        assert!(!note_not_believed(&mut record, true, NOW + 3601));
        assert_eq!(record.capable_at, None);
        let until = NOW + 3600 + NOT_BELIEVED_FOR;
        assert!(is_not_believed(&record, false, until - 1));
        assert!(!is_not_believed(&record, false, until));
        assert!(!is_not_believed(&record, false, NOW), "longer than any: a clock went back");
    }
}

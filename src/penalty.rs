//! The penalty of a network: refusal at the greeting (P6, P7, P12, A5 to A7).

use crate::contract::{Connection, Note, Stage};
use crate::evidence::Evidence;
use crate::hash::HashKey;
use crate::no_fallback;
use crate::policy::Penalty;
use crate::record::{NetworkRecord, PenaltyRecord};

/// Capability is remembered for 30 days (A5).
const CAPABILITY_LASTS: u64 = 30 * 24 * 3600;

/// While a refused mail waits, one connection in this time passes, in seconds (A7).
const DUE_PROBE: u64 = 5 * 60;

/// One doubling is forgotten in this time without a failure (A7).
const DOUBLING_FORGOTTEN_IN: u64 = 6 * 3600;

/// Whether a network's senders understand the extension (A5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// A session acknowledged it within 30 days.
    Capable,
    /// Within 30 days, a message was judged in a session that was shown the keyword and did not issue the verb.
    Incapable,
    /// Neither.
    Unknown,
}

/// What is known from the network's history.
pub(crate) fn capability(record: &NetworkRecord, now: u64) -> Capability {
    if is_recent(record.capable_at, now) {
        Capability::Capable
    } else if is_recent(record.incapable_at, now) {
        Capability::Incapable
    } else {
        Capability::Unknown
    }
}

/// What the greeting and EHLO do about a network's penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtGreeting {
    /// There is none.
    NoPenalty,
    /// There is one, but this connection passes it.
    Passes(GreetingPass),
    /// Refuse.
    Refuse,
}

/// Why a connection passes its network's penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GreetingPass {
    /// The address has a good standing of its own (P13).
    GoodStanding,
    /// The network is, or may be, capable of the extension, which this listener offers (P6 b).
    Capable,
    /// One of the connections that pass by chance, to see whether things are better (A7).
    Probe,
    /// The connection that passes in five minutes, so that a refused mail that waits can be seen again (A7).
    DueProbe,
}

impl GreetingPass {
    pub(crate) fn note(self) -> Note {
        match self {
            GreetingPass::GoodStanding => Note::GoodStanding,
            GreetingPass::Capable => Note::Capable,
            GreetingPass::Probe | GreetingPass::DueProbe => Note::Probe,
        }
    }
}

/// Applies P6 and P7, where the policy has a penalty at the greeting. `address` is the client address's own evidence; `observing` lets simulated penalties count.
pub(crate) fn at_greeting(
    policy: &Penalty,
    key: HashKey,
    connection: &Connection,
    record: &NetworkRecord,
    address: Evidence,
    observing: bool,
) -> AtGreeting {
    let now = connection.now;
    if !record.penalty.is_some_and(|penalty| in_force(policy, penalty, now, observing)) {
        return AtGreeting::NoPenalty;
    }
    if address.decayed(now, policy.half_life).good_standing() {
        return AtGreeting::Passes(GreetingPass::GoodStanding);
    }
    let believed = !no_fallback::is_not_believed(record, connection.ipv4_arrivals_visible, now);
    if connection.listener_offers && believed && capability(record, now) != Capability::Incapable {
        return AtGreeting::Passes(GreetingPass::Capable);
    }
    if key.is_probe(connection.nonce, policy.probe_one_in) {
        return AtGreeting::Passes(GreetingPass::Probe);
    }
    // A time in the future is of another clock, and would stop probes until then.
    let due = record.probed_at.is_none_or(|time| time > now || now - time >= DUE_PROBE);
    // A host that asks at the greeting asks at EHLO again: the connection that passed is the one that passes.
    let passed = connection.stage == Stage::Ehlo && record.probe == Some(connection.nonce);
    if (due || passed) && record.has_waiting(now) {
        return AtGreeting::Passes(GreetingPass::DueProbe);
    }
    AtGreeting::Refuse
}

/// Whether the time of refusal still runs. One that is longer than any penalty, from the last failure as from now, counts as expired: the
/// clock was wrong, or the record is not ours. From the last failure, so that it cannot come into force later.
pub(crate) fn in_force(policy: &Penalty, penalty: PenaltyRecord, now: u64, observing: bool) -> bool {
    let since = penalty.last_failure.min(now);
    (!penalty.simulated || observing) && penalty.refuse_until > now && penalty.refuse_until - since <= longest(policy)
}

/// The longest penalty with its jitter.
fn longest(policy: &Penalty) -> u64 {
    u64::from(policy.maximum) * 120 / 100
}

/// A message was judged: counts it and starts, renews or ends the penalty.
pub(crate) fn judged(
    policy: &Penalty,
    key: HashKey,
    connection: &Connection,
    record: &mut NetworkRecord,
    passed: bool,
    observing: bool,
) -> Option<Note> {
    let now = connection.now;
    record.evidence = record.evidence.decayed(now, policy.half_life).with(passed);
    if passed {
        let ended = record.penalty.take().is_some_and(|penalty| in_force(policy, penalty, now, observing));
        return ended.then_some(Note::PenaltyEnds);
    }
    // What observing made is nothing to enforcing.
    let before = record.penalty.filter(|penalty| observing || !penalty.simulated);
    if let Some(running) = before.filter(|&penalty| in_force(policy, penalty, now, observing)) {
        record.penalty = Some(PenaltyRecord { last_failure: now, ..running });
        return None;
    }
    if !policy.at_greeting || !record.evidence.proves_failing_majority(policy.confidence) {
        // The doublings of an earlier penalty stay until they are forgotten.
        record.penalty = before.and_then(|penalty| {
            doublings_left(penalty, now).map(|doublings| PenaltyRecord { doublings, last_failure: now, ..penalty })
        });
        return None;
    }
    let (doublings, note) = match before.and_then(|penalty| doublings_left(penalty, now)) {
        None => (0, Note::PenaltyBegins),
        Some(left) => (most_doublings(policy).min(left.saturating_add(1)), Note::PenaltyRenewed),
    };
    let time = (u64::from(policy.first) << doublings).min(u64::from(policy.maximum));
    // The jitter goes both ways, after the cap: networks that were penalised together are not to come back together.
    let share = u32::from(policy.jitter_percent);
    let percent = u64::from(100 - share + key.jitter(connection.nonce, 2 * share + 1));
    record.penalty = Some(PenaltyRecord {
        refuse_until: now.saturating_add((time * percent / 100).max(1)),
        doublings,
        last_failure: now,
        simulated: observing,
    });
    // The mail that led to it was just told to come over IPv4: the first connection that passes for its sake may be in five minutes.
    (record.probed_at, record.probe) = (Some(now), None);
    Some(note)
}

/// The doublings that are not forgotten yet; `None` when the whole penalty is, and the next one begins anew.
fn doublings_left(penalty: PenaltyRecord, now: u64) -> Option<u8> {
    let forgotten = now.saturating_sub(penalty.last_failure) / DOUBLING_FORGOTTEN_IN;
    u64::from(penalty.doublings).checked_sub(forgotten).and_then(|left| u8::try_from(left).ok())
}

/// As many doublings as it takes from the first penalty to the maximum: more would only take longer to forget.
fn most_doublings(policy: &Penalty) -> u8 {
    (0..32).find(|&doublings| u64::from(policy.first.max(1)) << doublings >= u64::from(policy.maximum)).unwrap_or(32)
}

/// When the penalty, and after it its doublings, mean nothing any more.
pub(crate) fn forgotten_at(policy: &Penalty, penalty: PenaltyRecord, now: u64) -> u64 {
    let runs_until = penalty.refuse_until.min(now.saturating_add(longest(policy)));
    let memory = (u64::from(penalty.doublings) + 1) * DOUBLING_FORGOTTEN_IN;
    runs_until.max(penalty.last_failure.min(now).saturating_add(memory))
}

/// A time in the future was written under a wrong clock: it is now, or it would never be over.
pub(crate) fn correct_capability(record: &mut NetworkRecord, now: u64) {
    for time in [&mut record.capable_at, &mut record.incapable_at] {
        *time = time.map(|time| time.min(now));
    }
}

/// When what is known about capability means nothing any more; 0 when nothing is known.
pub(crate) fn capability_forgotten_at(record: &NetworkRecord, now: u64) -> u64 {
    let last = record.capable_at.max(record.incapable_at);
    last.map_or(0, |time| time.min(now).saturating_add(CAPABILITY_LASTS))
}

fn is_recent(time: Option<u64>, now: u64) -> bool {
    time.is_some_and(|time| now.saturating_sub(time) < CAPABILITY_LASTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::policy::Policy;
    use crate::record::Waiting;

    const NOW: u64 = 1_700_000_000;

    fn connection(now: u64, nonce: u32) -> Connection {
        Connection {
            ipv4_arrivals_visible: true,
            now,
            nonce,
            ..Connection::new(Stage::EndOfData, Address::from_words([0x2001_0db8, 0, 0, 1]))
        }
    }

    /// A policy without jitter, and what each of these failures, so many seconds after the first, leads to: the length of the penalty.
    fn penalties(failures: &[u64]) -> Vec<u64> {
        let policy = Penalty { jitter_percent: 0, ..Policy::default().penalty };
        let mut record = NetworkRecord::default();
        let mut lengths = Vec::new();
        for &at in failures {
            let now = NOW + at;
            if judged(&policy, HashKey::new(b""), &connection(now, 1), &mut record, false, false).is_some() {
                lengths.push(record.penalty.expect("it begins").refuse_until - now);
            }
        }
        lengths
    }

    #[test]
    fn the_seventh_failure_begins_a_penalty_of_15_minutes() {
        assert!(penalties(&[0; 6]).is_empty());
        assert_eq!(penalties(&[0; 7]), [900]);
        assert_eq!(penalties(&[0; 30]), [900], "failures during it do not extend it");
    }

    #[test]
    fn a_failure_after_it_doubles_up_to_six_hours() {
        let mut times = vec![0; 7];
        let mut at = 0;
        for length in [900, 1800, 3600, 7200, 14_400, 21_600, 21_600] {
            at += length;
            times.push(at);
        }
        assert_eq!(penalties(&times), [900, 1800, 3600, 7200, 14_400, 21_600, 21_600, 21_600]);
    }

    #[test]
    fn a_doubling_is_forgotten_in_six_hours_without_failure() {
        // 20 failures at once, so that the proof outlasts the pause.
        let failures = |pause: u64| [vec![0; 20], vec![900, 900 + pause]].concat();
        assert_eq!(penalties(&failures(6 * 3600 - 1)), [900, 1800, 3600]);
        assert_eq!(penalties(&failures(6 * 3600)), [900, 1800, 1800]);
        assert_eq!(penalties(&failures(12 * 3600 - 1)), [900, 1800, 1800]);
        assert_eq!(penalties(&failures(12 * 3600)), [900, 1800, 900], "all forgotten: it begins anew");
    }

    #[test]
    fn jitter_is_applied_after_the_cap() {
        let policy = Policy::default().penalty;
        let mut lengths = std::collections::BTreeSet::new();
        for nonce in 0..2000 {
            let mut record = NetworkRecord::default();
            for _ in 0..7 {
                judged(&policy, HashKey::new(b"k"), &connection(NOW, nonce), &mut record, false, false);
            }
            lengths.insert(record.penalty.expect("it begins").refuse_until - NOW);
        }
        assert_eq!(lengths.first(), Some(&720));
        assert_eq!(lengths.last(), Some(&1080));
        assert_eq!(lengths.len(), 41);
    }

    #[test]
    fn a_time_beyond_any_penalty_counts_as_expired() {
        let policy = Policy::default().penalty;
        let until = |refuse_until| PenaltyRecord { refuse_until, doublings: 0, last_failure: NOW, simulated: false };
        assert!(!in_force(&policy, until(NOW), NOW, false));
        assert!(in_force(&policy, until(NOW + 1), NOW, false));
        assert!(in_force(&policy, until(NOW + 25_920), NOW, false), "1.2 times six hours");
        assert!(!in_force(&policy, until(NOW + 25_921), NOW, false));
        assert!(!in_force(&policy, until(u64::MAX), NOW, false));
        assert!(!in_force(&policy, until(NOW + 25_921), NOW + 1, false), "nor does it come into force later");
        let skewed = PenaltyRecord { last_failure: NOW + 60, ..until(NOW + 900) };
        assert!(in_force(&policy, skewed, NOW, false), "a clock that is ahead by a minute");
    }

    #[test]
    fn the_connection_that_passed_for_a_waiting_mail_passes_at_ehlo_too() {
        let policy = Penalty { probe_one_in: 0, ..Policy::default().penalty };
        let penalty = PenaltyRecord { refuse_until: NOW + 900, doublings: 0, last_failure: NOW, simulated: false };
        let mut record =
            NetworkRecord { penalty: Some(penalty), probed_at: Some(NOW), probe: Some(7), ..NetworkRecord::default() };
        record.add_waiting(Waiting { exact: 1, inferred: 1, since: NOW, acknowledged: false }, NOW);
        let answer = |record: &NetworkRecord, stage, nonce| {
            let connection = Connection { stage, ..connection(NOW + 1, nonce) };
            at_greeting(&policy, HashKey::new(b""), &connection, record, Evidence::default(), false)
        };
        assert_eq!(answer(&record, Stage::Ehlo, 7), AtGreeting::Passes(GreetingPass::DueProbe));
        assert_eq!(answer(&record, Stage::Ehlo, 8), AtGreeting::Refuse, "another connection");
        assert_eq!(answer(&record, Stage::Greeting, 7), AtGreeting::Refuse, "a greeting is of a new connection");
        record.remove_waiting(Some(1), None);
        assert_eq!(answer(&record, Stage::Ehlo, 7), AtGreeting::Refuse, "no mail waits");
    }

    #[test]
    fn failures_before_the_next_penalty_keep_what_is_left_of_the_doublings() {
        let policy = Penalty { jitter_percent: 0, ..Policy::default().penalty };
        let penalty = PenaltyRecord { refuse_until: NOW + 900, doublings: 3, last_failure: NOW, simulated: false };
        let after = |at: u64| {
            let mut record = NetworkRecord { penalty: Some(penalty), ..NetworkRecord::default() };
            assert_eq!(judged(&policy, HashKey::new(b""), &connection(NOW + at, 1), &mut record, false, false), None);
            record.penalty
        };
        assert_eq!(after(60), Some(PenaltyRecord { last_failure: NOW + 60, ..penalty }), "while it is in force");
        let later = 2 * DOUBLING_FORGOTTEN_IN;
        assert_eq!(after(later), Some(PenaltyRecord { doublings: 1, last_failure: NOW + later, ..penalty }));
        assert_eq!(after(4 * DOUBLING_FORGOTTEN_IN), None);
    }

    #[test]
    fn there_are_no_more_doublings_than_the_maximum_takes() {
        let policy = |first, maximum| Penalty { first, maximum, ..Policy::default().penalty };
        assert_eq!(most_doublings(&policy(900, 21_600)), 5);
        assert_eq!(most_doublings(&policy(900, 1800)), 1);
        assert_eq!(most_doublings(&policy(900, 900)), 0);
    }

    #[test]
    fn a_penalty_is_kept_until_it_and_its_doublings_mean_nothing() {
        let kept = |seconds: u64, doublings| {
            let refuse_until = NOW.saturating_add(seconds);
            let penalty = PenaltyRecord { refuse_until, doublings, last_failure: NOW, simulated: false };
            forgotten_at(&Policy::default().penalty, penalty, NOW) - NOW
        };
        assert_eq!([kept(900, 0), kept(900, 2)], [6 * 3600, 18 * 3600]);
        assert_eq!([kept(25_920, 0), kept(u64::MAX, 0)], [25_920, 25_920], "1.2 times six hours at most");
    }

    #[test]
    fn capability_lasts_thirty_days() {
        let record = |capable_at, incapable_at| NetworkRecord { capable_at, incapable_at, ..NetworkRecord::default() };
        assert_eq!(capability(&record(None, None), NOW), Capability::Unknown);
        assert_eq!(capability(&record(None, Some(NOW - CAPABILITY_LASTS + 1)), NOW), Capability::Incapable);
        assert_eq!(capability(&record(None, Some(NOW - CAPABILITY_LASTS)), NOW), Capability::Unknown);
        assert_eq!(capability(&record(Some(NOW - CAPABILITY_LASTS + 1), Some(NOW)), NOW), Capability::Capable);
        assert_eq!(capability(&record(Some(NOW - CAPABILITY_LASTS), Some(NOW)), NOW), Capability::Incapable);
    }
}

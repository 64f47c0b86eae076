//! The record of a network.

use super::Window;
use crate::evidence::Evidence;

/// The record of a network (P13). Times are seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkRecord {
    /// Messages that passed and failed (A6).
    pub evidence: Evidence,
    /// The last penalty, until its doublings are forgotten (A7).
    pub penalty: Option<PenaltyRecord>,
    /// When a session last acknowledged the extension (A5).
    pub capable_at: Option<u64>,
    /// When a session that was shown the keyword last went on without the verb (A5).
    pub incapable_at: Option<u64>,
    /// Messages accepted on a temporary error (A27).
    pub temporary: Option<Window>,
    /// The network is let in for a time (A34).
    pub let_in: Option<LetIn>,
    /// Refused mails that have not been seen since, a few of them (A7, A37).
    pub waiting: [Option<Waiting>; WAITING],
    /// Until then an acknowledgement does not spare the network a refusal at the greeting (A37).
    pub not_believed_until: Option<u64>,
    /// When a connection last passed the penalty for the sake of a refused mail (A7).
    pub probed_at: Option<u64>,
    /// The nonce of that connection: it passes at each of its stages.
    pub probe: Option<u32>,
}

/// A penalty (A7). Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PenaltyRecord {
    /// The greeting is refused before this.
    pub refuse_until: u64,
    /// How often the time was doubled.
    pub doublings: u8,
    /// When a message last failed.
    pub last_failure: u64,
    /// Made in observe mode: does not count when enforcing (A38).
    pub simulated: bool,
}

/// That a network is let in (A34). Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetIn {
    /// Since when.
    pub since: u64,
    /// The first second in which it is not.
    pub until: u64,
    /// An operator's exemption: without a limit on unauthenticated mail.
    pub by_operator: bool,
    /// Unauthenticated mail that came in so.
    pub failing: Option<Window>,
}

impl LetIn {
    /// Whether it holds at `now`. One that begins more than an hour later was written under a wrong clock, and may have no end in sight.
    pub fn in_force(&self, now: u64) -> bool {
        now < self.until && self.since.saturating_sub(now) <= CLOCKS_DIFFER
    }
}

/// So far the clocks of hosts that share a store may be apart, in seconds.
const CLOCKS_DIFFER: u64 = 3600;

/// So many refused mails are kept in a network's record. Three are what A37 asks for, and one what a probe needs.
const WAITING: usize = 4;

/// How long a refused mail lets probes through, in seconds: 6 h (A7).
pub const WAITING_LASTS: u64 = 6 * 3600;

/// So long a mail that was refused in an acknowledged session is kept, in seconds (A37): as long as its own record.
pub(crate) const VERB_WATCHED: u64 = 5 * 24 * 3600;

/// A refused mail that has not been seen since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The first 32 bits of its exact fingerprint, 0 where it has none.
    pub exact: u32,
    /// Those of its inferred one.
    pub inferred: u32,
    /// When it was first refused, or if sessions with the verb are among them, first in such a one; seconds since 1970.
    pub since: u64,
    /// Whether a session had acknowledged the extension.
    pub acknowledged: bool,
}

impl NetworkRecord {
    /// A mail was refused. A mail that is there already keeps its time, unless it was refused in a session with the verb for the first time
    /// now.
    ///
    /// When all places are taken, the new one gets that of the oldest mail of a session without the verb. Where all are of acknowledged
    /// sessions it gets the youngest's: the three oldest stay, or a client that sends a mail every few minutes would have none that is
    /// unseen for an hour (A37).
    pub(crate) fn add_waiting(&mut self, new: Waiting, now: u64) {
        let same = |waiting: &Waiting| waiting.exact == new.exact && (new.exact != 0 || waiting.inferred == new.inferred);
        if let Some(there) = self.waiting.iter_mut().flatten().find(|waiting| same(waiting)) {
            if new.acknowledged && !there.acknowledged {
                *there = new;
            }
            return;
        }
        let worth = |place: &Option<Waiting>| match place {
            None => (0, 0),
            Some(waiting) if !waiting.acknowledged || now.saturating_sub(waiting.since) >= VERB_WATCHED => (1, waiting.since),
            Some(waiting) => (2, u64::MAX - waiting.since),
        };
        if let Some(place) = self.waiting.iter_mut().min_by_key(|place| worth(place)) {
            *place = Some(new);
        }
    }

    /// Mails were seen: those with this exact or this inferred fingerprint wait no longer. The one that was removed, if any.
    pub(crate) fn remove_waiting(&mut self, exact: Option<u32>, inferred: Option<u32>) -> Option<Waiting> {
        let seen = |waiting: &Waiting| {
            exact.is_some_and(|exact| waiting.exact == exact)
                || inferred.is_some_and(|inferred| waiting.exact == 0 && waiting.inferred == inferred)
        };
        let mut removed = None;
        for place in &mut self.waiting {
            if place.as_ref().is_some_and(seen) {
                removed = place.take();
            }
        }
        removed
    }

    /// Whether a refused mail lets probes through.
    pub(crate) fn has_waiting(&self, now: u64) -> bool {
        self.waiting.iter().flatten().any(|waiting| now.saturating_sub(waiting.since) < WAITING_LASTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(exact: u32, since: u64, acknowledged: bool) -> Waiting {
        Waiting { exact, inferred: 9, since, acknowledged }
    }

    fn exact(record: &NetworkRecord) -> Vec<u32> {
        let mut all: Vec<u32> = record.waiting.iter().flatten().map(|waiting| waiting.exact).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_oldest_gives_way_and_of_acknowledged_sessions_the_youngest() {
        let mut record = NetworkRecord::default();
        let mut add = |n: u32, since: u64, acknowledged: bool, now: u64| {
            record.add_waiting(waiting(n, since, acknowledged), now);
            (exact(&record), record.waiting[1])
        };
        add(1, 1, true, 1);
        for n in 2..=4 {
            add(n, n.into(), false, 4);
        }
        assert_eq!(add(2, 9, false, 9).1, Some(waiting(2, 2, false)), "it keeps its time");
        assert_eq!(add(5, 5, false, 5).0, [1, 3, 4, 5]);
        for n in 6..=8 {
            add(n, n.into(), true, 8);
        }
        assert_eq!(add(8, 8, true, 8).0, [1, 6, 7, 8]);
        assert_eq!(add(9, 9, false, 9).0, [1, 6, 7, 9], "the fourth place is for what a probe needs");
        assert_eq!(add(10, 10, true, 10).0, [1, 6, 7, 10]);
        let five_days = 432_000;
        assert_eq!(add(11, 11, true, five_days).0, [1, 6, 7, 11], "the three oldest stay");
        assert_eq!(add(12, 12, true, 1 + five_days).0, [6, 7, 11, 12], "until their time is over");
    }

    #[test]
    fn one_mail_waits_once_and_another_for_itself() {
        let mut record = NetworkRecord::default();
        let mut add = |exact: u32, inferred: u32| {
            record.add_waiting(Waiting { exact, inferred, since: 0, acknowledged: true }, 0);
            record.waiting.iter().flatten().count()
        };
        assert_eq!(add(1, 5), 1);
        assert_eq!(add(1, 6), 1, "its Message-ID says that it is the same");
        assert_eq!(add(2, 5), 2);
        // Without a Message-ID, as at DATA, the rest has to.
        assert_eq!(add(0, 7), 3);
        assert_eq!(add(0, 7), 3);
        assert_eq!(add(0, 8), 4);
        // From the beginning of all time.
        assert_eq!(add(3, 9), 4);
    }

    #[test]
    fn a_mail_that_is_refused_with_the_verb_counts_from_then() {
        let mut record = NetworkRecord::default();
        for (since, acknowledged, expected) in
            [(1, false, (1, false)), (5, true, (5, true)), (7, true, (5, true)), (8, false, (5, true))]
        {
            record.add_waiting(waiting(1, since, acknowledged), since);
            let found: Vec<_> = record.waiting.iter().flatten().map(|mail| (mail.since, mail.acknowledged)).collect();
            assert_eq!(found, [expected], "at {since}");
        }
    }

    #[test]
    fn a_network_is_let_in_up_to_its_time_and_not_by_a_wrong_clock() {
        let let_in = LetIn { since: 10_000, until: 20_000, by_operator: true, failing: None };
        for (now, holds) in [(6399, false), (6400, true), (10_000, true), (19_999, true), (20_000, false)] {
            assert_eq!(let_in.in_force(now), holds, "{now}");
        }
    }

    #[test]
    fn what_was_seen_waits_no_longer() {
        let mut record = NetworkRecord::default();
        record.add_waiting(waiting(1, 1, false), 2);
        record.add_waiting(waiting(0, 2, false), 2);
        record.remove_waiting(Some(2), Some(8));
        assert_eq!(exact(&record), [0, 1]);
        record.remove_waiting(None, Some(9));
        assert_eq!(exact(&record), [1], "a mail with a fingerprint of its own is not any mail of its sender");
        record.remove_waiting(Some(1), None);
        assert!(exact(&record).is_empty());
    }

    #[test]
    fn a_mail_waits_for_six_hours() {
        let mut record = NetworkRecord::default();
        record.add_waiting(waiting(1, 1000, false), 1000);
        assert!(record.has_waiting(1000 + WAITING_LASTS - 1));
        assert!(!record.has_waiting(1000 + WAITING_LASTS));
    }
}

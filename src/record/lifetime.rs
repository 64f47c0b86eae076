//! How long a record is worth keeping, and what it costs to lose it.

use super::network::{VERB_WATCHED, WAITING_LASTS};
use super::{AddressRecord, BudgetRecord, Codec as _, MailRead, NetworkRecord, Window, address_key, budget_key, network_key};
use crate::address::Address;
use crate::contract::{Key, RecordUpdate};
use crate::evidence::{Evidence, MESSAGE};
use crate::network::Network;
use crate::penalty;
use crate::policy::Penalty;

/// What a network's penalty weighs, and that it is let in: as much as a thousand messages.
const STATE: u32 = 1000;
/// What an operator's word weighs.
const OPERATOR: u32 = 1_000_000;

impl AddressRecord {
    /// As an update for the host.
    pub(crate) fn update(&self, client: Address, policy: &Penalty, now: u64) -> RecordUpdate {
        RecordUpdate {
            key: address_key(client),
            value: self.encode(),
            expires_in: self.evidence.lifetime(now, policy.half_life),
            weight: messages(self.evidence),
        }
    }
}

impl NetworkRecord {
    /// As an update for the host. It lives as long as its longest part (A5).
    pub(crate) fn update(&self, network: Network, policy: &Penalty, now: u64) -> RecordUpdate {
        let waiting = self.waiting.iter().flatten().map(|waiting| {
            let lasts = if waiting.acknowledged { VERB_WATCHED } else { WAITING_LASTS };
            waiting.since.min(now).saturating_add(lasts)
        });
        let ends = [
            now.saturating_add(self.evidence.lifetime(now, policy.half_life).into()),
            self.penalty.map_or(0, |penalty| penalty::forgotten_at(policy, penalty, now)),
            penalty::capability_forgotten_at(self, now),
            Window::ends_at(self.temporary, now),
            self.let_in.map_or(0, |let_in| let_in.until),
            self.not_believed_until.unwrap_or(0),
        ];
        let ends = ends.into_iter().chain(waiting).max().unwrap_or(now);
        RecordUpdate {
            key: network_key(network),
            value: self.encode(),
            expires_in: seconds(ends, now),
            weight: network_weight(self),
        }
    }
}

/// A penalty weighs as much as a thousand messages, capability, which is slow to learn, as much as ten.
pub(super) fn network_weight(record: &NetworkRecord) -> u32 {
    let known = record.capable_at.is_some() || record.incapable_at.is_some();
    let let_in = record.let_in.map_or(0, |let_in| if let_in.by_operator { OPERATOR } else { STATE });
    messages(record.evidence)
        .saturating_add(if record.penalty.is_some() || record.not_believed_until.is_some() { STATE } else { 0 })
        .saturating_add(let_in)
        .saturating_add(if known { 10 } else { 0 })
        .saturating_add(count(record.temporary))
}

impl BudgetRecord {
    /// As an update for the host.
    pub(crate) fn update(&self, client: Address, now: u64) -> RecordUpdate {
        let ends = Window::ends_at(self.temporary, now).max(Window::ends_at(self.let_in, now));
        RecordUpdate {
            key: budget_key(client),
            value: self.encode(),
            expires_in: seconds(ends, now),
            weight: count(self.temporary).saturating_add(count(self.let_in)),
        }
    }
}

impl MailRead<'_> {
    /// As an update for the host. The more often it was refused the more it weighs: a mail that comes again and again is the one that needs
    /// to be recognised (A34).
    pub(crate) fn update(&self, key: Key, now: u64) -> RecordUpdate {
        let weight = if self.settled.is_some() { 0 } else { self.refusals.min(100) };
        RecordUpdate { key, value: self.encode(), expires_in: seconds(self.ends_at(now), now), weight }
    }
}

fn seconds(ends: u64, now: u64) -> u32 {
    u32::try_from(ends.saturating_sub(now)).unwrap_or(u32::MAX)
}

fn messages(evidence: Evidence) -> u32 {
    evidence.passed / MESSAGE + evidence.failed / MESSAGE
}

fn count(window: Option<Window>) -> u32 {
    window.map_or(0, |window| window.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::codec_tests::mail;
    use crate::record::{LetIn, PenaltyRecord, Settled, SettledBy};

    const SEEN: Evidence = Evidence { passed: 3 * MESSAGE + 1023, failed: 2 * MESSAGE, at: 1 };
    const COUNTED: Option<Window> = Some(Window { since: 1, count: 7 });

    #[test]
    fn what_is_slow_to_learn_weighs_more() {
        let nothing = NetworkRecord::default();
        let penalty = PenaltyRecord { refuse_until: 1, doublings: 0, last_failure: 1, simulated: false };
        let let_in = |by_operator| Some(LetIn { since: 1, until: 2, by_operator, failing: None });
        let cases = [
            (nothing, 0),
            (NetworkRecord { evidence: SEEN, ..nothing }, 5),
            (NetworkRecord { temporary: COUNTED, ..nothing }, 7),
            (NetworkRecord { capable_at: Some(1), ..nothing }, 10),
            (NetworkRecord { incapable_at: Some(1), ..nothing }, 10),
            (NetworkRecord { penalty: Some(penalty), ..nothing }, 1000),
            (NetworkRecord { not_believed_until: Some(1), ..nothing }, 1000),
            (NetworkRecord { let_in: let_in(false), ..nothing }, 1000),
            (NetworkRecord { let_in: let_in(true), ..nothing }, 1_000_000),
            (
                NetworkRecord { evidence: SEEN, temporary: COUNTED, penalty: Some(penalty), let_in: let_in(false), ..nothing },
                2012,
            ),
        ];
        for (record, weight) in cases {
            assert_eq!(network_weight(&record), weight, "{record:?}");
        }
        let policy = crate::policy::Policy::default().penalty;
        let client: Address = "2001:db8::1".parse().expect("an address");
        assert_eq!(AddressRecord { evidence: SEEN }.update(client, &policy, 1).weight, 5);
        assert_eq!(BudgetRecord { temporary: COUNTED, let_in: None }.update(client, 1).weight, 7);
        assert_eq!(BudgetRecord { temporary: COUNTED, let_in: COUNTED }.update(client, 1).weight, 14);
    }

    #[test]
    fn a_mail_weighs_as_often_as_it_was_refused() {
        let weight = |refusals, settled| {
            let record = MailRead { refusals, settled, ..mail() };
            record.update(address_key(record.network.prefix()), 1).weight
        };
        assert_eq!([1, 2, 100, 101].map(|refusals| weight(refusals, None)), [1, 2, 100, 100]);
        assert_eq!(weight(5, Some(Settled { at: 1, by: SettledBy::Ipv4 })), 0);
    }
}

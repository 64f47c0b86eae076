//! How long a record is worth keeping, and what it costs to lose it.

use super::Record as _;
use super::{AddressRecord, BudgetRecord, NetworkRecord, Window, address_key, budget_key, network_key};
use crate::address::Address;
use crate::contract::RecordUpdate;
use crate::evidence::{Evidence, MESSAGE};
use crate::network::Network;
use crate::penalty;
use crate::policy::Penalty;
use crate::temporary;

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
    /// As an update for the host. It lives as long as its longest part (A5); a penalty weighs as much as a thousand messages,
    /// capability, which is slow to learn, as much as ten.
    pub(crate) fn update(&self, network: Network, policy: &Penalty, now: u64) -> RecordUpdate {
        let ends = [
            now.saturating_add(self.evidence.lifetime(now, policy.half_life).into()),
            self.penalty.map_or(0, |penalty| penalty::forgotten_at(policy, penalty, now)),
            penalty::capability_forgotten_at(self, now),
            self.temporary.map_or(0, |window| temporary::ends_at(window, now)),
        ];
        let ends = ends.into_iter().max().unwrap_or(now);
        let known = self.capable_at.is_some() || self.incapable_at.is_some();
        let weight = messages(self.evidence)
            .saturating_add(if self.penalty.is_some() { 1000 } else { 0 })
            .saturating_add(if known { 10 } else { 0 })
            .saturating_add(count(self.temporary));
        RecordUpdate { key: network_key(network), value: self.encode(), expires_in: seconds(ends, now), weight }
    }
}

impl BudgetRecord {
    /// As an update for the host.
    pub(crate) fn update(&self, client: Address, now: u64) -> RecordUpdate {
        let ends = self.temporary.map_or(now, |window| temporary::ends_at(window, now));
        RecordUpdate {
            key: budget_key(client),
            value: self.encode(),
            expires_in: seconds(ends, now),
            weight: count(self.temporary),
        }
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

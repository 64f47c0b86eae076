//! Records: what the module remembers about addresses and networks, kept by the host.

mod codec;
mod inspect;
mod lifetime;

pub(crate) use inspect::inspect;

use crate::address::Address;
use crate::contract::{Key, KeyKind, StoredRecord};
use crate::evidence::Evidence;
use crate::network::Network;

/// The record of one client address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressRecord {
    /// For its good standing (P13).
    pub(crate) evidence: Evidence,
}

/// The record of a network (P13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkRecord {
    /// Messages that passed and failed (A6).
    pub(crate) evidence: Evidence,
    /// The last penalty, until its doublings are forgotten (A7).
    pub(crate) penalty: Option<PenaltyRecord>,
    /// When a session last acknowledged the extension; seconds since 1970 (A5).
    pub(crate) capable_at: Option<u64>,
    /// When a session that was shown the keyword last went on without the verb (A5).
    pub(crate) incapable_at: Option<u64>,
    /// Messages accepted on a temporary error (A27).
    pub(crate) temporary: Option<Window>,
}

/// A penalty (A7). Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PenaltyRecord {
    /// The greeting is refused before this.
    pub(crate) refuse_until: u64,
    /// How often the time was doubled.
    pub(crate) doublings: u8,
    /// When a message last failed.
    pub(crate) last_failure: u64,
    /// Made in observe mode: does not count when enforcing (A38).
    pub(crate) simulated: bool,
}

/// The record of a /48.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BudgetRecord {
    /// Messages accepted on a temporary error (A27).
    pub(crate) temporary: Option<Window>,
}

/// A count within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// When the first was counted; seconds since 1970.
    pub(crate) since: u64,
    pub(crate) count: u32,
}

/// A record that the module can read and write.
pub(crate) trait Record: Sized + Default {
    /// `None` for bytes that are no such record.
    fn decode(value: &[u8]) -> Option<Self>;
    fn encode(&self) -> Vec<u8>;
}

/// The record under a key among those that the host found.
pub(crate) enum Found<R> {
    Absent,
    Record(R),
    /// Bytes that are no record: count as absent (A7).
    Malformed,
}

/// Looks the record up.
pub(crate) fn find<R: Record>(records: &[StoredRecord], key: Key) -> Found<R> {
    match records.iter().find(|record| record.key == key) {
        None => Found::Absent,
        Some(record) => R::decode(&record.value).map_or(Found::Malformed, Found::Record),
    }
}

/// The key of a client address.
pub(crate) fn address_key(client: Address) -> Key {
    Key { kind: KeyKind::Address, address: client, prefix_length: 128 }
}

/// The key of a network.
pub(crate) fn network_key(network: Network) -> Key {
    Key { kind: KeyKind::Network, address: network.prefix(), prefix_length: network.length() }
}

/// The key of a client's /48.
pub(crate) fn budget_key(client: Address) -> Key {
    Key { kind: KeyKind::Budget, address: client.masked(48), prefix_length: 48 }
}

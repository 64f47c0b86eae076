//! Records: what the module remembers about addresses, networks and mails, kept by the host.
//!
//! A host passes records on as octets. Reports about them read [`inspect`](crate::inspect)'s JSON or, in Rust, [`Record::read`].

mod codec;
#[cfg(test)]
mod codec_tests;
mod exempt;
mod inspect;
mod lifetime;
mod mail;
mod network;

pub use exempt::{ExemptError, exempt};
pub(crate) use inspect::inspect;
pub(crate) use mail::{MailRead, shortened};
pub use mail::{MailRecord, MessageId, RefusedFor, Settled, SettledBy};
pub(crate) use network::VERB_WATCHED;
pub use network::{LetIn, NetworkRecord, PenaltyRecord, WAITING_LASTS, Waiting};

use std::borrow::Cow;

use crate::address::Address;
use crate::contract::{Key, KeyKind, StoredRecord};
pub use crate::evidence::{Evidence, MESSAGE};
use crate::network::Network;

/// A record that could be read.
#[expect(clippy::large_enum_variant, reason = "one at a time is read, and at once taken apart")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<Text = String> {
    /// Of one client address.
    Address(AddressRecord),
    /// Of a network.
    Network(NetworkRecord),
    /// Of a /48.
    Budget(BudgetRecord),
    /// Of a refused mail, under its exact or its inferred fingerprint.
    Mail(MailRecord<Text>),
}

impl Record {
    /// Reads a stored record; `None` for octets that are no record of this kind.
    pub fn read(record: &StoredRecord) -> Option<Record> {
        Some(match RecordRead::of(record)? {
            Record::Address(record) => Record::Address(record),
            Record::Network(record) => Record::Network(record),
            Record::Budget(record) => Record::Budget(record),
            Record::Mail(record) => Record::Mail(record.into_owned()),
        })
    }
}

/// With the texts as they stand in its octets.
type RecordRead<'a> = Record<Cow<'a, str>>;

impl<'a> RecordRead<'a> {
    fn of(record: &'a StoredRecord) -> Option<Self> {
        let value = &record.value;
        Some(match record.key.kind {
            KeyKind::Address => Record::Address(AddressRecord::decode(value)?),
            KeyKind::Network => Record::Network(NetworkRecord::decode(value)?),
            KeyKind::Budget => Record::Budget(BudgetRecord::decode(value)?),
            KeyKind::Exact | KeyKind::Inferred => Record::Mail(MailRead::decode(value)?),
        })
    }
}

/// The record of one client address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressRecord {
    /// For its good standing (P13).
    pub evidence: Evidence,
}

/// The record of a /48.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetRecord {
    /// Messages accepted on a temporary error (A27).
    pub temporary: Option<Window>,
    /// Messages without authentication that were let in (A34).
    pub let_in: Option<Window>,
}

/// A count within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the first was counted; seconds since 1970.
    pub since: u64,
    /// How many.
    pub count: u32,
}

/// How long a [`Window`] is open, in seconds: 24 h from the first.
const WINDOW: u64 = 24 * 3600;

impl Window {
    /// One more within `most`; `None` when that is used up. A window that starts in the future was written under a wrong clock: it starts
    /// now.
    pub(crate) fn one_more(window: Option<Window>, most: u32, now: u64) -> Option<Window> {
        let Window { since, count } = Window::open(window, now).unwrap_or(Window { since: now, count: 0 });
        (count < most).then(|| Window { since, count: count + 1 })
    }

    /// The window while it is open.
    pub(crate) fn open(window: Option<Window>, now: u64) -> Option<Window> {
        window.filter(|window| window.since <= now && now - window.since < WINDOW)
    }

    /// When it means nothing any more; 0 where there is none.
    pub(crate) fn ends_at(window: Option<Window>, now: u64) -> u64 {
        window.map_or(0, |window| window.since.min(now).saturating_add(WINDOW))
    }
}

/// A record's octets.
pub(crate) trait Codec<'a>: Sized {
    /// `None` for octets that are no such record.
    fn decode(value: &'a [u8]) -> Option<Self>;
    fn encode(&self) -> Vec<u8>;
}

/// The record under a key among those that the host found.
pub(crate) enum Found<R> {
    Absent,
    Record(R),
    /// Octets that are no record: count as absent (A7).
    Malformed,
}

/// Looks the record up.
pub(crate) fn find<'a, R: Codec<'a>>(records: &'a [StoredRecord], key: Key) -> Found<R> {
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
pub fn network_key(network: Network) -> Key {
    Key { kind: KeyKind::Network, address: network.prefix(), prefix_length: network.length() }
}

/// The key of a client's /48.
pub(crate) fn budget_key(client: Address) -> Key {
    Key { kind: KeyKind::Budget, address: client.masked(48), prefix_length: 48 }
}

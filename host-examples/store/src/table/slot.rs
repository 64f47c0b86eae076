//! One record as it lies in memory: 84 octets, and 32 more for each 28 octets of a value beyond the first 18.

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind};

/// So many octets of a value lie in the slot itself: a network's evidence (20 octets) fits.
pub(super) const INLINE: usize = 22;

/// So many do where the value is longer: the last four octets are the number of the first block of its rest.
pub(super) const INLINE_OF_LONG: usize = INLINE - 4;

/// The list of all records of one class of weight.
pub(super) const CLASS: usize = 0;
/// In a small /32: the chain of its bucket. In a large one: its records of one class of weight.
pub(super) const WIDE: usize = 1;
/// In a large /32: the chain of the /48's bucket.
pub(super) const NEAR: usize = 2;

/// The slot holds a record.
pub(super) const OCCUPIED: u8 = 1;
/// The slot's number is in the list of changes. Kept while the slot is free, so that no number is ever twice in that list.
pub(super) const LISTED: u8 = 2;
/// A row of this record is, or may be, on disk.
pub(super) const SAVED: u8 = 4;

/// Slots are numbered from 1; 0 means none, so that zeroed memory is an empty index.
pub(super) type Number = u32;

/// Neighbours in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) previous: Number,
    pub(super) next: Number,
}

/// The place of one record.
#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    address: [u32; 4],
    /// Of the account: the first 32 bits.
    account_wide: u32,
    /// The first second in which the record means nothing.
    pub(super) expires_at: u32,
    pub(super) weight: u32,
    /// The next in the bucket of the index; in a free slot, the next free one.
    pub(super) chain: Number,
    pub(super) links: [Link; 3],
    /// Of the account: the next 16 bits.
    account_near: u16,
    /// The kind in the upper 3 bits, the length of the value in the others.
    kind_and_length: u16,
    prefix_length: u8,
    pub(super) flags: u8,
    pub(super) value: [u8; INLINE],
}

impl Slot {
    pub(super) fn new(key: &Key, account: Account) -> Self {
        Slot {
            address: key.address.words(),
            account_wide: account.wide,
            account_near: account.near,
            kind_and_length: (kind_number(key.kind) as u16) << 13,
            prefix_length: key.prefix_length,
            flags: OCCUPIED,
            ..Slot::default()
        }
    }

    pub(super) fn key(&self) -> Key {
        let kind = kind_of_number((self.kind_and_length >> 13) as u8).unwrap_or(KeyKind::Address);
        Key { kind, address: Address::from_words(self.address), prefix_length: self.prefix_length }
    }

    pub(super) fn is(&self, key: &Key) -> bool {
        self.address == key.address.words()
            && self.prefix_length == key.prefix_length
            && self.kind_and_length >> 13 == kind_number(key.kind) as u16
    }

    pub(super) fn account(&self) -> Account {
        Account { wide: self.account_wide, near: self.account_near }
    }

    /// The length of the value in octets.
    pub(super) fn length(&self) -> usize {
        (self.kind_and_length & 0x1fff).into()
    }

    /// `length` is at most [`crate::MAX_VALUE_OCTETS`], for which 13 bits are enough.
    pub(super) fn set_length(&mut self, length: usize) {
        self.kind_and_length = self.kind_and_length & 0xe000 | length as u16 & 0x1fff;
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn class(&self) -> u8 {
        class(self.weight)
    }
}

/// Weights are ranked by powers of two: 0, 1, 2 to 3, 4 to 7, and so on; 33 classes.
pub(super) fn class(weight: u32) -> u8 {
    (u32::BITS - weight.leading_zeros()) as u8
}

/// The number of a kind, in memory and on disk.
pub(crate) fn kind_number(kind: KeyKind) -> u8 {
    match kind {
        KeyKind::Address => 0,
        KeyKind::Network => 1,
        KeyKind::Budget => 2,
        KeyKind::Exact => 3,
        KeyKind::Inferred => 4,
    }
}

/// The kind with this number.
pub(crate) fn kind_of_number(number: u8) -> Option<KeyKind> {
    Some(match number {
        0 => KeyKind::Address,
        1 => KeyKind::Network,
        2 => KeyKind::Budget,
        3 => KeyKind::Exact,
        4 => KeyKind::Inferred,
        _ => return None,
    })
}

/// Whose share a record counts for: a /48, and the /32 around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The first 32 bits of the address.
    pub(crate) wide: u32,
    /// The next 16.
    pub(crate) near: u16,
}

impl Account {
    /// The account of a record. Those of addresses and networks count for the address in their key; a key that is a hash says
    /// nothing of the network, so those of mails count for the client.
    pub(crate) fn of(key: &Key, source: Address) -> Self {
        let address = match key.kind {
            KeyKind::Address | KeyKind::Network | KeyKind::Budget => key.address,
            KeyKind::Exact | KeyKind::Inferred => source,
        };
        let [wide, next, ..] = address.words();
        Account { wide, near: (next >> 16) as u16 }
    }

    /// All of IPv4 lies in one /48 (IPv4-mapped: ::/48; NAT64: 64:ff9b::/48, RFC 6052), which no client on IPv6 can have: it
    /// would be one account for everybody, so its records count for no share.
    pub(crate) fn is_exempt(self) -> bool {
        self.near == 0 && (self.wide == 0 || self.wide == 0x0064_ff9b)
    }
}

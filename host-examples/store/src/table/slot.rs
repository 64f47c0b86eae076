//! One record as it lies in memory: 84 octets, and 32 more for each 28 octets of a value beyond the first 18.
//!
//! 64 of them are a line of the processor's cache, which has all that looking a record up, sweeping and walking through a network's
//! records read. The other 20, which only writes need, lie elsewhere.

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind};

/// So many octets of a value lie in the slot itself: a network's evidence fits.
pub(super) const INLINE: usize = 22;

/// So many do where the value is longer: the last four octets are the number of the first block of its rest.
pub(super) const INLINE_OF_LONG: usize = INLINE - 4;

/// The list of all records of one class of weight.
pub(super) const CLASS: usize = 0;
/// In a large /32: its records of one class of weight.
pub(super) const LARGE: usize = 1;

/// The slot's number is in the list of changes. Kept while the slot is free, so that no number is ever twice in that list.
pub(super) const LISTED: u32 = 1 << 11;
/// A row of this record is, or may be, on disk.
pub(super) const SAVED: u32 = 1 << 12;

/// Of [`Slot::facts`]: what belongs to the key.
const OF_KEY: u32 = 0x7ff;
/// Of [`Slot::facts`]: where the kind begins, 3 bits; 0 in a free slot, else one more than its number.
const KIND: u32 = 8;
/// Where the class of the weight begins, 6 bits.
const CLASS_AT: u32 = 13;
/// Where the length of the value begins, 13 bits.
const LENGTH: u32 = 19;

/// Slots are numbered from 1; 0 means none, so that zeroed memory is an empty index.
pub(super) type Number = u32;

/// Neighbours in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) previous: Number,
    pub(super) next: Number,
}

/// The part of a record that only writes need.
#[derive(Clone, Copy, Default)]
pub(super) struct Rest {
    pub(super) weight: u32,
    pub(super) links: [Link; 2],
}

/// The place of one record.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Slot {
    address: [u32; 4],
    /// From the lowest bit on: the prefix length (8 bits), the kind (3), two flags, the class of the weight (6), the length of the value (13).
    facts: u32,
    /// The next in the bucket of the index; in a free slot, the next free one.
    pub(super) chain: Number,
    /// The first second in which the record means nothing.
    pub(super) expires_at: u32,
    /// When it was written: see [`super::slots::Slots::age`].
    pub(super) written: u32,
    /// The next in the chain of its network's bucket: of the /32 if that is small, of the /48 if it is large.
    pub(super) neighbour: Number,
    /// Of the account: the first 32 bits.
    account_wide: u32,
    /// Of the account: the next 16 bits.
    account_near: u16,
    pub(super) value: [u8; INLINE],
}

impl Slot {
    pub(super) fn new(key: &Key, account: Account) -> Self {
        Slot {
            address: key.address.words(),
            facts: facts_of(key),
            account_wide: account.wide,
            account_near: account.near,
            ..Slot::default()
        }
    }

    pub(super) fn key(&self) -> Key {
        let number = (self.facts >> KIND & 7).saturating_sub(1) as u8;
        let kind = kind_of_number(number).unwrap_or(KeyKind::Address);
        Key { kind, address: Address::from_words(self.address), prefix_length: self.facts as u8 }
    }

    pub(super) fn is(&self, key: &Key) -> bool {
        self.address == key.address.words() && self.facts & OF_KEY == facts_of(key)
    }

    pub(super) fn account(&self) -> Account {
        Account { wide: self.account_wide, near: self.account_near }
    }

    /// Whether it holds a record.
    pub(super) fn is_occupied(&self) -> bool {
        self.facts >> KIND & 7 != 0
    }

    /// The length of the value in octets.
    pub(super) fn length(&self) -> usize {
        (self.facts >> LENGTH) as usize
    }

    /// `length` is at most [`crate::MAX_VALUE_OCTETS`], for which 13 bits are enough.
    pub(super) fn set_length(&mut self, length: usize) {
        self.facts = self.facts & ((1 << LENGTH) - 1) | (length as u32) << LENGTH;
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.facts & flag != 0
    }

    pub(super) fn set(&mut self, flag: u32) {
        self.facts |= flag;
    }

    pub(super) fn clear(&mut self, flag: u32) {
        self.facts &= !flag;
    }

    /// The class of the weight.
    pub(super) fn class(&self) -> u8 {
        (self.facts >> CLASS_AT & 0x3f) as u8
    }

    pub(super) fn set_class(&mut self, class: u8) {
        self.facts = self.facts & !(0x3f << CLASS_AT) | u32::from(class) << CLASS_AT;
    }

    /// What is left when the record goes. The flag of the list of changes stays.
    pub(super) fn free(&mut self, next: Number) {
        *self = Slot { facts: self.facts & LISTED, chain: next, ..Slot::default() };
    }
}

fn facts_of(key: &Key) -> u32 {
    u32::from(key.prefix_length) | (u32::from(kind_number(key.kind)) + 1) << KIND
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

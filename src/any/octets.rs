//! Octets as choices: whatever they are, they mean something, and a change of one changes little.

use crate::address::Address;

/// Takes octets from the front; when there are none left, zeros.
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl<'a> Octets<'a> {
    /// Whether none are left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn octet(&mut self) -> u8 {
        let Some((&octet, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        octet
    }

    /// True for an odd octet.
    pub(super) fn flag(&mut self) -> bool {
        self.octet() % 2 == 1
    }

    pub(super) fn number(&mut self) -> u32 {
        u32::from_le_bytes([self.octet(), self.octet(), self.octet(), self.octet()])
    }

    pub(super) fn address(&mut self) -> Address {
        Address::from_words([self.number(), self.number(), self.number(), self.number()])
    }

    /// One of these.
    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.octet()) % all.len()]
    }

    /// As many as an octet says, of those that are left.
    pub(super) fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.octet()).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some
    }

    /// A text as a client may write it.
    pub(super) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.some()).into_owned()
    }
}

//! What a filter does to a message, at its end and before the reply: header fields, such as Authentication-Results.

use crate::octets::Octets;
use crate::packet::{self, MAX_DATA};
use crate::protocol::Actions;

/// One change of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    kind: Kind,
    name: Octets,
    /// With the space that follows the colon.
    value: Octets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    Insert(u32),
    Change(u32),
}

/// Why a header field cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The name is empty, or has a character that no name has (RFC 5322 §2.2).
    #[error("field name {0:?}; expected printable ASCII without a colon")]
    Name(Octets),
    /// The value would end the field, or the string.
    #[error("the value of {0:?} has a CR, a NUL, or a line that does not begin with space or tab; fold it with LF and a space")]
    Value(Octets),
    /// The value is too long.
    #[error("the field {0:?} is longer than {max} octets", max = MAX_DATA - FIXED)]
    Length(Octets),
    /// The place is not in the range of the protocol.
    #[error("place {0} in the header; expected 2147483646 at most, and 1 at least for a field to change")]
    Place(u32),
}

/// Octets of a packet beside name and value: a number, two NUL.
const FIXED: usize = 6;
/// Postfix counts places from 1 with a sign.
const PLACE_MAX: u32 = i32::MAX as u32 - 1;

impl Edit {
    /// Adds a field at the end of the header. Needs [`Actions::ADD_HEADERS`]. `value` is what follows the colon and its space, with LF
    /// between its lines.
    ///
    /// # Errors
    ///
    /// It is no field.
    pub fn add(name: &str, value: &str) -> Result<Self, EditError> {
        Edit::new(Kind::Add, name, value)
    }

    /// Inserts a field; at place 0 before all others. Needs [`Actions::ADD_HEADERS`].
    ///
    /// # Errors
    ///
    /// It is no field.
    pub fn insert(place: u32, name: &str, value: &str) -> Result<Self, EditError> {
        if place > PLACE_MAX {
            return Err(EditError::Place(place));
        }
        Edit::new(Kind::Insert(place), name, value)
    }

    /// Replaces the value of the field that is the `place`-th of its name, counted from 1. Needs [`Actions::CHANGE_HEADERS`].
    ///
    /// # Errors
    ///
    /// It is no field, or the value is empty, which would remove it.
    pub fn change(place: u32, name: &str, value: &str) -> Result<Self, EditError> {
        if value.trim().is_empty() {
            return Err(EditError::Value(name.into()));
        }
        Edit::at(place, name, value)
    }

    /// Removes the field that is the `place`-th of its name, counted from 1. Needs [`Actions::CHANGE_HEADERS`].
    ///
    /// # Errors
    ///
    /// The name is none.
    pub fn remove(place: u32, name: &str) -> Result<Self, EditError> {
        Edit::at(place, name, "").map(|edit| Edit { value: Octets::default(), ..edit })
    }

    fn at(place: u32, name: &str, value: &str) -> Result<Self, EditError> {
        if !(1..=PLACE_MAX).contains(&place) {
            return Err(EditError::Place(place));
        }
        Edit::new(Kind::Change(place), name, value)
    }

    fn new(kind: Kind, name: &str, value: &str) -> Result<Self, EditError> {
        let (name, value) = (Octets::from(name), Octets::from(format!(" {value}").as_str()));
        if name.is_empty() || !name.as_bytes().iter().all(|octet| octet.is_ascii_graphic() && *octet != b':') {
            return Err(EditError::Name(name));
        }
        if name.len() + value.len() > MAX_DATA - FIXED {
            return Err(EditError::Length(name));
        }
        let mut lines = value.as_bytes().split(|&octet| octet == b'\n');
        let folded = lines.all(|line| matches!(line.first(), Some(b' ' | b'\t')));
        if !folded || value.as_bytes().iter().any(|octet| matches!(octet, b'\r' | 0)) {
            return Err(EditError::Value(name));
        }
        Ok(Edit { kind, name, value })
    }

    /// What has to be agreed on for it.
    pub fn action(&self) -> Actions {
        match self.kind {
            Kind::Add | Kind::Insert(_) => Actions::ADD_HEADERS,
            Kind::Change(_) => Actions::CHANGE_HEADERS,
        }
    }

    /// The packet. An MTA that sends values with their leading space takes them with it, and any other puts one in.
    pub fn encode(&self, leading_space: bool) -> Vec<u8> {
        let value = self.value.as_bytes();
        let value = if leading_space { value } else { value.strip_prefix(b" ").unwrap_or(value) };
        let strings = [self.name.as_bytes(), b"\0", value, b"\0"];
        let with_place = |command, place: u32| packet::encode(command, &[&place.to_be_bytes(), &strings.concat()]);
        match self.kind {
            Kind::Add => packet::encode(b'h', &strings),
            Kind::Insert(place) => with_place(b'i', place),
            Kind::Change(place) => with_place(b'm', place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_as_octets() {
        let add = Edit::add("X-Test", "a\n\tb").expect("valid");
        assert_eq!(add.encode(true), b"\0\0\0\x0ehX-Test\0 a\n\tb\0");
        assert_eq!(add.encode(false), b"\0\0\0\x0dhX-Test\0a\n\tb\0");
        assert_eq!(Edit::insert(0, "X", "a").expect("valid").encode(true), b"\0\0\0\x0ai\0\0\0\0X\0 a\0");
        assert_eq!(Edit::insert(1, "X", "a").expect("valid").encode(false), b"\0\0\0\x09i\0\0\0\x01X\0a\0");
        assert_eq!(Edit::change(2, "X", "a").expect("valid").encode(true), b"\0\0\0\x0am\0\0\0\x02X\0 a\0");
        // With a space it would not be removed.
        assert_eq!(Edit::remove(2, "X").expect("valid").encode(true), b"\0\0\0\x08m\0\0\0\x02X\0\0");
    }

    #[test]
    fn edits_say_what_they_need() {
        assert_eq!(Edit::add("X", "a").expect("valid").action(), Actions::ADD_HEADERS);
        assert_eq!(Edit::insert(0, "X", "a").expect("valid").action(), Actions::ADD_HEADERS);
        assert_eq!(Edit::change(1, "X", "a").expect("valid").action(), Actions::CHANGE_HEADERS);
        assert_eq!(Edit::remove(1, "X").expect("valid").action(), Actions::CHANGE_HEADERS);
    }

    #[test]
    fn names_are_names() {
        for name in ["", "X Y", "X:", "X\n", "X\0", "Ü"] {
            assert_eq!(Edit::add(name, "a"), Err(EditError::Name(name.into())), "{name:?}");
        }
    }

    #[test]
    fn a_value_stays_in_its_field() {
        for value in ["a\nb", "a\r\n b", "a\0", "a\n", "a\n\n b"] {
            assert_eq!(Edit::add("X", value), Err(EditError::Value("X".into())), "{value:?}");
        }
        assert!(Edit::add("X", "").is_ok());
        assert!(Edit::change(1, "X", "").is_err(), "an empty value removes a field");
        assert!(Edit::change(1, "X", " ").is_err());
        let longest = MAX_DATA - FIXED - "X".len() - " ".len();
        assert!(Edit::add("X", &"a".repeat(longest)).is_ok());
        assert_eq!(Edit::add("X", &"a".repeat(longest + 1)), Err(EditError::Length("X".into())));
    }

    #[test]
    fn places_have_a_range() {
        assert_eq!(Edit::change(0, "X", "a"), Err(EditError::Place(0)));
        assert_eq!(Edit::remove(0, "X"), Err(EditError::Place(0)));
        assert!(Edit::insert(PLACE_MAX, "X", "a").is_ok());
        assert_eq!(Edit::insert(PLACE_MAX + 1, "X", "a"), Err(EditError::Place(PLACE_MAX + 1)));
    }
}

//! Octets that an MTA passes on.

use std::borrow::Cow;
use std::fmt;

/// Octets as the SMTP client wrote them: as a rule ASCII, sometimes UTF-8, by right neither. Only in a body there may be NUL,
/// which ends a string on the wire.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Octets(Vec<u8>);

impl Octets {
    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The octets, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// As text; what is no UTF-8 becomes U+FFFD.
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Octets {
    /// As text with escapes, so that a log stays in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl From<Vec<u8>> for Octets {
    fn from(octets: Vec<u8>) -> Self {
        Octets(octets)
    }
}

impl From<&[u8]> for Octets {
    fn from(octets: &[u8]) -> Self {
        Octets(octets.to_vec())
    }
}

impl From<&str> for Octets {
    fn from(text: &str) -> Self {
        Octets(text.as_bytes().to_vec())
    }
}

impl PartialEq<&str> for Octets {
    fn eq(&self, text: &&str) -> bool {
        self.0 == text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_made_only_where_asked() {
        let octets = Octets::from(&b"J\xf6rg\r\n\x1b"[..]);
        assert_eq!(octets.as_bytes(), b"J\xf6rg\r\n\x1b");
        assert_eq!(octets.to_text(), "J\u{fffd}rg\r\n\u{1b}");
        assert_eq!(format!("{octets:?}"), r#""J\xf6rg\r\n\x1b""#, "no control character reaches a log");
        assert_eq!(Octets::from("smith"), "smith");
        assert!(Octets::default().is_empty());
    }
}

//! The addresses of MAIL and RCPT (RFC 5321 §4.1.2).
//!
//! The octets of an address end up in header fields and logs: nothing outside the grammar gets through. In one point the grammar is
//! read generously: an unquoted local part may have dots at its ends or in a row, as some real addresses do. Letters beyond ASCII are
//! read as RFC 6531 §3.3 has them; whether a client may use them is for the session to say.

use std::borrow::Cow;
use std::fmt;

use smtp_fallback_daemon::domain::is_domain;
#[cfg(test)]
use smtp_fallback_daemon::domain::{DOMAIN_MAX, LABEL_MAX};

const LOCAL_PART_MAX: usize = 64;

/// An address with a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    address: String,
    at: usize,
}

impl Mailbox {
    /// The address as it was sent, without angle brackets and source route.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The part before the `@`, as it was sent.
    pub fn local_part(&self) -> &str {
        &self.address[..self.at]
    }

    /// The domain as it was sent, or an address literal with its brackets.
    pub fn domain(&self) -> &str {
        &self.address[self.at + 1..]
    }

    /// The domain as the DNS and the policy's lists know it: in lower case, and in ASCII (RFC 5890 §2.3.2.1).
    pub fn ascii_domain(&self) -> String {
        a_labels(self.domain()).unwrap_or(Cow::Borrowed(self.domain())).to_ascii_lowercase()
    }

    /// Whether the address can be used without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.address.is_ascii()
    }

    /// The address with its domain in ASCII, which is what the policy is asked about. The local part is as it was sent.
    pub fn with_ascii_domain(&self) -> String {
        match a_labels(self.domain()) {
            Some(Cow::Owned(domain)) => format!("{}@{domain}", self.local_part()),
            _ => self.address.clone(),
        }
    }
}

/// Where a message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`, the null sender of delivery reports.
    Null,
    /// An address.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Without angle brackets; empty for the null sender.
    pub fn address(&self) -> &str {
        match self {
            ReversePath::Null => "",
            ReversePath::Mailbox(mailbox) => mailbox.address(),
        }
    }

    /// As [`Mailbox::with_ascii_domain`]; empty for the null sender.
    pub fn with_ascii_domain(&self) -> String {
        match self {
            ReversePath::Null => String::new(),
            ReversePath::Mailbox(mailbox) => mailbox.with_ascii_domain(),
        }
    }

    /// Whether the path can be used without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.address().is_ascii()
    }
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain, which every server takes (RFC 5321 §4.1.1.3).
    Postmaster,
    /// An address.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// Whether the path can be used without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        match self {
            ForwardPath::Postmaster => true,
            ForwardPath::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

impl fmt::Display for ForwardPath {
    /// As it stands in RCPT, between its brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("<Postmaster>"),
            ForwardPath::Mailbox(mailbox) => write!(f, "<{}>", mailbox.address()),
        }
    }
}

/// What is wrong with a path. The texts are part of a reply and repeat nothing that the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Not between `<` and `>`.
    Brackets,
    /// Neither an atom nor a quoted string, or too long.
    LocalPart,
    /// No domain where one is needed.
    NoDomain,
    /// Neither a domain nor an address literal, or too long.
    Domain,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Brackets => "the address must stand between < and >",
            PathError::LocalPart => "the part before the @ is not valid, or longer than 64 octets",
            PathError::NoDomain => "the address needs an @ and a domain",
            PathError::Domain => "the domain is not valid, or longer than 255 octets",
        })
    }
}

/// Reads `<...>` after `MAIL FROM:`, and gives back what follows it.
pub fn reverse_path(text: &str) -> Result<(ReversePath, &str), PathError> {
    if let Some(rest) = text.strip_prefix("<>") {
        return Ok((ReversePath::Null, following(rest)?));
    }
    let (mailbox, rest) = bracketed(text)?;
    Ok((ReversePath::Mailbox(mailbox), rest))
}

/// Reads `<...>` after `RCPT TO:`, and gives back what follows it.
pub fn forward_path(text: &str) -> Result<(ForwardPath, &str), PathError> {
    const POSTMASTER: &str = "<postmaster>";
    if let Some((name, rest)) = text.split_at_checked(POSTMASTER.len())
        && name.eq_ignore_ascii_case(POSTMASTER)
    {
        return Ok((ForwardPath::Postmaster, following(rest)?));
    }
    let (mailbox, rest) = bracketed(text)?;
    Ok((ForwardPath::Mailbox(mailbox), rest))
}

/// A domain with letters beyond ASCII in its ASCII form, where it has one; one that is ASCII, or an address literal, as it is.
fn a_labels(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() {
        return Some(Cow::Borrowed(domain));
    }
    idna::domain_to_ascii_strict(domain).ok().filter(|name| is_domain(name)).map(Cow::Owned)
}

/// Whether `text` is an address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
pub fn is_address_literal(text: &str) -> bool {
    let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else { return false };
    match address.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address.parse::<std::net::Ipv6Addr>().is_ok(),
        _ => address.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

fn bracketed(text: &str) -> Result<(Mailbox, &str), PathError> {
    let text = text.strip_prefix('<').ok_or(PathError::Brackets)?;
    // A source route, `@a,@b:`, is to be accepted and ignored (RFC 5321 §4.1.1.3 and appendix C).
    let text = if text.starts_with('@') { source_route(text)? } else { text };
    let local = local_part(text)?;
    let domain = text[local..].strip_prefix('@').ok_or(match text.as_bytes().get(local) {
        Some(b'>') => PathError::NoDomain,
        None => PathError::Brackets,
        _ => PathError::LocalPart,
    })?;
    let end = domain.find('>').ok_or(PathError::Brackets)?;
    let name = &domain[..end];
    if !is_address_literal(name) && !a_labels(name).is_some_and(|name| is_domain(&name)) {
        return Err(PathError::Domain);
    }
    let mailbox = Mailbox { address: text[..local + 1 + end].to_owned(), at: local };
    Ok((mailbox, following(&domain[end + 1..])?))
}

/// Parameters are set off by a space.
fn following(rest: &str) -> Result<&str, PathError> {
    let parameters = rest.trim_start();
    if parameters.is_empty() || parameters.len() < rest.len() { Ok(parameters) } else { Err(PathError::Brackets) }
}

fn source_route(text: &str) -> Result<&str, PathError> {
    let (route, rest) = text.split_once(':').ok_or(PathError::Domain)?;
    let valid = route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(is_domain));
    if valid { Ok(rest) } else { Err(PathError::Domain) }
}

/// The length of the local part that `text` starts with.
fn local_part(text: &str) -> Result<usize, PathError> {
    let octets = text.as_bytes();
    let length = if octets.first() == Some(&b'"') {
        let mut escaped = false;
        let close = octets.iter().skip(1).position(|octet| match octet {
            _ if escaped => {
                escaped = false;
                false
            }
            b'\\' => {
                escaped = true;
                false
            }
            octet => *octet == b'"',
        });
        close.ok_or(PathError::LocalPart)? + 2
    } else {
        octets.iter().position(|octet| !is_atom_or_dot(*octet)).unwrap_or(octets.len())
    };
    let printable = octets[..length].iter().all(|octet| matches!(octet, b' '..=b'~' | 0x80..));
    if printable && matches!(length, 1..=LOCAL_PART_MAX) { Ok(length) } else { Err(PathError::LocalPart) }
}

fn is_atom_or_dot(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b".!#$%&'*+-/=?^_`{|}~".contains(&octet) || !octet.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> (String, String) {
        match reverse_path(text) {
            Ok((ReversePath::Mailbox(mailbox), "")) => (mailbox.address().to_owned(), mailbox.domain().to_owned()),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_addresses() {
        for (text, local, domain) in [
            ("<a@b>", "a", "b"),
            ("<a.b+c=d@x-y.example>", "a.b+c=d", "x-y.example"),
            ("<.a..b.@b.example>", ".a..b.", "b.example"),
            ("<\"a b\"@b.example>", "\"a b\"", "b.example"),
            ("<\"a\\\"@>\"@b.example>", "\"a\\\"@>\"", "b.example"),
            ("<a@[192.0.2.1]>", "a", "[192.0.2.1]"),
            ("<a@[IPv6:2001:db8::1]>", "a", "[IPv6:2001:db8::1]"),
            ("<@one.example,@two.example:a@b.example>", "a", "b.example"),
        ] {
            assert_eq!(address(text), (format!("{local}@{domain}"), domain.to_owned()));
        }
    }

    #[test]
    fn reads_letters_beyond_ascii() {
        let Ok((ReversePath::Mailbox(mailbox), "")) = reverse_path("<jörg@Bücher.example>") else { panic!("is an address") };
        assert_eq!(mailbox.address(), "jörg@Bücher.example");
        assert_eq!(mailbox.ascii_domain(), "xn--bcher-kva.example");
        assert_eq!(mailbox.with_ascii_domain(), "jörg@xn--bcher-kva.example");
        assert!(!mailbox.is_ascii());
        assert_eq!(address("<\"jö rg\"@b.example>").0, "\"jö rg\"@b.example");
        for text in ["<a@b\u{fffd}c>", "<a@ü..b>", "<a@-ü.b>", "<a@ü\u{2e}>", "<@ü:a@b>", "<a@[ü]>"] {
            assert_eq!(reverse_path(text), Err(PathError::Domain), "{text}");
        }
        let Ok((ReversePath::Mailbox(plain), "")) = reverse_path("<a@B.Example>") else { panic!("is an address") };
        assert_eq!((plain.ascii_domain(), plain.with_ascii_domain()), ("b.example".into(), "a@B.Example".into()));
    }

    #[test]
    fn reads_the_paths_without_a_mailbox() {
        assert_eq!(reverse_path("<>"), Ok((ReversePath::Null, "")));
        assert_eq!(reverse_path("<> SIZE=1"), Ok((ReversePath::Null, "SIZE=1")));
        assert_eq!(forward_path("<pOSTMASTER>"), Ok((ForwardPath::Postmaster, "")));
        assert_eq!(forward_path("<>"), Err(PathError::LocalPart));
        assert_eq!(reverse_path("<postmaster>"), Err(PathError::NoDomain));
    }

    #[test]
    fn refuses_what_is_no_address() {
        use PathError::*;
        for (text, error) in [
            ("", Brackets),
            ("a@b", Brackets),
            ("<a@b", Brackets),
            ("<a", Brackets),
            ("<a@b>x", Brackets),
            ("<a>", NoDomain),
            ("<@b>", Domain),
            ("<a b@c>", LocalPart),
            ("<\"a@b>", LocalPart),
            ("<\"a\"b@c>", LocalPart),
            ("<a@>", Domain),
            ("<a@b.>", Domain),
            ("<a@b..c>", Domain),
            ("<a@-b>", Domain),
            ("<a@b c>", Domain),
            ("<a@b@c>", Domain),
            ("<a@[192.0.2.256]>", Domain),
            ("<a@[::1]>", Domain),
            ("<a@[IPv6:::1>", Domain),
            ("<@a b:c@d>", Domain),
            ("<\"a\tb\"@c>", LocalPart),
        ] {
            assert_eq!(reverse_path(text), Err(error), "{text}");
        }
    }

    #[test]
    fn lengths_have_limits() {
        let local = "x".repeat(LOCAL_PART_MAX);
        address(&format!("<{local}@b>"));
        assert_eq!(reverse_path(&format!("<{local}x@b>")), Err(PathError::LocalPart));
        let label = "x".repeat(LABEL_MAX);
        address(&format!("<a@{label}>"));
        assert_eq!(reverse_path(&format!("<a@{label}x>")), Err(PathError::Domain));
        let domain = format!("{label}.{label}.{label}.{label}");
        assert_eq!(domain.len(), DOMAIN_MAX);
        address(&format!("<a@{domain}>"));
        assert_eq!(reverse_path(&format!("<a@{domain}.x>")), Err(PathError::Domain));
    }
}

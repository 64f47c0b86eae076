//! What a message says of itself.

use mail_auth::AuthenticatedMessage;
use smtp_fallback_policy::contract::Message;

use crate::author::{addresses, domain};
use crate::names::reported;

/// Of a header longer than this, in octets, the rest is not read.
const MAX_HEADER: usize = 1 << 20;
/// Of a Message-ID or Date longer than this, in octets, the rest is left out: it is a line of RFC 5322 §2.1.1.
const MAX_VALUE: usize = 998;

/// Reads Message-ID, Date and From of a message as received. Nothing here is an error: what is not there, or cannot be read, is
/// absent. Of a field that comes twice, the first counts, except From: then no domain can be named. The domain is that of the first
/// address, with A-labels; absent where the field is malformed, and where the domain is longer than any name.
pub fn summary(message: &[u8]) -> Message {
    let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let Some(parsed) = AuthenticatedMessage::parse(header_of(message)) else {
        return Message { message_id: None, date: None, from_domain: None, size };
    };
    let values = |wanted: &'static str| {
        let named = parsed.headers().iter().filter(move |(name, _)| name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()));
        named.map(|&(_, value)| value)
    };
    let from = addresses(&parsed).unwrap_or_default();
    let from_domain = from.first().map(|address| reported(domain(address)));
    Message {
        message_id: values("Message-ID").next().and_then(unfolded),
        date: values("Date").next().and_then(unfolded),
        from_domain: from_domain.filter(|domain| !domain.is_empty()),
        size,
    }
}

/// The header with the empty line that ends it, or all that there is.
fn header_of(message: &[u8]) -> &[u8] {
    let start = &message[..message.len().min(MAX_HEADER)];
    let ends = start.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(position, _)| position + 1);
    let mut bodies = ends.filter(|&end| start[end..].starts_with(b"\n") || start[end..].starts_with(b"\r\n"));
    bodies.next().map_or(start, |end| &start[..(end + 2).min(start.len())])
}

/// The field's text without its line ends (RFC 5322 §2.2.3) and the white space around it; absent if nothing is left.
fn unfolded(value: &[u8]) -> Option<String> {
    let octets: Vec<u8> = value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let text = String::from_utf8_lossy(octets.trim_ascii());
    let end = text.floor_char_boundary(MAX_VALUE);
    (!text.is_empty()).then(|| text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(message: &str) -> [Option<String>; 3] {
        let Message { message_id, date, from_domain, size } = summary(message.as_bytes());
        assert_eq!(size as usize, message.len());
        [message_id, date, from_domain]
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_fields_are_read() {
        let message = "Received: from a\r\n\tby b\r\nmessage-id:\r\n <1@a.example>\r\nDATE: Thu, 1 Jan 1970\r\n 00:00:00 +0000\r\n\
            From: \"Doe, J\" <J.Doe@Sub.Example.COM>\r\n\r\nDate: not this\r\n";
        assert_eq!(texts(message), [some("<1@a.example>"), some("Thu, 1 Jan 1970 00:00:00 +0000"), some("sub.example.com")]);
        assert_eq!(texts(&message.replace("\r\n", "\n"))[2], some("sub.example.com"), "line ends without CR");
    }

    #[test]
    fn what_is_not_there_is_absent() {
        assert_eq!(texts(""), [None, None, None]);
        assert_eq!(texts("\r\nFrom: a@b.example\r\n"), [None, None, None], "the header is empty");
        assert_eq!(texts("Subject: x\r\n\r\nFrom: a@b.example\r\n"), [None, None, None]);
        assert_eq!(texts("Message-ID:\r\nDate: \r\nFrom: \r\n\r\n"), [None, None, None]);
        assert_eq!(texts("From: undisclosed\r\n\r\n")[2], None);
        assert_eq!(texts("From: a@b.example\r\n")[2], some("b.example"), "nothing but one field");
    }

    #[test]
    fn one_from_field_and_its_first_address() {
        assert_eq!(texts("From: a@one.example, b@two.example\r\n\r\n")[2], some("one.example"));
        assert_eq!(texts("From: a@one.example\r\nfrom: b@two.example\r\n\r\n")[2], None);
        assert_eq!(texts("From: a@one.example\r\nFrom : a@one.example\r\n\r\n")[2], None);
        assert_eq!(texts("Message-ID: <1>\r\nMessage-ID: <2>\r\n\r\n")[0], some("<1>"));
    }

    #[test]
    fn a_from_field_that_can_be_read_in_two_ways_names_nobody() {
        for from in ["<x@victim.example> <a@one.example>", "x@victim.example <>, a@one.example", "Somebody, a@one.example"] {
            assert_eq!(texts(&format!("From: {from}\r\n\r\n"))[2], None, "{from}");
        }
        assert_eq!(texts("From: x@victim.example\r\nF rom: a@one.example\r\n\r\n")[2], None);
        assert_eq!(texts("F rom: a@one.example\r\n\r\n")[2], None);
        let long = "a.".repeat(200);
        assert_eq!(texts(&format!("From: a@{long}example\r\n\r\n"))[2], None);
    }

    #[test]
    fn odd_octets_and_lengths_do_no_harm() {
        let mut message = b"Message-ID: <\xff\x00>\r\nDate: ".to_vec();
        message.extend("é".repeat(2000).as_bytes());
        message.extend(b"\r\nFrom: =?utf-8?q?x?= <a@b\xc3\xbccher.example>\r\n\r\n");
        let read = summary(&message);
        assert_eq!(read.message_id.as_deref(), Some("<\u{fffd}\0>"));
        assert_eq!(read.from_domain.as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(read.date.map(|date| date.len()), Some(998));
        for end in 0..message.len() {
            summary(&message[..end]);
        }
    }
}

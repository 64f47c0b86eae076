//! The entries of lists: domains, networks, recipients and lines.

use super::order::sort;
use super::read::{Reader, Value};
use super::text::{MAX_TEXT, TemplateError};
use super::{DomainList, RecipientList, Template};
use crate::network::{Network, NetworkError};

/// The most entries in a list of domains, networks or recipients.
pub(super) const MAX_ENTRIES: usize = 10_000;
/// The most lines in a reply.
pub(super) const MAX_LINES: usize = 8;
/// The fields of an entry of `network.overrides`.
pub(super) const OVERRIDE: &[&str] = &["network", "prefix"];

/// Domains with their places.
pub(super) type DomainEntries<'a> = Vec<(String, Value<'a>)>;

/// A list of at least `min` domains; entries that are wrong are left out.
pub(super) fn domains<'a>(reader: &mut Reader<'a>, value: Value<'a>, min: usize) -> Option<DomainEntries<'a>> {
    let expected = if min > 0 { "a list of 1 to 10000 domain names" } else { "a list of at most 10000 domain names" };
    let items = reader.items(value, min, MAX_ENTRIES, expected)?;
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        let expected = "a domain name, or one with a dot in front for all names below it";
        let Some(text) = reader.string(item, expected) else { continue };
        match DomainList::parse_entry(&text) {
            Some(domain) => entries.push((domain, item)),
            None => reader.error(item, expected, domain_advice(&text)),
        }
    }
    Some(entries)
}

fn domain_advice(text: &str) -> &'static str {
    if !text.is_ascii() {
        "write the name in its ASCII form, with xn--"
    } else if text.starts_with("*.") {
        "write .example.org for all names below example.org"
    } else if text.contains('@') {
        "write the domain without the part up to the @"
    } else if text.contains(['/', ':']) {
        "write a name, not an address, a network or a URL"
    } else {
        "a name has labels of 1 to 63 letters, digits and hyphens between dots, 253 octets in all"
    }
}

/// A list of recipients.
pub(super) fn recipients<'a>(reader: &mut Reader<'a>, value: Value<'a>) -> RecipientList {
    let Some(items) = reader.items(value, 0, MAX_ENTRIES, "a list of at most 10000 recipients") else {
        return RecipientList::default();
    };
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        let expected = "a recipient: \"postmaster\", \"user@example.org\" or \"@example.org\"";
        let Some(text) = reader.string(item, expected) else { continue };
        match RecipientList::parse_entry(&text) {
            Some(recipient) => entries.push(recipient),
            None if text.is_ascii() => {
                reader.error(
                    item,
                    expected,
                    "write it without angle brackets, spaces and quotes, with a domain name after the @",
                );
            }
            None => {
                reader.error(item, expected, "write the domain in its ASCII form, with xn--; other local parts cannot be listed")
            }
        }
    }
    RecipientList::new(entries)
}

/// An IPv6 network.
fn network<'a>(reader: &mut Reader<'a>, value: Value<'a>) -> Option<Network> {
    let expected = "an IPv6 network such as \"2001:db8::/32\"";
    let text = reader.string(value, expected)?;
    let advice = match Network::parse(&text) {
        Ok(network) if network.is_ipv4() => "remove it: this policy never refuses IPv4 (P9)".into(),
        Ok(network) => return Some(network),
        Err(NetworkError::Address) if text.contains('%') => "leave out the zone, the part after %".into(),
        Err(NetworkError::Address) => "write an IPv6 address, a slash and the length of the prefix".into(),
        Err(NetworkError::Length) => "the length after the slash is a number from 0 to 128".into(),
        Err(NetworkError::HostBits(meant)) => format!("bits after the prefix are set; did you mean \"{meant}\"?"),
    };
    reader.error(value, expected, advice);
    None
}

/// A list of networks, in the order they stand.
pub(super) fn networks<'a>(reader: &mut Reader<'a>, value: Value<'a>) -> Vec<Network> {
    let items = reader.items(value, 0, MAX_ENTRIES, "a list of at most 10000 IPv6 networks").unwrap_or_default();
    items.into_iter().filter_map(|item| network(reader, item)).collect()
}

/// `network.overrides`: the longest network first; none twice (P13).
pub(super) fn overrides<'a>(reader: &mut Reader<'a>, value: Value<'a>) -> Vec<(Network, u8)> {
    let items = reader.items(value, 0, MAX_ENTRIES, "a list of at most 10000 overrides").unwrap_or_default();
    let mut seen: Vec<(Network, u8, Value<'a>)> = Vec::with_capacity(items.len());
    for item in items {
        let Some(fields) = reader.fields(item, OVERRIDE) else { continue };
        let (Some(within), Some(prefix)) = (fields.get("network"), fields.get("prefix")) else {
            let example = "write for example {\"network\": \"2001:db8::/32\", \"prefix\": 96}";
            reader.error(item, "an object with both network and prefix", example);
            continue;
        };
        let (network, length) = (network(reader, within), reader.number(prefix, 16, 128));
        let (Some(network), Some(length)) = (network, length) else { continue };
        if length < u32::from(network.length()) {
            let expected = format!("a prefix from {} to 128, as {network} is the network", network.length());
            reader.error(prefix, expected, "a client's network cannot be larger than the one the override is for");
            continue;
        }
        // 16 to 128, as read above.
        seen.push((network, length as u8, within));
    }
    // Stable: of two alike, the later one stays later.
    sort(&mut seen, |(one, ..), (other, ..)| other.length().cmp(&one.length()).then_with(|| one.cmp(other)));
    for pair in seen.windows(2) {
        if pair[0].0 == pair[1].0 {
            reader.error(pair[1].2, "each network once", "this network has an override already: remove one of the two");
        }
    }
    seen.into_iter().map(|(network, length, _)| (network, length)).collect()
}

/// The lines of a reply: 1 to 8.
pub(super) fn lines<'a>(reader: &mut Reader<'a>, value: Value<'a>, url: Option<&str>) -> Option<Vec<Template>> {
    let items = reader.items(value, 1, MAX_LINES, "a list of 1 to 8 lines")?;
    let mut lines = Vec::with_capacity(items.len());
    for item in items {
        lines.extend(line(reader, item, url));
    }
    Some(lines)
}

fn line<'a>(reader: &mut Reader<'a>, value: Value<'a>, url: Option<&str>) -> Option<Template> {
    let expected = "a line of printable ASCII";
    let text = reader.string(value, expected)?;
    let error = match Template::parse(&text, url) {
        Ok(template) => return Some(template),
        Err(error) => error,
    };
    let known = "{failed}, {client}, {prefix} and {url}";
    match error {
        TemplateError::Empty => reader.error(value, expected, "write some words, or leave the line out"),
        TemplateError::NotAscii('\r' | '\n') => reader.error(value, expected, "write each line as an entry of its own"),
        TemplateError::NotAscii(odd) => {
            // Replies are ASCII unless the client asked for more (RFC 5321 §4.2, RFC 6531 §3.7.4.1).
            reader.error(value, expected, format!("replace the character U+{:04X}", odd as u32));
        }
        TemplateError::Placeholder(Some(name)) => {
            let near = super::nearest::nearest(&name, &["failed", "client", "prefix", "url"]);
            let advice = near.map_or("a brace cannot stand alone: remove it".into(), |near| format!("did you mean {{{near}}}?"));
            reader.error(value, format!("the placeholders {known}"), advice);
        }
        TemplateError::Placeholder(None) => {
            reader.error(
                value,
                format!("braces around the placeholders {known} only"),
                "close the placeholder, or remove the brace",
            );
        }
        TemplateError::NoUrl => {
            reader.error(
                value,
                "no {url}, as the policy has no url",
                "set url to the page that explains the policy, or leave {url} out",
            );
        }
        TemplateError::TooLong(longest) => {
            let expected = format!("a line of at most {MAX_TEXT} octets with its placeholders filled in");
            reader.error(value, expected, format!("it can grow to {longest} octets: shorten it, or make two lines"));
        }
    }
    None
}

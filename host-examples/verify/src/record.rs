//! Reads SPF records, to the letter of RFC 7208 §12: whoever writes something else has made a mistake, and shall hear of it. The
//! types are mail-auth's, which expands the macros.

use std::net::{Ipv4Addr, Ipv6Addr};

use mail_auth::spf::{Directive, Macro, Mechanism, Qualifier, Variable};

/// What a record says, as far as it matters for the result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) directives: Vec<Directive>,
    pub(crate) redirect: Option<Macro>,
}

/// Whether `text` is meant to be an SPF record (RFC 7208 §4.5).
pub(crate) fn is_spf(text: &[u8]) -> bool {
    text.split_at_checked(VERSION.len())
        .is_some_and(|(version, rest)| version.eq_ignore_ascii_case(VERSION) && (rest.is_empty() || rest.starts_with(b" ")))
}

const VERSION: &[u8] = b"v=spf1";

/// `text` is one for which [`is_spf`] holds. Absent where anything in it is no term.
pub(crate) fn parse(text: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(text).ok()?.get(VERSION.len()..)?;
    let mut record = Record { directives: Vec::new(), redirect: None };
    let mut has_explanation = false;
    for term in text.split(' ').filter(|term| !term.is_empty()) {
        let end = term.find([':', '/', '=']).unwrap_or(term.len());
        let (name, rest) = term.split_at(end);
        let Some(value) = rest.strip_prefix('=') else {
            record.directives.push(directive(name, rest)?);
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "redirect" if record.redirect.is_none() => record.redirect = Some(domain_spec(value)?),
            "exp" if !has_explanation => {
                domain_spec(value)?;
                has_explanation = true;
            }
            "redirect" | "exp" => return None,
            _ if is_modifier_name(name) => drop(macro_string(value, true)?),
            _ => return None,
        }
    }
    Some(record)
}

fn is_modifier_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// `rest` is empty, or begins with `:` or `/`.
fn directive(name: &str, rest: &str) -> Option<Directive> {
    let (qualifier, name) = match name.as_bytes().first()? {
        b'+' => (Qualifier::Pass, &name[1..]),
        b'-' => (Qualifier::Fail, &name[1..]),
        b'~' => (Qualifier::SoftFail, &name[1..]),
        b'?' => (Qualifier::Neutral, &name[1..]),
        _ => (Qualifier::Pass, name),
    };
    let value = rest.strip_prefix(':');
    let mechanism = match (name.to_ascii_lowercase().as_str(), value) {
        ("all", None) if rest.is_empty() => Mechanism::All,
        ("include", Some(value)) => Mechanism::Include { macro_string: domain_spec(value)? },
        ("exists", Some(value)) => Mechanism::Exists { macro_string: domain_spec(value)? },
        ("ptr", None) if rest.is_empty() => Mechanism::Ptr { macro_string: Macro::None },
        ("ptr", Some(value)) => Mechanism::Ptr { macro_string: domain_spec(value)? },
        ("a", _) => {
            let (macro_string, ip4_mask, ip6_mask) = domain_and_masks(rest)?;
            Mechanism::A { macro_string, ip4_mask, ip6_mask }
        }
        ("mx", _) => {
            let (macro_string, ip4_mask, ip6_mask) = domain_and_masks(rest)?;
            Mechanism::Mx { macro_string, ip4_mask, ip6_mask }
        }
        ("ip4", Some(value)) => {
            let (address, length) = value.split_once('/').map_or((value, None), |(address, length)| (address, Some(length)));
            let mask = length.map_or(Some(u32::MAX), ip4_mask)?;
            Mechanism::Ip4 { addr: address.parse::<Ipv4Addr>().ok()?, mask }
        }
        ("ip6", Some(value)) => {
            let (address, length) = value.split_once('/').map_or((value, None), |(address, length)| (address, Some(length)));
            let mask = length.map_or(Some(u128::MAX), ip6_mask)?;
            Mechanism::Ip6 { addr: address.parse::<Ipv6Addr>().ok()?, mask }
        }
        _ => return None,
    };
    Some(Directive::new(qualifier, mechanism))
}

/// What follows `a` and `mx`: `[ ":" domain-spec ] [ dual-cidr-length ]`. A domain-spec may have slashes of its own, so that the
/// lengths are found from the end.
fn domain_and_masks(text: &str) -> Option<(Macro, u32, u128)> {
    let is_length = |length: &&str| !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let (mut rest, mut masks) = (text, (u32::MAX, u128::MAX));
    if let Some((before, length)) = rest.rsplit_once("//").filter(|(_, length)| is_length(length)) {
        (rest, masks.1) = (before, ip6_mask(length)?);
    }
    if let Some((before, length)) = rest.rsplit_once('/').filter(|(_, length)| is_length(length)) {
        (rest, masks.0) = (before, ip4_mask(length)?);
    }
    let domain = match rest.strip_prefix(':') {
        Some(domain) => domain_spec(domain)?,
        None if rest.is_empty() => Macro::None,
        None => return None,
    };
    Some((domain, masks.0, masks.1))
}

fn ip4_mask(length: &str) -> Option<u32> {
    let length = number(length).filter(|&length| length <= 32)?;
    Some(u32::MAX.checked_shl(32 - length).unwrap_or(0))
}

fn ip6_mask(length: &str) -> Option<u128> {
    let length = number(length).filter(|&length| length <= 128)?;
    Some(u128::MAX.checked_shl(128 - length).unwrap_or(0))
}

/// Digits without a leading zero.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// `macro-string domain-end`: ends in a macro, or in a dot and a top label, with or without a final dot.
fn domain_spec(text: &str) -> Option<Macro> {
    let (domain, ends_in_macro) = macro_string(text, false)?;
    if ends_in_macro {
        return Some(domain);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let (_, label) = name.rsplit_once('.')?;
    let is_top_label = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().any(|byte| !byte.is_ascii_digit());
    is_top_label.then_some(domain)
}

/// A macro-string with more macros and texts between them than this is taken for a mistake: no name has more labels, and each macro can
/// be as long as a sender.
const MAX_PARTS: usize = 128;

/// A macro-string, and whether its end is a macro. `in_text`: whether the letters that only explanations know are allowed.
fn macro_string(text: &str, in_text: bool) -> Option<(Macro, bool)> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    let mut ends_in_macro = false;
    while let Some(c) = rest.chars().next() {
        ends_in_macro = c == '%';
        if !ends_in_macro {
            // What can be seen, and no space (RFC 7208 §7.1).
            if !c.is_ascii_graphic() {
                return None;
            }
            literal.push(c as u8);
            rest = &rest[1..];
            continue;
        }
        if let Some(after) = rest.strip_prefix("%{") {
            let (inside, after) = after.split_once('}')?;
            if !literal.is_empty() {
                parts.push(Macro::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(variable(inside, in_text)?);
            if parts.len() > MAX_PARTS {
                return None;
            }
            rest = after;
        } else {
            let (escape, after) = rest.split_at_checked(2)?;
            literal.extend_from_slice(match escape {
                "%%" => b"%",
                "%_" => b" ",
                "%-" => b"%20",
                _ => return None,
            });
            rest = after;
        }
    }
    if !literal.is_empty() {
        parts.push(Macro::Literal(literal.into()));
    }
    let text = match parts.len() {
        0 => Macro::Literal(Box::default()),
        1 => parts.pop()?,
        _ => Macro::List(parts.into()),
    };
    Some((text, ends_in_macro))
}

/// What is between the braces: a letter, a number of parts, `r`, delimiters.
fn variable(inside: &str, in_text: bool) -> Option<Macro> {
    let first = inside.chars().next()?;
    let letter = match first.to_ascii_lowercase() {
        's' => Variable::Sender,
        'l' => Variable::SenderLocalPart,
        'o' => Variable::SenderDomainPart,
        'd' => Variable::Domain,
        'i' => Variable::Ip,
        'p' => Variable::ValidatedDomain,
        'v' => Variable::IpVersion,
        'h' => Variable::HeloDomain,
        'c' if in_text => Variable::SmtpIp,
        'r' if in_text => Variable::HostDomain,
        't' if in_text => Variable::CurrentTime,
        _ => return None,
    };
    let rest = &inside[1..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = rest.split_at(digits);
    // RFC 7208 §7.3: zero parts are a mistake. More than there are is all of them.
    let num_parts = match digits {
        "" => 0,
        digits => Some(digits.parse().unwrap_or(u32::MAX)).filter(|&parts| parts > 0)?,
    };
    let reverse = rest.starts_with(['r', 'R']);
    let delimiters = if reverse { &rest[1..] } else { rest };
    let bit = |delimiter: u8| 1_u64 << (delimiter - b'+');
    let mut mask = 0;
    for delimiter in delimiters.bytes() {
        mask |= if b".-+,/_=".contains(&delimiter) { bit(delimiter) } else { return None };
    }
    let delimiters = if mask == 0 { bit(b'.') } else { mask };
    Some(Macro::Variable { letter, num_parts, reverse, escape: first.is_ascii_uppercase(), delimiters })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use mail_auth::dns::TxtRecordParser;
    use mail_auth::spf::SpfRecord;

    use super::*;

    #[test]
    fn a_record_is_known_by_its_version() {
        for text in ["v=spf1", "V=SPF1", "v=spf1 ", "v=spf1 -all"] {
            assert!(is_spf(text.as_bytes()), "{text}");
        }
        for text in ["", "v=spf", "v=spf10", "v=spf1-all", " v=spf1", "v=spf1\t-all", "verification=v=spf1"] {
            assert!(!is_spf(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn terms_mean_what_mail_auth_reads() {
        for terms in [
            "",
            "-all",
            "+a -mx ~ptr ?exists:a.example all",
            "A MX:a.example PTR:a.example INCLUDE:a.example Ip4:192.0.2.1 iP6:2001:db8::1",
            "a/24 a//64 a/24//64 mx:a.example/0 mx:a.example//0 a:a.example/32//128 a:a.example./8",
            "ip4:192.0.2.0/24 ip4:0.0.0.0/0 ip6:::/0 ip6:2001:db8::/32 ip6:::ffff:192.0.2.1/128",
            "include:%{i}._spf.%{d2} exists:%{l1r-}.%{L}.%{o}.%{ir}.%{v}.%{h}.%{p} -all redirect=%{d}",
            "exists:%{d5r+-}.%%%_%-.a.example redirect=_spf.a.example",
            "a:%{d}",
            "a:a%%",
            "  a   -all  ",
            "exp=a.example exists:%{s} other.name-x_1=%{i}x:y redirect=a-b.x--y",
        ] {
            let text = format!("v=spf1 {terms}");
            let ours = parse(text.as_bytes()).unwrap_or_else(|| panic!("{terms}"));
            let theirs = SpfRecord::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{terms}: {error}"));
            assert_eq!(ours.directives, theirs.directives.to_vec(), "{terms}");
            assert_eq!(ours.redirect, theirs.redirect, "{terms}");
        }
        assert!(parse(b"v=spf1 other=%{c}%{r}%{t}x:y/z").is_some(), "letters of explanations, in a modifier that nobody knows");
        let slashes = parse(b"v=spf1 a:a/b:c.example/24").unwrap();
        let macro_string = Macro::Literal((*b"a/b:c.example").into());
        let expected = Mechanism::A { macro_string, ip4_mask: 0xffff_ff00, ip6_mask: u128::MAX };
        assert_eq!(slashes.directives, [Directive::new(Qualifier::Pass, expected)]);
    }

    #[test]
    fn a_name_has_only_so_many_macros() {
        for (macros, is_read) in [(MAX_PARTS, true), (MAX_PARTS + 1, false), (16_000, false)] {
            for term in ["exists:", "redirect=", "other="] {
                let text = format!("v=spf1 {term}{}", "%{s}".repeat(macros));
                assert_eq!(parse(text.as_bytes()).is_some(), is_read, "{macros} in {term}");
            }
        }
    }

    #[test]
    fn anything_else_is_a_mistake() {
        for term in [
            "nothing",
            "all.",
            "all:a.example",
            "all/8",
            "-",
            "--all",
            "=",
            "=x",
            "-exp=a.example",
            "1x=y",
            "x y=%",
            "include",
            "include:",
            "include:example",
            "include:a.example/24",
            "include/24",
            "exists",
            "exists:",
            "ptr:",
            "ptr/0",
            "a:",
            "a:example",
            "a:a.1",
            "a:a.-b",
            "a:a.b-",
            "a:a..",
            "a:.",
            "a:a.example:80",
            "a/",
            "a/33",
            "a/024",
            "a/x",
            "a//129",
            "a///64",
            "a/24/64",
            "a/24//",
            "a:a.example/24//129",
            "a:/24",
            "mx/-1",
            "mx:a.example//064",
            "a24",
            "ip4",
            "ip4:",
            "ip4/24",
            "ip4:192.0.2",
            "ip4:192.0.2.256",
            "ip4:192.0.2.01",
            "ip4:192.0.2.1/33",
            "ip4:192.0.2.1/",
            "ip4:192.0.2.1:80",
            "ip4:192.0.2.1//32",
            "ip4:::1",
            "ip6:",
            "ip6:192.0.2.1",
            "ip6:::1/129",
            "ip6:::1/",
            "ip6:::1//64",
            "ip6:::1%1",
            "redirect=",
            "redirect:a.example",
            "redirect=a.example/24",
            "redirect=a.example redirect=a.example",
            "exp=",
            "exp=a.example exp=a.example",
            "exists:%{",
            "exists:%{}",
            "exists:%{x}",
            "exists:%{c}",
            "exists:%{d0}",
            "exists:%{d-r}",
            "exists:%{dé}",
            "exists:%{é}",
            "exists:%é.a.example",
            "exists:%a.example",
            "exists:%",
            "x=%{y}",
            "a:é.example",
            "a:a.é",
            "a:a\tb.example",
        ] {
            assert_eq!(parse(format!("v=spf1 {term} -all").as_bytes()), None, "{term}");
        }
        assert_eq!(parse(b"v=spf1 a:\xff.example"), None);
    }
}

//! From the results of fields to those of the contract.

use super::grammar::{Method, MethodResult, Properties, Property};
use crate::contract::{Arc, AuthResult, AuthResults, Dkim, Dmarc, Iprev, Spf};

/// The longest domain name in octets (RFC 1035 §2.3.4, as text).
const MAX_DOMAIN: usize = 253;

/// The most seals that an ARC chain can have (RFC 8617 §4.2.1).
const MAX_SEALS: usize = 50;

/// Adds one result to those of the results above it.
pub(super) fn add(to: &mut AuthResults, from: &MethodResult<'_>) {
    let MethodResult { method, result, properties } = from;
    let result = if properties.are_ambiguous() { not_passed(*result) } else { *result };
    match method {
        Method::Spf => add_spf(to, result, properties),
        Method::Dkim => add_dkim(to, result, properties),
        Method::Dmarc => {
            let (result, domain) = about(result, address_domain(properties.value(Property::From)));
            match &mut to.dmarc {
                None => to.dmarc = Some(Dmarc { result, domain }),
                Some(first) => first.result = agreed(first.result, result, first.domain == domain),
            }
        }
        Method::Arc => add_arc(to, result, properties),
        // The name stands in comments only, where the client's DNS chose it, or in properties of one writer's own.
        Method::Iprev => match &mut to.iprev {
            None => to.iprev = Some(Iprev { result, name: None }),
            Some(first) => first.result = agreed(first.result, result, true),
        },
    }
}

/// One result is for one identity: MAIL FROM, unless that is empty and there is an EHLO or HELO name (RFC 8601 §2.7.2).
fn add_spf(to: &mut AuthResults, result: AuthResult, properties: &Properties<'_>) {
    let mail_from = properties.value(Property::MailFrom).filter(|value| !matches!(*value, "" | "<>"));
    let helo = properties.value(Property::Helo);
    let (place, identity) =
        if mail_from.is_none() && helo.is_some() { (&mut to.spf_helo, helo) } else { (&mut to.spf_mail_from, mail_from) };
    let (result, domain) = about(result, address_domain(identity));
    match place {
        None => *place = Some(Spf { result, domain }),
        Some(first) => first.result = agreed(first.result, result, first.domain == domain),
    }
}

/// Each result is a signature of its own. `none` is the word for an unsigned message, so it adds no signature.
fn add_dkim(to: &mut AuthResults, result: AuthResult, properties: &Properties<'_>) {
    let signatures = to.dkim.get_or_insert_default();
    if result == AuthResult::None {
        return;
    }
    let signer = match properties.value(Property::SigningDomain) {
        Some(name) => domain(name),
        None => address_domain(properties.value(Property::SigningIdentity)),
    };
    let (result, domain_name) = about(result, signer);
    let selector = properties.value(Property::Selector).map(domain).unwrap_or_default();
    signatures.push(Dkim { result, domain: domain_name, selector, testing: false });
}

/// `arc.chain` is OpenARC's: the signing domains of the chain, the newest first, separated by colons. The registered properties
/// (RFC 8617 §10.2) name no domain.
fn add_arc(to: &mut AuthResults, result: AuthResult, properties: &Properties<'_>) {
    let chain = properties.value(Property::Chain).unwrap_or_default();
    let mut sealers = Vec::new();
    let mut readable = true;
    if !chain.is_empty() {
        for name in chain.rsplit(':').map(domain).take(MAX_SEALS + 1) {
            readable &= !name.is_empty();
            sealers.push(name);
        }
    }
    let result = if readable && sealers.len() <= MAX_SEALS {
        result
    } else {
        sealers.clear();
        not_passed(result)
    };
    match &mut to.arc {
        None => to.arc = Some(Arc { result, sealers }),
        Some(first) => {
            // A result that names no sealer contradicts none.
            let same = first.sealers == sealers || first.sealers.is_empty() || sealers.is_empty();
            first.result = agreed(first.result, result, same);
            // Else two later ones that contradict each other would not be held against each other.
            if first.sealers.is_empty() {
                first.sealers = sealers;
            }
        }
    }
}

/// A pass of nobody is none.
fn about(result: AuthResult, domain: String) -> (AuthResult, String) {
    (if domain.is_empty() { not_passed(result) } else { result }, domain)
}

/// The result, were it not for the pass.
fn not_passed(result: AuthResult) -> AuthResult {
    if result == AuthResult::Pass { AuthResult::Neutral } else { result }
}

/// What is left of two results of one method: the less favourable, and of two passes for different domains nothing.
fn agreed(first: AuthResult, later: AuthResult, same_domain: bool) -> AuthResult {
    let result = if severity(later) > severity(first) { later } else { first };
    if same_domain { result } else { not_passed(result) }
}

/// How little a result is worth to the sender: a temporary error is no failure (A27), the other results are.
fn severity(result: AuthResult) -> u8 {
    match result {
        AuthResult::Pass => 0,
        AuthResult::Temperror => 1,
        AuthResult::Neutral => 2,
        AuthResult::None => 3,
        AuthResult::Policy => 4,
        AuthResult::Softfail => 5,
        AuthResult::Permerror => 6,
        AuthResult::Fail => 7,
    }
}

/// The domain of an address, or a domain alone; empty where there is none. The last `@` is the one before the domain: a local
/// part may hold others.
fn address_domain(address: Option<&str>) -> String {
    let address = address.unwrap_or_default();
    domain(address.rsplit_once('@').map_or(address, |(_, name)| name))
}

/// A domain name in lower case and without a final dot; empty where the text is none. A name in its Unicode form (RFC 8616) is
/// none either: the policy's lists hold ASCII forms, and a name that slips by `reputation.distrust` must not pass.
fn domain(text: &str) -> String {
    let name = text.strip_suffix('.').unwrap_or(text);
    let valid = name.len() <= MAX_DOMAIN
        && name.split('.').all(|label| !label.is_empty())
        && name.bytes().all(|b| matches!(b, b'-' | b'_' | b'.') || b.is_ascii_alphanumeric());
    if valid { name.to_ascii_lowercase() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for (text, name) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("_a.b-c.example", "_a.b-c.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(domain(text), name);
        }
        let long = "a.".repeat(127);
        assert_eq!(domain(&long).len(), 253);
        assert_eq!(domain(&["a", &long].concat()), "");
        for text in [
            "",
            ".",
            "..",
            ".example",
            "a..b",
            "a.b..",
            "a b",
            "a@b",
            "a:b",
            "[::1]",
            "<a>",
            "a/b",
            "*.a",
            "b\u{fc}cher.example",
            "a,b",
            "a\u{3002}b",
            "a\u{ad}b",
            "a\u{200b}b",
            "\u{feff}a",
            "\u{1f600}.example",
        ] {
            assert_eq!(domain(text), "", "{text:?}");
        }
    }

    #[test]
    fn domains_of_addresses() {
        for (text, name) in [
            ("a@Example.org", "example.org"),
            ("@example.org", "example.org"),
            ("example.org", "example.org"),
            ("a=bank.example@b.example", "b.example"),
            ("x@bank.example@evil.example", "evil.example"),
            ("@a.example:user@b.example", "b.example"),
            ("a@", ""),
            ("<a@b.example>", ""),
            ("", ""),
        ] {
            assert_eq!(address_domain(Some(text)), name, "{text}");
        }
        assert_eq!(address_domain(None), "");
    }

    #[test]
    fn contradictions_never_pass() {
        use AuthResult::*;
        let all = [None, Pass, Fail, Softfail, Neutral, Policy, Temperror, Permerror];
        for first in all {
            for later in all {
                for same in [true, false] {
                    let left = agreed(first, later, same);
                    assert_eq!(left == Pass, first == Pass && later == Pass && same, "{first:?} {later:?} {same}");
                    assert_eq!(agreed(first, later, same), agreed(later, first, same));
                    // Nothing that comes later makes it better.
                    assert!(severity(left) >= severity(first));
                }
            }
        }
        assert_eq!(agreed(Pass, Pass, false), Neutral);
        assert_eq!(agreed(Temperror, Fail, true), Fail);
        assert_eq!(agreed(Pass, Temperror, true), Temperror);
    }
}

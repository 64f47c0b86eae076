//! Authentication-Results header fields (RFC 8601): one careful reader for hosts that have no more than the field.
//!
//! Senders choose much of what stands in such a field: addresses, domains, EHLO names, whatever a writer puts into comments. So
//! the rule is that what is not understood is no pass (A27):
//!
//! - A field counts when its authserv-id is one of the trusted ids, in any case. An empty id never is, nor is that of a field
//!   that has none (Microsoft 365 writes such fields), nor anything in a comment.
//! - A field that is malformed anywhere is void, with all that stands before the fault: a field half understood authenticates
//!   nothing. So is one of another version than 1, and one beyond a limit ([`MAX_OCTETS`], 100 results, comments nested 16 deep).
//!   Of more than [`MAX_FIELDS`] fields the later ones are not read. Two things are taken that the grammar does not have, as
//!   common writers write them and they leave nothing in doubt: a semicolon at the end, and unquoted property values such as
//!   IPv6 addresses, which end at white space, a comment or a semicolon and nowhere else.
//! - Result words that RFC 8601 does not list are `neutral`; `hardfail` is the old name of `fail`. Results of unknown methods, and
//!   of methods in another version than 1, are left out. `none` for the whole field leaves everything absent.
//! - A pass without a readable domain (`spf`, `dkim`, `dmarc`) is `neutral`. So is a pass in which a property that is read occurs
//!   twice. A result without a readable domain has an empty one.
//!
//! What is read of each method:
//!
//! | method | into | from |
//! |---|---|---|
//! | `spf` | `spf-mail-from` | `smtp.mailfrom`, an address or a domain |
//! | `spf` | `spf-helo` | `smtp.helo`, when `smtp.mailfrom` is missing or empty |
//! | `dkim` | one entry of `dkim` | `header.d`, else the domain of `header.i`; `header.s`. `dkim=none` adds no entry |
//! | `dmarc` | `dmarc` | `header.from` |
//! | `arc` | `arc` | `arc.chain` (OpenARC), reversed so that the oldest comes first; without it no sealer is known |
//! | `iprev` | `iprev` | nothing: no registered property carries the name, and a comment is not to be trusted |
//!
//! `testing` is false throughout, as RFC 8601 has no property for it.
//!
//! Several fields are read as one, the topmost first. Of `spf` (for each identity), `dmarc`, `arc` and `iprev` the first result
//! stands; where a later one differs, the less favourable result is taken, and two passes for different domains leave
//! `neutral`: a contradiction never passes. `dkim` results are signatures, each on its own.

mod grammar;
mod outcome;
mod scanner;

use crate::contract::AuthResults;

/// A field with more octets than this is not read.
pub const MAX_OCTETS: usize = 64 * 1024;

/// Fields after this many are not read.
pub const MAX_FIELDS: usize = 100;

/// Reads Authentication-Results header fields, the topmost first, each with or without its name. Only those count whose
/// authserv-id is one of `trusted_ids`. The caller passes only fields that its own border added: anyone can write any id.
#[inline(never)]
pub fn parse_authentication_results(headers: &[String], trusted_ids: &[String]) -> AuthResults {
    let is_trusted = |id: &str| !id.is_empty() && trusted_ids.iter().any(|trusted| trusted.eq_ignore_ascii_case(id));
    let mut results = AuthResults::default();
    for header in headers.iter().take(MAX_FIELDS).filter(|header| header.len() <= MAX_OCTETS) {
        for result in grammar::parse_field(header, is_trusted).unwrap_or_default() {
            outcome::add(&mut results, &result);
        }
    }
    results
}

/// Whose field it is: the authserv-id, of a field with or without its name (RFC 8601 §2.5). Absent where none can be read. What stands behind
/// the first semicolon is not looked at: whether a field counts is for [`parse_authentication_results`] to say. With this a host finds out
/// which field is the topmost of a server, and whether there are more that claim to be.
pub fn authserv_id(field: &str) -> Option<String> {
    let head = field.split(';').next().filter(|head| head.len() <= MAX_OCTETS)?;
    grammar::parse_id(head)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::contract::AuthResult;

    fn parse(headers: &[&str]) -> AuthResults {
        parse_authentication_results(&owned(headers), &owned(&["mx.example.org"]))
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().copied().map(String::from).collect()
    }

    /// The vectors of `tests/vectors/authentication-results`, each with the name of its file.
    fn vectors() -> Vec<(String, Value)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/authentication-results");
        let mut vectors = Vec::new();
        for entry in folder.read_dir().expect("the folder of the vectors") {
            let path = entry.expect("an entry of it").path();
            let text = std::fs::read_to_string(&path).expect("a readable vector");
            let vector = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            vectors.push((path.file_name().expect("a file").to_string_lossy().into_owned(), vector));
        }
        vectors
    }

    fn strings(value: &Value) -> Vec<String> {
        serde_json::from_value(value.clone()).expect("a list of strings")
    }

    fn without_nulls(value: Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
            Value::Array(items) => items.into_iter().map(without_nulls).collect(),
            other => other,
        }
    }

    #[test]
    fn the_vectors_hold() {
        let vectors = vectors();
        assert!(vectors.len() >= 40, "{} vectors", vectors.len());
        let mut failures = Vec::new();
        for (name, vector) in vectors {
            assert!(vector["about"].is_string() && vector["holds"].is_array(), "{name}");
            for step in vector["steps"].as_array().expect("steps") {
                assert_eq!(step["call"], "parse-authentication-results", "{name}");
                let input = &step["input"];
                let results = parse_authentication_results(&strings(&input["headers"]), &strings(&input["trusted-ids"]));
                let found = without_nulls(serde_json::to_value(results).expect("plain data"));
                let expected = without_nulls(step["expect"].clone());
                if found != expected {
                    failures.push([&name, ": found ", &found.to_string(), ", expected ", &expected.to_string()].concat());
                }
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn whose_field_it_is() {
        for (field, id) in [
            ("mx.example.org; spf=pass smtp.mailfrom=a.example", Some("mx.example.org")),
            ("Authentication-Results: mx.example.org 1; none", Some("mx.example.org")),
            (" (of) MX.example.org; spf=(", Some("MX.example.org")),
            ("\"mx.example.org\"; garbled \u{1}", Some("mx.example.org")),
            ("\r\n\tmx.example.org", Some("mx.example.org")),
            ("(a;b) mx.example.org; none", None),
            ("; none", None),
            ("", None),
        ] {
            assert_eq!(authserv_id(field).as_deref(), id, "{field:?}");
        }
    }

    #[test]
    fn limits() {
        let field = |length: usize| {
            let start = "mx.example.org; dmarc=pass header.from=a.example (";
            [start, &"x".repeat(length - start.len() - 1), ")"].concat()
        };
        assert!(parse(&[&field(65_536)]).dmarc.is_some());
        assert!(parse(&[&field(65_537)]).is_empty());

        let mut fields = vec!["mx.example.org; none"; MAX_FIELDS - 1];
        fields.push("mx.example.org; dmarc=pass header.from=a.example");
        assert!(parse(&fields).dmarc.is_some());
        fields.insert(0, "mx.example.org; none");
        assert!(parse(&fields).is_empty());

        let chain = |seals: usize| ["mx.example.org; arc=pass arc.chain=a", &":a".repeat(seals - 1)].concat();
        let arc = |seals| parse(&[&chain(seals)]).arc.expect("a result");
        assert_eq!((arc(50).result, arc(50).sealers.len()), (AuthResult::Pass, 50));
        assert_eq!((arc(51).result, arc(51).sealers.len()), (AuthResult::Neutral, 0));
    }

    #[test]
    fn the_longest_fields_are_read_in_no_time() {
        let start = std::time::Instant::now();
        for unit in ["(", "()", ";", "x=pass;", " ", "\r\n ", "\"", "\\", "a.b=", "\u{fc}", ":", "@"] {
            for prefix in
                ["", "mx.example.org; spf=pass ", "mx.example.org; arc=pass arc.chain=a", "mx.example.org; spf=pass (", "\""]
            {
                let text = [prefix, &unit.repeat((MAX_OCTETS - prefix.len()) / unit.len())].concat();
                parse(&[&text]);
            }
        }
        // 60 fields; quadratic time would take minutes.
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    /// Whatever is cut off, put in or replaced: no panic, and no pass without a domain.
    #[test]
    fn damaged_fields() {
        let mut seeds: Vec<(String, Vec<String>)> = Vec::new();
        for (_, vector) in vectors() {
            for step in vector["steps"].as_array().expect("steps") {
                let trusted = strings(&step["input"]["trusted-ids"]);
                seeds.extend(strings(&step["input"]["headers"]).into_iter().map(|header| (header, trusted.clone())));
            }
        }
        let odd = ["", "(", ")", "\"", "\\", ";", "=", ".", "@", "\r", "\n", "\0", " ", "/", ":", "\u{85}", "\u{fc}", "\u{2028}"];
        for (seed, trusted) in seeds.iter().filter(|(seed, _)| seed.len() < 120) {
            for (at, character) in seed.char_indices() {
                let (before, rest) = seed.split_at(at);
                let after = &rest[character.len_utf8()..];
                for put in odd {
                    for text in [[before, put].concat(), [before, put, rest].concat(), [before, put, after].concat()] {
                        check_invariants(&parse_authentication_results(&[text], trusted));
                    }
                }
            }
        }
    }

    fn check_invariants(results: &AuthResults) {
        let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc: _, iprev } = results;
        let spf = spf_mail_from.iter().chain(spf_helo).map(|spf| (spf.result, &spf.domain));
        let dkim = dkim.iter().flatten().map(|dkim| (dkim.result, &dkim.domain));
        let dmarc = dmarc.iter().map(|dmarc| (dmarc.result, &dmarc.domain));
        for (result, domain) in spf.chain(dkim).chain(dmarc) {
            assert!(result != AuthResult::Pass || !domain.is_empty(), "{results:?}");
            assert!(domain.chars().all(|c| !c.is_control() && !c.is_whitespace() && !c.is_ascii_uppercase()), "{results:?}");
        }
        assert!(iprev.iter().all(|iprev| iprev.name.is_none()));
    }

    #[test]
    fn the_json_form_is_that_of_the_vectors() {
        let results = parse(&["mx.example.org; dkim=pass header.d=a.example header.s=s1"]);
        let expected = json!({"dkim": [{"result": "pass", "domain": "a.example", "selector": "s1", "testing": false}]});
        assert_eq!(without_nulls(serde_json::to_value(results).expect("plain data")), expected);
    }
}

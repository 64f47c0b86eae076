//! One header field (RFC 8601 §2.2): its authserv-id and the results of the methods that the contract knows.

use std::borrow::Cow;

use super::scanner::Scanner;
use crate::contract::AuthResult;

/// A field with more results than this is void.
pub(super) const MAX_RESULTS: usize = 100;

/// The only version of the field and of each method (RFC 8601 §2.2, §6.1).
const VERSION: &str = "1";

/// A method that the contract knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Spf,
    Dkim,
    Dmarc,
    Arc,
    Iprev,
}

/// One result (`resinfo`).
#[derive(Debug)]
pub(super) struct MethodResult<'a> {
    pub(super) method: Method,
    pub(super) result: AuthResult,
    pub(super) properties: Properties<'a>,
}

/// A property that says what a result is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Property {
    /// `smtp.mailfrom`
    MailFrom,
    /// `smtp.helo`
    Helo,
    /// `header.from`
    From,
    /// `header.d`: the signing domain.
    SigningDomain,
    /// `header.s`
    Selector,
    /// `header.i`: the agent or user that was signed for.
    SigningIdentity,
    /// `arc.chain`
    Chain,
    /// `policy.iprev`
    Iprev,
}

/// The properties of one result that are read; the others are skipped.
#[derive(Debug, Default)]
pub(super) struct Properties<'a> {
    values: [Option<Cow<'a, str>>; 8],
    ambiguous: bool,
}

impl Properties<'_> {
    /// The value, where the property was given.
    pub(super) fn value(&self, property: Property) -> Option<&str> {
        self.values[property as usize].as_deref()
    }

    /// Whether one was given twice: nobody knows which is meant, whatever the values are.
    pub(super) fn are_ambiguous(&self) -> bool {
        self.ambiguous
    }
}

/// Reads a field, with or without its name. `None` for one that counts for nothing: it is malformed somewhere, not from a
/// server that `is_trusted`, of an unknown version, or beyond a limit. Results of unknown methods and versions are left out.
pub(super) fn parse_field<'a>(text: &'a str, is_trusted: impl Fn(&str) -> bool) -> Option<Vec<MethodResult<'a>>> {
    let mut scanner = Scanner::new(text)?;
    field_name(&mut scanner)?;
    scanner.cfws()?;
    let id = scanner.value()?;
    if !is_trusted(&id) {
        return None;
    }
    let separated = scanner.cfws()?;
    if separated && scanner.peek() != Some(b';') {
        if scanner.digits()? != VERSION {
            return None;
        }
        scanner.cfws()?;
    }
    results(&mut scanner)
}

/// The authserv-id of a field, of which `head` is what stands before the first semicolon.
pub(super) fn parse_id(head: &str) -> Option<String> {
    let mut scanner = Scanner::new(head)?;
    field_name(&mut scanner)?;
    scanner.cfws()?;
    scanner.value().map(Cow::into_owned)
}

/// The name with its colon, if it is there.
fn field_name(scanner: &mut Scanner<'_>) -> Option<()> {
    if scanner.take_word("Authentication-Results") {
        // Only white space may stand before the colon (RFC 5322 §4.5.3); a comment or anything else makes it no field name.
        while scanner.take(b' ') || scanner.take(b'\t') {}
        return scanner.take(b':').then_some(());
    }
    Some(())
}

/// `no-result` or one or more `resinfo`, to the end of the field.
fn results<'a>(scanner: &mut Scanner<'a>) -> Option<Vec<MethodResult<'a>>> {
    let mut results = Vec::new();
    let mut count = 0;
    while scanner.take(b';') {
        scanner.cfws()?;
        if scanner.at_end() && count > 0 {
            // The grammar has no semicolon at the end, but writers do, and it leaves nothing in doubt.
            return Some(results);
        }
        let word = scanner.keyword()?;
        scanner.cfws()?;
        if count == 0 && scanner.at_end() {
            return word.eq_ignore_ascii_case("none").then_some(results);
        }
        count += 1;
        if count > MAX_RESULTS {
            return None;
        }
        results.extend(result(scanner, word)?);
    }
    // A result reaches to the next semicolon or to the end, so where there was one, everything was read.
    (count > 0).then_some(results)
}

/// What follows the name of a method, up to the next semicolon or the end. `Some(None)`: well-formed, but not to be used.
fn result<'a>(scanner: &mut Scanner<'a>, method: &str) -> Option<Option<MethodResult<'a>>> {
    let mut method = method_of(method);
    if scanner.take(b'/') {
        scanner.cfws()?;
        if scanner.digits()? != VERSION {
            method = None;
        }
        scanner.cfws()?;
    }
    equals(scanner)?;
    let result = result_of(scanner.keyword()?);
    let mut properties = Properties::default();
    let mut first = true;
    loop {
        let separated = scanner.cfws()?;
        if matches!(scanner.peek(), None | Some(b';')) {
            return Some(method.map(|method| MethodResult { method, result, properties }));
        }
        if !separated {
            return None;
        }
        let word = scanner.keyword()?;
        scanner.cfws()?;
        if scanner.take(b'.') {
            scanner.cfws()?;
            let name = scanner.keyword()?;
            scanner.cfws()?;
            equals(scanner)?;
            let value = scanner.property_value()?;
            properties.add(word, name, value);
        } else {
            // A reason stands before the properties, and says nothing to a program.
            if !(first && word.eq_ignore_ascii_case("reason")) {
                return None;
            }
            equals(scanner)?;
            scanner.property_value()?;
        }
        first = false;
    }
}

/// `"=" [CFWS]`
fn equals(scanner: &mut Scanner<'_>) -> Option<()> {
    if !scanner.take(b'=') {
        return None;
    }
    scanner.cfws().map(|_| ())
}

impl<'a> Properties<'a> {
    fn add(&mut self, kind: &str, name: &str, value: Cow<'a, str>) {
        let known = [
            ("smtp", "mailfrom", Property::MailFrom),
            ("smtp", "helo", Property::Helo),
            ("header", "from", Property::From),
            ("header", "d", Property::SigningDomain),
            ("header", "s", Property::Selector),
            ("header", "i", Property::SigningIdentity),
            ("arc", "chain", Property::Chain),
            ("policy", "iprev", Property::Iprev),
        ];
        for (known_kind, known_name, property) in known {
            if kind.eq_ignore_ascii_case(known_kind) && name.eq_ignore_ascii_case(known_name) {
                let place = &mut self.values[property as usize];
                self.ambiguous |= place.is_some();
                place.get_or_insert(value);
                return;
            }
        }
    }
}

fn method_of(word: &str) -> Option<Method> {
    let known =
        [("spf", Method::Spf), ("dkim", Method::Dkim), ("dmarc", Method::Dmarc), ("arc", Method::Arc), ("iprev", Method::Iprev)];
    known.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, method)| method)
}

/// The result that a word means. Of one that RFC 8601 §2.7 does not list nothing is known.
fn result_of(word: &str) -> AuthResult {
    let known = [
        AuthResult::None,
        AuthResult::Pass,
        AuthResult::Fail,
        AuthResult::Softfail,
        AuthResult::Policy,
        AuthResult::Temperror,
        AuthResult::Permerror,
    ];
    if word.eq_ignore_ascii_case("hardfail") {
        // What RFC 5451 called it.
        return AuthResult::Fail;
    }
    known.into_iter().find(|result| word.eq_ignore_ascii_case(result.as_str())).unwrap_or(AuthResult::Neutral)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Vec<MethodResult<'_>>> {
        parse_field(text, |id| id == "mx")
    }

    #[test]
    fn white_space_and_comments_wherever_the_grammar_has_them() {
        let text = "Authentication-Results \t:(a) \"mx\" (b) 1 (c) ; (d) SPF (e) / (f) 1 (g) = (h) Pass (i) Reason (j) = (k) \"l\" \
                    (m) SMTP (n) . (o) MailFrom (p) = (q) a@b (r) smtp.helo=\"c\"\r\n (s)\r\n";
        let results = parse(text).expect(text);
        assert_eq!(results.len(), 1);
        assert_eq!((results[0].method, results[0].result), (Method::Spf, AuthResult::Pass));
        assert_eq!(results[0].properties.value(Property::MailFrom), Some("a@b"));
        assert_eq!(results[0].properties.value(Property::Helo), Some("c"));
        assert!(!results[0].properties.are_ambiguous());
    }

    #[test]
    fn the_whole_field_or_nothing() {
        for text in
            ["mx; spf=pass", "mx;spf=pass;", "mx 1;spf=pass", "mx;spf=pass reason=a/b", "mx;spf=pass smtp.helo=a(b)smtp.x=c"]
        {
            assert_eq!(parse(text).map(|results| results.len()), Some(1), "{text}");
        }
        let malformed = [
            "",
            "mx",
            "mx;",
            "mx; ;spf=pass",
            "mx;;",
            "mx 1",
            "mx 1 1;spf=pass",
            "mx a;spf=pass",
            "mx 2;spf=pass",
            "mx 01;spf=pass",
            "mx1;spf=pass",
            "\"mx\"1;spf=pass",
            "mx@mx;spf=pass",
            "mx=1;spf=pass",
            "spf=pass",
            ";spf=pass",
            "mx spf=pass",
            "mx;spf",
            "mx;spf;dkim=pass",
            "mx;spf=",
            "mx;=pass",
            "mx;spf==pass",
            "mx;spf pass",
            "mx;spf/=pass",
            "mx;spf/1.0=pass",
            "mx;spf/a=pass",
            "mx;spf=pass/1",
            "mx;spf=\"pass\"",
            "mx;spf=pass\"a\"",
            "mx;spf=pass,dkim=pass",
            "mx;spf=pass dkim=pass",
            "mx;spf=pass smtp.helo",
            "mx;spf=pass smtp.helo=",
            "mx;spf=pass smtp.=a",
            "mx;spf=pass .helo=a",
            "mx;spf=pass smtp helo=a",
            "mx;spf=pass smtp.helo=a b",
            "mx;spf=pass smtp.helo=\"a\"smtp.x=b",
            "mx;spf=pass smtp.helo=\"a\"b",
            "mx;spf=pass reason",
            "mx;spf=pass reason=",
            "mx;spf=pass reason=a reason=b",
            "mx;spf=pass smtp.helo=a reason=b",
            "mx;spf=pass smtp.helo=a\\ b",
            "mx;spf=pass)",
            "mx;spf=pass (a",
            "mx;spf=pass;dkim",
            "mx;spf=pass; none",
            "mx;none;spf=pass",
            "mx;nothing",
            "Authentication-Results mx;spf=pass",
            "Authentication-Results (a): mx;spf=pass",
            "ARC-Authentication-Results: mx;spf=pass",
            "Authentication-Results: Authentication-Results: mx;spf=pass",
            "i=1; mx;spf=pass",
            "mx;sp\u{fc}=pass",
        ];
        for text in malformed {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn no_result() {
        for text in ["mx;none", "mx 1; NONE (at all)", "mx; none\r\n"] {
            assert!(parse(text).is_some_and(|results| results.is_empty()), "{text}");
        }
        for text in ["mx;none none", "mx;none;", "mx;none=", "mx none", "mx;(none)"] {
            assert!(parse(text).is_none(), "{text}");
        }
        // A method may be called so.
        assert!(parse("mx;none=pass").is_some_and(|results| results.is_empty()));
    }

    #[test]
    fn unknown_methods_and_versions_are_left_out() {
        let results = parse("mx;x-tls=pass smtp.bits=256;spf/2=pass;dkim/11=pass;arc/1=pass;auth=pass").expect("well-formed");
        assert_eq!(results.iter().map(|result| result.method).collect::<Vec<_>>(), [Method::Arc]);
    }

    #[test]
    fn the_words_of_results() {
        for (word, result) in [
            ("none", AuthResult::None),
            ("pass", AuthResult::Pass),
            ("fail", AuthResult::Fail),
            ("hardfail", AuthResult::Fail),
            ("softfail", AuthResult::Softfail),
            ("neutral", AuthResult::Neutral),
            ("policy", AuthResult::Policy),
            ("temperror", AuthResult::Temperror),
            ("permerror", AuthResult::Permerror),
            ("unknown", AuthResult::Neutral),
            ("bestguesspass", AuthResult::Neutral),
            ("passed", AuthResult::Neutral),
            ("pas", AuthResult::Neutral),
        ] {
            assert_eq!(result_of(word), result);
            assert_eq!(result_of(&word.to_ascii_uppercase()), result);
        }
    }

    #[test]
    fn a_property_given_twice_is_ambiguous() {
        for (text, ambiguous) in [
            ("mx;spf=pass smtp.helo=a smtp.helo=a", true),
            ("mx;spf=pass smtp.helo=a SMTP.Helo=b", true),
            ("mx;spf=pass smtp.helo=a smtp.mailfrom=a", false),
            ("mx;spf=pass smtp.x=a smtp.x=b", false),
            ("mx;spf=pass smtp.helo=a policy.helo=b", false),
        ] {
            assert_eq!(parse(text).map(|results| results[0].properties.are_ambiguous()), Some(ambiguous), "{text}");
        }
    }

    #[test]
    fn at_most_100_results() {
        let field = |count| ["mx", &";x=pass".repeat(count)].concat();
        assert!(parse(&field(MAX_RESULTS)).is_some());
        assert!(parse(&field(MAX_RESULTS + 1)).is_none());
    }
}

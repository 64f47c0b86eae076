//! Any header fields as Authentication-Results.

use super::fields::{Field, with_empty_comments};
use crate::authentication_results::{MAX_FIELDS, MAX_OCTETS, authserv_id, parse_authentication_results};
use crate::contract::{AuthResult, AuthResults};

/// The server that is trusted.
const ID: &str = "mx.example.org";

/// What an attacker would write, were it trusted.
const FORGED: &str = "Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=evil.example; dkim=pass header.d=evil.example; \
                      dmarc=pass header.from=evil.example; arc=pass arc.chain=evil.example; iprev=pass";

/// Reads the octets as header fields, one behind each octet 255:
///
/// - without a trusted id nothing is found, and fields of others change nothing, wherever they stand;
/// - a pass is in a field of the trusted server, of its method and for its domain, also for a second reading (`Field`);
/// - what stands in comments, how a field is folded, and the case of its name mean nothing;
/// - several fields give no pass that none of them gives alone, and the order of two changes none.
pub fn check_authentication_results(octets: &[u8]) {
    let fields = octets.split(|&octet| octet == 255).map(|field| String::from_utf8_lossy(field).into_owned());
    let fields: Vec<String> = fields.collect();
    let results = read(&fields);
    for nobody in [&[][..], &[String::new()], &["mx.example".into(), "example.org".into(), "mx.example.orgs".into()]] {
        let found = parse_authentication_results(&fields, nobody);
        assert!(found.is_empty() || nobody.len() > 1, "{found:?} of nobody");
        for (method, domain) in passes(&found) {
            let of_one = |id: &String| fields.iter().any(|field| is_pass(field, id, method, &domain));
            assert!(nobody.iter().any(of_one), "{method} of {domain} in {fields:?}");
        }
    }
    for (method, domain) in passes(&results) {
        assert!(fields.iter().any(|field| is_pass(field, ID, method, &domain)), "{method} of {domain} in {fields:?}");
    }
    if fields.len() < MAX_FIELDS {
        let forged = || std::iter::once(FORGED.to_owned());
        assert_eq!(read(&forged().chain(fields.iter().cloned()).collect::<Vec<_>>()), results, "a forged field above");
        assert_eq!(read(&fields.iter().cloned().chain(forged()).collect::<Vec<_>>()), results, "a forged field below");
    }
    let alone: Vec<AuthResults> = fields.iter().map(|field| read(std::slice::from_ref(field))).collect();
    for pass in passes(&results) {
        assert!(alone.iter().any(|one| passes(one).contains(&pass)), "{pass:?} in none of {fields:?}");
    }
    let mut reversed = fields.clone();
    reversed.reverse();
    if fields.len() <= MAX_FIELDS {
        assert_eq!(sorted(passes(&read(&reversed))), sorted(passes(&results)), "in the other order: {fields:?}");
    }
    for (field, results) in fields.iter().zip(&alone) {
        check_field(field, results);
    }
}

fn read(fields: &[String]) -> AuthResults {
    parse_authentication_results(fields, &[ID.to_owned()])
}

fn is_pass(field: &str, id: &str, method: &str, domain: &str) -> bool {
    Field::read(field).is_some_and(|field| field.is_of(id) && field.passes(method, domain))
}

/// Each method with its domain.
fn passes(results: &AuthResults) -> Vec<(&'static str, String)> {
    let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = results;
    let mut passes = Vec::new();
    let mut add = |method, result: AuthResult, domain: &str| {
        if result == AuthResult::Pass {
            passes.push((method, domain.to_owned()));
        }
    };
    for spf in [spf_mail_from, spf_helo].into_iter().flatten() {
        add("spf", spf.result, &spf.domain);
    }
    for dkim in dkim.iter().flatten() {
        add("dkim", dkim.result, &dkim.domain);
    }
    if let Some(dmarc) = dmarc {
        add("dmarc", dmarc.result, &dmarc.domain);
    }
    if let Some(arc) = arc {
        // The order of two results decides whose chain is kept, so the sealers are looked at elsewhere.
        add("arc", arc.result, "");
    }
    if let Some(iprev) = iprev {
        add("iprev", iprev.result, iprev.name.as_deref().unwrap_or_default());
    }
    passes
}

fn sorted(mut passes: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    passes.sort_unstable();
    passes
}

/// One field, written in other ways.
fn check_field(field: &str, results: &AuthResults) {
    let is = |text: String, how: &str| {
        // A field that is too long in one of two forms is read in one only.
        if text.len().max(field.len()) < MAX_OCTETS {
            assert_eq!(&read(std::slice::from_ref(&text)), results, "{how}: {field:?} and {text:?}");
        }
    };
    if !field.contains("\r\r") {
        is(field.replace("\r\n", "\n"), "with other line ends");
    }
    if results.is_empty() {
        return;
    }
    // Of a field with a semicolon in a comment before its id it says nothing, so that a host takes it for nobody's.
    let is_own = |id: String| id.eq_ignore_ascii_case(ID);
    assert!(authserv_id(field).is_none_or(is_own) && authserv_id(&with_empty_comments(field)).is_some_and(is_own), "{field:?}");
    for domain in [&results.spf_mail_from, &results.spf_helo].into_iter().flatten().map(|spf| &spf.domain) {
        assert!(domain.bytes().all(|octet| octet.is_ascii_graphic() && !octet.is_ascii_uppercase()), "{domain:?}");
    }
    if let Some(sealers) = results.arc.as_ref().map(|arc| &arc.sealers) {
        // In quotes, a backslash may stand before any of its characters.
        let read = Field::read(field).unwrap_or_else(|| panic!("{field:?} does not close"));
        assert!(sealers.iter().all(|sealer| !sealer.is_empty() && read.names(sealer)), "{sealers:?} in {field:?}");
    }
    is(with_empty_comments(field), "without what is in its comments");
    is(unfolded(field), "unfolded");
    const NAME: &str = "authentication-results:";
    match field.split_at_checked(NAME.len()) {
        Some((name, rest)) if name.eq_ignore_ascii_case(NAME) => {
            is(format!("aUTHENTICATION-rESULTS \t:{rest}"), "with its name in another case");
            is(rest.to_owned(), "without its name");
        }
        _ if !field.to_ascii_lowercase().starts_with(NAME.trim_end_matches(':')) => is(format!("{NAME}{field}"), "with its name"),
        _ => {}
    }
    is(
        format!("{} (spf=fail smtp.mailfrom=a@b.example; \\) dkim=fail)\r\n", field.trim_end_matches(['\r', '\n'])),
        "a comment more",
    );
}

/// RFC 5322 §2.2.3: the CRLF goes, the white space stays.
fn unfolded(field: &str) -> String {
    field.replace("\r\n ", " ").replace("\r\n\t", "\t").replace("\n ", " ").replace("\n\t", "\t")
}

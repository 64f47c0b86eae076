//! Holds the schema and the parser together: what one accepts the other accepts, but for a short list of rules, each named.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Policy, entries, parse, print, requirement, schema, sections};
use crate::contract::PolicyError;

/// A policy with every field.
fn full() -> Value {
    json!({
        "$schema": "policy.schema.json",
        "mode": "observe",
        "rollout_percent": 10,
        "require": {"any": [
            "spf", {"all": ["dkim", "dmarc", "fcrdns"]}, {"none": [{"domains": ["example.org", ".example.net"]}]}, "arc", "tls",
        ]},
        "trusted_sealers": ["lists.example.org"],
        "decide_at": "earliest",
        "network": {"prefix": 56, "overrides": [{"network": "2001:db8::/32", "prefix": 96}]},
        "exempt": {
            "local_networks": false,
            "networks": ["2001:db8:1::/48", "2001:db8::1"],
            "names": [".mail.example.org"],
            "domains": ["example.com"],
            "recipients": ["postmaster", "help@example.org", "@example.net"],
            "recipients_match": "any",
        },
        "reputation": {"distrust": ["bad.example"]},
        "penalty": {
            "at_greeting": false, "confidence": 0.95, "half_life": "12h", "first": "10m", "maximum": "1d", "jitter_percent": 5,
            "probe_one_in": 100,
        },
        "no_fallback": {
            "action": "reject", "refusals": 5, "over": "1h", "let_in_for": "1d", "let_in_per_day": 10, "let_in_per_day_48": 40,
        },
        "temporary_errors": {"per_network": 5, "per_48": 50},
        "codes": {"greeting": 421, "later": 451},
        "enhanced_codes": {"unauthenticated": "4.7.26", "distrusted": "4.7.0", "penalty": "4.4.8"},
        "url": "https://example.org/policy",
        "texts": {
            "unauthenticated": ["{failed}: come over IPv4", "see {url}"],
            "distrusted": ["distrusted: {client}"],
            "penalty": ["{prefix} has a penalty"],
            "temporary_error": ["later, please"],
            "never_falls_back": ["{failed}, and never over IPv4"],
        },
    })
}

/// Values to put in place of every other: each kind, each word, and both sides of each bound.
fn replacements() -> Vec<Value> {
    let mut values =
        vec![json!(null), json!(true), json!(false), json!([]), json!({}), json!({"x": 1}), json!([[]]), json!([null])];
    for number in [-1, 0, 1, 15, 16, 20, 21, 100, 101, 128, 129, 421, 450, 451, 452, 550, 1_000_000, 1_000_001, 5_000_000_000_i64]
    {
        values.push(json!(number));
    }
    values.extend([0.5, 0.9, 0.90001, 0.95, 0.99, 0.999, 0.9999, 20.0, 451.0].map(|number| json!(number)));
    let label = |length: usize| "a".repeat(length);
    let long_name =
        |length: usize| format!("{}{}", "ab.".repeat(length / 3), label(length % 3)).trim_end_matches('.').to_string();
    let strings = [
        "",
        " ",
        "x",
        "spf",
        "Spf",
        "arc",
        "enforce",
        "observe",
        "Observe",
        "any",
        "all",
        "earliest",
        "end-of-data",
        "true",
        "10",
        "0s",
        "1s",
        "01s",
        "9m",
        "10m",
        "599s",
        "600s",
        "15",
        "15 m",
        "1.5h",
        "+1s",
        "7d",
        "8d",
        "168h",
        "604801s",
        "30d",
        "31d",
        "1w",
        "99999999999999999999d",
        "4.4.8",
        "4.0.0",
        "4.999.999",
        "4.1000.0",
        "4.07.1",
        "4.4",
        "4.4.8.1",
        "5.4.8",
        "2.0.0",
        "4..1",
        "http://",
        "http://a",
        "https://a/{b}",
        "https://a b",
        "https://ü",
        "ftp://a",
        "HTTPS://a",
        "https://a/\"\\~|",
        "https://a\n",
        "example.org",
        ".example.org",
        "Example.ORG.",
        "..example.org",
        "a..b",
        "-a.b",
        "a-.b",
        "a_b.c",
        "_a-b_.c",
        "*.a.b",
        "a.b..",
        ".",
        "..",
        "a b",
        "bücher.example",
        "a\n",
        "1.2.3.4",
        "example.com",
        "bad.example",
        "user@example.org",
        "user@",
        "@",
        "a@b@c",
        "a@.example.org",
        "a@-b",
        "a+b=c!#$%&'*/?^`{|}~@example.org.",
        "<a@b>",
        "a,b",
        "a;b",
        "é@a",
        "::",
        "::/0",
        "::1",
        "2001:db8::/32",
        "2001:db8::/032",
        "2001:db8::/0032",
        "2001:db8::/128",
        "2001:db8::/129",
        "2001:db8::/",
        "2001:db8::/+1",
        "2001:db8::1/32",
        "2001:db8::/97",
        "192.0.2.0/24",
        "::ffff:192.0.2.0/120",
        "64:ff9b::/96",
        "fe80::1%eth0",
        ":",
        "::ffff:1.2.3.4",
        "2001:db8",
        "1:2:3:4:5:6:7:8:9",
        "[2001:db8::]/32",
        "{failed}",
        "{clinet}",
        "{client",
        "client}",
        "{}",
        "{ client }",
        "{url}",
        "grüße",
        "a\tb",
        "a\r\n250 OK",
        "~{prefix}~",
    ];
    values.extend(strings.map(|string| json!(string)));
    values.extend([label(63), label(64), label(320), label(321), label(496), label(497)].map(|string| json!(string)));
    values.extend([format!("{{failed}}{}", label(330)), format!("{{failed}}{}", label(340))].map(|string| json!(string)));
    values.extend(
        [long_name(253), long_name(254), format!("https://{}", label(247)), format!("https://{}", label(248))].map(|s| json!(s)),
    );
    for entry in ["spf", "example.org", "2001:db8::/32", "a line"] {
        values.extend([1, 8, 9, 32, 33].map(|count| json!(vec![entry; count])));
    }
    values.extend([
        json!({"any": ["spf"], "all": ["spf"]}),
        json!({"any": []}),
        json!({"domains": []}),
        json!({"domains": ["a.b"]}),
    ]);
    let nested = |depth: usize| (1..depth).fold(json!("spf"), |inner, _| json!({"any": [inner]}));
    values.extend([nested(13), nested(14), nested(16), nested(17)]);
    let wide = |lists: usize, rest: usize| {
        let mut all = vec![json!({"any": vec!["spf"; 31]}); lists];
        all.extend(vec![json!("spf"); rest]);
        json!({"all": all})
    };
    values.extend([wide(3, 31 - 3), wide(3, 31), wide(4, 0)]);
    values
}

/// All values inside this one, as JSON pointers.
fn pointers(value: &Value, at: String, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| pointers(value, format!("{at}/{name}"), all)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, value)| pointers(value, format!("{at}/{n}"), all)),
        _ => {}
    }
    all.push(at);
}

/// The policy with every kind of change to every value in it.
fn mutations() -> Vec<Value> {
    let full = full();
    let mut all = Vec::new();
    pointers(&full, String::new(), &mut all);
    let replacements = replacements();
    let mut mutations = vec![full.clone(), json!({})];
    for pointer in &all {
        let mut change = |change: &dyn Fn(&mut Value)| {
            let mut policy = full.clone();
            change(policy.pointer_mut(pointer).expect("listed above"));
            mutations.push(policy);
        };
        replacements.iter().for_each(|replacement| change(&|value| *value = replacement.clone()));
        match full.pointer(pointer).expect("listed above") {
            Value::Object(fields) => {
                change(&|value| value["unknown"] = json!(1));
                for name in fields.keys() {
                    change(&|value| drop(value.as_object_mut().expect("an object").remove(name)));
                }
            }
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    change(&|value| drop(value.as_array_mut().expect("a list").remove(n)));
                    change(&|value| value.as_array_mut().expect("a list").push(item.clone()));
                }
            }
            _ => {}
        }
    }
    for count in [10_000, 10_001] {
        let mut long = |pointer: &str, entry: &dyn Fn(usize) -> Value| {
            let mut policy = full.clone();
            *policy.pointer_mut(pointer).expect("a list") = (0..count).map(entry).collect();
            mutations.push(policy);
        };
        for pointer in ["/trusted_sealers", "/exempt/names", "/exempt/domains", "/exempt/recipients", "/reputation/distrust"] {
            long(pointer, &|n| json!(format!("d{n}.example")));
        }
        long("/require/any/2/none/0/domains", &|n| json!(format!("d{n}.example")));
        long("/exempt/networks", &|n| json!(format!("2001:db8:{n:x}::/48")));
        long("/network/overrides", &|n| json!({"network": format!("2001:db8:{n:x}::/48"), "prefix": 64}));
    }
    mutations
}

/// The rules that the schema cannot say, by their name.
fn beyond_the_schema(error: &PolicyError) -> Option<&'static str> {
    let has = |pattern: &str| error.expected.contains(pattern) || error.advice.contains(pattern);
    let rules = [
        ("a duration's range", has("this is too short") || has("this is too long")),
        ("first and maximum", has("a first penalty of at most") || has("a maximum of at least")),
        ("arc without sealers", has("arc counts from trusted sealers only")),
        ("exempt and distrusted", has("not both in exempt.domains")),
        ("bits after the prefix", has("bits after the prefix are set")),
        ("an IPv4 network", has("never refuses IPv4")),
        ("how addresses are written", has("write an IPv6 address, a slash")),
        ("an override within its network", has("as the network is") || has("is the network")),
        ("a network twice", has("each network once")),
        ("a line filled in", has("octets with its placeholders filled in")),
        ("{url} without url", has("as the policy has no url")),
        ("depth of a requirement", has("at most 16 deep")),
        ("size of a requirement", has("at most 128 checks and lists")),
        ("length of a name", has("253 octets") && error.found.ends_with("...")),
        ("how numbers are written", has("write plain digits") || (has("only these two") && error.found.ends_with(".0"))),
    ];
    rules.iter().find(|(_, applies)| *applies).map(|(name, _)| *name)
}

#[test]
fn schema_and_parser_accept_the_same() {
    let mut compiler = boon::Compiler::new();
    let id = "urn:smtp-fallback:policy:0.1.0";
    compiler.add_resource(id, serde_json::from_str(schema()).expect("the schema is JSON")).expect("the schema has its own name");
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile(id, &mut schemas).expect("the schema is a schema");

    let mut beyond = BTreeSet::new();
    let (mut accepted, mut rejected) = (0, 0);
    for policy in mutations() {
        let text = policy.to_string();
        let valid = schemas.validate(&policy, index).is_ok();
        match parse(&text) {
            Ok((policy, _)) => {
                accepted += 1;
                assert!(
                    parse(&print(&policy)).is_ok_and(|(again, _)| again == policy),
                    "printed as another policy: {text:.2000}"
                );
                assert!(valid, "the schema rejects what the parser accepts: {text:.2000}");
            }
            Err(errors) if valid => {
                for error in errors {
                    let rule = beyond_the_schema(&error);
                    beyond.insert(
                        rule.unwrap_or_else(|| panic!("the schema accepts what the parser rejects, {error}: {text:.2000}")),
                    );
                }
            }
            Err(_) => rejected += 1,
        }
    }
    assert!(accepted > 500 && rejected > 5000, "{accepted} accepted, {rejected} rejected");
    assert_eq!(beyond.len(), 15, "a rule beyond the schema was not seen: {beyond:?}");
}

#[test]
fn schema_and_parser_know_the_same_names() {
    let schema: Value = serde_json::from_str(schema()).expect("the schema is JSON");
    let words = |pointer: &str| -> BTreeSet<String> {
        match schema.pointer(pointer).expect(pointer) {
            Value::Object(fields) => fields.keys().cloned().collect(),
            Value::Array(items) => items.iter().map(|item| item.as_str().expect("a word").to_string()).collect(),
            other => panic!("{pointer}: {other}"),
        }
    };
    for (pointer, names) in [
        ("/properties", sections::POLICY),
        ("/properties/network/properties", sections::NETWORK),
        ("/properties/network/properties/overrides/items/properties", entries::OVERRIDE),
        ("/properties/network/properties/overrides/items/required", entries::OVERRIDE),
        ("/properties/exempt/properties", sections::EXEMPT),
        ("/properties/reputation/properties", sections::REPUTATION),
        ("/properties/penalty/properties", sections::PENALTY),
        ("/properties/no_fallback/properties", sections::NO_FALLBACK),
        ("/properties/temporary_errors/properties", sections::TEMPORARY_ERRORS),
        ("/properties/codes/properties", sections::CODES),
        ("/properties/enhanced_codes/properties", sections::ENHANCED_CODES),
        ("/properties/texts/properties", sections::TEXTS),
        ("/$defs/requirement/anyOf/1/properties", requirement::FORMS),
        ("/$defs/requirement/anyOf/0/enum", requirement::CHECKS),
        ("/properties/mode/enum", sections::MODES),
        ("/properties/decide_at/enum", sections::DECIDE_AT),
        ("/properties/no_fallback/properties/action/enum", sections::NO_FALLBACK_ACTIONS),
        ("/properties/exempt/properties/recipients_match/enum", sections::RECIPIENTS_MATCH),
    ] {
        assert_eq!(words(pointer), names.iter().map(|name| name.to_string()).collect(), "{pointer}");
    }
    assert!(super::schema().len() <= 12 * 1024, "the schema ships inside the component");
}

/// Every property says what it means; every one with a value has the default that the parser has.
#[test]
fn schema_and_parser_have_the_same_defaults() {
    fn compare(schema: &Value, defaults: &Value, at: &str) {
        let properties = schema["properties"].as_object().expect(at);
        for (name, property) in properties {
            let at = format!("{at}/{name}");
            assert!(property["description"].is_string(), "{at} has no description");
            match defaults.get(name) {
                None => assert!(["/$schema", "/url"].contains(&at.as_str()), "{at} is not printed"),
                Some(inner) if property.get("properties").is_some() => {
                    assert_eq!(property["additionalProperties"], json!(false), "{at}");
                    compare(property, inner, &at);
                }
                Some(default) => assert_eq!(&property["default"], default, "{at}"),
            }
        }
        for name in defaults.as_object().expect(at).keys() {
            assert!(properties.contains_key(name), "{at}/{name} is not in the schema");
        }
    }
    let schema: Value = serde_json::from_str(schema()).expect("the schema is JSON");
    let defaults: Value = serde_json::from_str(&print(&Policy::default())).expect("a policy prints as JSON");
    compare(&schema, &defaults, "");
}

#[test]
fn a_full_policy_prints_as_it_was_read() {
    let (policy, _) = parse(&full().to_string()).expect("valid");
    let printed: Value = serde_json::from_str(&print(&policy)).expect("JSON");
    let mut expected = full();
    expected.as_object_mut().expect("an object").remove("$schema");
    for (pointer, value) in [
        ("/require/any/2/none/0/domains", json!([".example.net", "example.org"])),
        ("/exempt/networks", json!(["2001:db8:1::/48", "2001:db8::1/128"])),
        ("/exempt/recipients", json!(["@example.net", "help@example.org", "postmaster"])),
    ] {
        *expected.pointer_mut(pointer).expect("there") = value;
    }
    assert_eq!(printed, expected);
}

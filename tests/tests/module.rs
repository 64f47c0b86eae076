//! The plain core module: all vectors under two runtimes, and its border under bad use.

use smtp_fallback_tests::{ByJson, CoreModule, Face, Host, JsonFace, Native, Wasmi, Wasmtime, run, vectors};

/// What the host library gives the component.
const MEMORY: usize = 16 << 20;

fn all_vectors_hold_on<T: CoreModule>(instance: impl Fn() -> T) {
    let vectors = vectors();
    assert!(vectors.len() >= 400, "only {} vectors", vectors.len());
    let failures: Vec<String> = vectors
        .iter()
        .filter_map(|vector| run(&mut JsonFace(Host::new(instance())), vector).err())
        .map(|failure| failure.to_string())
        .collect();
    assert!(failures.is_empty(), "{} vectors fail:\n{}", failures.len(), failures.join("\n"));
    let (mut face, mut native) = (JsonFace(Host::new(instance())), Native::default());
    assert_eq!(face.describe(), native.describe());
    assert_eq!(face.schema(), native.schema());
}

#[test]
fn all_vectors_hold_under_wasmtime() {
    let module = Wasmtime::shipped();
    all_vectors_hold_on(|| module.instance(MEMORY).expect("an instance"));
}

#[test]
fn all_vectors_hold_under_wasmi() {
    let module = Wasmi::shipped();
    all_vectors_hold_on(|| module.instance(MEMORY).expect("an instance"));
}

/// The status and the answer of a request in a place of its own.
fn request(module: &mut impl CoreModule, request: &[u8]) -> (u32, String) {
    let (place, octets) = (place(module, request), request.len() as u32);
    let status = module.call(place, octets).expect("no trap");
    let answer = module.text().expect("an answer in UTF-8");
    module.free(place, octets).expect("no trap");
    (status, answer)
}

/// A place with this in it.
fn place(module: &mut impl CoreModule, content: &[u8]) -> u32 {
    let place = module.allocate(content.len() as u32).expect("no trap");
    assert_ne!(place, 0, "no memory for {} octets", content.len());
    module.write(place, content).expect("a place inside of memory");
    place
}

const SCHEMA: &[u8] = br#"{"call": "schema"}"#;
const ADDRESS: &[u8] = br#"{"input": {"text": "2001:DB8::25"}, "call": "parse-address"}"#;

/// What bad use does to the border is the same under each runtime.
macro_rules! under_both {
    ($(fn $name:ident($module:ident) $body:block)*) => {
        mod under_wasmtime {
            use super::*;
            $(#[test] fn $name() { bad_use::$name(&mut Wasmtime::shipped().instance(MEMORY).expect("an instance")); })*
        }
        mod under_wasmi {
            use super::*;
            $(#[test] fn $name() { bad_use::$name(&mut Wasmi::shipped().instance(MEMORY).expect("an instance")); })*
        }
        mod bad_use {
            use super::*;
            $(pub(super) fn $name($module: &mut impl CoreModule) $body)*
        }
    };
}

under_both! {
    fn what_is_no_call_is_refused(module) {
        for (text, error) in [
            (&b""[..], r#"{"error":"the call: EOF while parsing a value at line 1 column 0"}"#),
            (b"{", "EOF while parsing an object at line 1 column 1"),
            (b"\xff\xfe", "the call is not in UTF-8: invalid utf-8 sequence"),
            (b"[\"schema\", {}]", "the call: found a list, expected an object"),
            (br#"{"input": {}}"#, "missing field `call`"),
            (br#"{"call": "schema", "call": "schema"}"#, "duplicate field `call`"),
            (br#"{"call": "schema", "arguments": {}}"#, "unknown field `arguments`, expected `call` or `input`"),
            (br#"{"call": "schema"} {}"#, "trailing characters"),
            (br#"{"call": "scheme", "input": {}}"#, r#"there is no function \"scheme\", expected one of configure, schema"#),
            (br#"{"call": "schema", "input": {"x": 1}}"#, "schema: unknown field `x`"),
            (br#"{"call": "decide", "input": {}}"#, "decide: missing field `connection` at line 1 column 2"),
            (br#"{"call": "inspect", "input": {"key": {"kind": "network", "address": "::1", "prefix-length": 64}, "value": [256]}}"#, "256"),
        ] {
            let (status, answer) = request(module, text);
            let shown = String::from_utf8_lossy(text);
            assert_eq!(status, 1, "{shown}: {answer:.200}");
            assert!(answer.starts_with(r#"{"error":""#) && answer.ends_with(r#""}"#) && answer.contains(error), "{shown}: {answer}");
        }
        let deep = [br#"{"call": "decide", "input": "#, "[".repeat(1_000_000).as_bytes()].concat();
        assert_eq!(request(module, &deep).0, 1);
        assert_eq!(request(module, ADDRESS), (0, r#"{"ok":"2001:db8::25"}"#.into()), "it goes on");
    }

    fn what_is_no_place_is_refused(module) {
        let octets = SCHEMA.len() as u32;
        let place = place(module, SCHEMA);
        // Beyond memory, in the stack, in the data, inside of a place, before it, after it.
        let end = u32::try_from(module.memory().len()).expect("16 MiB at most");
        for address in [0, 8, 1 << 20, place + 1, place - 1, place + octets, end - 1, end, 1 << 31, u32::MAX] {
            assert_eq!(module.call(address, octets), Ok(1), "{address}");
            let answer = module.text().expect("an answer");
            assert!(answer.starts_with(&format!(r#"{{"error":"no place was allocated at address {address}, expected"#)), "{answer}");
            module.free(address, octets).expect("no trap");
        }
        for more in [octets + 1, 1 << 16, 1 << 31, u32::MAX] {
            assert_eq!(module.call(place, more), Ok(1), "{more}");
            let answer = module.text().expect("an answer");
            assert!(answer.contains(&format!("{more} octets were named, but the place at address {place} has {octets}")), "{answer}");
        }
        assert_eq!(module.call(place, 0), Ok(1));
        assert_eq!(module.call(place, octets - 1), Ok(1), "what is not named does not count");
        module.free(place, octets + 1).expect("no trap");
        assert_eq!(module.call(place, octets), Ok(0), "it is still there");
        for _ in 0..2 {
            module.free(place, octets).expect("no trap");
            assert_eq!(module.call(place, octets), Ok(1), "it is gone");
        }
    }

    fn places_are_apart_and_limited(module) {
        // Two of each size, from no octets on.
        let mut places: Vec<(u32, usize)> = (0..64)
            .map(|number| (module.allocate(number / 2).expect("no trap"), number as usize / 2))
            .collect();
        assert_eq!(module.allocate(1), Ok(0), "a host that never frees");
        for (number, (place, octets)) in (0..).zip(&places) {
            assert_ne!(*place, 0);
            assert_eq!(module.memory()[*place as usize..][..*octets], vec![0; *octets], "empty");
            module.write(*place, &vec![number; *octets]).expect("inside of memory");
        }
        for (number, (place, octets)) in (0..).zip(&places) {
            assert_eq!(module.memory()[*place as usize..][..*octets], vec![number; *octets], "nobody else writes there");
        }
        module.free(places[7].0, 3).expect("no trap");
        assert_ne!(module.allocate(1), Ok(0));
        places.sort_unstable();
        places.dedup_by_key(|place| place.0);
        assert_eq!(places.len(), 64);
    }

    fn what_memory_does_not_hold_is_not_allocated(module) {
        for octets in [u32::MAX, i32::MAX as u32 + 1, i32::MAX as u32, 1 << 30, MEMORY as u32] {
            assert_eq!(module.allocate(octets), Ok(0), "{octets}");
        }
        assert_eq!(request(module, ADDRESS).0, 0, "it goes on");
        // The largest policy, within what the host library gives the component. As text in JSON it is larger by its quotes.
        let policy = format!(r#"{{"mode": "observe"{}}}"#, " ".repeat((1 << 20) - 19));
        let text = serde_json::json!({ "call": "configure", "input": { "policy-json": policy } }).to_string();
        let (status, answer) = request(module, text.as_bytes());
        assert!(status == 0 && answer.starts_with(r#"{"ok":{"mode":"observe""#), "{answer}");
    }

    fn the_answer_stays_until_the_next_call(module) {
        assert_eq!((module.answer(), module.answer_octets()), (Ok(0), Ok(0)), "before any call");
        let first = place(module, ADDRESS);
        assert_eq!(module.call(first, ADDRESS.len() as u32), Ok(0));
        assert_eq!(&module.memory()[first as usize..][..ADDRESS.len()], ADDRESS, "the request is the host's");
        let second = place(module, &[b' '; 4096]);
        module.free(first, ADDRESS.len() as u32).expect("no trap");
        assert_eq!(module.text().expect("an answer"), r#"{"ok":"2001:db8::25"}"#);
        assert_eq!(module.call(second, 4096), Ok(1));
        assert!(module.text().expect("an answer").starts_with(r#"{"error":"#));
    }

    fn an_instance_that_trapped_answers_no_more(module) {
        // A request that fits, and whose meaning does not: a list of short texts takes sixteen times the octets.
        let headers = vec![""; 1_000_000];
        let input = serde_json::json!({ "headers": headers, "trusted-ids": [] });
        let text = serde_json::json!({ "call": "parse-authentication-results", "input": input }).to_string();
        let place = place(module, text.as_bytes());
        module.call(place, text.len() as u32).expect_err("no memory for it");
        for _ in 0..2 {
            module.call(place, 2).expect_err("a trap");
            module.allocate(1).expect_err("a trap");
            module.free(place, 1).expect_err("a trap");
            module.answer().expect_err("a trap");
            module.answer_octets().expect_err("a trap");
        }
    }
}

/// The arguments of a decision about the nth message.
fn arguments(number: u32) -> String {
    let client = format!("2001:db8:{:x}::{:x}", number % 7, number % 1000 + 1);
    serde_json::json!({
        "connection": {
            "stage": "end-of-data", "client": client, "listener": "mx", "ehlo-name": format!("mail{number}.example.net"),
            "tls": "none", "authenticated": false, "listener-offers": true, "keyword-shown": true, "acknowledged": false,
            "reachable-over-ipv4": true, "ipv4-arrivals-visible": true, "now": 1_700_000_000 + number, "nonce": number, "records": [],
        },
        "envelope": {"mail-from": "a".repeat(number as usize % 50), "recipients": ["bob@example.org"]},
        "message": {"message-id": format!("<{number}@example.net>"), "size": number},
        "auth-results": {"dkim": []},
    })
    .to_string()
}

#[test]
fn memory_does_not_grow_with_the_calls() {
    let mut module = Wasmtime::shipped().instance(MEMORY).expect("an instance");
    let mut after_the_first = 0;
    for number in 0..100_000 {
        let text = match number % 10 {
            0 => format!(r#"{{"call":"explain","input":{}}}"#, arguments(number)),
            1 => format!(r#"{{"call":"no-such-function","input":{}}}"#, arguments(number)),
            2 if number % 1000 == 2 => r#"{"call":"configure","input":{"policy-json":"{\"mode\":\"observe\"}"}}"#.into(),
            _ => format!(r#"{{"call":"decide","input":{}}}"#, arguments(number)),
        };
        assert_eq!(request(&mut module, text.as_bytes()).0, u32::from(number % 10 == 1), "{text}");
        if number == 2000 {
            after_the_first = module.memory().len();
        }
    }
    assert_eq!(module.memory().len(), after_the_first);
}

#[test]
fn a_host_takes_a_larger_place_when_it_needs_one() {
    let mut host = Host::new(Wasmtime::shipped().instance(MEMORY).expect("an instance"));
    for octets in [1, 100, 10, 100_000, 1] {
        let error = host.call("parse-address", &format!(r#"{{"text": "{}"}}"#, "x".repeat(octets))).expect("an answer");
        assert!(error.starts_with(r#"{"err":"#), "{error}");
    }
    assert!(host.call("no-such-function", "{}").expect_err("must fail").contains("no-such-function"));
}

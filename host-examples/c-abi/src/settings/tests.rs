use super::*;

fn read(text: &str) -> (Settings, Option<String>) {
    Settings::read(text).unwrap_or_else(|error| panic!("{}", error.message()))
}

fn error(text: &str) -> String {
    match Settings::read(text) {
        Ok(_) => panic!("{text} was taken"),
        Err(error) => error.message().to_owned(),
    }
}

#[test]
fn all_but_the_component_has_a_default() {
    let (settings, policy) = read(r#"{"component": "/p.wasm"}"#);
    assert_eq!(settings.limits(), Limits { instances: 16, ..Limits::default() });
    assert_eq!(settings.store_time(), Duration::from_millis(20));
    assert!(settings.secret().is_none() && settings.store.is_none() && settings.cache.is_none());
    assert!(matches!(settings.policy(policy), Policy::None));
}

#[test]
fn a_policy_is_the_text_as_it_was_written() {
    let policy = |text: &str| {
        let (settings, inline) = read(text);
        match settings.policy(inline) {
            Policy::Text(text) => text,
            _ => panic!("no text"),
        }
    };
    assert_eq!(policy(r#"{"component": "p", "policy": {"a":1,  "a":2}}"#), r#"{"a":1,  "a":2}"#);
    assert_eq!(policy(r#"{"policy": "{\n}", "component": "p"}"#), "{\n}");
    // Whoever writes names with escapes gets an error of the policy, and never another policy.
    assert_eq!(policy(r#"{"component": "p", "p\u006flicy": {}}"#), "");
}

#[test]
fn stores() {
    let store = |text: &str| read(&format!(r#"{{"component": "p", "store": {text}}}"#)).0.store.expect("a store");
    assert!(matches!(store(r#"{"memory": {}}"#), Store::Memory(MemoryStore { records: 1_000_000 })));
    assert!(matches!(store(r#"{"memory": {"records": 5}}"#), Store::Memory(MemoryStore { records: 5 })));
    assert!(matches!(store(r#"{"file": "/r"}"#), Store::File(_)));
    assert!(matches!(store(r#"{"control": "/s"}"#), Store::Control(_)));
    assert!(matches!(store(r#"{"redis": {"servers": ["redis://h"]}}"#), Store::Redis(settings) if settings.time_limit_ms == 10));
}

#[test]
fn a_secret_is_a_text_or_octets() {
    let secret = |text: &str| read(&format!(r#"{{"component": "p", "secret": {text}}}"#)).0.secret().map(<[u8]>::to_vec);
    assert_eq!(secret(r#""é""#), Some(vec![0xc3, 0xa9]));
    assert_eq!(secret("[0, 255]"), Some(vec![0, 255]));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(error("{\n}"), "settings: missing field `component` at line 2 column 1");
    let with = |more: &str| error(&format!("{{\"component\": \"p\",\n{more}}}"));
    for (more, expected) in [
        ("\"polcy\": {}", "unknown field `polcy`, expected one of `component`, `policy`, `policy-file`"),
        ("\"cache\": \"a\", \"cache\": \"b\"", "duplicate field `cache` at line 2 column 21"),
        ("\"instances\": 0", "instances: found 0, expected 1 to 10000 at line 2"),
        ("\"deadline-ms\": 10001", "deadline-ms: found 10001, expected 1 to 10000 at line 2"),
        ("\"memory\": 1000", "memory: found 1000, expected 1048576 to 1073741824 at line 2"),
        ("\"store-ms\": 0", "store-ms: found 0, expected 1 to 1000 at line 2"),
        ("\"policy\": 5", "a policy, as a JSON object or as a text at line 2"),
        ("\"secret\": 5", "a text, or a list of octets at line 2"),
        ("\"secret\": [256]", "expected an octet, 0 to 255 at line 2"),
        ("\"store\": {}", "expected value at line 2 column 11"),
        ("\"store\": {\"memory\": {}, \"file\": \"/r\"}", "at line 2"),
        (
            "\"store\": {\"disk\": \"/r\"}",
            "unknown variant `disk`, expected one of `memory`, `file`, `control`, `redis` at line 2",
        ),
        ("\"store\": {\"memory\": {\"recrods\": 1}}", "unknown field `recrods`, expected `records` at line 2"),
        ("\"policy\": {}, \"policy-file\": \"f\"", "found both policy and policy-file"),
    ] {
        let found = with(more);
        assert!(found.starts_with("settings: ") && found.contains(expected), "{more}: {found}");
    }
}

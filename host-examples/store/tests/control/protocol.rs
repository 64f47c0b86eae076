//! Each request, as the documentation has it.

use serde_json::{Value, json};

use crate::host::{Host, Lines, NOW};

const NETWORK: &str = r#"{"kind":"network","network":"2001:db8::/64"}"#;
const MAIL: &str = r#"{"kind":"exact","hash":"00112233445566778899aabbccddeeff"}"#;

#[tokio::test]
async fn the_documented_dialogue() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    assert_eq!(
        client.ask(r#"{"request":"keys","address":"2001:db8::25"}"#).await,
        r#"{"keys":[{"kind":"network","network":"2001:db8::/64"},{"kind":"address","network":"2001:db8::25/128"},{"kind":"budget","network":"2001:db8::/48"}]}"#
    );
    let get = format!(r#"{{"request":"get","keys":[{NETWORK}]}}"#);
    assert_eq!(client.ask(&get).await, r#"{"records":[]}"#);
    let first = format!(r#"{{"request":"compare-and-set","key":{NETWORK},"value":"AW4BEAAA","expires-in":86400,"weight":9}}"#);
    assert_eq!(client.ask(&first).await, r#"{"swap":"stored"}"#);
    assert_eq!(client.ask(&first).await, r#"{"swap":"conflict"}"#, "nothing was expected there");
    assert_eq!(client.ask(&get).await, format!(r#"{{"records":[{{"key":{NETWORK},"value":"AW4BEAAA"}}]}}"#));
    let second = format!(
        r#"{{"request":"compare-and-set","key":{NETWORK},"expected":"AW4BEAAA","value":"AW4BEAEB","expires-in":86400,"weight":9}}"#
    );
    assert_eq!(client.ask(&second).await, r#"{"swap":"stored"}"#);
    assert_eq!(client.ask(&second).await, r#"{"swap":"conflict"}"#, "another value is there");
    assert_eq!(
        client.error(r#"{"request":"get","keys":[{"kind":"netwrok","network":"2001:db8::/64"}]}"#).await,
        "unknown variant `netwrok`, expected one of `address`, `network`, `budget`, `exact`, `inferred`"
    );
    assert_eq!(client.ask(&get).await, format!(r#"{{"records":[{{"key":{NETWORK},"value":"AW4BEAEB"}}]}}"#), "it goes on");
}

#[tokio::test]
async fn time_is_the_hosts_unless_given() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    let set = |now| {
        format!(
            r#"{{"request":"compare-and-set","key":{NETWORK},"value":"AQ==","expires-in":60,"weight":1,"source":"2001:db8::1"{now}}}"#
        )
    };
    let get = |now: &str| format!(r#"{{"request":"get","keys":[{NETWORK}]{now}}}"#);
    assert_eq!(client.ask(&set(format!(r#","now":{NOW}"#))).await, r#"{"swap":"stored"}"#);
    let there = |answer: String| serde_json::from_str::<Value>(&answer).unwrap()["records"].as_array().unwrap().len();
    assert_eq!(there(client.ask(&get(&format!(r#","now":{}"#, NOW + 59))).await), 1);
    assert_eq!(there(client.ask(&get(&format!(r#","now":{}"#, NOW + 60))).await), 0, "expired");
    // The host's clock.
    let scan = client.ask(r#"{"request":"scan"}"#).await;
    let listed: Value = serde_json::from_str(&scan).unwrap();
    if let Some(record) = listed["records"].get(0) {
        assert_eq!(record["expires-at"], NOW + 60);
    }
    // Removing it under that clock.
    let gone = format!(
        r#"{{"request":"compare-and-set","key":{NETWORK},"expected":"AQ==","value":"","expires-in":0,"weight":0,"now":{NOW}}}"#
    );
    assert_eq!(client.ask(&gone).await, r#"{"swap":"stored"}"#);
    assert_eq!(there(client.ask(&get(&format!(r#","now":{NOW}"#))).await), 0);
    assert_eq!(client.ask(&set(String::new())).await, r#"{"swap":"stored"}"#);
    assert_eq!(there(client.ask(&get("")).await), 1, "both by the host's clock");
}

#[tokio::test]
async fn a_scan_lists_everything() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    assert_eq!(client.ask(r#"{"request":"scan"}"#).await, r#"{"records":[],"next":null}"#);
    for network in 0..300 {
        let set = json!({
            "request": "compare-and-set", "key": {"kind": "network", "network": format!("2001:db8:{network:x}::/64")},
            "expected": null, "value": "AQ==", "expires-in": 60, "weight": network, "now": NOW,
        });
        assert_eq!(client.ask(&set.to_string()).await, r#"{"swap":"stored"}"#);
    }
    let (mut cursor, mut weights) = (Value::Null, Vec::new());
    for _ in 0..300 {
        let mut request = json!({"request": "scan", "limit": 64, "now": NOW});
        if !cursor.is_null() {
            request["cursor"] = cursor;
        }
        let page: Value = serde_json::from_str(&client.ask(&request.to_string()).await).unwrap();
        for record in page["records"].as_array().unwrap() {
            assert_eq!(record["expires-at"], NOW + 60);
            assert_eq!(record["value"], "AQ==");
            let network = record["key"]["network"].as_str().unwrap();
            let weight = record["weight"].as_u64().unwrap();
            assert!(network == format!("2001:db8:{weight:x}::/64") || (weight == 0 && network == "2001:db8::/64"), "{network}");
            weights.push(weight);
        }
        cursor = page["next"].clone();
        if cursor.is_null() {
            break;
        }
    }
    weights.sort_unstable();
    assert_eq!(weights, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_secret_and_the_health_are_the_stores() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    let secret: Value = serde_json::from_str(&client.ask(r#"{"request":"secret"}"#).await).unwrap();
    let expected =
        serde_json::to_value(smtp_fallback_store::control::Octets(host.store.secret().await.unwrap().to_vec())).unwrap();
    assert_eq!(secret, json!({"secret": expected}));
    let health: Value = serde_json::from_str(&client.ask(r#"{"request":"health"}"#).await).unwrap();
    assert_eq!(health["health"], serde_json::to_value(host.store.health()).unwrap());
    let about = r#"{"about":{"program":"a-host","version":"1.2.3","component":""#;
    assert!(client.ask(r#"{"request":"about"}"#).await.starts_with(about));
}

#[tokio::test]
async fn the_record_of_a_mail_needs_its_client() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    let set = |key: &str, source: &str| {
        format!(r#"{{"request":"compare-and-set","key":{key},"value":"AQ==","expires-in":60,"weight":1{source}}}"#)
    };
    let error = client.error(&set(MAIL, "")).await;
    assert!(error.contains("`source` is missing") && error.contains(r#""source":"2001:db8::25""#), "{error}");
    let error = client.error(&set(MAIL, r#","source":"mail.example""#)).await;
    assert!(error.contains("\"mail.example\" is no IP address; expected one such as"), "{error}");
    assert_eq!(client.ask(&set(MAIL, r#","source":"2001:db8::25""#)).await, r#"{"swap":"stored"}"#);
    assert_eq!(client.ask(&set(NETWORK, "")).await, r#"{"swap":"stored"}"#);
}

#[tokio::test]
async fn errors_say_what_was_expected() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    let set =
        |value: &str| format!(r#"{{"request":"compare-and-set","key":{NETWORK},"value":{value},"expires-in":60,"weight":1}}"#);
    let long = |octets| serde_json::to_string(&smtp_fallback_store::control::Octets(vec![1; octets])).unwrap();
    let keys = |count| format!(r#"{{"request":"get","keys":[{}]}}"#, vec![NETWORK; count].join(","));
    for (request, part) in [
        ("", r#"expected a JSON object such as {"request":"health"}"#),
        ("health", r#"expected a JSON object such as {"request":"health"}"#),
        ("[]", "expected a JSON object"),
        ("{}", "missing field `request`"),
        (
            r#"{"request":"healht"}"#,
            "unknown variant `healht`, expected one of `get`, `compare-and-set`, `scan`, `keys`, `secret`, `health`, `about`",
        ),
        (r#"{"request":"health","verbose":true}"#, "unknown field `verbose`"),
        (r#"{"request":"keys"}"#, "missing field `address`"),
        (r#"{"request":"keys","address":"::1","address":"::2"}"#, "duplicate field `address`"),
        (r#"{"request":"scan","limit":0}"#, "`limit` is 0; expected 1 to 256"),
        (r#"{"request":"scan","limit":257}"#, "`limit` is 257; expected 1 to 256"),
        (r#"{"request":"get","keys":[]}"#, "`keys` has 0 keys; expected 1 to 64"),
        (&keys(65), "`keys` has 65 keys; expected 1 to 64"),
        (&set("7"), "expected a string"),
        (&set("\"AQ\""), "no base64 with padding"),
        (&set(&long(4097)), "`value` has 4097 octets; expected at most 4096"),
        (r#"{"request":"health"} {"request":"health"}"#, "trailing characters"),
    ] {
        let error = client.error(request).await;
        assert!(error.contains(part), "{request}: {error}");
    }
    let at = |now: u64| set("\"AQ==\"").replacen('{', &format!("{{\"now\":{now},"), 1);
    let own = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let error = client.error(&at(own * 1000)).await;
    assert!(error.contains("`now` is 1") && error.contains("expected seconds since 1970 (not milliseconds)"), "{error}");
    let error = client.error(&at(own + 24 * 3600 + 60)).await;
    assert!(error.contains("a day from the host's"), "{error}");
    assert_eq!(client.ask(&at(own + 24 * 3600 - 60)).await, r#"{"swap":"stored"}"#);
    assert_eq!(
        client
            .ask(&at(own).replacen(
                "\"value\":\"AQ==\",\"expires-in\":60",
                "\"expected\":\"AQ==\",\"value\":\"\",\"expires-in\":0",
                1
            ))
            .await,
        r#"{"swap":"stored"}"#,
        "removed"
    );
    // At the edge.
    assert!(client.ask(&keys(64)).await.starts_with(r#"{"records":["#));
    assert_eq!(client.ask(&set(&long(4096))).await, r#"{"swap":"stored"}"#);
    // As telnet and Windows end lines.
    assert!(client.ask("{\"request\":\"health\"}\r").await.starts_with(r#"{"health":"#));
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    client
        .send(b"{\"request\":\"scan\"}\nnonsense\n{\"request\":\"health\"}\n{\"request\":\"keys\",\"address\":\"192.0.2.1\"}\n")
        .await;
    assert_eq!(client.line().await, r#"{"records":[],"next":null}"#);
    assert!(client.line().await.starts_with(r#"{"error":"#));
    assert!(client.line().await.starts_with(r#"{"health":"#));
    assert_eq!(client.line().await, r#"{"keys":[]}"#, "the policy keeps nothing about IPv4");
}

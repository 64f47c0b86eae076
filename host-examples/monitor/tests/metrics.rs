//! The metrics after decisions of the policy module, and the catalogue that describes them.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::collections::BTreeMap;

use common::{Host, Mail, get, mail, now};
use smtp_fallback_policy::contract::Verdict;
use smtp_fallback_store::WriteBack;

/// What a sample without labels, or with exactly these, has for a value.
fn value(metrics: &str, sample: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

async fn scrape(host: &Host) -> String {
    let address = host.serve().await;
    let answer = get(address, "/metrics").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn decisions_are_counted_by_what_they_say() {
    let (host, at) = (Host::new("{}"), now() - 2000);
    let refused = mail("2001:db8:1::25", "example.net", "1");
    assert!(matches!(host.send(&refused, at).await.verdict, Verdict::Refuse(_)));
    host.send(&refused, at + 60).await;
    host.send(&Mail { client: "192.0.2.25", ..refused }, at + 100).await;
    host.send(&Mail { passes: true, ..mail("2001:db8:2::25", "example.org", "2") }, at).await;
    host.census(at + 200).await;
    host.monitor.metrics().written(&WriteBack { stored: 0, dropped: 2 });
    host.monitor.metrics().records_dropped(3);
    let metrics = scrape(&host).await;
    let expect = |sample: &str, expected: f64| assert_eq!(value(&metrics, sample), Some(expected), "{sample} in\n{metrics}");
    let decisions = |labels: &str| format!("smtp_fallback_decisions_total{{{labels}}}");
    expect(&decisions(r#"stage="end-of-data",verdict="refuse",reason="unauthenticated",code="421""#), 2.0);
    expect(&decisions(r#"stage="end-of-data",verdict="accept",reason="ipv4",code="none""#), 1.0);
    expect(&decisions(r#"stage="end-of-data",verdict="accept",reason="authenticated",code="none""#), 1.0);
    expect(&decisions(r#"stage="greeting",verdict="continue",reason="undecided",code="none""#), 3.0);
    expect(r#"smtp_fallback_message_bytes_total{family="ipv6"}"#, 3000.0);
    expect(r#"smtp_fallback_message_bytes_total{family="ipv4"}"#, 1000.0);
    expect(r#"smtp_fallback_refused_bytes_total{mode="enforce"}"#, 2000.0);
    expect(r#"smtp_fallback_repeated_messages_total{family="ipv6",matched="exact"}"#, 1.0);
    expect(r#"smtp_fallback_repeated_messages_total{family="ipv4",matched="exact"}"#, 1.0);
    expect(r#"smtp_fallback_repeated_bytes_total{family="ipv4",matched="exact"}"#, 1000.0);
    expect(r#"smtp_fallback_fall_back_delay_seconds_bucket{matched="exact",le="60"}"#, 0.0);
    expect(r#"smtp_fallback_fall_back_delay_seconds_bucket{matched="exact",le="300"}"#, 1.0);
    expect(r#"smtp_fallback_fall_back_delay_seconds_sum{matched="exact"}"#, 100.0);
    expect("smtp_fallback_records_dropped_total", 5.0);
    assert!(value(&metrics, "smtp_fallback_records_stored_total").is_some_and(|stored| stored > 5.0));
    expect("smtp_fallback_policy_loaded", 1.0);
    expect("smtp_fallback_enforcing", 1.0);
    expect(r#"smtp_fallback_policy_failures_total{kind="deadline"}"#, 3.0);
    expect("smtp_fallback_store_up", 1.0);
    expect("smtp_fallback_waiting_mails", 0.0);
    expect(r#"smtp_fallback_clients{kind="falls-back"}"#, 1.0);
    expect(r#"smtp_fallback_settled_mails{how="ipv4"}"#, 1.0);
}

#[tokio::test]
async fn penalties_probes_and_lets_in_are_counted() {
    let (host, at) = (Host::new("{}"), now() - 9000);
    for n in 0..7 {
        host.send(&mail("2001:db8:1::25", "example.net", &n.to_string()), at).await;
    }
    // Five minutes after the penalty began a connection is a probe, since mail waits; it passes, and ends the penalty.
    host.send(&Mail { passes: true, ..mail("2001:db8:1::25", "example.net", "8") }, at + 300).await;
    for after in [0, 900, 1800] {
        host.send(&mail("2001:db8:7::25", "example.com", "9"), at + after).await;
    }
    host.census(now()).await;
    let metrics = scrape(&host).await;
    let expect = |sample: &str, expected: f64| assert_eq!(value(&metrics, sample), Some(expected), "{sample} in\n{metrics}");
    expect(r#"smtp_fallback_penalty_changes_total{change="begun",mode="enforce"}"#, 1.0);
    expect(r#"smtp_fallback_penalty_changes_total{change="ended",mode="enforce"}"#, 1.0);
    expect(r#"smtp_fallback_penalty_changes_total{change="renewed",mode="enforce"}"#, 0.0);
    expect(r#"smtp_fallback_probes_total{mode="enforce"}"#, 1.0);
    expect("smtp_fallback_let_ins_begun_total", 1.0);
    expect("smtp_fallback_let_in_messages_total", 1.0);
    expect("smtp_fallback_networks_let_in", 1.0);
    expect(r#"smtp_fallback_penalties{mode="enforce"}"#, 0.0);
    expect(r#"smtp_fallback_clients{kind="never"}"#, 1.0);
    expect("smtp_fallback_waiting_mails", 7.0);
    let oldest = value(&metrics, "smtp_fallback_waiting_oldest_age_seconds").unwrap();
    assert!((9000.0..9100.0).contains(&oldest), "{oldest}");
}

#[tokio::test]
async fn in_observe_mode_what_would_be_is_counted_apart() {
    let (host, at) = (Host::new(r#"{"mode": "observe"}"#), now() - 2000);
    host.send(&mail("2001:db8:1::25", "example.net", "1"), at).await;
    let metrics = scrape(&host).await;
    let labels = |verdict, code| format!(r#"{{stage="end-of-data",verdict="{verdict}",reason="unauthenticated",code="{code}"}}"#);
    assert_eq!(value(&metrics, &format!("smtp_fallback_decisions_total{}", labels("accept", "none"))), Some(1.0), "{metrics}");
    assert_eq!(
        value(&metrics, &format!("smtp_fallback_would_decisions_total{}", labels("refuse", "421"))),
        Some(1.0),
        "{metrics}"
    );
    assert_eq!(value(&metrics, r#"smtp_fallback_refused_bytes_total{mode="observe"}"#), Some(1000.0));
    assert_eq!(value(&metrics, r#"smtp_fallback_refused_bytes_total{mode="enforce"}"#), Some(0.0));
    assert_eq!(value(&metrics, "smtp_fallback_enforcing"), Some(0.0));
}

/// Name to type and label names, from the text of a scrape. `le` is the histogram's own.
fn registered(metrics: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let mut types = BTreeMap::new();
    let mut found: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            types.insert(name.to_owned(), kind.to_owned());
        }
        if line.starts_with('#') {
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let sample = &line[..end];
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let name = sample.strip_suffix(suffix)?;
            (types.get(name).map(String::as_str) == Some("histogram")).then_some(name)
        });
        let name = family.unwrap_or(sample);
        // OpenMetrics names the type of a counter without its suffix.
        let kind =
            types.get(name).or_else(|| types.get(name.strip_suffix("_total")?)).unwrap_or_else(|| panic!("no type: {line}"));
        let labels = line[end..].strip_prefix('{').map_or("", |rest| rest.split_once('}').unwrap().0);
        let labels = labels.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
        let entry = found.entry(name.to_owned()).or_insert_with(|| (kind.clone(), Vec::new()));
        for label in labels.filter(|label| label != "le") {
            if !entry.1.contains(&label) {
                entry.1.push(label);
            }
        }
    }
    found
}

/// The rows of the catalogue's tables, in the same form.
fn catalogued() -> BTreeMap<String, (String, Vec<String>)> {
    let rows = include_str!("../METRICS.md").lines().filter_map(|line| line.strip_prefix("| `smtp_fallback_"));
    let mut found = BTreeMap::new();
    for row in rows {
        let mut cells = row.split(" | ");
        let name = format!("smtp_fallback_{}", cells.next().unwrap().trim_end_matches('`'));
        let kind = cells.next().unwrap().to_owned();
        let labels = cells.next().unwrap().split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| label != "none").collect();
        assert!(cells.next().is_some_and(|meaning| meaning.len() > 20), "{name} has no meaning");
        assert!(found.insert(name.clone(), (kind, labels)).is_none(), "{name} is there twice");
    }
    found
}

#[tokio::test]
async fn the_catalogue_and_the_code_agree() {
    let (host, at) = (Host::new(r#"{"mode": "observe"}"#), now() - 2000);
    host.send(&mail("2001:db8:1::25", "example.net", "1"), at).await;
    host.census(now()).await;
    let address = host.serve().await;
    let plain = registered(&get(address, "/metrics").await.body);
    // What a store need not know is not shown for all kinds of stores.
    let mut catalogue = catalogued();
    if !plain.contains_key("smtp_fallback_store_capacity_records") {
        catalogue.remove("smtp_fallback_store_capacity_records").expect("in the catalogue");
    }
    assert_eq!(plain, catalogue);
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let open = common::exchange(address, request.to_owned()).await;
    assert!(open.field("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
    assert_eq!(registered(&open.body), catalogue);
}

#[test]
fn there_is_an_alert_for_each_thing_that_goes_wrong_in_silence() {
    let alerts = include_str!("../METRICS.md").split("## Alerts").nth(1).unwrap();
    for (alert, expression) in [
        ("PolicyNotUsable", "smtp_fallback_policy_problem == 1"),
        ("TemporaryErrorsRefused", "increase(smtp_fallback_temporary_errors_total{outcome=\"refused\"}[1h]) > 10"),
    ] {
        let rule = alerts.split(&format!("- alert: {alert}\n")).nth(1).unwrap_or_else(|| panic!("no {alert} in {alerts}"));
        assert_eq!(rule.lines().next().map(str::trim), Some(format!("expr: {expression}").as_str()));
    }
    let store = alerts.split("- alert: StoreDown\n").nth(1).unwrap();
    assert!(store.lines().nth(2).is_some_and(|summary| summary.contains("the store has a problem, see /healthz")), "{store}");
}

//! The report on records that the policy module itself wrote.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::collections::BTreeSet;

use common::{Host, mail, now};
use smtp_fallback_monitor::{Clients, Report, SettledMails};
use smtp_fallback_policy::contract::{Key, KeyKind, Reason, RecordUpdate};
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::{exempt, network_key};
use smtp_fallback_store::{Swap, Write};

async fn report(host: &Host, at: u64) -> Report {
    host.census(at).await;
    (*host.monitor.report().expect("a census")).clone()
}

#[tokio::test]
async fn a_refused_mail_waits_until_it_arrives_over_ipv4() {
    let (host, at) = (Host::new("{}"), now() - 1000);
    let over_ipv6 = mail("2001:db8:1::25", "example.net", "1");
    assert_eq!(host.send(&over_ipv6, at).await.reason, Reason::Unauthenticated);
    let refused = report(&host, at + 60).await;
    assert_eq!((refused.waiting.mails, refused.waiting.oldest_since, refused.waiting.given_up), (1, Some(at), 0));
    let [waiting] = refused.waiting.oldest.entries.as_slice() else { panic!("one: {refused:?}") };
    assert_eq!((waiting.network.as_str(), waiting.ehlo_name.as_str()), ("2001:db8:1::/64", "mail.example.net"));
    assert_eq!((waiting.lacked.as_str(), waiting.refused_for), ("SPF=none, DKIM=none", "unauthenticated"));
    assert_eq!(refused.clients, Clients { waiting: 1, ..Clients::default() });
    assert_eq!(report(&host, at + 6 * 3600).await.clients, Clients { no_retry: 1, ..Clients::default() }, "six hours later");

    let over_ipv4 = common::Mail { client: "192.0.2.25", ..over_ipv6.clone() };
    assert_eq!(host.send(&over_ipv4, at + 4).await.linked.map(|link| link.seconds), Some(4));
    let arrived = report(&host, at + 60).await;
    assert_eq!((arrived.waiting.mails, arrived.waiting.oldest_since), (0, None));
    assert_eq!(arrived.settled, SettledMails { ipv4: 1, ..SettledMails::default() });
    assert_eq!(arrived.clients, Clients { falls_back: 1, ..Clients::default() });

    let late = mail("2001:db8:2::25", "example.org", "2");
    host.send(&late, at).await;
    host.send(&common::Mail { client: "192.0.2.26", ..late.clone() }, at + 301).await;
    assert_eq!(report(&host, at + 400).await.clients, Clients { falls_back: 1, slow: 1, ..Clients::default() });
    let better = common::Mail { passes: true, ..mail("2001:db8:3::25", "example.com", "3") };
    host.send(&common::Mail { passes: false, ..better.clone() }, at).await;
    host.send(&better, at + 300).await;
    let all = report(&host, at + 400).await;
    assert_eq!(all.clients, Clients { falls_back: 1, slow: 1, passes: 1, ..Clients::default() });
    assert_eq!(all.settled, SettledMails { ipv4: 2, ipv6: 1, ..SettledMails::default() });
}

#[tokio::test]
async fn a_client_that_does_not_fall_back_is_named_with_what_to_do() {
    let (host, at) = (Host::new("{}"), now() - 5000);
    let stubborn = mail("2001:db8:7::25", "example.net", "1");
    for after in [0, 900] {
        assert_eq!(host.send(&stubborn, at + after).await.reason, Reason::Unauthenticated);
    }
    assert!(report(&host, at + 901).await.never.is_empty(), "twice is not enough");
    assert_eq!(host.send(&stubborn, at + 1800).await.reason, Reason::LetIn);
    let report = report(&host, at + 1801).await;
    let [never] = report.never.entries.as_slice() else { panic!("one: {report:?}") };
    assert_eq!(never.network, "2001:db8:7::/64");
    assert_eq!(never.ehlo_names.shown, ["mail.example.net"]);
    assert_eq!(never.sender_domains.shown, ["example.net"]);
    assert_eq!((never.since, never.refusals, never.last_refusal), (Some(at), 3, Some(at + 1800)));
    assert_eq!((never.lacked.as_str(), never.oldest_waiting), ("SPF=none, DKIM=none", None));
    let let_in = never.let_in.expect("let in");
    assert_eq!((let_in.since, let_in.until, let_in.by_operator), (at + 1800, at + 1800 + 7 * 86_400, false));
    assert_eq!(never.command, "smtp-fallback cache exempt 2001:db8:7:: --for 7d");
    assert_eq!(report.let_in.entries[0].network, never.network);
    assert_eq!(report.clients, Clients { never: 1, ..Clients::default() });
    assert_eq!(report.settled, SettledMails { let_in: 1, ..SettledMails::default() });

    // The line is one that a policy takes, and it works.
    let exempting = Host::new(&format!("{{{}}}", never.exempt));
    assert_eq!(exempting.send(&stubborn, at + 1900).await.reason, Reason::ExemptNetwork);
}

#[tokio::test]
async fn without_let_in_such_a_client_s_mail_waits() {
    let (host, at) = (Host::new(r#"{"no_fallback": {"action": "alert"}}"#), now() - 5000);
    let stubborn = mail("2001:db8:7::25", "example.net", "1");
    for after in [0, 900, 1800] {
        assert_eq!(host.send(&stubborn, at + after).await.reason, Reason::Unauthenticated);
    }
    let report = report(&host, at + 1801).await;
    let [never] = report.never.entries.as_slice() else { panic!("one: {report:?}") };
    assert_eq!((never.oldest_waiting, never.let_in), (Some(at), None));
    assert_eq!(report.waiting.mails, 1, "its two records are one mail");
}

#[tokio::test]
async fn penalties_are_listed_while_they_last_and_simulated_ones_apart() {
    for (policy, enforced) in [("{}", true), (r#"{"mode": "observe"}"#, false)] {
        let (host, at) = (Host::new(policy), now() - 1000);
        for n in 0..7 {
            host.send(&mail("2001:db8:1::25", "example.net", &n.to_string()), at).await;
        }
        let found = report(&host, at + 1).await;
        let (list, other) = match enforced {
            true => (&found.penalties, &found.simulated_penalties),
            false => (&found.simulated_penalties, &found.penalties),
        };
        let [penalty] = list.entries.as_slice() else { panic!("one: {found:?}") };
        assert!(other.is_empty());
        assert_eq!((penalty.network.as_str(), penalty.failed, penalty.passed), ("2001:db8:1::/64", 7.0, 0.0));
        assert!((at + 720..=at + 1080).contains(&penalty.refuse_until) && penalty.last_failure == at, "{penalty:?}");
        assert_eq!(report(&host, penalty.refuse_until - 1).await.penalties.total(), u64::from(enforced));
        assert!(report(&host, penalty.refuse_until).await.penalties.is_empty());
    }
}

#[tokio::test]
async fn what_an_operator_let_in_is_no_client_that_does_not_fall_back() {
    let (host, at) = (Host::new("{}"), now() - 1000);
    let update = exempt(Network::parse("2001:db8:9::/64").unwrap(), None, at, 3600).unwrap();
    let key = Key { kind: KeyKind::Network, address: "2001:db8:a::".parse().unwrap(), prefix_length: 64 };
    let foreign = RecordUpdate { key, value: b"no record".to_vec(), expires_in: 3600, weight: 1 };
    for update in [&update, &foreign] {
        let write = Write { expected: None, update, source: update.key.address, now: at };
        assert_eq!(host.store.compare_and_set(write).await, Ok(Swap::Stored));
    }
    let found = report(&host, at + 1).await;
    assert_eq!(found.let_in.entries.iter().map(|entry| entry.let_in.by_operator).collect::<Vec<_>>(), [true]);
    assert!(found.never.is_empty());
    assert_eq!((found.records.network, found.records.unreadable), (1, 1));
    assert!(report(&host, at + 3600).await.let_in.is_empty());
}

#[tokio::test]
async fn mail_without_a_message_id_waits_beside_the_others_of_its_network() {
    let (host, at) = (Host::new("{}"), now() - 1000);
    let with_id = mail("2001:db8:1::25", "example.net", "1");
    host.send(&with_id, at).await;
    // Two mails of one sender have one record under the sender.
    host.send(&mail("2001:db8:1::25", "example.net", "2"), at + 10).await;
    let without = common::Mail { id: String::new(), ..mail("2001:db8:1::25", "example.com", "") };
    host.send(&without, at + 20).await;
    let refused = report(&host, at + 60).await;
    assert_eq!((refused.records.mail, refused.waiting.mails, refused.waiting.oldest.total()), (4, 3, 3));
    // All arrive.
    for mail in [&with_id, &mail("2001:db8:1::25", "example.net", "2"), &without] {
        let arrival = common::Mail { client: "192.0.2.25", ..mail.clone() };
        assert!(host.send(&arrival, at + 100).await.linked.is_some());
    }
    let arrived = report(&host, at + 200).await;
    assert_eq!((arrived.waiting.mails, arrived.settled.ipv4), (0, 3), "{arrived:?}");
}

#[tokio::test]
async fn a_mail_that_an_operator_let_in_shows_no_client_that_does_not_fall_back() {
    let (host, at) = (Host::new("{}"), now() - 1000);
    let patient = mail("2001:db8:9::25", "example.net", "1");
    assert_eq!(host.send(&patient, at).await.reason, Reason::Unauthenticated);
    let network = Network::parse("2001:db8:9::/64").unwrap();
    let key = network_key(network);
    let found = host.store.get_many(&[key], at).await.unwrap().pop().map(|record| record.value);
    let update = exempt(network, found.as_deref(), at, 3600).unwrap();
    let write = Write { expected: found.as_deref(), update: &update, source: key.address, now: at };
    assert_eq!(host.store.compare_and_set(write).await, Ok(Swap::Stored));
    assert_eq!(host.send(&patient, at + 60).await.reason, Reason::LetIn);
    let found = report(&host, at + 61).await;
    assert_eq!((found.never.total(), found.settled.let_in, found.let_in.total()), (0, 1, 1), "{found:?}");
    assert_eq!(found.clients, Clients { passes: 1, ..Clients::default() });
}

#[tokio::test]
async fn the_longest_penalties_are_listed_whatever_their_jitter() {
    let (host, at) = (Host::new(r#"{"penalty": {"first": "7d", "maximum": "7d"}}"#), now() - 1000);
    let clients: Vec<String> = (1..=40).map(|n| format!("2001:db8:{n}::25")).collect();
    for client in &clients {
        for n in 0..7 {
            host.send(&common::Mail { client: client.clone().leak(), ..mail("", "example.net", &format!("{client}{n}")) }, at)
                .await;
        }
    }
    let found = report(&host, at + 1).await;
    assert_eq!(found.penalties.total(), 40);
    let longest = found.penalties.entries.iter().map(|penalty| penalty.refuse_until - at).max();
    assert!(longest.is_some_and(|longest| longest > 8 * 86_400), "{longest:?}");
}

#[tokio::test]
async fn distrusted_mail_is_marked_on_the_page() {
    let (host, at) = (Host::new(r#"{"reputation": {"distrust": ["example.net"]}}"#), now() - 1000);
    let distrusted = common::Mail { passes: true, ..mail("2001:db8:9::25", "example.net", "1") };
    assert_eq!(host.send(&distrusted, at).await.reason, Reason::Distrusted);
    assert_eq!(report(&host, at + 1).await.waiting.oldest.entries[0].refused_for, "distrusted");
    let page = common::get(host.serve().await, "/").await.body;
    assert_eq!(page.matches("<span class=\"tag bad\">distrusted</span>").count(), 1, "{page}");
    assert!(page.contains("word lets everything of a network in, the policy a limited number"), "{page}");
}

#[tokio::test]
async fn text_and_json_carry_no_control_characters() {
    let (host, at) = (Host::new("{}"), now() - 5000);
    let hostile = common::Mail {
        ehlo_name: "\x1b]0;owned\x07\u{202e}<b>\u{9b}2J".into(),
        mail_from: "a@\u{1b}[2J.example".into(),
        ..mail("2001:db8:7::25", "", "1")
    };
    for after in [0, 900, 1800] {
        host.send(&hostile, at + after).await;
    }
    host.send(&common::Mail { client: "2001:db8:8::25", id: "<2@x>".into(), ..hostile.clone() }, at + 1800).await;
    let report = report(&host, at + 1801).await;
    let (text, json) = (report.to_text(), report.to_json());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
    assert!(json.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{json:?}");
    assert!(text.contains(r"\u{1b}]0;owned\u{7}\u{202e}<b>\u{9b}2J"), "{text}");
    for expected in [
        "2001:db8:7::/64",
        "Nothing is refused at the moment.",
        "smtp-fallback cache exempt 2001:db8:7:: --for 7d",
        "1 still tried",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["never"]["entries"][0]["ehlo-names"]["shown"][0], hostile.ehlo_name.as_str());
}
/// The names of all fields, such as "penalties.entries.network".
fn shape(value: &serde_json::Value, path: &str, fields: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                let path = format!("{path}{name}");
                shape(value, &format!("{path}."), fields);
                fields.insert(path);
            }
        }
        serde_json::Value::Array(entries) => entries.iter().for_each(|entry| shape(entry, path, fields)),
        _ => {}
    }
}

#[tokio::test]
async fn json_has_the_published_shape() {
    let (host, at) = (Host::new("{}"), now() - 5000);
    for after in [0, 900, 1800] {
        host.send(&mail("2001:db8:7::25", "example.net", "1"), at + after).await;
    }
    for n in 0..7 {
        host.send(&mail("2001:db8:1::25", "example.com", &n.to_string()), at + 1700).await;
    }
    let docs: String = include_str!("../src/report/mod.rs").lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    let published = docs.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (mut expected, mut found) = (BTreeSet::new(), BTreeSet::new());
    shape(&serde_json::from_str(published).unwrap(), "", &mut expected);
    shape(&serde_json::from_str(&report(&host, at + 1801).await.to_json()).unwrap(), "", &mut found);
    assert_eq!(found, expected);
}

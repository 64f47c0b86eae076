//! `cache get`: mails, names, and octets that are no record.

use crate::host::{CLIENT, Host, NETWORK};
use smtp_fallback_policy::contract::{Key, KeyKind, Verdict};

fn mails(out: &str) -> Vec<&str> {
    out.lines().filter_map(|line| line.strip_prefix("mail ")).map(|name| name.split_once(':').unwrap().0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_without_a_message_id_is_known_by_its_sender_and_shown() {
    let host = Host::start();
    host.mail_with(CLIENT, "mail.sender.example", "smith@sender.example", None).await;
    for target in [CLIENT, NETWORK] {
        let ran = host.run(&["cache", "get", target]).await;
        assert_eq!((ran.status, mails(&ran.out)), (0, vec!["inferred"]), "{ran:?}");
        assert!(ran.out.contains("refused once, 20") && ran.out.contains("EHLO \"mail.sender.example\""), "{}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_with_two_records_is_named_once() {
    let host = Host::start();
    // Two mails of one sender have one record under the sender.
    for number in [1, 2] {
        host.mail(CLIENT, "mail.sender.example", number).await;
    }
    let ran = host.run(&["cache", "get", CLIENT]).await;
    assert_eq!(mails(&ran.out), ["exact", "exact"], "{}", ran.out);
    // Of another sender, without a Message-ID; and a client of another network.
    host.mail_with(CLIENT, "mail.sender.example", "jones@sender.example", None).await;
    host.mail_with("2001:db8:9::25", "mail.sender.example", "brown@sender.example", None).await;
    let ran = host.run(&["cache", "get", CLIENT, "--json"]).await;
    let mut kinds: Vec<String> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["address", "exact", "exact", "inferred", "network"], "{}", ran.out);
    let ran = host.run(&["cache", "get", "2001:db8:9::25"]).await;
    assert_eq!(mails(&ran.out), ["inferred"], "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_record_of_the_mail_is_lost_that_of_its_sender_is_shown() {
    let host = Host::start();
    host.mail(CLIENT, "mail.sender.example", 1).await;
    let exact = host.run(&["cache", "show", "--kind", "exact"]).await;
    let name = exact.out.split_whitespace().nth(1).unwrap();
    let deleted = host.run(&["cache", "delete", name]).await;
    assert_eq!((deleted.status, deleted.out), (0, format!("deleted the record of mail {name}\n")));
    let ran = host.run(&["cache", "get", CLIENT]).await;
    assert_eq!(mails(&ran.out), ["inferred"], "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_that_are_not_shown_are_counted() {
    let host = Host::start();
    for number in 0..23 {
        host.mail(CLIENT, "mail.sender.example", number).await;
    }
    let ran = host.run(&["cache", "get", CLIENT]).await;
    assert_eq!(mails(&ran.out).len(), 20);
    assert!(ran.error.contains("3 more refused mails of this network"), "{ran:?}");
    let json = host.run(&["cache", "get", CLIENT, "--json"]).await;
    assert!(json.out.lines().all(|line| line.starts_with('{')) && json.error.contains("3 more"), "{json:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_escaped_once() {
    let host = Host::start();
    host.mail(CLIENT, "evil\u{1b}[2J\"x\\", 1).await;
    for arguments in [&["cache", "get", CLIENT][..], &["cache", "show", "--kind", "exact"]] {
        let ran = host.run(arguments).await;
        assert!(ran.out.contains(r#"EHLO "evil\u{1b}[2J\"x\\""#), "{}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn octets_that_are_no_record_are_said_to_be_that() {
    let host = Host::start();
    let key = Key { kind: KeyKind::Network, address: "2001:db8:1:2::".parse().unwrap(), prefix_length: 64 };
    host.put(key, b"foreign").await;
    let ran = host.run(&["cache", "get", NETWORK, "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let expected = serde_json::json!({
        "kind": "network", "key": {"kind": "network", "network": NETWORK}, "octets": 7, "unreadable": true
    });
    assert_eq!((ran.status, shown), (0, expected));
    let text = host.run(&["cache", "get", NETWORK]).await;
    assert!(text.out.contains("unreadable: 7 octets that are no record of this version"), "{}", text.out);
    let key = Key { kind: KeyKind::Exact, address: "2001:db8::7".parse().unwrap(), prefix_length: 128 };
    host.put(key, b"foreign").await;
    let ran = host.run(&["cache", "get", "exact:20010db8000000000000000000000007", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown["key"]["hash"], "20010db8000000000000000000000007");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_was_let_in_at_last_came_more_often_than_it_was_refused() {
    let host = Host::with_policy(r#"{"no_fallback": {"refusals": 2, "over": "1s"}}"#);
    host.mail(CLIENT, "mail.sender.example", 1).await;
    host.mail_with(CLIENT, "mail.sender.example", "brown@sender.example", Some(2)).await;
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert_eq!(host.mail(CLIENT, "mail.sender.example", 1).await.verdict, Verdict::Accept);
    let ran = host.run(&["cache", "get", CLIENT]).await;
    assert!(
        ran.out.contains("\n  came 2 times without authentication in ") && ran.out.contains("\n  was let in 20"),
        "{}",
        ran.out
    );
    // One of another sender was refused, and has not come again.
    assert!(ran.out.contains("\n  refused once, 20") && !ran.out.contains("refused 2 times"), "{}", ran.out);
}

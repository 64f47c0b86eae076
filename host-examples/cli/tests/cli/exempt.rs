//! `cache exempt`: which network is meant, and whether that does anything.

use crate::host::{CLIENT, Host, NETWORK, now};
use smtp_fallback_policy::contract::Verdict;
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::exempt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_the_policy_does_not_count_as_one_is_refused_with_the_one_to_name() {
    let host = Host::start();
    for (network, parts) in [
        ("2001:db8:1::/48", ["expected a /64: 2001:db8:1::/64", "`exempt` of the policy"]),
        ("2001:db8:1:2::/80", ["expected a /64: 2001:db8:1:2::/64", "the policy in force counts"]),
        ("2001:db8:1:2::25/128", ["expected a /64: 2001:db8:1:2::/64", "the policy in force counts"]),
    ] {
        let ran = host.run(&["cache", "exempt", network, "--for", "7d"]).await;
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{network}: {ran:?}");
        assert!(parts.iter().all(|part| ran.error.contains(part)), "{network}: {}", ran.error);
    }
    assert_eq!(host.records(), 0, "nothing was written");
    let ran = host.run(&["cache", "exempt", NETWORK, "--for", "7d"]).await;
    assert!(ran.status == 0 && ran.out.starts_with("2001:db8:1:2::/64 is let in for 7 days"), "{ran:?}");
    assert_eq!(host.mail(CLIENT, "mail.sender.example", 1).await.verdict, Verdict::Accept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_length_is_that_of_the_policy_for_this_network() {
    let policy = r#"{"network": {"prefix": 56, "overrides": [{"network": "2001:db8:ff::/48", "prefix": 128}]}}"#;
    let host = Host::with_policy(policy);
    let ran = host.run(&["cache", "exempt", NETWORK, "--for", "7d"]).await;
    assert!(ran.status == 2 && ran.error.contains("expected a /56: 2001:db8:1::/56"), "{ran:?}");
    for network in ["2001:db8:1::/56", "2001:db8:ff::25/128"] {
        let ran = host.run(&["cache", "exempt", network, "--for", "7d"]).await;
        assert!(ran.status == 0 && ran.out.starts_with(&format!("{network} is let in")), "{ran:?}");
    }
    assert_eq!(host.mail(CLIENT, "mail.sender.example", 1).await.verdict, Verdict::Accept);
    assert_eq!(host.mail("2001:db8:ff::25", "mail.sender.example", 2).await.verdict, Verdict::Accept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_let_in_can_be_ended_under_any_length() {
    let (narrow, wide) = (Host::start(), Host::with_policy(r#"{"network": {"prefix": 48}}"#));
    // Let in under a policy that counted otherwise, and carried over.
    let file = narrow.folder.path().join("records.json");
    let file = file.to_str().unwrap();
    assert_eq!(narrow.run(&["cache", "exempt", CLIENT, "--for", "7d"]).await.status, 0);
    assert_eq!(narrow.run(&["cache", "export", file]).await.status, 0);
    assert_eq!(wide.run(&["cache", "import", file]).await.status, 0);
    let ended = wide.run(&["cache", "exempt", NETWORK, "--for", "0s"]).await;
    assert_eq!((ended.status, ended.out.as_str()), (0, "2001:db8:1:2::/64 is no longer let in\n"), "{ended:?}");
    assert_eq!(wide.records(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ending_what_is_not_let_in_says_so() {
    let host = Host::start();
    let nothing = host.run(&["cache", "exempt", NETWORK, "--for", "0s"]).await;
    assert_eq!((nothing.status, nothing.out.as_str()), (1, ""), "{nothing:?}");
    assert!(nothing.error.contains("2001:db8:1:2::/64 is not let in: nothing to end"), "{nothing:?}");
    // Something is known of it, but not that.
    host.mail(CLIENT, "mail.sender.example", 1).await;
    let before = host.listed().await;
    let nothing = host.run(&["cache", "exempt", CLIENT, "--for", "0s"]).await;
    assert_eq!((nothing.status, nothing.out.as_str()), (1, ""), "{nothing:?}");
    assert_eq!(host.listed().await, before, "its records stay as they were");
    // It was, once.
    let network = Network::parse("2001:db8:7::/64").unwrap();
    let past = exempt(network, None, now() - 1000, 60).unwrap();
    host.put(past.key, &past.value).await;
    assert_eq!(host.run(&["cache", "exempt", "2001:db8:7::/64", "--for", "0s"]).await.status, 1);
    // Once more, after it was ended.
    assert_eq!(host.run(&["cache", "exempt", CLIENT, "--for", "7d"]).await.status, 0);
    assert_eq!(host.run(&["cache", "exempt", CLIENT, "--for", "0s"]).await.status, 0);
    assert_eq!(host.run(&["cache", "exempt", CLIENT, "--for", "0s"]).await.status, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_policy_refuses_nothing_nothing_is_to_be_let_in() {
    let host = Host::with_policy(r#"{"exempt": {"networks": ["2001:db8:1:2::/64"]}}"#);
    for target in [CLIENT, NETWORK] {
        let ran = host.run(&["cache", "exempt", target, "--for", "7d"]).await;
        assert!(ran.status == 2 && ran.error.contains("exempt by the policy"), "{target}: {ran:?}");
    }
    assert_eq!(host.records(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_on_this_host_only_is_said_to() {
    let (here, away) = (Host::start(), Host::whose_store_is_away());
    for (host, is_away) in [(&here, false), (&away, true)] {
        host.mail(CLIENT, "mail.sender.example", 1).await;
        for (arguments, then) in [
            (&["cache", "exempt", CLIENT, "--for", "7d"][..], "lost if the host stops"),
            (&["cache", "exempt", CLIENT, "--for", "0s"], "lost if the host stops"),
            (&["cache", "delete", CLIENT], "may come back"),
        ] {
            let ran = host.run(arguments).await;
            assert!(ran.status == 0 && !ran.out.contains("this host only"), "{arguments:?}: {ran:?}");
            let words = "holds on this host only until it does again";
            assert_eq!(
                (ran.error.contains(words) && ran.error.contains(then), ran.error.is_empty()),
                (is_away, !is_away),
                "{arguments:?}: {ran:?}"
            );
        }
        // Nothing was changed.
        let nothing = host.run(&["cache", "delete", CLIENT]).await;
        assert!(nothing.status == 1 && !nothing.error.contains("this host only"), "{nothing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_penalty_of_a_network_that_is_let_in_refuses_nothing() {
    let host = Host::start();
    for number in 0..7 {
        host.mail(CLIENT, "mail.sender.example", number).await;
    }
    let before = host.run(&["cache", "get", NETWORK]).await;
    assert!(before.out.contains("\n  refused at the greeting until "), "{}", before.out);
    assert_eq!(host.run(&["cache", "exempt", CLIENT, "--for", "7d"]).await.status, 0);
    let known = host.run(&["cache", "get", NETWORK]).await;
    assert!(
        known.out.contains("\n  would be refused at the greeting until ") && known.out.contains(", were it not let in\n"),
        "{}",
        known.out
    );
    assert!(!known.out.contains("\n  refused at the greeting until "), "{}", known.out);
    // A few seconds of the seven days are over, and a network's record keeps four mails.
    assert!(known.out.contains("in 7 days, by an operator"), "{}", known.out);
    assert!(known.out.contains("\n  at least 4 refused mails not seen since; "), "{}", known.out);
}

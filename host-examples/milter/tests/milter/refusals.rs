//! Who is refused, where, and in which words.

use std::time::{Duration, Instant};

use smtp_fallback_demo::zone::SERVFAIL_DOMAIN;

use crate::mta::{Mta, OLD, POSTFIX, Reply};
use crate::program::{Milter, PASSING, PLAIN, POLICY, Setting, message};

const IPV6: &str = "2001:db8::25";

#[tokio::test(flavor = "multi_thread")]
async fn words_reach_the_mta_in_a_form_that_it_does_not_change() {
    // Per cent, and several lines. (Letters beyond ASCII are refused in the policy already.)
    let policy = r#"{"mode": "enforce", "url": "https://policy.demo.example/100%25",
        "texts": {"unauthenticated": ["50 % of {failed}: see {url}", "Greetings, 100 % ASCII"]}}"#;
    let milter = Milter::start(Setting { policy: policy.to_owned(), ..Setting::default() }).await;
    let mut mta = milter.session(IPV6);
    let Reply::Refuse(text) = mta.message(PLAIN, "A1", &message(1)) else { panic!("{}", milter.log()) };
    assert_eq!(
        text,
        "421-4.4.8 50 %% of SPF=none, DKIM=none: see https://policy.demo.example/100%%25\r\n421 4.4.8 Greetings, 100 %% ASCII",
        "{}",
        milter.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_refused_at_its_end_and_a_penalty_at_helo() {
    let milter = Milter::start(Setting::default()).await;
    let mut refused = 0;
    loop {
        let mut mta = milter.postfix();
        assert_eq!(mta.client(IPV6), Reply::Continue, "nobody is refused at connect");
        let reply = mta.helo("client.example");
        if reply != Reply::Continue {
            let words = "421-4.4.8 Not accepting mail from 2001:db8::/64 over IPv6, retry over IPv4 now\r\n\
                         421 4.4.8 Client 2001:db8::25: most recent mail of your network was not authenticated";
            assert_eq!(reply, Reply::Refuse(words.to_owned()));
            break;
        }
        assert_eq!(mta.message(PLAIN, "A1", &message(refused)).code(), "421");
        refused += 1;
        assert!(refused < 20, "no penalty");
    }
    assert!(refused > 3, "{refused}");
    milter.logged(&["stage=\"ehlo\"", "reason=\"penalty\"", "verdict=\"refuse\""]);
    // Another network, and IPv4, are not meant.
    for client in ["2001:db8:1::25", "192.0.2.25"] {
        assert_eq!(milter.postfix().client(client), Reply::Continue);
        assert_eq!(milter.session(client).mail(PLAIN), Reply::Continue);
    }
}

/// Where the MTA does not insist on HELO, as Postfix by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_penalty_is_not_escaped_by_saying_no_helo() {
    let milter = Milter::start(Setting::default()).await;
    let session = || {
        let mut mta = milter.postfix();
        mta.client(IPV6);
        mta
    };
    let refused = (0..20).find(|number| {
        session().mail(PLAIN).code() != "250" || {
            session().message(PLAIN, "A1", &message(*number));
            false
        }
    });
    assert!(refused.is_some_and(|refused| refused > 3), "{refused:?}\n{}", milter.log());
    assert_eq!(session().mail(PLAIN).code(), "421");
    milter.logged(&["stage=\"ehlo\"", "reason=\"penalty\"", "verdict=\"refuse\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_exempt_recipients_hide_no_other() {
    let policy = r#"{"mode": "enforce", "exempt": {"recipients": ["postmaster"]}}"#;
    let milter = Milter::start(Setting { policy: policy.to_owned(), ..Setting::default() }).await;
    for (id, more, code) in [("A1", None, "250"), ("A2", Some("jones@demo.example"), "421")] {
        let mut mta = milter.session(IPV6);
        assert_eq!(mta.mail(PLAIN), Reply::Continue);
        for _ in 0..1000 {
            mta.rcpt("postmaster@demo.example");
        }
        if let Some(recipient) = more {
            mta.rcpt(recipient);
        }
        assert_eq!(mta.text(id, &message(1)).code(), code, "{}", milter.decision(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv4_passes_and_what_was_refused_before_is_recognised() {
    let milter = Milter::start(Setting::default()).await;
    assert_eq!(milter.session(IPV6).message(PLAIN, "A1", &message(1)).code(), "421");
    assert_eq!(milter.session("192.0.2.25").message(PLAIN, "B1", &message(1)), Reply::Continue);
    assert_eq!(milter.session("192.0.2.25").message(PLAIN, "B2", &message(2)), Reply::Continue);
    let mail = |line: &str| line.split_once("mail=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let (refused, arrived, other) = (milter.decision("A1"), milter.decision("B1"), milter.decision("B2"));
    assert!(mail(&refused).starts_with("exact:") && mail(&refused) == mail(&arrived) && mail(&refused) != mail(&other));
    assert!(arrived.contains("linked=") && !other.contains("linked="), "{arrived}\n{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_says_what_would_have_been_answered() {
    let observe = POLICY.replace("enforce", "observe");
    for (policy, arguments) in [(observe.as_str(), &[][..]), (POLICY, &["--observe"])] {
        let milter = Milter::start(Setting { policy: policy.to_owned(), arguments, ..Setting::default() }).await;
        for number in 0..10 {
            let mut mta = milter.session(IPV6);
            assert_eq!(mta.message(PLAIN, &format!("A{number}"), &message(number)), Reply::Continue);
        }
        assert!(milter.decision("A1").contains("would=\"refuse 421\""), "{}", milter.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_refused_without_a_policy() {
    let milter = Milter::start(Setting { policy: "{".to_owned(), ..Setting::default() }).await;
    milter.logged(&["ERROR", "event=\"no-policy\""]);
    assert_eq!(milter.session(IPV6).message(PLAIN, "A1", &message(1)), Reply::Continue);
    assert!(milter.decision("A1").contains("reason=\"no-policy\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_refused_where_ipv4_is_not_served() {
    let milter = Milter::start(Setting::top("reachable_over_ipv4 = false")).await;
    milter.logged(&["WARN", "event=\"nothing-refused\""]);
    assert_eq!(milter.session(IPV6).mail(PLAIN), Reply::Accept);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_socket_and_every_version_serves() {
    let listen = "\"unix:milter.sock\", \"inet:127.0.0.1:0\", \"inet6:0@::1\"";
    let milter = Milter::start(Setting { listen, ..Setting::default() }).await;
    for socket in ["unix", "inet", "inet6"] {
        for version in [2, 3, 4, 5, 6] {
            let offer = if version == 2 { OLD } else { [version, 0x1ff, if version == 6 { POSTFIX[2] } else { 0x3ff }] };
            let mut mta = Mta::connect(&milter.socket(socket), offer);
            assert_eq!(mta.client(IPV6), Reply::Continue, "{socket} {version}");
            mta.helo("client.example");
            assert_eq!(mta.message(&format!("smith@{PASSING}"), "A1", &message(1)), Reply::Continue, "{socket} {version}");
            assert_eq!(mta.message(PLAIN, "A2", &message(version)).code(), "421", "{socket} {version}\n{}", milter.log());
            mta.quit();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_temporary_errors_are_451_in_an_open_session() {
    let policy = r#"{"mode": "enforce", "temporary_errors": {"per_network": 2, "per_48": 2}}"#;
    let milter = Milter::start(Setting { policy: policy.to_owned(), ..Setting::default() }).await;
    let mut mta = milter.session(IPV6);
    let sender = format!("smith@{SERVFAIL_DOMAIN}");
    for number in 0..2 {
        assert_eq!(mta.message(&sender, "A1", &message(number)), Reply::Continue, "{}", milter.log());
    }
    let Reply::Refuse(text) = mta.message(&sender, "A2", &message(2)) else { panic!("{}", milter.log()) };
    assert!(text.lines().all(|line| line.starts_with("451-4.4.3 ") || line.starts_with("451 4.4.3 ")), "{text}");
    assert_eq!(mta.message(&format!("smith@{PASSING}"), "A3", &message(3)), Reply::Continue);
    milter.logged(&["WARN", "event=\"temporary-errors\""]);
    mta.quit();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_falls_back_gets_550_where_the_operator_wants_it() {
    let policy = r#"{"mode": "enforce", "penalty": {"at_greeting": false},
        "no_fallback": {"action": "reject", "refusals": 2, "over": "1s"}}"#;
    let top = "ipv4_arrivals_visible = true";
    let milter = Milter::start(Setting { policy: policy.to_owned(), ..Setting::top(top) }).await;
    // One mail again and again: the time that it takes is a part of the rule.
    let began = Instant::now();
    let text = loop {
        match milter.session(IPV6).message(PLAIN, "A1", &message(1)) {
            Reply::Refuse(text) if !text.starts_with("421") => break text,
            Reply::Refuse(_) => {}
            other => panic!("{other:?}\n{}", milter.log()),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{}", milter.log());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(text.lines().all(|line| line.starts_with("550-5.7.26 ") || line.starts_with("550 5.7.26 ")), "{text}");
    milter.logged(&["event=\"decision\"", "reason=\"never-falls-back\"", "code=550"]);
}

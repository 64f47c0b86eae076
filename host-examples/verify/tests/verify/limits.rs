//! Input that was made to cost memory or time.

use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::spf::mail_from;
use smtp_fallback_demo::sign::{Algorithm, signed};
use smtp_fallback_demo::zone::Kind;
use smtp_fallback_policy::contract::{Arc, AuthResult, Dkim};
use smtp_fallback_verify::{Settings, summary};

/// The longest name there is (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
const MESSAGE: &str = "From: Someone <a@signed.example>\r\nTo: b@demo.example\r\nSubject: x\r\n\
    Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@signed.example>\r\n\r\nHello.\r\n";

/// A name of this many octets, by labels of 9 and the dots.
fn name(octets: usize) -> String {
    let name = "abcdefghi.".repeat(octets / 10 + 1) + "example";
    name[name.len() - octets..].to_owned()
}

/// The message with a signature that has `to` in the place of `from`.
fn with_tag(from: &str, to: &str) -> String {
    let message = String::from_utf8(signed(MESSAGE.as_bytes(), Algorithm::Ed25519).unwrap()).unwrap();
    assert!(message.contains(from), "{message}");
    message.replacen(from, to, 1)
}

#[tokio::test]
async fn a_name_that_is_too_long_is_not_reported() {
    let bench = Bench::new(&[]).await;
    let folded = name(2_000_000).replace('.', "\r\n .");
    for (long, kept) in [(name(MAX_NAME), true), (name(MAX_NAME + 1), false), (name(5000), false), (folded, false)] {
        let expected = |text: &str| if kept { text.to_owned() } else { String::new() };
        let asked = bench.server.queries();
        for (message, domain, selector) in [
            (with_tag("d=signed.example;", &format!("d={long};")), expected(&long), "demo-ed25519".to_owned()),
            (with_tag("s=demo-ed25519;", &format!("s={long};")), "signed.example".to_owned(), expected(&long)),
        ] {
            let dkim = bench.dkim(message.as_bytes()).await;
            // A name that is short enough by itself does not fit below the other tag's.
            assert_eq!(dkim, [Dkim { result: AuthResult::Permerror, domain, selector, testing: false }], "{}", long.len());
        }
        if !kept {
            assert_eq!(bench.server.queries() - asked, 2 * 2, "only the questions of DMARC");
        }

        let seal = format!("ARC-Seal: i=1; a=ed25519-sha256; s=arc; d={long}; cv=none; b=AAAA\r\n{MESSAGE}");
        let Arc { result, sealers } = bench.verify("::1", "", "", seal.as_bytes()).await.arc.unwrap();
        // Beyond 1 MiB the seals are not even read.
        let (expected_result, count) = if seal.len() > 1 << 20 { (AuthResult::Policy, 0) } else { (AuthResult::Fail, 1) };
        assert_eq!((result, sealers), (expected_result, vec![expected(&long); count]), "{}", long.len());

        if !long.contains('\r') {
            let results = bench.verify_envelope("::1", &long, &format!("a@{long}")).await;
            assert_eq!(results.spf_helo.unwrap().domain, expected(&long));
            assert_eq!(results.spf_mail_from.unwrap().domain, expected(&long));
            let message = format!("From: a@{long}\r\n\r\n");
            assert_eq!(summary(message.as_bytes()).from_domain, kept.then(|| long.clone()));
            let dmarc = bench.verify("::1", "", "", message.as_bytes()).await.dmarc.unwrap();
            assert_eq!((dmarc.result, dmarc.domain), (AuthResult::None, expected(&long)));
        }
    }
}

#[tokio::test]
async fn a_signature_does_not_pass_for_a_name_that_is_cut() {
    let long = name(MAX_NAME - 40);
    // RFC 8616 §5: it is the A-label that has to fit.
    let labels = format!("{}example", "\u{fc}.".repeat(40));
    for domain in [long, labels] {
        let bench = Bench::new(&[]).await;
        let message = smtp_fallback_demo::sign::signed_for(MESSAGE.as_bytes(), Algorithm::Ed25519, &domain).unwrap();
        let dkim = bench.dkim(&message).await;
        assert!(dkim[0].result != AuthResult::Pass && dkim[0].domain.len() <= MAX_NAME, "{dkim:?}");
    }
}

#[tokio::test]
async fn a_record_of_nothing_but_macros_costs_no_time() {
    let many = format!("v=spf1 exists:{}.x.example -all", "%{s}".repeat(15_000));
    let most = format!("v=spf1 exists:{}x.example -all", "%{s}.".repeat(64));
    let one_more = format!("v=spf1 exists:{}x.example -all", "%{s}.".repeat(65));
    let bench = Bench::new(&[("l.example", &many), ("m.example", &most), ("n.example", &one_more)]).await;
    let start = Instant::now();
    let local_part = "a.a";
    for (domain, result) in [("l.example", "permerror"), ("m.example", "fail"), ("n.example", "permerror")] {
        let sender = format!("{local_part}@{domain}");
        assert_eq!(mail_from(&bench, &sender).await, format!("{result} {domain}"));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn many_names_of_signed_fields_cost_no_time() {
    let bench = Bench::new(&[]).await;
    let names = (0..57_000).map(|number| format!("x{number}:")).collect::<String>();
    let message = with_tag("h=Message-ID:", &format!("h=Message-ID:{names}"));
    let start = Instant::now();
    let dkim = bench.dkim(message.as_bytes()).await;
    assert_eq!(dkim[0].result, AuthResult::Policy);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_tag_list_is_not_read_leniently() {
    let bench = Bench::new(&[]).await;
    for (from, to, result) in [
        ("v=1;", "v=1;", AuthResult::Pass),
        ("v=1; ", "", AuthResult::Permerror),
        ("v=1;", "v=1; v=1;", AuthResult::Permerror),
        ("v=1;", "v=1;; ", AuthResult::Permerror),
        ("v=1;", "v=1; nonsense;", AuthResult::Permerror),
        ("v=1;", "v=1; x=;", AuthResult::Permerror),
        ("v=1;", "v=1; x=-1;", AuthResult::Permerror),
        ("v=1;", "v=1; x=12x;", AuthResult::Permerror),
        ("v=1;", "v=1; x=9999999999999;", AuthResult::Permerror),
        ("v=1;", "v=1; t=soon;", AuthResult::Permerror),
        // Well formed, and not what was signed.
        ("v=1;", "v=1; x=4102444800;", AuthResult::Fail),
        ("v=1;", "v=1; other=;", AuthResult::Fail),
    ] {
        let dkim = bench.dkim(with_tag(from, to).as_bytes()).await;
        assert_eq!(dkim[0].result, result, "{to}");
        assert_eq!((dkim[0].domain.as_str(), dkim[0].selector.as_str()), ("signed.example", "demo-ed25519"), "{to}");
    }
}

#[tokio::test]
async fn a_name_that_is_never_asked_is_no_empty_answer() {
    let bench = Bench::new(&[
        ("a.example", "v=spf1 a:%{l} exists:%{l} mx:%{l} a:%{l} ip6:::1 -all"),
        // U+212A is no k, though its lower case is.
        ("b.example", "v=spf1 exists:%{l}.ok.example -all"),
    ])
    .await;
    bench.server.change(|zone| zone.add("k.ok.example", Kind::A, "192.0.2.1")).unwrap();
    for sender in ["x..y@a.example", "\u{fc}@a.example"] {
        assert_eq!(mail_from(&bench, sender).await, "pass a.example", "{sender}");
    }
    assert_eq!(mail_from(&bench, "K@b.example").await, "pass b.example");
    assert_eq!(mail_from(&bench, "\u{212a}@b.example").await, "fail b.example");
}

#[tokio::test]
async fn a_seal_by_another_name_is_none() {
    let bench = Bench::new(&[]).await;
    let field = "x: i=1; a=ed25519-sha256; s=arc; d=x.example; cv=none; b=AAAA\r\n";
    for (name, result) in [
        ("ARC-Seal", "fail"),
        ("arc-seal ", "fail"),
        ("ARC-Sealing", "fail"),
        ("ARC -Seal", "fail"),
        ("ARC-Sea", "none"),
        ("X-ARC-Seal", "none"),
    ] {
        let message = format!("{name}{}{MESSAGE}", &field[1..]);
        let arc = bench.verify("::1", "", "", message.as_bytes()).await.arc.unwrap();
        assert_eq!(arc.result.as_str(), result, "{name}");
    }
    // What mail-auth takes for a seal counts for the limits.
    let padding = "x".repeat(1 << 20);
    for name in ["ARC-Sealing", "ARC -Seal", "ARC -Message-Signature", "ARC-Authentication- Results"] {
        let message = format!("{name}: i=1; a=ed25519-sha256; s=arc; d=x.example; cv=none; b=AAAA; z={padding}\r\n{MESSAGE}");
        let arc = bench.verify("::1", "", "", message.as_bytes()).await.arc.unwrap();
        assert_eq!((arc.result, arc.sealers), (AuthResult::Policy, vec![]), "{name}");
    }
}

#[tokio::test]
async fn what_is_kept_has_a_limit_in_octets() {
    let long = format!("v=spf1 ip6:::1 x={}", "x".repeat(10_000));
    let records: Vec<_> = (0..12).map(|number| (format!("d{number}.example"), long.as_str())).collect();
    let records: Vec<_> = records.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    // 50 KiB: four of these.
    let bench = Bench::with(&records, 300, Settings { cache_entries: 50, ..Settings::default() }).await;
    let ask = async |number: usize| {
        let before = bench.server.queries();
        bench.verify_envelope("::1", "", &format!("a@d{number}.example")).await;
        bench.server.queries() > before
    };
    for number in 0..12 {
        assert!(ask(number).await, "{number} is new");
    }
    for number in 8..12 {
        assert!(!ask(number).await, "{number} is one of the newest");
    }
    for number in 0..8 {
        assert!(ask(number).await, "{number} had to give way");
    }
    // More than there is room for: given, not kept.
    let none = Bench::with(&records, 300, Settings { cache_entries: 5, ..Settings::default() }).await;
    for _ in 0..2 {
        assert_eq!(mail_from(&none, "a@d1.example").await, "pass d1.example");
    }
}

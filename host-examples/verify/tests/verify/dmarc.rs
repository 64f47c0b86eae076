//! DMARC (RFC 7489, RFC 9989).

use std::time::{Duration, Instant};

use crate::bench::{Bench, deadline};
use smtp_fallback_demo::sign::{Algorithm, ED25519_KEY_RECORD, signed_for};
use smtp_fallback_demo::zone::Kind;
use smtp_fallback_policy::contract::{AuthResult, AuthResults};
use smtp_fallback_verify::Session;

const RELAXED: &str = "v=DMARC1; p=reject";
const STRICT: &str = "v=DMARC1; p=none; aspf=s; adkim=s";
/// Lets ::1 send.
const OURS: &str = "v=spf1 ip6:::1 -all";

fn message(from: &str) -> Vec<u8> {
    format!("From: {from}\r\nSubject: x\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\r\nHello.\r\n").into_bytes()
}

/// A message from an address, signed by a domain that publishes the key.
fn signed(bench: &Bench, from: &str, domain: &str) -> Vec<u8> {
    publish_key(bench, domain, ED25519_KEY_RECORD);
    signed_for(&message(from), Algorithm::Ed25519, domain).unwrap()
}

fn publish_key(bench: &Bench, domain: &str, record: &str) {
    bench.server.change(|zone| zone.replace(&format!("demo-ed25519._domainkey.{domain}"), Kind::Txt, &[record])).unwrap();
}

#[tokio::test]
async fn an_aligned_sender_passes() {
    let bench = Bench::new(&[
        ("_dmarc.relaxed.example", RELAXED),
        ("_dmarc.strict.example", STRICT),
        ("relaxed.example", OURS),
        ("strict.example", OURS),
        ("sub.relaxed.example", OURS),
        ("sub.strict.example", OURS),
        ("softfail.relaxed.example", "v=spf1 ~all"),
        ("nodmarc.example", OURS),
    ])
    .await;
    for (from, sender, expected) in [
        ("a@relaxed.example", "b@relaxed.example", "pass relaxed.example"),
        ("a@Relaxed.Example", "b@sub.relaxed.example", "pass relaxed.example"),
        ("a@sub.relaxed.example", "b@relaxed.example", "pass sub.relaxed.example"),
        ("a@x.y.relaxed.example", "b@sub.relaxed.example", "pass x.y.relaxed.example"),
        ("a@strict.example", "b@strict.example", "pass strict.example"),
        ("a@strict.example", "b@sub.strict.example", "fail strict.example"),
        ("a@sub.strict.example", "b@strict.example", "fail sub.strict.example"),
        ("a@relaxed.example", "b@strict.example", "fail relaxed.example"),
        ("a@relaxed.example", "b@spf.example", "fail relaxed.example"),
        ("a@relaxed.example", "b@softfail.relaxed.example", "fail relaxed.example"),
        ("a@relaxed.example", "b@none.example", "fail relaxed.example"),
        ("a@notrelaxed.example", "b@relaxed.example", "none notrelaxed.example"),
        ("a@nodmarc.example", "b@nodmarc.example", "none nodmarc.example"),
        ("a@none.example", "b@none.example", "none none.example"),
    ] {
        assert_eq!(bench.dmarc("spf.example", sender, &message(from)).await, expected, "{from} by {sender}");
    }
}

#[tokio::test]
async fn an_aligned_signature_passes() {
    let bench = Bench::new(&[("_dmarc.relaxed.example", RELAXED), ("_dmarc.strict.example", STRICT)]).await;
    for (from, domain, expected) in [
        ("a@relaxed.example", "relaxed.example", "pass relaxed.example"),
        ("a@relaxed.example", "sub.relaxed.example", "pass relaxed.example"),
        ("a@sub.relaxed.example", "other.relaxed.example", "pass sub.relaxed.example"),
        ("a@strict.example", "strict.example", "pass strict.example"),
        ("a@strict.example", "sub.strict.example", "fail strict.example"),
        ("a@relaxed.example", "elsewhere.example", "fail relaxed.example"),
    ] {
        let message = signed(&bench, from, domain);
        assert_eq!(bench.dmarc("", "b@none.example", &message).await, expected, "{from} by {domain}");
        let mut changed = message.clone();
        *changed.last_mut().unwrap() = b'!';
        let author = expected.rsplit_once(' ').unwrap().1;
        assert_eq!(bench.dmarc("", "b@none.example", &changed).await, format!("fail {author}"));
    }
    // One of several is enough.
    let message =
        signed_for(&signed(&bench, "a@relaxed.example", "relaxed.example"), Algorithm::Ed25519, "servfail.example").unwrap();
    assert_eq!(bench.dmarc("", "b@none.example", &message).await, "pass relaxed.example");
}

#[tokio::test]
async fn a_signature_that_does_not_count_does_not() {
    let bench = Bench::new(&[("_dmarc.a.example", RELAXED)]).await;
    let message = signed(&bench, "x@a.example", "a.example");
    assert_eq!(bench.dmarc("", "", &message).await, "pass a.example");
    publish_key(&bench, "a.example", &ED25519_KEY_RECORD.replacen("k=", "t=y; k=", 1));
    assert_eq!(bench.dmarc("", "", &message).await, "fail a.example");
    publish_key(&bench, "a.example", ED25519_KEY_RECORD);
    // RFC 6376 §8.2: more could have been appended.
    let partial = String::from_utf8(message).unwrap().replacen("v=1;", "v=1; l=1;", 1);
    assert_eq!(bench.dmarc("", "", partial.as_bytes()).await, "fail a.example");
}

#[tokio::test]
async fn the_null_sender_is_judged_by_its_ehlo_name() {
    let bench = Bench::new(&[("_dmarc.a.example", RELAXED), ("mail.a.example", OURS), ("a.example", OURS)]).await;
    let message = message("x@a.example");
    for (ehlo_name, sender, expected) in [
        ("mail.a.example", "", "pass a.example"),
        ("spf.example", "", "fail a.example"),
        ("[192.0.2.1]", "", "fail a.example"),
        // The EHLO name counts for nobody else.
        ("mail.a.example", "x@spf.example", "fail a.example"),
        ("mail.a.example", "postmaster", "fail a.example"),
        ("spf.example", "x@mail.a.example", "pass a.example"),
    ] {
        assert_eq!(bench.dmarc(ehlo_name, sender, &message).await, expected, "{ehlo_name} {sender}");
    }
}

#[tokio::test]
async fn a_from_field_that_is_not_one_never_passes() {
    let bench =
        Bench::new(&[("_dmarc.a.example", RELAXED), ("a.example", OURS), ("_dmarc.b.example", RELAXED), ("b.example", OURS)])
            .await;
    let body = "Subject: x\r\n\r\nHello.\r\n";
    for (header, expected) in [
        ("From: x@a.example\r\n", "pass a.example"),
        ("From: x@a.example, y@a.example\r\n", "pass a.example"),
        ("From: x@a.example, y@b.example\r\n", "permerror "),
        ("From: x@b.example, y@a.example\r\n", "permerror "),
        ("From: x@a.example\r\nFrom: x@a.example\r\n", "permerror "),
        ("From: x@b.example\r\nfrom: x@a.example\r\n", "permerror "),
        ("", "permerror "),
        ("From:\r\n", "none "),
        ("From: undisclosed:;\r\n", "none "),
        ("From: x@localhost\r\n", "none "),
        // A mail program shows b.example here, or cannot tell.
        ("From: <x@b.example> <x@a.example>\r\n", "permerror "),
        ("From: <x@b.example>x@a.example\r\n", "permerror "),
        ("From: <x@b.example @a.example>\r\n", "permerror "),
        ("From: =?utf-8?q?x=40b.example?=, x@a.example\r\n", "permerror "),
        ("From: x@b.example <>, x@a.example\r\n", "permerror "),
        ("From: <=?utf-8?q?x=40b.example?=>, x@a.example\r\n", "permerror "),
        ("From: x@b.example <>\r\nF rom: x@a.example\r\n", "permerror "),
        ("F rom: x@a.example\r\n", "permerror "),
        ("From: x@b.example\r\nFr\tom : x@a.example\r\n", "permerror "),
        ("From : x@a.example\r\n", "pass a.example"),
    ] {
        assert_eq!(bench.dmarc("", "x@a.example", format!("{header}{body}").as_bytes()).await, expected, "{header}");
    }
    assert_eq!(bench.dmarc("", "x@a.example", b"").await, "permerror ");
}

#[tokio::test]
async fn strangers_under_one_registry_are_strangers() {
    let bench = Bench::new(&[
        // A registry that does not say that it is one.
        ("_dmarc.co.uk", RELAXED),
        ("_dmarc.uk", RELAXED),
        ("victim.co.uk", OURS),
        ("thief.co.uk", OURS),
        ("co.uk", OURS),
        // One that does, and is in no list.
        ("_dmarc.registry.example", "v=DMARC1; p=reject; psd=y"),
        ("thief.registry.example", OURS),
        ("sub.victim.registry.example", OURS),
        // A part of an organisation that stands by itself.
        ("_dmarc.big.example", RELAXED),
        ("_dmarc.apart.big.example", "v=DMARC1; p=reject; psd=n"),
        ("big.example", OURS),
        ("sub.apart.big.example", OURS),
    ])
    .await;
    for (from, sender, expected) in [
        ("victim.co.uk", "victim.co.uk", "pass"),
        ("victim.co.uk", "thief.co.uk", "fail"),
        ("victim.co.uk", "co.uk", "fail"),
        ("co.uk", "thief.co.uk", "fail"),
        ("co.uk", "co.uk", "pass"),
        ("victim.registry.example", "thief.registry.example", "fail"),
        ("victim.registry.example", "sub.victim.registry.example", "pass"),
        ("apart.big.example", "big.example", "fail"),
        ("big.example", "sub.apart.big.example", "fail"),
        ("apart.big.example", "sub.apart.big.example", "pass"),
        ("other.big.example", "big.example", "pass"),
    ] {
        let result = bench.dmarc("", &format!("x@{sender}"), &message(&format!("y@{from}"))).await;
        assert_eq!(result, format!("{expected} {from}"), "{from} by {sender}");
        let message = signed(&bench, &format!("y@{from}"), sender);
        assert_eq!(bench.dmarc("", "", &message).await, format!("{expected} {from}"), "{from} signed by {sender}");
    }
}

#[tokio::test]
async fn records_that_do_not_count_and_those_that_cannot_be_read() {
    let bench = Bench::new(&[
        ("_dmarc.two.example", RELAXED),
        ("_dmarc.two.example", STRICT),
        ("_dmarc.other.example", "something else"),
        ("_dmarc.other.example", RELAXED),
        ("_dmarc.no-policy.example", "v=DMARC1; aspf=s"),
        ("_dmarc.reports.example", "v=DMARC1; rua=mailto:x@reports.example"),
        ("_dmarc.broken.example", "v=DMARC1; p=nonsense"),
        ("_dmarc.broken-reports.example", "v=DMARC1; p=nonsense; rua=mailto:x@reports.example"),
        ("_dmarc.broken-sub.example", "v=DMARC1; p=none; sp=nonsense"),
        ("_dmarc.broken-sub-reports.example", "v=DMARC1; p=none; sp=; rua=mailto:x@reports.example"),
        // RFC 7489 §6.3: what cannot be read has its default.
        ("_dmarc.alignment.example", "v=DMARC1; p=reject; adkim=relaxed; aspf=x"),
        ("_dmarc.options.example", "v=DMARC1; fo=x; p=reject; rua=mailto:%zz; ruf=!"),
        ("_dmarc.version.example", "v=DMARC2; p=reject"),
    ])
    .await;
    for (domain, result) in [
        ("two", "none"),
        ("other", "pass"),
        ("no-policy", "none"),
        ("reports", "pass"),
        ("broken", "none"),
        ("broken-reports", "pass"),
        ("broken-sub", "none"),
        ("broken-sub-reports", "pass"),
        ("alignment", "pass"),
        ("options", "pass"),
        ("version", "none"),
    ] {
        let domain = format!("{domain}.example");
        bench.server.change(|zone| zone.add(&domain, Kind::Txt, OURS)).unwrap();
        let expected = format!("{result} {domain}");
        assert_eq!(bench.dmarc("", &format!("x@{domain}"), &message(&format!("y@{domain}"))).await, expected);
    }
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_a_temporary_error() {
    let bench = Bench::new(&[
        ("_dmarc.a.example", RELAXED),
        ("_dmarc.sub.b.example", RELAXED),
        ("sub.b.example", OURS),
        ("b.example", OURS),
    ])
    .await;
    bench.server.change(|zone| {
        zone.fail("servfail.a.example");
        zone.fail("_dmarc.b.example");
    });
    for (from, sender, expected) in [
        // The record.
        ("x@servfail.example", "x@spf.example", "temperror servfail.example"),
        ("x@servfail.example", "x@servfail.example", "temperror servfail.example"),
        // What would have been aligned.
        ("x@a.example", "x@servfail.a.example", "temperror a.example"),
        ("x@a.example", "x@servfail.example", "fail a.example"),
        // The way up, where it is needed.
        ("x@sub.b.example", "x@sub.b.example", "pass sub.b.example"),
        ("x@sub.b.example", "x@b.example", "temperror sub.b.example"),
        ("x@sub.b.example", "x@spf.example", "fail sub.b.example"),
    ] {
        assert_eq!(bench.dmarc("", sender, &message(from)).await, expected, "{from} by {sender}");
    }
    let message = signed_for(&message("x@a.example"), Algorithm::Ed25519, "servfail.a.example").unwrap();
    assert_eq!(bench.dmarc("", "", &message).await, "temperror a.example");
}

#[tokio::test]
async fn letters_beyond_ascii_are_compared_as_a_labels() {
    let bench = Bench::new(&[("_dmarc.xn--bcher-kva.example", RELAXED), ("mail.xn--bcher-kva.example", OURS)]).await;
    for sender in ["x@mail.b\u{fc}cher.example", "x@mail.xn--bcher-kva.example"] {
        for from in ["x@b\u{fc}cher.example", "x@xn--bcher-kva.example"] {
            assert_eq!(bench.dmarc("", sender, &message(from)).await, "pass xn--bcher-kva.example", "{from} by {sender}");
        }
    }
    publish_key(&bench, "mail.xn--bcher-kva.example", ED25519_KEY_RECORD);
    let message = signed_for(&message("x@b\u{fc}cher.example"), Algorithm::Ed25519, "mail.b\u{fc}cher.example").unwrap();
    let results = bench.verify("::1", "", "", &message).await;
    assert_eq!(results.dkim.unwrap()[0].domain, "mail.xn--bcher-kva.example");
    assert_eq!(results.dmarc.unwrap().result, AuthResult::Pass);
}

#[tokio::test]
async fn at_the_deadline_everything_has_a_result() {
    let bench = Bench::with(&[], 0, deadline(600)).await;
    bench.server.change(|zone| zone.silence("silent.example"));
    bench.server.change(|zone| zone.silence("in-addr.arpa"));
    let message = signed_for(&message("x@silent.example"), Algorithm::Ed25519, "silent.example").unwrap();
    let start = Instant::now();
    let results = bench.verify("192.0.2.1", "silent.example", "x@silent.example", &message).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = results;
    for result in [spf_mail_from.unwrap().result, spf_helo.unwrap().result, dkim.unwrap()[0].result, dmarc.unwrap().result] {
        assert_eq!(result, AuthResult::Temperror);
    }
    assert_eq!(iprev.unwrap().result, AuthResult::Temperror);
    assert_eq!(arc.unwrap().result, AuthResult::None, "there is no chain");
}

#[tokio::test]
async fn in_two_steps_nothing_is_asked_twice() {
    let bench = Bench::new(&[("_dmarc.a.example", RELAXED), ("mail.a.example", OURS)]).await;
    bench.server.change(|zone| zone.add("1.2.0.192.in-addr.arpa", Kind::Ptr, "mx.example").unwrap());
    let message = signed(&bench, "x@a.example", "b.example");
    let session = Session { client: "192.0.2.1".parse().unwrap(), ehlo_name: "none.example", mail_from: "x@mail.a.example" };
    let at_once = bench.verifier.verify(&session, &message).await;
    let asked_at_once = bench.server.queries();

    let envelope = bench.verifier.verify_envelope(&session).await;
    assert_eq!((&envelope.dkim, &envelope.dmarc, &envelope.arc), (&None, &None, &None));
    assert!(envelope.spf_mail_from.is_some() && envelope.spf_helo.is_some() && envelope.iprev.is_some());
    let in_two_steps = bench.verifier.verify_message(&session, envelope, &message).await;
    assert_eq!(in_two_steps, at_once);
    assert_eq!(bench.server.queries(), 2 * asked_at_once);
    assert!(at_once.dmarc.is_some() && at_once.arc.is_some());

    // What it is given counts, and not what it would have found.
    let mut envelope = bench.verifier.verify_envelope(&session).await;
    envelope.spf_mail_from.as_mut().unwrap().result = AuthResult::Pass;
    let results = bench.verifier.verify_message(&session, envelope.clone(), &message).await;
    assert_eq!(results.spf_mail_from, envelope.spf_mail_from);
    assert_eq!(results.dmarc.unwrap().result, AuthResult::Pass);
    assert_eq!(at_once.dmarc.unwrap().result, AuthResult::Fail);
    // The EHLO name does not stand in for a sender whose result is not there.
    let aligned = Session { ehlo_name: "mail.a.example", ..session };
    let mut envelope = bench.verifier.verify_envelope(&aligned).await;
    envelope.spf_helo.as_mut().unwrap().result = AuthResult::Pass;
    envelope.spf_mail_from = None;
    let results = bench.verifier.verify_message(&aligned, envelope, &message).await;
    assert_eq!(results.dmarc.unwrap().result, AuthResult::Fail);
}

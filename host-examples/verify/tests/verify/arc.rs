//! ARC (RFC 8617), with chains that mail-auth's sealer builds.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::bench::{Bench, deadline};
use mail_auth::arc::ArcSealer;
use mail_auth::crypto::Ed25519Key;
use mail_auth::headers::HeaderWriter;
use mail_auth::hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, AuthenticationResults, MessageAuthenticator};
use smtp_fallback_demo::sign::{self, ED25519_KEY_RECORD};
use smtp_fallback_demo::zone::Kind;
use smtp_fallback_policy::contract::{Arc, AuthResult, AuthResults};
use smtp_fallback_verify::{MAX_SETS, Session, Settings, Verifier};

const MESSAGE: &str = "From: a@signed.example\r\nTo: b@demo.example\r\nSubject: x\r\n\r\nHello.\r\n";

/// Names are kept by the sealer's resolver, not by the verifier's.
async fn bench(settings: Settings) -> (Bench, MessageAuthenticator) {
    let bench = Bench::with(&[], 300, Settings { cache_entries: 0, ..settings }).await;
    let mut connection = ConnectionConfig::udp();
    connection.port = bench.server.addr().port();
    let server = NameServerConfig::new(bench.server.addr().ip(), true, vec![connection]);
    let config = ResolverConfig::from_name_servers(vec![server]);
    (bench, MessageAuthenticator::new(config, ResolverOpts::default()).unwrap())
}

/// The message with one more set on top, by a domain whose key is published then.
async fn sealed(bench: &Bench, authenticator: &MessageAuthenticator, message: &str, domain: &str) -> String {
    sealed_with(bench, authenticator, message, domain, &["From", "To", "Subject"]).await
}

/// The same with other fields signed.
async fn sealed_with(
    bench: &Bench,
    authenticator: &MessageAuthenticator,
    message: &str,
    domain: &str,
    fields: &[&str],
) -> String {
    publish(bench, domain, ED25519_KEY_RECORD);
    let path = format!("{}/../demo/keys/ed25519.der", env!("CARGO_MANIFEST_DIR"));
    let key = Ed25519Key::from_pkcs8_der(&fs::read(path).unwrap()).unwrap();
    let parsed = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
    let chain = authenticator.verify_arc(&parsed).await;
    let results = AuthenticationResults::new(domain);
    let sealer = ArcSealer::from_key(key).domain(domain).selector("arc").headers(fields.iter().copied());
    format!("{}{message}", sealer.seal(&parsed, &results, &chain).unwrap().to_header())
}

fn publish(bench: &Bench, domain: &str, record: &str) {
    bench.server.change(|zone| zone.replace(&format!("arc._domainkey.{domain}"), Kind::Txt, &[record])).unwrap();
}

/// "result sealer sealer".
async fn arc(bench: &Bench, message: &str) -> String {
    let Arc { result, sealers } = bench.verify("::1", "", "", message.as_bytes()).await.arc.unwrap();
    std::iter::once(result.as_str().to_owned()).chain(sealers).collect::<Vec<_>>().join(" ")
}

fn changed(message: &str, from: &str, to: &str) -> String {
    assert!(message.contains(from), "{from} in {message}");
    message.replacen(from, to, 1)
}

/// Without the topmost field of this name.
fn without(message: &str, field: &str) -> String {
    let start = message.find(&format!("{field}:")).unwrap();
    let end = start
        + message[start..].match_indices("\r\n").find(|(at, _)| !message[start + at + 2..].starts_with(['\t', ' '])).unwrap().0
        + 2;
    format!("{}{}", &message[..start], &message[end..])
}

#[tokio::test]
async fn whole_chains_pass_and_name_their_sealers() {
    let (bench, authenticator) = bench(Settings::default()).await;
    assert_eq!(arc(&bench, MESSAGE).await, "none");
    assert_eq!(arc(&bench, "").await, "none");
    let one = sealed(&bench, &authenticator, MESSAGE, "one.example").await;
    assert_eq!(arc(&bench, &one).await, "pass one.example");
    let two = sealed(&bench, &authenticator, &one, "two.example").await;
    assert_eq!(arc(&bench, &two).await, "pass one.example two.example");
    // A change in between, which the second sealer made before it sealed.
    let listed = sealed(&bench, &authenticator, &one, "two.example").await;
    let relisted = sealed(&bench, &authenticator, &listed, "one.example").await;
    assert_eq!(arc(&bench, &relisted).await, "pass one.example two.example one.example");
}

#[tokio::test]
async fn what_was_changed_fails() {
    let (bench, authenticator) = bench(Settings::default()).await;
    let one = sealed(&bench, &authenticator, MESSAGE, "one.example").await;
    let two = sealed(&bench, &authenticator, &one, "two.example").await;
    let asked = bench.server.queries();
    for message in [
        changed(&two, "Hello.", "Hallo."),
        without(&two, "ARC-Seal"),
        without(&two, "ARC-Message-Signature"),
        without(&two, "ARC-Authentication-Results"),
        without(&without(&one, "ARC-Seal"), "ARC-Message-Signature"),
        changed(&two, "ARC-Seal: i=2;", "ARC-Seal: i=3;"),
        changed(&two, "ARC-Seal: i=2;", "ARC-Seal: i=1;"),
        changed(&two, "ARC-Seal: i=2;", "ARC-Seal: i=0;"),
        changed(&two, "cv=pass", "cv=none"),
        changed(&two, "cv=pass", "cv=fail"),
        changed(&two, "cv=pass", "cv=nonsense"),
        changed(&one, "cv=none", "cv=pass"),
        changed(&two, "ARC-Seal: i=2;", "ARC-Seal: i=2; h=from;"),
        changed(&two, "d=two.example; c=", "d=two.example; l=1; c="),
        changed(&two, "ARC-Seal: i=2;", "ARC-Seal: nonsense;"),
    ] {
        let result = arc(&bench, &message).await;
        assert!(result.starts_with("fail"), "{result}: {message}");
    }
    // For none of these a key is needed: what is asked are the two questions of DMARC.
    assert_eq!(bench.server.queries() - asked, 15 * 2);
    for message in [
        changed(&two, "Subject: x", "Subject: y"),
        changed(&two, "ARC-Authentication-Results: i=1; one", "ARC-Authentication-Results: i=1; two"),
        changed(&two, "ARC-Authentication-Results: i=2; two", "ARC-Authentication-Results: i=2; one"),
        changed(&two, "s=arc; d=one.example; cv", "s=arc; d=two.example; cv"),
        changed(&two, "s=arc; d=two.example; cv", "s=arc; d=no-key.example; cv"),
    ] {
        let result = arc(&bench, &message).await;
        assert!(result.starts_with("fail"), "{result}: {message}");
    }
    assert_eq!(arc(&bench, &changed(&two, "ARC-Seal: i=2;", "ARC-Seal: i=1;")).await, "fail two.example one.example");
    assert_eq!(
        arc(&bench, &changed(&two, "s=arc; d=two.example; c=", "s=arc; d=two.example; l=1; c=")).await,
        "fail one.example two.example"
    );
    // Whole, but anybody could have written the From field.
    let without_from = sealed_with(&bench, &authenticator, MESSAGE, "one.example", &["To", "Subject"]).await;
    assert_eq!(arc(&bench, &without_from).await, "fail one.example");
}

#[tokio::test]
async fn a_chain_that_was_broken_once_stays_so() {
    let (bench, authenticator) = bench(Settings::default()).await;
    let one = sealed(&bench, &authenticator, MESSAGE, "one.example").await;
    let broken = changed(&one, "Hello.", "Hallo.");
    let two = sealed(&bench, &authenticator, &broken, "two.example").await;
    assert!(two.contains("cv=fail"), "{two}");
    assert_eq!(arc(&bench, &two).await, "fail one.example two.example");
}

#[tokio::test]
async fn the_keys_decide() {
    let (bench, authenticator) = bench(deadline(600)).await;
    let one = sealed(&bench, &authenticator, MESSAGE, "one.example").await;
    let two = sealed(&bench, &authenticator, &one, "two.example").await;
    for (record, result) in [
        (ED25519_KEY_RECORD.to_owned(), "pass"),
        (ED25519_KEY_RECORD.replacen("k=", "t=y; k=", 1), "policy"),
        (ED25519_KEY_RECORD.replacen("k=", "s=other; k=", 1), "fail"),
        ("v=DKIM1; k=ed25519; p=".to_owned(), "fail"),
        ("nonsense".to_owned(), "fail"),
    ] {
        publish(&bench, "one.example", &record);
        assert_eq!(arc(&bench, &two).await, format!("{result} one.example two.example"), "{record}");
    }
    bench.server.change(|zone| zone.fail("one.example"));
    assert_eq!(arc(&bench, &two).await, "temperror one.example two.example");
    bench.server.change(|zone| {
        zone.repair("one.example");
        zone.silence("one.example");
    });
    let start = Instant::now();
    assert_eq!(arc(&bench, &two).await, "temperror one.example two.example");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn name_servers_that_do_not_answer_cost_no_more_than_the_deadline() {
    let (bench, authenticator) = bench(Settings::default()).await;
    let message = sealed(&bench, &authenticator, MESSAGE, "one.example").await;
    let message = sign::signed(message.as_bytes(), sign::Algorithm::Ed25519).unwrap();
    // More of them than the resolver gets through.
    let silent: Vec<_> = (0..8).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let nameservers = silent.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let verifier = Verifier::new(Settings { nameservers, ..deadline(600) }).unwrap();
    let session = Session { client: "192.0.2.1".parse().unwrap(), ehlo_name: "spf.example", mail_from: "a@spf.example" };
    let start = Instant::now();
    let results = verifier.verify(&session, &message).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = results;
    let results = [
        spf_mail_from.unwrap().result,
        spf_helo.unwrap().result,
        dkim.unwrap()[0].result,
        dmarc.unwrap().result,
        arc.unwrap().result,
        iprev.unwrap().result,
    ];
    assert_eq!(results, [AuthResult::Temperror; 6]);
}

#[tokio::test]
async fn fifty_sets_are_the_most() {
    let (bench, authenticator) = bench(Settings::default()).await;
    let mut message = MESSAGE.to_owned();
    for number in 0..MAX_SETS {
        message = sealed(&bench, &authenticator, &message, &format!("d{}.example", number % 3)).await;
    }
    let asked = bench.server.queries();
    let result = arc(&bench, &message).await;
    assert!(result.starts_with("pass d0.example d1.example"), "{result}");
    assert_eq!(result.split(' ').count(), 1 + MAX_SETS);
    assert_eq!(bench.server.queries() - asked, 3 + 2, "each key once, and two questions of DMARC");

    // One more, whether it says so or not.
    let next = "ARC-Seal: i=51; a=ed25519-sha256; s=arc; d=x.example; cv=pass; b=AAAA;\r\n\
        ARC-Message-Signature: i=51; a=ed25519-sha256; s=arc; d=x.example; c=relaxed/relaxed; h=From; bh=AAAA; b=AAAA;\r\n\
        ARC-Authentication-Results: i=51; x.example; none\r\n";
    for top in [next.to_owned(), next.replace("i=51", "i=50"), next.replace("i=51", "i=1")] {
        let result = arc(&bench, &format!("{top}{message}")).await;
        assert!(result.starts_with("fail "), "{result}");
        assert!(result.split(' ').count() <= 1 + MAX_SETS);
    }
}

#[tokio::test]
async fn a_chain_made_to_cost_time_is_not_worked_through() {
    let (bench, authenticator) = bench(Settings::default()).await;
    let one = sealed(&bench, &authenticator, MESSAGE, "one.example").await;
    let asked = bench.server.queries();
    let long = changed(
        &one,
        "ARC-Authentication-Results: i=1;",
        &format!("ARC-Authentication-Results: i=1;{}", "\r\n x".repeat(300_000)),
    );
    let names = (0..20_000).map(|number| format!("x{number}:")).collect::<String>();
    let fields = format!("{}{}", "X-Filler: x\r\n".repeat(20_000), changed(&one, "h=Subject:", &format!("h=Subject:{names}")));
    let many = format!("{}{MESSAGE}", "ARC-Seal: i=1; d=x.example\r\n".repeat(100_000));
    let start = Instant::now();
    assert_eq!(arc(&bench, &long).await, "policy", "its seals are not read");
    assert_eq!(arc(&bench, &fields).await, "policy one.example");
    assert_eq!(arc(&bench, &many).await, "fail");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(bench.server.queries() - asked, 3 * 2, "two questions of DMARC each");
}

#[tokio::test]
async fn no_beginning_of_a_chain_does_harm() {
    let (bench, authenticator) = bench(Settings::default()).await;
    let one = sealed(&bench, &authenticator, MESSAGE, "one.example").await;
    let two = sealed(&bench, &authenticator, &one, "two.example").await;
    for end in (0..two.len() - 1).step_by(13) {
        let result = arc(&bench, &two[..end]).await;
        assert!(!result.starts_with("pass"), "{end}: {result}");
    }
}

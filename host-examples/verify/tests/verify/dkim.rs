//! DKIM (RFC 6376, RFC 8463) with messages that others signed, and with our own.

use std::fs;
use std::time::{Duration, Instant};

use crate::bench::{Bench, deadline};
use smtp_fallback_demo::sign::{self, Algorithm, signed};
use smtp_fallback_policy::contract::{AuthResult, Dkim};
use smtp_fallback_verify::MAX_SIGNATURES;

const MESSAGE: &[u8] = b"From: Someone <a@signed.example>\r\nTo: b@demo.example\r\nSubject: x\r\n\
    Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@signed.example>\r\n\r\nHello.\r\n";

/// The questions about DMARC that a message from a domain of two labels costs, where it has a header.
const DMARC: u64 = 2;

/// A sample's key records and message.
fn sample(number: u8) -> (Vec<(String, String)>, Vec<u8>) {
    let path = format!("{}/tests/data/dkim/{number:03}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let (records, message) = text.split_once("\n\n").unwrap();
    let records = records.lines().map(|line| line.split_once(' ').unwrap());
    (records.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(), message.replace('\n', "\r\n").into_bytes())
}

async fn bench_for(records: &[(String, String)]) -> Bench {
    let records: Vec<_> = records.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Bench::new(&records).await
}

/// "result domain selector" of each.
fn texts(dkim: &[Dkim]) -> Vec<String> {
    dkim.iter().map(|Dkim { result, domain, selector, .. }| format!("{} {domain} {selector}", result.as_str())).collect()
}

/// The message with one octet of its own changed where `text` begins.
fn flipped(message: &[u8], text: &str) -> Vec<u8> {
    let position = message.windows(text.len()).rposition(|window| window == text.as_bytes()).expect("the message has this text");
    let mut message = message.to_vec();
    message[position] ^= 1;
    message
}

#[tokio::test]
async fn samples_pass_and_changed_ones_fail() {
    for (number, signatures) in [
        (1, vec!["football.example.com brisbane", "football.example.com test"]),
        (2, vec!["example.com newengland"]),
        (3, vec!["ietf.org ietf1", "ietf.org ietf1"]),
        (4, vec!["facebookmail.com s1024-2013-q3"]),
    ] {
        let (records, message) = sample(number);
        let bench = bench_for(&records).await;
        let expected = |result: &str| signatures.iter().map(|signature| format!("{result} {signature}")).collect::<Vec<_>>();
        assert_eq!(texts(&bench.dkim(&message).await), expected("pass"), "sample {number}");

        let body = message.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let subject = message[..body].windows(10).position(|window| window == b"\nSubject: ").unwrap() + 10;
        for position in [subject, body + message[body..].iter().position(u8::is_ascii_alphabetic).unwrap()] {
            let mut changed = message.clone();
            changed[position] ^= 1;
            assert_eq!(texts(&bench.dkim(&changed).await), expected("fail"), "sample {number}, changed at {position}");
        }
    }
}

#[tokio::test]
async fn an_expired_signature_does_not_pass() {
    let (records, message) = sample(5);
    let bench = bench_for(&records).await;
    assert_eq!(texts(&bench.dkim(&message).await), ["neutral topicbox.com sysmsg-1"]);
}

#[tokio::test]
async fn own_signatures_pass_and_name_their_key() {
    let bench = Bench::new(&[]).await;
    let rsa = signed(MESSAGE, Algorithm::Rsa).unwrap();
    assert_eq!(texts(&bench.dkim(&rsa).await), ["pass signed.example demo"]);
    let both = signed(&rsa, Algorithm::Ed25519).unwrap();
    assert_eq!(texts(&bench.dkim(&both).await), ["pass signed.example demo-ed25519", "pass signed.example demo"]);
    for changed in [flipped(&both, "Hello."), flipped(&both, "b@demo"), flipped(&both, "1@signed")] {
        assert_eq!(texts(&bench.dkim(&changed).await), ["fail signed.example demo-ed25519", "fail signed.example demo"]);
    }
    // Only the upper signature is broken: by its own tag.
    let broken = String::from_utf8(both).unwrap().replacen("s=demo-ed25519;", "s=demo-ed25518;", 1).into_bytes();
    assert_eq!(texts(&bench.dkim(&broken).await), ["permerror signed.example demo-ed25518", "pass signed.example demo"]);
}

#[tokio::test]
async fn an_unsigned_message_has_no_result() {
    let bench = Bench::new(&[]).await;
    for message in [MESSAGE, b"", b"\r\n", b"no header at all", b"\r\nDKIM-Signature: v=1; d=a.example\r\n"] {
        assert_eq!(bench.dkim(message).await, []);
    }
    assert_eq!(bench.server.queries(), DMARC);
}

#[tokio::test]
async fn the_key_decides_between_permanent_and_temporary() {
    let message = |domain| sign::signed_for(MESSAGE, Algorithm::Ed25519, domain).unwrap();
    let bench = Bench::new(&[
        ("demo-ed25519._domainkey.revoked.example", "v=DKIM1; k=ed25519; p="),
        ("demo-ed25519._domainkey.nonsense.example", "v=DKIM1; k=ed25519; p=!"),
        ("demo-ed25519._domainkey.other-type.example", sign::RSA_KEY_RECORD),
        // RFC 6376 §3.6.1: for another service, for other hashes.
        ("demo-ed25519._domainkey.other-service.example", &format!("s=tlsrpt; {}", sign::ED25519_KEY_RECORD)),
        ("demo-ed25519._domainkey.any-service.example", &format!("s=tlsrpt:*; {}", sign::ED25519_KEY_RECORD)),
        ("demo-ed25519._domainkey.other-hash.example", &format!("h=sha1; {}", sign::ED25519_KEY_RECORD)),
        ("demo-ed25519._domainkey.this-hash.example", &format!("h=sha1:sha256; {}", sign::ED25519_KEY_RECORD)),
        ("demo-ed25519._domainkey.second.example", "something else"),
        ("demo-ed25519._domainkey.second.example", sign::ED25519_KEY_RECORD),
    ])
    .await;
    for (domain, result) in [
        ("signed.example", "pass"),
        ("missing.example", "permerror"),
        ("revoked.example", "permerror"),
        ("nonsense.example", "permerror"),
        ("other-type.example", "fail"),
        ("other-service.example", "permerror"),
        ("any-service.example", "pass"),
        ("other-hash.example", "permerror"),
        ("this-hash.example", "pass"),
        ("second.example", "pass"),
        ("servfail.example", "temperror"),
    ] {
        assert_eq!(texts(&bench.dkim(&message(domain)).await), [format!("{result} {domain} demo-ed25519")]);
    }
}

#[tokio::test]
async fn a_key_that_does_not_arrive_costs_only_its_own_signature() {
    let bench = Bench::with(&[], 0, deadline(600)).await;
    bench.server.change(|zone| zone.silence("silent.example"));
    let message = sign::signed_for(&signed(MESSAGE, Algorithm::Rsa).unwrap(), Algorithm::Ed25519, "silent.example").unwrap();
    let start = Instant::now();
    let results = texts(&bench.dkim(&message).await);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(results, ["temperror silent.example demo-ed25519", "pass signed.example demo"]);
}

#[tokio::test]
async fn a_key_for_testing_is_marked() {
    let record = |flags: &str| sign::ED25519_KEY_RECORD.replacen("k=", &format!("t={flags}; k="), 1);
    let (testing, strict) = (record("y"), record("s"));
    let bench =
        Bench::new(&[("demo-ed25519._domainkey.testing.example", &testing), ("demo-ed25519._domainkey.strict.example", &strict)])
            .await;
    for (domain, testing) in [("signed.example", false), ("testing.example", true), ("strict.example", false)] {
        let results = bench.dkim(&sign::signed_for(MESSAGE, Algorithm::Ed25519, domain).unwrap()).await;
        let expected = Dkim { result: AuthResult::Pass, domain: domain.to_owned(), selector: "demo-ed25519".to_owned(), testing };
        assert_eq!(results, [expected]);
    }
}

#[tokio::test]
async fn only_so_many_signatures_are_checked() {
    let bench = Bench::new(&[]).await;
    let mut message = MESSAGE.to_vec();
    for number in 0..12 {
        let domain = format!("d{number}.example");
        let key = format!("demo-ed25519._domainkey.{domain}");
        bench.server.change(|zone| zone.add(&key, smtp_fallback_demo::zone::Kind::Txt, sign::ED25519_KEY_RECORD)).unwrap();
        message = sign::signed_for(&message, Algorithm::Ed25519, &domain).unwrap();
    }
    let results = texts(&bench.dkim(&message).await);
    let expected: Vec<_> = (0..12)
        .rev()
        .map(|number| format!("{} d{number}.example demo-ed25519", if number < 2 { "policy" } else { "pass" }))
        .collect();
    assert_eq!(results, expected, "from the top");
    assert_eq!(bench.server.queries(), MAX_SIGNATURES as u64 + DMARC);

    // The list has an end.
    for _ in 0..40 {
        message.splice(0..0, *b"DKIM-Signature: nonsense\r\n");
    }
    assert_eq!(bench.dkim(&message).await.len(), 2 * MAX_SIGNATURES);
}

#[tokio::test]
async fn signatures_that_may_not_count_do_not() {
    let bench = Bench::new(&[]).await;
    let rsa = String::from_utf8(signed(MESSAGE, Algorithm::Rsa).unwrap()).unwrap();
    let (field, _) = rsa.split_once("\r\nFrom:").unwrap();
    let field = field.replace("\r\n\t", "");
    let changed = |from: &str, to: &str| {
        assert!(field.contains(from), "{field}");
        format!("{}\r\n{}", field.replacen(from, to, 1), std::str::from_utf8(MESSAGE).unwrap())
    };
    for (from, to, result) in [
        // RFC 8301 §3.1
        ("a=rsa-sha256", "a=rsa-sha1", "permerror signed.example demo"),
        // RFC 6376 §6.1.1
        (":From;", ":Sender;", "permerror signed.example demo"),
        // RFC 6376 §8.2
        ("d=signed.example;", "d=signed.example; l=1;", "policy  "),
        ("a=rsa-sha256", "a=rsa-sha3", "neutral  "),
        ("v=1;", "v=2;", "neutral  "),
        ("d=signed.example;", "", "neutral  "),
    ] {
        assert_eq!(texts(&bench.dkim(changed(from, to).as_bytes()).await), [result], "{to}");
    }
    // RFC 8301 §3.2: a key of 1016 bits.
    let (start, _) = field.split_once(" b=").unwrap();
    let short = format!("{start} b={}A==\r\n{}", "A".repeat(169), std::str::from_utf8(MESSAGE).unwrap());
    assert_eq!(texts(&bench.dkim(short.as_bytes()).await), ["policy signed.example demo"]);
    assert_eq!(bench.server.queries(), 7 * DMARC);
}

#[tokio::test]
async fn reports_and_third_parties_are_not_looked_up() {
    let bench = Bench::new(&[]).await;
    let rsa = String::from_utf8(signed(MESSAGE, Algorithm::Rsa).unwrap()).unwrap();
    // RFC 6651 asks for a report record where the signature fails.
    let wants_report = rsa.replacen("v=1;", "v=1; r=y;", 1);
    assert_eq!(texts(&bench.dkim(wants_report.as_bytes()).await), ["fail signed.example demo"]);
    assert_eq!(bench.server.queries(), 1 + DMARC, "only the key");
}

#[tokio::test]
async fn a_header_made_to_cost_time_is_not_worked_through() {
    let bench = Bench::new(&[]).await;
    let names = (0..20_000).map(|number| format!("x{number}:")).collect::<String>();
    let rsa = String::from_utf8(signed(MESSAGE, Algorithm::Rsa).unwrap()).unwrap().replacen(
        "h=Message-ID:",
        &format!("h=Message-ID:{names}"),
        1,
    );
    let message = format!("{}{rsa}", "X-Filler: x\r\n".repeat(20_000));
    let start = Instant::now();
    assert_eq!(texts(&bench.dkim(message.as_bytes()).await), ["policy signed.example demo"]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

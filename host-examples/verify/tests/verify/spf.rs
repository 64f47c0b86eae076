//! SPF through a real name server (RFC 7208), for both identities.

use std::time::{Duration, Instant};

use crate::bench::{Bench, deadline};
use smtp_fallback_demo::zone::{Kind, NameServer, Zone};
use smtp_fallback_policy::contract::{AuthResult, Spf};
use smtp_fallback_verify::{Session, Settings, Verifier, VerifierError};
use tokio::net::UdpSocket;

/// Lets everybody send.
const OPEN: &str = "v=spf1 +all";
const MESSAGE: &[u8] = b"From: a@none.example\r\nSubject: x\r\n\r\nHello.\r\n";

/// "result domain" for MAIL FROM, from ::1.
pub(crate) async fn mail_from(bench: &Bench, sender: &str) -> String {
    text(bench.verify("::1", "none.example", sender, MESSAGE).await.spf_mail_from.as_ref())
}

pub(crate) fn text(spf: Option<&Spf>) -> String {
    spf.map_or("absent".to_owned(), |Spf { result, domain }| format!("{} {domain}", result.as_str()))
}

#[tokio::test]
async fn each_result_of_rfc_7208() {
    let many = (0..11).map(|number| format!("include:i{number}.example ")).collect::<String>();
    let long = format!("v=spf1 {}ip6:::1 -all", "ip4:192.0.2.1 ".repeat(200));
    let mut records = vec![
        ("soft.example", "v=spf1 ~all"),
        ("neutral.example", "v=spf1 ?all"),
        ("open-end.example", "v=spf1 ip4:192.0.2.1"),
        ("other.example", "not about SPF"),
        ("two.example", "v=spf1 +all"),
        ("two.example", "V=SPF1"),
        ("one.example", "v=spf1 +all"),
        ("one.example", "v=spf10 -all"),
        ("one.example", "verification=v=spf1"),
        ("broken.example", "v=spf1 ip6:nonsense -all"),
        ("no-include.example", "v=spf1 include:missing.example -all"),
        ("bad-include.example", "v=spf1 include:servfail.example -all"),
        ("good-include.example", "v=spf1 include:spf.example -all"),
        ("void.example", "v=spf1 a:missing.example mx:missing.example ip6:::1 -all"),
        ("void-fail.example", "v=spf1 a:missing.example -all"),
        ("hosts.example", "v=spf1 mx:demo.example -all"),
        ("long.example", long.as_str()),
    ];
    let includes: Vec<(String, String)> =
        (0..11).map(|number| (format!("i{number}.example"), "v=spf1 ip4:192.0.2.1".to_owned())).collect();
    records.extend(includes.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let deep = format!("v=spf1 {many}-all");
    records.push(("deep.example", &deep));
    let bench = Bench::new(&records).await;

    for (domain, result) in [
        ("spf.example", "pass"),
        ("good-include.example", "pass"),
        ("void.example", "pass"),
        ("hosts.example", "pass"),
        ("long.example", "pass"),
        ("one.example", "pass"),
        ("fail.example", "fail"),
        ("void-fail.example", "fail"),
        ("soft.example", "softfail"),
        ("neutral.example", "neutral"),
        ("open-end.example", "neutral"),
        ("none.example", "none"),
        ("other.example", "none"),
        ("missing.example", "none"),
        ("two.example", "permerror"),
        ("broken.example", "permerror"),
        ("no-include.example", "permerror"),
        ("deep.example", "permerror"),
        ("servfail.example", "temperror"),
        ("bad-include.example", "temperror"),
    ] {
        assert_eq!(mail_from(&bench, &format!("a@{domain}")).await, format!("{result} {domain}"));
    }
}

#[tokio::test]
async fn the_domain_is_that_of_the_sender() {
    let bench = Bench::new(&[("local.example", "v=spf1 exists:%{l}.demo.example -all")]).await;
    assert_eq!(mail_from(&bench, "Someone@SPF.Example").await, "pass spf.example");
    assert_eq!(mail_from(&bench, "\"a@b\"@spf.example.").await, "pass spf.example");
    // The local part reaches the record's macros as it is: only mx4 has an address of the kind that `exists` asks for.
    assert_eq!(mail_from(&bench, "mx4@local.example.").await, "pass local.example");
    assert_eq!(mail_from(&bench, "mx5@local.example").await, "fail local.example");
    for (sender, domain) in [("postmaster", ""), ("a@", ""), ("a@[IPv6:::1]", "[ipv6:::1]"), ("a@localhost", "localhost")] {
        assert_eq!(mail_from(&bench, sender).await, format!("none {domain}").as_str(), "{sender}");
    }
}

#[tokio::test]
async fn an_ipv4_mapped_client_is_an_ipv4_client() {
    let bench =
        Bench::new(&[("four.example", "v=spf1 a:mx4.demo.example -all"), ("six.example", "v=spf1 ip6:2001:db8::/32 -all")]).await;
    for (client, four, six) in [
        ("127.0.0.1", "pass", "fail"),
        ("::ffff:127.0.0.1", "pass", "fail"),
        ("::ffff:127.0.0.2", "fail", "fail"),
        ("2001:db8::1", "fail", "pass"),
    ] {
        for (domain, result) in [("four.example", four), ("six.example", six)] {
            let results = bench.verify(client, "x", &format!("a@{domain}"), MESSAGE).await;
            assert_eq!(text(results.spf_mail_from.as_ref()), format!("{result} {domain}"), "{client}");
        }
    }
}

#[tokio::test]
async fn the_ehlo_name_is_an_identity_of_its_own() {
    let bench = Bench::new(&[]).await;
    for (ehlo_name, expected) in [
        ("spf.example", "pass spf.example"),
        ("SPF.EXAMPLE.", "pass spf.example"),
        ("fail.example", "fail fail.example"),
        ("none.example", "none none.example"),
        ("servfail.example", "temperror servfail.example"),
    ] {
        for sender in ["", "a@fail.example"] {
            let results = bench.verify("::1", ehlo_name, sender, MESSAGE).await;
            assert_eq!(text(results.spf_helo.as_ref()), expected);
            // A28: the null sender has no MAIL FROM identity besides.
            let mail_from = if sender.is_empty() { "absent" } else { "fail fail.example" };
            assert_eq!(text(results.spf_mail_from.as_ref()), mail_from);
        }
    }
}

#[tokio::test]
async fn an_ehlo_name_that_is_none_is_not_looked_up() {
    let bench = Bench::new(&[]).await;
    for ehlo_name in ["", "[127.0.0.1]", "[IPv6:::1]", "127.0.0.1", "localhost", "a b.example", "\r\n"] {
        let results = bench.verify_envelope("::1", ehlo_name, "").await;
        assert_eq!(text(results.spf_helo.as_ref()), format!("none {}", ehlo_name.to_lowercase()));
    }
    assert_eq!(bench.server.queries(), 0);
    bench.verify_envelope("::1", "spf.example", "").await;
    assert_ne!(bench.server.queries(), 0);
}

#[tokio::test]
async fn what_is_not_known_at_the_deadline_is_a_temporary_error() {
    let bench = Bench::with(&[("slow-include.example", "v=spf1 include:silent.example -all")], 0, deadline(600)).await;
    bench.server.change(|zone| zone.silence("silent.example"));
    let start = Instant::now();
    let results = bench.verify("::1", "spf.example", "a@slow-include.example", MESSAGE).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(text(results.spf_mail_from.as_ref()), "temperror slow-include.example");
    assert_eq!(text(results.spf_helo.as_ref()), "pass spf.example", "the other identity has its answer");

    bench.server.change(|zone| zone.repair("silent.example"));
    assert_eq!(
        mail_from(&bench, "a@slow-include.example").await,
        "permerror slow-include.example",
        "it does not exist after all"
    );
}

#[tokio::test]
async fn a_reverse_name_that_does_not_come_is_no_match() {
    // RFC 7208 §5.5: not even an error. It is waited for once.
    let bench = Bench::with(&[("slow.example", "v=spf1 ptr:a.example ptr:b.example ptr:c.example -all")], 0, deadline(600)).await;
    bench.server.change(|zone| zone.silence("ip6.arpa"));
    let start = Instant::now();
    let check = async || text(bench.verify("2001:db8::1", "", "a@slow.example", MESSAGE).await.spf_mail_from.as_ref());
    assert_eq!(check().await, "fail slow.example");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    bench.server.change(|zone| zone.repair("ip6.arpa"));
    assert_eq!(check().await, "fail slow.example");
}

#[tokio::test]
async fn of_two_records_none_counts_wherever_they_are() {
    let bench = Bench::new(&[
        ("two.example", "v=spf1 +all"),
        ("two.example", "v=spf1 ip6:::1"),
        ("include.example", "v=spf1 include:two.example +all"),
        ("redirect.example", "v=spf1 redirect=two.example"),
        ("one.example", "v=spf1 include:other.example -all"),
        ("other.example", "v=spf1 +all"),
        ("other.example", "something else"),
    ])
    .await;
    for (domain, result) in [("include", "permerror"), ("redirect", "permerror"), ("two", "permerror"), ("one", "pass")] {
        let sender = format!("a@{domain}.example");
        assert_eq!(mail_from(&bench, &sender).await, format!("{result} {domain}.example"));
    }
}

#[tokio::test]
async fn two_empty_answers_are_enough() {
    let bench = Bench::new(&[
        ("two.example", "v=spf1 a:x.example exists:y.example ip6:::1 -all"),
        ("three.example", "v=spf1 a:x.example exists:y.example mx:z.example ip6:::1 -all"),
        ("same.example", "v=spf1 a:x.example a:x.example a:x.example ip6:::1 -all"),
        ("apart.example", "v=spf1 a:x.example include:inner.example ip6:::1 -all"),
        ("inner.example", "v=spf1 a:y.example a:z.example -all"),
        // The hosts of an MX record are no terms, and a client's names are not the domain's business.
        ("hosts.example", "v=spf1 mx ptr:a.example ptr:b.example ptr:c.example ip6:::1 -all"),
        ("earlier.example", "v=spf1 a:x.example a:y.example ip6:::1 a:z.example -all"),
    ])
    .await;
    bench.server.change(|zone| {
        for host in ["10 h1.example", "10 h2.example", "20 h3.example"] {
            zone.add("hosts.example", Kind::Mx, host).unwrap();
            zone.add(&host[3..], Kind::A, "192.0.2.1").unwrap();
        }
    });
    for (domain, result) in [
        ("two", "pass"),
        ("three", "permerror"),
        ("same", "permerror"),
        ("apart", "permerror"),
        ("hosts", "pass"),
        ("earlier", "pass"),
    ] {
        let sender = format!("a@{domain}.example");
        assert_eq!(mail_from(&bench, &sender).await, format!("{result} {domain}.example"));
    }
}

#[tokio::test]
async fn an_explanation_is_not_waited_for() {
    let bench = Bench::with(&[("a.example", "v=spf1 exp=silent.example -all")], 0, deadline(600)).await;
    bench.server.change(|zone| zone.silence("silent.example"));
    assert_eq!(mail_from(&bench, "x@a.example").await, "fail a.example");
}

#[tokio::test]
async fn many_slow_answers_do_not_add_up() {
    let records: Vec<_> =
        (0..9).map(|at| (format!("i{at}.slow.example"), format!("v=spf1 include:i{}.slow.example -all", at + 1))).collect();
    let mut records: Vec<_> = records.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    records.push(("i9.slow.example", OPEN));
    let bench = Bench::with(&records, 0, deadline(600)).await;
    assert_eq!(mail_from(&bench, "a@i0.slow.example").await, "pass i0.slow.example");
    bench.server.change(|zone| zone.delay("slow.example", Duration::from_millis(150)));
    let start = Instant::now();
    assert_eq!(mail_from(&bench, "a@i0.slow.example").await, "temperror i0.slow.example");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_lost_packet_is_sent_again_in_time() {
    let bench = Bench::new(&[]).await;
    let (near, far) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    far.connect(bench.server.addr()).await.unwrap();
    let address = near.local_addr().unwrap();
    let relay = tokio::spawn(async move {
        let mut packet = [0; 2048];
        near.recv_from(&mut packet).await.unwrap(); // The lost one.
        loop {
            let (length, client) = near.recv_from(&mut packet).await.unwrap();
            far.send(&packet[..length]).await.unwrap();
            let length = far.recv(&mut packet).await.unwrap();
            near.send_to(&packet[..length], client).await.unwrap();
        }
    });
    let verifier = Verifier::new(Settings { nameservers: vec![address], ..deadline(3000) }).unwrap();
    let session = Session { client: "::1".parse().unwrap(), ehlo_name: "", mail_from: "a@spf.example" };
    let results = verifier.verify(&session, MESSAGE).await;
    assert_eq!(text(results.spf_mail_from.as_ref()), "pass spf.example");
    relay.abort();
}

#[tokio::test]
async fn name_servers_that_do_not_answer_leave_time_for_others() {
    let bench = Bench::new(&[]).await;
    let silent = [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    let mut nameservers: Vec<_> = silent.iter().map(|socket| socket.local_addr().unwrap()).collect();
    nameservers.push(bench.server.addr());
    let verifier = Verifier::new(Settings { nameservers, ..deadline(3000) }).unwrap();
    let session = Session { client: "::1".parse().unwrap(), ehlo_name: "", mail_from: "a@spf.example" };
    let results = verifier.verify(&session, MESSAGE).await;
    assert_eq!(text(results.spf_mail_from.as_ref()), "pass spf.example");
}

#[tokio::test]
async fn a_name_server_that_is_not_there_is_a_temporary_error() {
    // A socket that nobody reads, and a port that nobody listens on.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let closed = NameServer::start(Zone::new()).await.unwrap().addr();
    for server in [silent.local_addr().unwrap(), closed] {
        let verifier = Verifier::new(Settings { nameservers: vec![server], ..deadline(600) }).unwrap();
        let session = Session { client: "::1".parse().unwrap(), ehlo_name: "spf.example", mail_from: "a@spf.example" };
        let start = Instant::now();
        let results = verifier.verify(&session, MESSAGE).await;
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_eq!(results.spf_mail_from.map(|spf| spf.result), Some(AuthResult::Temperror));
        assert_eq!(results.spf_helo.map(|spf| spf.result), Some(AuthResult::Temperror));
        assert_eq!(results.dkim, Some(vec![]), "an unsigned message needs no name server");
    }
}

#[tokio::test]
async fn answers_are_kept_as_long_as_their_ttl_says() {
    let domains = ["spf.example", "none.example"];
    let ask = async |bench: &Bench| {
        for domain in domains {
            bench.verify_envelope("::1", "", &format!("a@{domain}")).await;
        }
        bench.server.queries()
    };
    let kept = Bench::with(&[], 300, Settings::default()).await;
    assert_eq!((ask(&kept).await, ask(&kept).await), (2, 2), "positive and negative answers");
    let without_ttl = Bench::with(&[], 0, Settings::default()).await;
    assert_eq!((ask(&without_ttl).await, ask(&without_ttl).await), (2, 4));
    let without_cache = Bench::with(&[], 300, Settings { cache_entries: 0, ..Settings::default() }).await;
    assert_eq!((ask(&without_cache).await, ask(&without_cache).await), (2, 4));
}

#[tokio::test]
async fn a_record_that_was_corrected_counts() {
    let bench = Bench::new(&[]).await;
    assert_eq!(mail_from(&bench, "a@fail.example").await, "fail fail.example");
    bench.server.change(|zone| zone.replace("fail.example", Kind::Txt, &["v=spf1 ip6:::1 -all"])).unwrap();
    assert_eq!(mail_from(&bench, "a@fail.example").await, "pass fail.example");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let error = Verifier::new(Settings { deadline: Duration::ZERO, ..Settings::default() }).unwrap_err();
    assert!(matches!(error, VerifierError::NoTime), "{error}");
}

#[tokio::test]
async fn a_verifier_is_shared_between_tasks() {
    let bench = Bench::new(&[]).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let verifier = bench.verifier.clone();
            tokio::spawn(async move {
                let session = Session { client: "::1".parse().unwrap(), ehlo_name: "x", mail_from: "a@spf.example" };
                verifier.verify(&session, MESSAGE).await.spf_mail_from.map(|spf| spf.result)
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Some(AuthResult::Pass));
    }
}

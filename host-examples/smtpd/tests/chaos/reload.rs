//! SIGHUP and SIGTERM, also in the middle of a load: policy and certificates change for those who come later, and for nobody else.

mod configuration;
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smtp_fallback_demo::client::{Client, Reply};
use smtp_fallback_demo::server::DEMO_POLICY;
use smtp_fallback_demo::zone::{Kind, NameServer, PLAIN_DOMAIN, SPF_DOMAIN, Zone};

use crate::mail::{Attempt, Lcg, Ledger, Route};
use crate::server::{Folder, Server, Setting};

const OBSERVE: &str = r#"{"mode": "observe", "exempt": {"local_networks": false}}"#;
const ENFORCE: &str = r#"{"mode": "enforce", "exempt": {"local_networks": false}}"#;
/// The same with an address in the reply, so that it is seen which of them answered.
const ENFORCE_A: &str = r#"{"mode": "enforce", "exempt": {"local_networks": false}, "url": "https://a.demo.example/"}"#;
const ENFORCE_B: &str = r#"{"mode": "enforce", "exempt": {"local_networks": false}, "url": "https://b.demo.example/"}"#;
const SEED: u64 = 1123;

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_counts_from_its_reload_on() {
    let server = start(OBSERVE, &[]).await;
    assert_eq!(unwanted(&server, 0).await.code, 250);
    for round in 0..3 {
        reload(&server, ENFORCE);
        let reply = unwanted(&server, 2 * round + 1).await;
        assert!(reply.code == 421 && reply.has_enhanced_code("4.4.8"), "{reply}");
        reload(&server, OBSERVE);
        assert_eq!(unwanted(&server, 2 * round + 2).await.code, 250);
    }
    // A session that is open has the policy of the time of each question.
    let mut client = Client::connect(server.ipv6).await.unwrap();
    client.send(b"PROXY TCP6 2001:db8:77::1 ::1 4711 25\r\n").await.unwrap();
    assert_eq!(client.reply().await.unwrap().code, 220);
    assert_eq!(client.command("EHLO client.example").await.unwrap().code, 250);
    reload(&server, ENFORCE);
    let message = Attempt::first(1).message(100);
    let reply = client.transaction(&format!("smith@{PLAIN_DOMAIN}"), "jones@demo.example", &message).await.unwrap();
    assert_eq!(reply.code, 421, "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_leaves_the_old_one_in_force_and_says_why() {
    let server = start(ENFORCE, &[]).await;
    let path = server.path().join("policy.json");
    let long = format!("{{\"mode\": \"observe\"{}}}", " ".repeat(2 << 20));
    let cases: [(&[u8], &[&str]); 7] = [
        (b"{\n  \"mode\":", &["line 2"]),
        (b"{\n  \"mode\": \"enfroce\"\n}", &["line 2", "/mode", "enforce"]),
        (b"{\"mode\": \"observe\", \"exmept\": {}}", &["exmept", "exempt"]),
        (b"", &["line 1"]),
        (b"[]", &["line 1"]),
        (long.as_bytes(), &["1 MiB"]),
        (b"{\"mode\": \"\xff\"}", &["policy.json", "cannot be read", "UTF-8"]),
    ];
    let mut number = 0;
    for (text, parts) in cases {
        fs::write(&path, text).unwrap();
        is_kept(&server, number, parts).await;
        number += 1;
    }
    fs::remove_file(&path).unwrap();
    is_kept(&server, number, &["policy.json", "cannot be read", "os error 2", "check `policy`"]).await;
    fs::create_dir(&path).unwrap();
    is_kept(&server, number + 1, &["policy.json", "cannot be read", "not a file"]).await;
    fs::remove_dir(&path).unwrap();
    // Nobody writes into it.
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    is_kept(&server, number + 2, &["policy.json", "cannot be read", "not a file"]).await;
    fs::remove_file(&path).unwrap();
    let huge = fs::File::create(&path).unwrap();
    huge.set_len(1 << 40).unwrap();
    is_kept(&server, number + 3, &["policy.json", "cannot be read", "1099511627776 octets", "1 MiB"]).await;
    reload(&server, OBSERVE);
    assert_eq!(unwanted(&server, 100).await.code, 250);
    assert_eq!(server.delivered().len(), 1);
}

/// After SIGHUP the log has these parts in its errors, and the policy enforces as it did.
async fn is_kept(server: &Server, number: u32, parts: &[&str]) {
    let before = server.log().lines().count();
    signalled(server, "event=\"policy-kept\"");
    let log = server.log();
    let errors: Vec<_> =
        log.lines().skip(before).filter(|line| line.contains("ERROR") && line.contains("policy-error")).collect();
    for part in parts {
        assert!(errors.iter().any(|line| line.contains(part)), "{part:?} is not in {errors:#?}");
    }
    let reply = unwanted(server, number).await;
    assert!(reply.code == 421 && reply.has_enhanced_code("4.4.8"), "{parts:?}: {reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a38_observing_stays_observing() {
    let server = start(OBSERVE, &["--observe"]).await;
    for (number, policy) in [ENFORCE, ENFORCE_A, ENFORCE].into_iter().enumerate() {
        reload(&server, policy);
        assert_eq!(unwanted(&server, u32::try_from(number).unwrap()).await.code, 250);
    }
    server.logged(&["end-of-data", "verdict=\"accept\"", "would=\"refuse 421\""]);
    let log = server.log();
    assert!(!log.contains("mode=\"enforce\"") && log.matches("mode=\"observe\"").count() == 4, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_policy_gets_one() {
    let mut server = start("{", &[]).await;
    server.logged(&["ERROR", "event=\"no-policy\""]);
    assert_eq!(unwanted(&server, 0).await.code, 250);
    signalled(&server, "event=\"policy-kept\"");
    assert_eq!(unwanted(&server, 1).await.code, 250);
    reload(&server, ENFORCE);
    assert_eq!(unwanted(&server, 2).await.code, 421);
    server.terminate();
    assert!(server.ended().await.success());
    server.logged(&["event=\"stopped\"", "failures"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_penalty_outlives_a_reload() {
    let setting = Setting { policy: DEMO_POLICY, ..Setting::default() };
    let server = Server::start(setting).await;
    let hour = DEMO_POLICY.replace("\"3s\"", "\"1h\"");
    assert_ne!(hour, DEMO_POLICY);
    reload(&server, &hour);
    let greeting = async || Client::connect(server.ipv6).await.unwrap().reply().await.unwrap();
    let mut number = 0;
    while greeting().await.code == 220 {
        assert!(number < 10, "no penalty");
        let route = Route::to(server.ipv6);
        let _ = route.send(&format!("smith@{PLAIN_DOMAIN}"), &Attempt::first(number).message(100)).await;
        number += 1;
    }
    for policy in [hour.as_str(), "{", hour.as_str()] {
        if policy == "{" {
            fs::write(server.path().join("policy.json"), policy).unwrap();
            signalled(&server, "event=\"policy-kept\"");
        } else {
            reload(&server, policy);
        }
        let reply = greeting().await;
        assert!(reply.code == 451 && reply.has_enhanced_code("4.4.8"), "{reply}");
    }
    server.logged(&["stage=\"greeting\"", "reason=\"penalty\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_and_bad_ones_are_not() {
    let server = start_tls().await;
    let message = |number| Attempt::first(number).message(200);
    let (first, reply) = tls::send(server.ipv4, &message(0)).await;
    assert_eq!(reply.code, 250, "{reply}");
    let renewed = tls::renew(server.path());
    assert_ne!(first, renewed);
    assert_eq!(tls::send(server.ipv4, &message(1)).await.0, first, "without a signal nothing changes");
    signalled(&server, "event=\"certificates-loaded\"");
    assert_eq!(tls::send(server.ipv4, &message(2)).await.0, renewed);
    // The key of another certificate.
    let key = fs::read(server.path().join("mx.key")).unwrap();
    let next = tls::renew(server.path());
    fs::write(server.path().join("mx.key"), key).unwrap();
    signalled(&server, "event=\"certificates-kept\"");
    server.logged(&["ERROR", "certificates-kept", "mx.key", "must belong together"]);
    let (shown, reply) = tls::send(server.ipv4, &message(3)).await;
    assert!(shown == renewed && shown != next && reply.code == 250, "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_reloads_under_load() {
    let server = start_tls().await;
    let ledger = Arc::new(Ledger::default());
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..10)
        .map(|client| tokio::spawn(load(client, server.ipv6, server.ipv4, Arc::clone(&ledger), Arc::clone(&over))))
        .collect();
    let mut random = Lcg(SEED);
    let end = Instant::now() + Duration::from_secs(60);
    for signal in 0..50 {
        while ledger.attempts() < 8 * signal {
            assert!(Instant::now() < end, "{} attempts", ledger.attempts());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let policy = [ENFORCE_A, "{\"mode\": ", ENFORCE_B, "", ENFORCE_A, "{\"moed\": 1}"][signal % 6];
        fs::write(server.path().join("policy.json"), policy).unwrap();
        if random.below(3) == 0 {
            tls::renew(server.path());
        }
        // Some in a row, before the first of them is served.
        for _ in 0..random.below(3) {
            server.hangup();
        }
        signalled(&server, "event=\"certificates-");
    }
    over.store(true, Ordering::Relaxed);
    let mut answers = [0; 2];
    for client in clients {
        let [a, b] = client.await.unwrap();
        answers = [answers[0] + a, answers[1] + b];
    }
    let balance = ledger.check(&server.delivered());
    println!("seed {SEED}, answers of the two policies {answers:?}: {balance:?}");
    assert!(balance.accepted + balance.refused >= 400 && balance.broken == 0, "{balance:?}");
    assert!(answers[0] > 10 && answers[1] > 10, "{answers:?}");
    assert!(server.has_no_drafts());
    let log = server.log();
    for event in ["policy-loaded", "policy-kept", "certificates-loaded"] {
        assert!(log.contains(event), "{event} is not in the log");
    }
}

/// A client's messages, at least 40, and more until the reloads are over. How many were refused by the one policy, and by the other.
async fn load(client: u32, ipv6: SocketAddr, ipv4: SocketAddr, ledger: Arc<Ledger>, over: Arc<AtomicBool>) -> [usize; 2] {
    let mut refused = [0; 2];
    for message in 0..4000 {
        if message >= 40 && over.load(Ordering::Relaxed) {
            return refused;
        }
        let attempt = Attempt::first(client * 10_000 + message);
        let proxied = Some(format!("2001:db8:{:x}:{message:x}::1", client + 1));
        let (route, domain) = match message % 4 {
            0 | 1 => (Route { proxied, ..Route::to(ipv6) }, PLAIN_DOMAIN),
            2 => (Route { proxied, chunked: true, ..Route::to(ipv6) }, SPF_DOMAIN),
            _ => (Route::to(ipv4), PLAIN_DOMAIN),
        };
        if client == 0 && message % 4 == 3 {
            let (_, reply) = tls::send(ipv4, &attempt.message(2000)).await;
            assert_eq!(reply.code, 250, "{reply}");
            ledger.note(attempt, &Ok(reply));
            continue;
        }
        let outcome = route.send(&format!("smith@{domain}"), &attempt.message(2000)).await;
        ledger.note(attempt, &outcome);
        let reply = outcome.unwrap();
        if message % 4 >= 2 {
            assert_eq!(reply.code, 250, "{reply}");
            continue;
        }
        assert!(reply.code == 421 && reply.has_enhanced_code("4.4.8"), "{reply}");
        let of = ["https://a.demo.example/", "https://b.demo.example/"].map(|url| reply.to_string().contains(url));
        assert!(of[0] != of[1], "one policy answers: {reply}");
        refused[usize::from(of[1])] += 1;
    }
    panic!("the reloads do not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_a_load_loses_nothing() {
    let mut server = start(ENFORCE, &[]).await;
    let ledger = Arc::new(Ledger::default());
    let clients: Vec<_> = (0..10)
        .map(|client| {
            let (ledger, route) = (Arc::clone(&ledger), Route { chunked: client % 2 == 0, ..Route::to(server.ipv4) });
            tokio::spawn(async move {
                for message in 0..1000 {
                    let attempt = Attempt::first(client * 1000 + message);
                    let size = if message % 5 == 0 { 200_000 } else { 500 };
                    let outcome = route.send(&format!("smith@{PLAIN_DOMAIN}"), &attempt.message(size)).await;
                    ledger.note(attempt, &outcome);
                    match outcome {
                        Ok(reply) if reply.code == 250 => {}
                        Ok(reply) => return assert!(reply.code == 421 && reply.has_enhanced_code("4.3.2"), "{reply}"),
                        Err(_) => return,
                    }
                }
                panic!("it does not end");
            })
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(30);
    while ledger.accepted() < 100 {
        assert!(Instant::now() < end, "{} accepted", ledger.accepted());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.terminate();
    for client in clients {
        client.await.unwrap();
    }
    assert!(server.ended().await.success(), "{}", server.log());
    let balance = ledger.check(&server.delivered());
    println!("SIGTERM: {balance:?}");
    assert_eq!(balance.duplicates, 0, "what was taken was answered");
    assert!(server.has_no_drafts());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_json_line_by_line() {
    let mut setting = setting(ENFORCE, &[]);
    setting.top.push_str("\nlog_format = \"json\"");
    let mut server = start_with(setting).await;
    let odd = "\"a\\\"b c\"@none.example";
    let route = Route { proxied: Some("2001:db8:5::1".to_owned()), ..Route::to(server.ipv6) };
    assert_eq!(route.send(odd, &Attempt::first(1).message(100)).await.unwrap().code, 421);
    assert_eq!(route.send(&format!("smith@{SPF_DOMAIN}"), &Attempt::first(2).message(100)).await.unwrap().code, 250);
    fs::write(server.path().join("policy.json"), "{\"mode\": \"\u{1}\u{202e}\"}").unwrap();
    signalled(&server, "\"event\":\"policy-kept\"");
    server.terminate();
    assert!(server.ended().await.success());
    server.logged(&["\"event\":\"stopped\""]);
    let log = server.log();
    let lines: Vec<serde_json::Map<_, _>> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for line in &lines {
        assert!(line.contains_key("timestamp") && line.contains_key("level"), "{line:?}");
    }
    let found = |event: &str, verdict: Option<&str>| {
        let mut found = lines.iter().filter(|line| line.get("event").is_some_and(|name| name == event));
        found.find(|line| verdict.is_none_or(|verdict| line["verdict"] == verdict)).unwrap_or_else(|| panic!("no {event}: {log}"))
    };
    let refused = found("decision", Some("refuse"));
    for (field, value) in [
        ("stage", "end-of-data"),
        ("client", "2001:db8:5::1"),
        ("ehlo", "client.example"),
        ("mail_from", odd),
        ("reason", "unauthenticated"),
        ("enhanced", "4.4.8"),
        ("level", "INFO"),
    ] {
        assert_eq!(refused[field], value, "{field}");
    }
    assert!(refused["code"] == 421 && refused["acknowledged"] == false && refused["size"].is_u64(), "{refused:?}");
    assert!(refused["id"].is_string() && refused["results"].as_str().unwrap().contains("spf=none"), "{refused:?}");
    let accepted = found("decision", Some("accept"));
    assert_eq!(accepted["domains"], SPF_DOMAIN);
    let delivered = found("delivered", None);
    assert!(delivered["recipients"] == 1 && delivered["size"].is_u64() && delivered["id"] == accepted["id"], "{delivered:?}");
    assert!(delivered["file"].as_str().unwrap().contains(delivered["id"].as_str().unwrap()), "{delivered:?}");
    assert_eq!(
        (delivered["client"].as_str(), delivered["mail_from"].as_str()),
        (Some("2001:db8:5::1"), Some("smith@spf.example"))
    );
    found("policy-error", None);
}

async fn start(policy: &'static str, arguments: &'static [&'static str]) -> Server {
    start_with(setting(policy, arguments)).await
}

/// With certificates.
async fn start_tls() -> Server {
    let mut setting = setting(ENFORCE_A, &[]);
    setting.tables.push_str(&format!("\n{}", tls::TABLE));
    start_with(setting).await
}

/// Clients over IPv6 say who they are by the PROXY protocol.
fn setting(policy: &'static str, arguments: &'static [&'static str]) -> Setting {
    Setting {
        policy,
        arguments,
        listeners: "[[listener]]\naddress = \"[::1]:0\"\nextension = true\nproxy_from = [\"::1\"]\n\n\
                    [[listener]]\naddress = \"127.0.0.1:0\""
            .to_owned(),
        ..Setting::default()
    }
}

async fn start_with(setting: Setting) -> Server {
    let mut zone = Zone::demo();
    zone.replace(SPF_DOMAIN, Kind::Txt, &["v=spf1 ip6:2001:db8::/32 -all"]).unwrap();
    let nameserver = NameServer::start(zone).await.unwrap();
    let folder = Folder::new(&setting, nameserver.addr());
    tls::renew(folder.path());
    Server::start_in(folder, setting.arguments, nameserver)
}

/// Puts a policy in force.
fn reload(server: &Server, policy: &str) {
    fs::write(server.path().join("policy.json"), policy).unwrap();
    signalled(server, "event=\"policy-loaded\"");
}

/// Sends SIGHUP, and waits until the log says once more that this came of it.
fn signalled(server: &Server, outcome: &str) {
    let before = server.log().matches(outcome).count();
    server.hangup();
    let end = Instant::now() + Duration::from_secs(20);
    while server.log().matches(outcome).count() == before {
        assert!(Instant::now() < end, "no {outcome} after SIGHUP:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The reply to mail that an enforcing policy refuses, from a network of its own.
async fn unwanted(server: &Server, network: u32) -> Reply {
    let route = Route { proxied: Some(format!("2001:db8:{:x}::1", network + 0x100)), ..Route::to(server.ipv6) };
    route.send(&format!("smith@{PLAIN_DOMAIN}"), &Attempt::first(network).message(100)).await.unwrap()
}

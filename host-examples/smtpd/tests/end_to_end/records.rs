//! What is remembered, for how long, by whom, and what can be seen of it.

use std::path::Path;
use std::time::{Duration, Instant};

use sha2::Digest as _;
use smtp_fallback_demo::client::Client;
use smtp_fallback_demo::zone::{NameServer, PLAIN_DOMAIN, Zone};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::KeyKind;
use smtp_fallback_store::control::ControlStore;
use smtp_fallback_store::{Cursor, Store as _};

use crate::redis;
use crate::server::{Folder, Server, Setting, message, metric, page};

/// Enforces, also from here; with penalties as they are by default, but not at random.
const POLICY: &str = r#"{
    "exempt": {"local_networks": false},
    "penalty": {"jitter_percent": 0, "probe_one_in": 0},
    "no_fallback": {"refusals": 2, "over": "1s"}
}"#;

fn setting(tables: &str) -> Setting {
    let Setting { tables: usual, .. } = Setting::default();
    // Records are waited for as long as it takes: the tests are not about a busy machine.
    Setting { policy: POLICY, tables: format!("{usual}\n[store]\ntime = \"1s\"\n{tables}"), ..Setting::default() }
}

fn sender() -> String {
    format!("smith@{PLAIN_DOMAIN}")
}

async fn greeting(server: &Server) -> u16 {
    Client::connect(server.ipv6).await.unwrap().reply().await.unwrap().code
}

/// Seven mails without authentication: their network is refused at the greeting from then on.
async fn fail_seven_times(server: &Server) {
    for number in 0..7 {
        assert_eq!(server.send(server.ipv6, &sender(), &message(number)).await.code, 421);
    }
    assert_eq!(greeting(server).await, 451);
}

/// Waits until the file behind the records has what was done before.
async fn saved(socket: &Path) {
    let control = ControlStore::connect(socket).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while control.host_health().await.unwrap().unsaved > 0 {
        assert!(Instant::now() < deadline, "the records are not saved");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the store has the records of so many refused mails: the client hears of its refusal while they are being written.
async fn refused_mails(server: &Server, count: usize) {
    let control = ControlStore::connect(server.path().join("control.sock")).await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let page = control.scan(Cursor::default(), 1000, now).await.unwrap();
        if page.records.iter().filter(|listed| listed.record.key.kind == KeyKind::Exact).count() >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{:?}", page.records);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn p12_penalties_outlive_the_process_however_it_ends() {
    let mut server = Server::start(setting("path = \"records.redb\"\ncontrol = \"control.sock\"")).await;
    fail_seven_times(&server).await;
    server.terminate();
    assert!(server.ended().await.success());
    server.restart();
    assert_eq!(greeting(&server).await, 451, "after an orderly end");
    saved(&server.path().join("control.sock")).await;
    server.kill();
    server.restart();
    assert_eq!(greeting(&server).await, 451, "after kill -9");
    let line = server.logged(&["records-loaded"]);
    assert!(line.contains("new_secret=false"), "{line}");
}

#[tokio::test]
async fn without_a_file_they_end_with_it() {
    let mut server = Server::start(setting("")).await;
    fail_seven_times(&server).await;
    server.logged(&["records-in-memory"]);
    server.kill();
    server.restart();
    assert_eq!(greeting(&server).await, 220);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_the_server_starts() {
    let mut server = Server::start(setting("path = \"records.redb\"")).await;
    fail_seven_times(&server).await;
    server.kill();
    std::fs::write(server.path().join("records.redb"), [0x55; 5000]).unwrap();
    server.restart();
    assert_eq!(greeting(&server).await, 220);
    server.logged(&["store-damaged", "set_aside="]);
}

#[tokio::test]
async fn a33_a_refused_mail_is_recognised_over_ipv4_and_seen_in_the_metrics() {
    let server = Server::start(setting("control = \"control.sock\"\n[monitor]\naddress = \"127.0.0.1:0\"")).await;
    let monitor = server.monitor();
    assert_eq!(server.send(server.ipv6, &sender(), &message(1)).await.code, 421);
    assert_eq!(server.send(server.ipv4, &sender(), &message(1)).await.code, 250);
    server.logged(&["reason=\"ipv4\"", "linked=0", "client=127.0.0.1"]);
    let metrics = page(monitor, "/metrics").await;
    assert_eq!(metric(&metrics, "smtp_fallback_fall_back_delay_seconds_count{matched=\"exact\"}"), Some(1.0));
    // Those of the refusal at least: they were stored before the mail was recognised. The last ones may be under way.
    assert!(metric(&metrics, "smtp_fallback_records_stored_total") >= Some(3.0), "{metrics}");
    assert_eq!(metric(&metrics, "smtp_fallback_records_dropped_total"), Some(0.0));
    let refused = metrics.lines().filter(|line| line.starts_with("smtp_fallback_decisions_total{"));
    assert!(refused.clone().any(|line| line.contains("\"refuse\"") && line.contains("\"421\"")), "{metrics}");
    assert_eq!(page(monitor, "/healthz").await.lines().next(), Some("ok"));
    assert!(page(monitor, "/").await.contains("mx.demo.example"));
}

#[tokio::test]
async fn a34_a_client_that_never_falls_back_is_let_in() {
    let server = Server::start(setting("control = \"control.sock\"")).await;
    assert_eq!(server.send(server.ipv6, &sender(), &message(1)).await.code, 421);
    // Between the first and the last refusal there has to be a second, on the server's clock.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(server.send(server.ipv6, &sender(), &message(1)).await.code, 250);
    server.logged(&["reason=\"let-in\"", "let-in-begins"]);
    assert_eq!(server.send(server.ipv6, &sender(), &message(2)).await.code, 250, "other mail as well");
}

#[tokio::test]
async fn the_control_socket_knows_the_policy_s_networks_and_their_records() {
    let server = Server::start(setting("control = \"control.sock\"")).await;
    assert_eq!(server.send(server.ipv6, &sender(), &message(1)).await.code, 421);
    let control = ControlStore::connect(server.path().join("control.sock")).await.unwrap();
    let client: Address = "::1".parse().unwrap();
    let keys = control.keys_of(client).await.unwrap();
    let mut kinds: Vec<KeyKind> = keys.iter().map(|key| key.kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [KeyKind::Address, KeyKind::Network, KeyKind::Budget]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let found = control.get_many(&keys, now).await.unwrap();
    assert_eq!(found.len(), 2, "the address and its network: {found:?}");
    assert_ne!(control.secret().await.unwrap(), [0; 32]);
    let about = control.about().await.unwrap();
    assert_eq!(about.program, "smtp-fallback-smtpd");
    let octets = std::fs::read(crate::server::component()).unwrap();
    let sha256: String = sha2::Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect();
    server.logged(&["component-loaded", &sha256]);
    assert_eq!(about.component, Some(sha256));
}

#[tokio::test]
async fn two_servers_share_what_they_remember_by_redis() {
    let shared = redis::Server::start();
    let table = format!("control = \"control.sock\"\n[store.redis]\nservers = [{:?}]\ntime_limit_ms = 1000", shared.url());
    let (one, other) = (Server::start(setting(&table)).await, Server::start(setting(&table)).await);
    assert_eq!(one.send(one.ipv6, &sender(), &message(1)).await.code, 421);
    refused_mails(&one, 1).await;
    assert_eq!(other.send(other.ipv4, &sender(), &message(1)).await.code, 250);
    other.logged(&["reason=\"ipv4\"", "linked="]);
    for number in 2..8 {
        assert_eq!(one.send(one.ipv6, &sender(), &message(number)).await.code, 421);
    }
    // What one has learnt the other knows, as soon as it is written: that is not waited for before the reply.
    let deadline = Instant::now() + Duration::from_secs(10);
    while greeting(&other).await != 451 {
        assert!(Instant::now() < deadline, "{}", other.log());
    }
}

#[tokio::test]
async fn a_server_starts_without_its_redis_and_finds_it_later() {
    let mut shared = redis::Server::start();
    shared.kill();
    let table = format!(
        "control = \"control.sock\"\n[store.redis]\nservers = [{:?}]\ntime_limit_ms = 1000\n[monitor]\naddress = \"127.0.0.1:0\"",
        shared.url()
    );
    let one = Server::start(setting(&table)).await;
    one.logged(&["no-secret"]);
    assert_eq!(one.send(one.ipv6, &sender(), &message(1)).await.code, 421);
    // Mail flows: a supervisor is not to end the server.
    let health = page(one.monitor(), "/healthz").await;
    assert!(health.starts_with("ok\n") && health.contains("\nstore: the store at "), "{health}");
    shared.start_again();
    // With the secret the policy is loaded a second time.
    let deadline = Instant::now() + Duration::from_secs(30);
    while one.log().matches("event=\"policy-loaded\"").count() < 2 {
        assert!(Instant::now() < deadline, "{}", one.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let other = Server::start(setting(&table)).await;
    assert_eq!(one.send(one.ipv6, &sender(), &message(2)).await.code, 421);
    refused_mails(&other, 1).await;
    assert_eq!(other.send(other.ipv4, &sender(), &message(2)).await.code, 250);
    other.logged(&["reason=\"ipv4\"", "linked="]);
}

#[tokio::test]
async fn the_end_waits_for_records_that_are_being_stored() {
    let shared = redis::Server::start();
    let Setting { tables: usual, .. } = Setting::default();
    let tables = format!("{usual}\n[store]\ntime = \"1ms\"\n[store.redis]\nservers = [{:?}]\ntime_limit_ms = 1000", shared.url());
    let mut server = Server::start(Setting { policy: POLICY, tables, ..Setting::default() }).await;
    let client = server.client(server.ipv6).await;
    shared.stop();
    let reply = { client }.transaction(&sender(), crate::server::RECIPIENT, &message(1)).await.unwrap();
    assert_eq!(reply.code, 421);
    server.terminate();
    server.logged(&["finishing what is in hand"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    shared.go_on();
    assert!(server.ended().await.success());
    for kind in ["address", "network", "exact", "inferred"] {
        let keys: Vec<String> = shared.ask(&["KEYS", &format!("smtp-fallback:{kind}:*")]);
        assert_eq!(keys.len(), 1, "{kind}:\n{}", server.log());
    }
}

#[tokio::test]
async fn what_cannot_be_is_said_at_the_start() {
    let nameserver = NameServer::start(Zone::demo()).await.unwrap();
    for (tables, part) in [
        ("path = \"nowhere/records.redb\"", "nowhere"),
        ("[store.redis]\nservers = [\"http://127.0.0.1\"]", "store.redis.servers"),
        ("[monitor]\naddress = \"192.0.2.1:9125\"", "192.0.2.1:9125"),
    ] {
        let folder = Folder::new(&setting(tables), nameserver.addr());
        let output = folder.command().output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(part), "{tables}: {text}");
    }
}

//! The component traps at random, in half of its calls.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smtp_fallback_demo::client::Reply;

use crate::mail::{Attempt, Ledger, Route};
use crate::redis;
use crate::server::{Server, Setting, metric, page};

#[allow(unreachable_pub, reason = "it is shared with the tests of another package")]
#[path = "../../../embed/tests/common/mod.rs"]
mod fixture;

const CLIENTS: u32 = 10;
const MESSAGES_EACH: u32 = 30;
/// Of four attempts, one is refused by a component that traps in half of its calls and refuses in half of the others. What is refused 30
/// times in a row is no bad luck.
const ATTEMPTS: u32 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_traps_at_random_neither_loses_nor_delays_mail() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("traps.wasm");
    fs::write(&component, fixture::traps_sometimes()).unwrap();
    let mut server = Server::start(Setting { component, policy: "{}", ..Setting::default() }).await;
    let ledger = Arc::new(Ledger::default());
    // Instances, connections and threads are there after the first round.
    round(&server, &ledger, 0).await;
    let before = resident(&server);
    round(&server, &ledger, 1).await;
    let after = resident(&server);

    let balance = ledger.check(&server.delivered());
    assert_eq!(balance.accepted as u32, 2 * CLIENTS * MESSAGES_EACH);
    assert_eq!(balance.broken, 0);
    assert!(balance.refused > 50, "it refuses sometimes, and then that counts: {balance:?}");
    assert!(server.has_no_drafts());
    let log = server.log();
    let failures = log.lines().filter(|line| line.contains("ERROR") && line.contains("the policy failed")).count();
    assert!(failures > 500, "{failures}");
    assert!(log.contains("policy-failed"), "the decision says it as well");
    println!("{balance:?}, {failures} failures, {before} kB before, {after} kB after");
    assert!(after < before + 16 * 1024, "{before} kB before, {after} kB after");

    server.terminate();
    assert!(server.ended().await.success());
    // It has counted them, by kind: `trap=1 deadline=0 ...`.
    let stopped = server.logged(&["event=\"stopped\""]);
    let counted =
        stopped.split(' ').filter_map(|field| field.split_once('=')).filter_map(|(_, count)| count.parse::<usize>().ok());
    let counts: usize = counted.sum();
    assert_eq!(counts, failures, "{stopped}");
}

/// With the secret of a shared store there is another pool of instances.
#[tokio::test]
async fn its_failures_are_counted_on_when_the_secret_comes_late() {
    let mut shared = redis::Server::start();
    shared.kill();
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("traps.wasm");
    fs::write(&component, fixture::traps_sometimes()).unwrap();
    let Setting { tables: usual, .. } = Setting::default();
    let tables = format!("{usual}\n[store.redis]\nservers = [{:?}]\n[monitor]\naddress = \"127.0.0.1:0\"", shared.url());
    let mut server = Server::start(Setting { component, policy: "{}", tables, ..Setting::default() }).await;
    let ledger = Ledger::default();
    for number in 0..10 {
        send(&Route::to(server.ipv4), &ledger, number).await;
    }
    let traps = traps(&server).await;
    assert!(traps > 5.0, "{traps}");
    shared.start_again();
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.log().matches("event=\"policy-loaded\"").count() < 2 {
        assert!(Instant::now() < deadline, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(self::traps(&server).await, traps);
    send(&Route::to(server.ipv4), &ledger, 10).await;
    let traps = self::traps(&server).await;
    server.terminate();
    assert!(server.ended().await.success());
    server.logged(&["event=\"stopped\"", &format!("trap={traps} ")]);
}

async fn traps(server: &Server) -> f64 {
    let metrics = page(server.monitor(), "/metrics").await;
    metric(&metrics, "smtp_fallback_policy_failures_total{kind=\"trap\"}").unwrap()
}

async fn round(server: &Server, ledger: &Arc<Ledger>, round: u32) {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = if client % 4 == 3 { server.ipv4 } else { server.ipv6 };
            let (route, ledger) = (Route { chunked: client % 2 == 0, ..Route::to(address) }, Arc::clone(ledger));
            tokio::spawn(async move {
                for message in 0..MESSAGES_EACH {
                    send(&route, &ledger, (round * CLIENTS + client) * MESSAGES_EACH + message).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

/// Until it is accepted: another connection is another draw.
async fn send(route: &Route, ledger: &Ledger, number: u32) {
    let mut attempt = Attempt::first(number);
    let mut heard: BTreeMap<u32, Reply> = BTreeMap::new();
    while attempt.attempt < ATTEMPTS {
        let outcome = route.send("smith@none.example", &attempt.message(400)).await;
        ledger.note(attempt, &outcome);
        let reply = outcome.unwrap();
        if reply.code == 250 {
            return;
        }
        // The component's own words; a trap has none.
        assert!(reply.code == 421 && reply.has_enhanced_code("4.4.8"), "{reply}");
        assert!(route.address.is_ipv6(), "over IPv4: {reply}");
        assert!(reply.lines[0].contains("welcome over IPv4"), "{reply}");
        heard.insert(attempt.attempt, reply);
        attempt = attempt.next();
    }
    panic!("message {number} is never accepted: {heard:?}");
}

/// The memory of the process, in kB.
fn resident(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

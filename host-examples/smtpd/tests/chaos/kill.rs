//! The process is killed in the middle of deliveries, as the kernel does when memory runs out.
//!
//! A killed process leaves what it wrote in the kernel's memory, and that comes to the disk all the same. So this shows the order of
//! things: nothing is answered before it is in `new`, and nothing is there before it is whole. That it is synced as well, which only a
//! loss of power would show, is for a reader of `maildir.rs`.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use smtp_fallback_demo::zone::{Kind, PLAIN_DOMAIN, SPF_DOMAIN};

use crate::mail::{Attempt, Lcg, Ledger, Route};
use crate::server::{Server, Setting};

const CLIENTS: u32 = 20;
const MESSAGES_EACH: u32 = 50;
const KILLS: u64 = 8;
const SEED: u64 = 20261124;
/// For everything together.
const TIME: Duration = Duration::from_secs(120);
/// Numbers from here on are of mail that the policy refuses.
const UNWANTED: u32 = 1_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_answered_250_is_lost_when_the_process_is_killed() {
    let setting = Setting {
        top: "domains = [\"demo.example\"]\nmaildir = \"mail\"\ncomponent_cache = \"cache\"".to_owned(),
        // Each client over IPv6 is from a network of its own: what one does brings no penalty on the others.
        listeners: "[[listener]]\naddress = \"[::1]:0\"\nextension = true\nproxy_from = [\"::1\"]\n\n\
                    [[listener]]\naddress = \"127.0.0.1:0\""
            .to_owned(),
        ..Setting::default()
    };
    let mut server = Server::start(setting).await;
    server.nameserver.change(|zone| zone.replace(SPF_DOMAIN, Kind::Txt, &["v=spf1 ip6:2001:db8::/32 -all"])).unwrap();
    let ledger = Arc::new(Ledger::default());
    let addresses = Arc::new(RwLock::new((server.ipv6, server.ipv4)));
    let end = Instant::now() + TIME;
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| tokio::spawn(send_all(client, Arc::clone(&ledger), Arc::clone(&addresses), end))).collect();

    let mut random = Lcg(SEED);
    let total = u64::from(CLIENTS * MESSAGES_EACH);
    for kill in 0..KILLS {
        let threshold = (total * kill + random.below(total)) / KILLS;
        while (ledger.accepted() as u64) < threshold {
            assert!(Instant::now() < end, "{} accepted by kill {kill}", ledger.accepted());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // So that it does not always fall behind a reply.
        tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
        tokio::task::block_in_place(|| {
            server.kill();
            server.restart();
        });
        *addresses.write().unwrap() = (server.ipv6, server.ipv4);
    }
    for client in clients {
        client.await.unwrap();
    }

    let balance = ledger.check(&server.delivered());
    let drafts = std::fs::read_dir(server.maildir().join("tmp")).unwrap().count();
    println!("seed {SEED}, {KILLS} kills, {drafts} drafts: {balance:?}");
    assert_eq!(balance.accepted as u64, total);
    assert!(balance.broken > 0, "no delivery was interrupted");
    assert!(balance.refused > 100, "of what the policy refuses, little came to be refused");
}

/// Sends messages, each until it is accepted, and between them some that the policy refuses.
async fn send_all(client: u32, ledger: Arc<Ledger>, addresses: Arc<RwLock<(SocketAddr, SocketAddr)>>, end: Instant) {
    for message in 0..MESSAGES_EACH {
        let number = client * MESSAGES_EACH + message;
        let (chunked, over_ipv6) = (number.is_multiple_of(3), number.is_multiple_of(2));
        let proxied = Some(format!("2001:db8:{client:x}:{message:x}::1"));
        // The server is somewhere else each time that it is started.
        let ipv6 = || Route { address: addresses.read().unwrap().0, proxied: proxied.clone(), chunked };
        let route = || if over_ipv6 { ipv6() } else { Route { chunked, ..Route::to(addresses.read().unwrap().1) } };
        let size = if number % 10 == 7 { 200_000 } else { 500 };
        let mut attempt = Attempt::first(number);
        loop {
            let outcome = route().send(&format!("smith@{SPF_DOMAIN}"), &attempt.message(size)).await;
            ledger.note(attempt, &outcome);
            match outcome {
                Ok(reply) if reply.code == 250 => break,
                Ok(reply) => panic!("{attempt:?}: {reply}"),
                // As a client that queues it does, only sooner.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            assert!(Instant::now() < end, "{attempt:?} does not get through");
            attempt = attempt.next();
        }
        if message % 4 == 0 {
            let unwanted = Attempt::first(UNWANTED + number);
            let outcome = ipv6().send(&format!("smith@{PLAIN_DOMAIN}"), &unwanted.message(size)).await;
            if let Ok(reply) = &outcome {
                assert!(reply.code == 421 && reply.has_enhanced_code("4.4.8"), "{reply}");
            }
            ledger.note(unwanted, &outcome);
        }
    }
}

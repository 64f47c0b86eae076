//! smtpd and the milter under mixed load for minutes or hours, while all around them breaks again and again: no growth of memory, file
//! descriptors or threads, nothing lost that was answered 250, nothing delivered that was refused.
//!
//! Run by `cargo xtask soak`: it needs root, Postfix and redis-server. `SMTP_FALLBACK_SOAK_MINUTES` says how long it takes.
#![allow(clippy::unwrap_used)] // A test may panic.

mod broken;
#[allow(dead_code)] // It serves several test programs.
#[path = "../../../host-examples/smtpd/tests/chaos/upstream/double.rs"]
mod double;
#[allow(unreachable_pub, reason = "it is shared with the tests of another package")]
#[path = "../../../host-examples/embed/tests/common/mod.rs"]
mod fixture;
mod gauge;
mod load;
#[allow(dead_code)] // It serves several test programs.
#[path = "../../../host-examples/smtpd/tests/chaos/mail.rs"]
mod mail;
#[allow(dead_code)] // It serves several test programs.
#[path = "../../../host-examples/store/tests/redis/server.rs"]
mod redis;
mod site;
mod tls;
mod trouble;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gauge::Gauges;
use load::Load;
use site::Site;
use trouble::Trouble;

/// Minutes without another word.
const MINUTES: u64 = 1;
/// From the end of the load to the last measurement: what clients have left behind is over by then.
const REST: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_and_nothing_is_lost() {
    let minutes = std::env::var("SMTP_FALLBACK_SOAK_MINUTES").map_or(MINUTES, |minutes| minutes.parse().unwrap());
    let time = Duration::from_secs(60 * minutes);
    let mut site = Site::start().await;
    let mut gauges = Gauges::new(&site.programs(), time);
    let load = Arc::new(Load::new(&site));
    let clients = Load::start(&load);
    let mut trouble = Trouble::default();

    let end = Instant::now() + time;
    let mut minute = Instant::now();
    while Instant::now() < end {
        trouble.next(&mut site, &load, &mut gauges).await;
        assert!(clients.iter().all(|client| !client.is_finished()), "a client has ended early: its panic is above");
        if minute.elapsed() >= Duration::from_secs(60) {
            minute = Instant::now();
            println!("{}\n{}", gauges.line(), load.line());
        }
    }
    load.stop();
    for client in clients {
        client.await.unwrap();
    }
    let rest = Instant::now() + REST;
    while Instant::now() < rest {
        gauges.pause(&mut site, Duration::from_secs(1)).await;
    }
    gauges.read_logs(&site);
    println!("\n{}\n{}\n{}\n{}", gauges.table(), load.table(), trouble.table(), gauges.events());
    let balance = load.ledger.settle(site.arrived().await);
    println!("{balance:?}");
    assert!(balance.accepted > 200 && balance.refused > 50 && balance.broken > 5, "{balance:?}");
    for name in [site::SMTPD, site::MILTER] {
        assert_eq!(gauges.count(name, gauge::FAILED), 0, "{name}: the shipped component failed");
    }
    for (name, event, least) in [
        (site::FAULTY, gauge::FAILED, 500),
        (site::FAULTY, gauge::TOO_LONG, 20),
        (site::SMTPD, "store-away", 1),
        (site::SMTPD, "delivery-in-doubt", 1),
        (site::MILTER, "store-away", 1),
    ] {
        let count = gauges.count(name, event);
        assert!(count >= least, "{name}: {event} {count} times");
    }
    load.check();
    gauges.check();
}

//! The client's reverse name (RFC 8601 §2.7.3).

use std::time::{Duration, Instant};

use crate::bench::{Bench, deadline};
use smtp_fallback_demo::zone::Kind;
use smtp_fallback_policy::contract::Iprev;
use smtp_fallback_verify::MAX_CLIENT_NAMES;

const REVERSE_4: &str = "1.2.0.192.in-addr.arpa";
const REVERSE_6: &str = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";

/// A server with these names for 192.0.2.1 and 2001:db8::1, and with these records.
async fn bench(names: &[&str], records: &[(&str, Kind, &str)]) -> Bench {
    let bench = Bench::with(&[], 0, deadline(600)).await;
    bench.server.change(|zone| {
        for name in names {
            zone.add(REVERSE_4, Kind::Ptr, name).unwrap();
            zone.add(REVERSE_6, Kind::Ptr, name).unwrap();
        }
        for &(name, kind, text) in records {
            zone.add(name, kind, text).unwrap();
        }
    });
    bench
}

async fn iprev(bench: &Bench, client: &str) -> String {
    let Iprev { result, name } = bench.verifier.iprev(client.parse().unwrap()).await;
    format!("{} {}", result.as_str(), name.as_deref().unwrap_or("-"))
}

#[tokio::test]
async fn a_name_that_leads_back_passes() {
    let bench = bench(
        &["Other.Example", "missing.example", "MX.Example"],
        &[
            ("other.example", Kind::A, "192.0.2.2"),
            ("mx.example", Kind::A, "192.0.2.9"),
            ("mx.example", Kind::A, "192.0.2.1"),
            ("mx.example", Kind::Aaaa, "2001:db8::1"),
        ],
    )
    .await;
    for client in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
        assert_eq!(iprev(&bench, client).await, "pass mx.example", "{client}");
    }
    let results = bench.verify_envelope("192.0.2.1", "", "").await;
    assert_eq!(results.iprev.and_then(|iprev| iprev.name).as_deref(), Some("mx.example"));
}

#[tokio::test]
async fn of_several_names_it_is_always_the_same() {
    for names in
        [["c.example", "a.example", "b.example", "x.silent.example"], ["x.silent.example", "b.example", "c.example", "a.example"]]
    {
        let bench = bench(&names, &names.map(|name| (name, Kind::A, "192.0.2.1"))).await;
        bench.server.change(|zone| {
            zone.silence("silent.example");
            zone.delay("a.example", Duration::from_millis(100));
        });
        assert_eq!(iprev(&bench, "192.0.2.1").await, "pass a.example", "{names:?}");
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_fails() {
    // The address of the other family does not count.
    let bench = bench(&["mx.example"], &[("mx.example", Kind::A, "192.0.2.2"), ("mx.example", Kind::Aaaa, "2001:db8::2")]).await;
    for client in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(iprev(&bench, client).await, "fail -", "{client}");
    }
    bench.server.change(|zone| zone.replace("mx.example", Kind::A, &[]).unwrap());
    assert_eq!(iprev(&bench, "192.0.2.1").await, "fail -", "no address of its family");
    bench.server.change(|zone| zone.replace("mx.example", Kind::Aaaa, &[]).unwrap());
    assert_eq!(iprev(&bench, "192.0.2.1").await, "fail -", "no such name");
}

#[tokio::test]
async fn without_a_name_it_is_a_permanent_error() {
    let bench = bench(&[], &[]).await;
    assert_eq!(iprev(&bench, "192.0.2.1").await, "permerror -");
    // A name that is no domain name is a name, but none that could lead back.
    bench.server.change(|zone| zone.add(REVERSE_4, Kind::Ptr, "host").unwrap());
    assert_eq!(iprev(&bench, "192.0.2.1").await, "fail -");
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_a_temporary_error() {
    let records = [("a.example", Kind::A, "192.0.2.2"), ("b.example", Kind::A, "192.0.2.1")];
    let bench = bench(&["a.example", "x.broken.example", "b.example"], &records).await;
    bench.server.change(|zone| zone.fail("broken.example"));
    assert_eq!(iprev(&bench, "192.0.2.1").await, "pass b.example", "one is enough");
    bench.server.change(|zone| zone.replace("b.example", Kind::A, &[]).unwrap());
    assert_eq!(iprev(&bench, "192.0.2.1").await, "temperror -", "it might have been the third");

    bench.server.change(|zone| zone.fail("in-addr.arpa"));
    assert_eq!(iprev(&bench, "192.0.2.1").await, "temperror -");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let bench = bench(&["x.silent.example", "b.example"], &[("b.example", Kind::A, "192.0.2.1")]).await;
    bench.server.change(|zone| zone.silence("silent.example"));
    let start = Instant::now();
    assert_eq!(iprev(&bench, "192.0.2.1").await, "pass b.example", "the silent name hides nothing");
    assert_eq!(iprev(&bench, "2001:db8::1").await, "temperror -");
    bench.server.change(|zone| zone.silence("ip6.arpa"));
    assert_eq!(iprev(&bench, "2001:db8::1").await, "temperror -");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn only_so_many_names_are_tried() {
    let names: Vec<_> = (0..30).map(|number| format!("h{number}.example")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let bench = bench(&names, &[]).await;
    let asked = bench.server.queries();
    assert_eq!(iprev(&bench, "2001:db8::1").await, "fail -");
    // The answer does not fit into a UDP packet of every size: it may be asked for twice.
    let asked = bench.server.queries() - asked;
    assert!((MAX_CLIENT_NAMES as u64..=MAX_CLIENT_NAMES as u64 + 2).contains(&asked), "{asked}");
}

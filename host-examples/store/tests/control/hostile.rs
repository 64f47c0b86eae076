//! Clients that mean harm, or are broken. After each the host still serves.

use std::sync::Arc;
use std::time::Duration;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, RecordUpdate, StoredRecord};
use smtp_fallback_store::control::{Limits, MAX_LINE_OCTETS};
use smtp_fallback_store::{BoxFuture, Cursor, Health, MemoryStore, Page, Secret, Store, StoreError, Swap, Write};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::host::{Host, Lines, NOW, error_in};

const HEALTH: &str = r#"{"request":"health"}"#;

async fn assert_serves(host: &Host) {
    assert!(Lines::connect(host).await.ask(HEALTH).await.starts_with(r#"{"health":"#));
}

#[tokio::test]
async fn lines_of_nonsense_are_answered_and_the_connection_goes_on() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let deep_inside = format!(r#"{{"request":"get","keys":{deep}}}"#);
    let binary: Vec<u8> = (0..=255).filter(|octet| *octet != b'\n').collect();
    let wide = format!(r#"{{"request":"get","keys":[{}0]}}"#, "0,".repeat(30_000));
    for line in [
        &binary[..],
        b"\0",
        b"\xff\xfe{\0}\0",
        b"{\"request\":\"\xff\"}",
        b"{\"request\":null}",
        b"{\"request\":{\"get\":1}}",
        b"{\"request\":\"get\",\"keys\":{}}",
        b"{\"request\":\"get\",\"keys\":[null]}",
        b"{\"request\":\"get\",\"keys\":[],\"now\":-1}",
        b"{\"request\":\"get\",\"keys\":[],\"now\":1e99}",
        b"{\"request\":\"scan\",\"limit\":18446744073709551616}",
        b"{\"request\":\"scan\",\"cursor\":7}",
        b"{\"request\":\"health\"",
        deep.as_bytes(),
        deep_inside.as_bytes(),
        wide.as_bytes(),
        b"GET / HTTP/1.1\r",
    ] {
        client.send(line).await;
        client.send(b"\n").await;
        let answer = client.line().await;
        assert!(!error_in(&answer).is_empty(), "{answer}");
    }
    assert!(client.ask(HEALTH).await.starts_with(r#"{"health":"#));
}

#[tokio::test]
async fn a_line_may_be_long_but_not_longer() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    let padded = |length: usize| format!("{HEALTH}{}", " ".repeat(length - 1 - HEALTH.len()));
    assert!(client.ask(&padded(MAX_LINE_OCTETS)).await.starts_with(r#"{"health":"#), "the longest");
    let error = client.error(&padded(MAX_LINE_OCTETS + 1)).await;
    assert!(error.contains("longer than 65536 octets"), "{error}");
    assert_eq!(client.line().await, "", "closed");
    assert_serves(&host).await;
}

#[tokio::test]
async fn a_line_without_end_is_cut_off_and_the_reason_can_be_read() {
    let host = Host::start();
    let mut client = Lines::connect(&host).await;
    // Much more than the buffers between both hold: it is taken and thrown away, so that the client gets to read.
    client.send(&vec![b'x'; 900_000]).await;
    assert!(error_in(&client.line().await).contains("longer than 65536 octets"));
    // For ever: the host hangs up.
    let mut client = Lines::connect(&host).await;
    let mut sent = 0_u64;
    while client.0.get_mut().write_all(&[b'x'; 65536]).await.is_ok() {
        sent += 1;
        assert!(sent < 10_000, "the host reads without end");
    }
    assert_serves(&host).await;
}

#[tokio::test]
async fn half_a_request_is_none() {
    let host = Host::start();
    for half in [
        r#"{"request":"compare-and-set","key":{"kind":"network","network":"2001:db8::/64"},"value":"AQ==","expires-in":60,"weight":1}"#,
        r#"{"request":"compare-and-set","#,
    ] {
        let mut client = Lines::connect(&host).await;
        client.send(half.as_bytes()).await;
        client.0.get_mut().shutdown().await.unwrap();
        assert!(error_in(&client.line().await).contains("line feed"), "{half}");
        assert_eq!(client.line().await, "");
    }
    assert!(host.store.scan(Cursor::default(), 10, 0).await.unwrap().records.is_empty(), "nothing was written");
    // Whole requests before the end are answered.
    let mut client = Lines::connect(&host).await;
    client.send(format!("{HEALTH}\n").as_bytes()).await;
    client.0.get_mut().shutdown().await.unwrap();
    assert!(client.line().await.starts_with(r#"{"health":"#));
    assert_eq!(client.line().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_lines_and_silence_have_an_end() {
    let limits = Limits { idle_time: Duration::from_millis(300), ..Limits::default() };
    let host = Host::with(Arc::new(MemoryStore::new(10)), limits);
    let mut silent = Lines::connect(&host).await;
    let mut slow = Lines::connect(&host).await;
    let dripping = async {
        let mut sent = 0_u64;
        // An octet every 20 ms would keep the connection for ever, if each began the time anew.
        while slow.0.get_mut().write_all(b" ").await.is_ok() {
            sent += 1;
            assert!(sent < 500, "the line may take for ever");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        error_in(&slow.line().await)
    };
    let (error, silence) = tokio::join!(dripping, silent.line());
    for error in [error, error_in(&silence)] {
        assert!(error.contains("no request came within 300ms"), "{error}");
    }
    assert_serves(&host).await;
}

#[tokio::test]
async fn connections_are_limited_and_the_one_too_many_is_told() {
    let host = Host::start();
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = Lines::connect(&host).await;
        assert!(client.ask(HEALTH).await.starts_with(r#"{"health":"#));
        clients.push(client);
    }
    for _ in 0..2000 {
        let error = error_in(&Lines::connect(&host).await.line().await);
        assert!(error.contains("64 connections are open"), "{error}");
    }
    assert!(clients[0].ask(HEALTH).await.starts_with(r#"{"health":"#), "the others are served");
    // A place that is given up can be had; the host needs a moment to see it.
    clients.pop();
    for attempt in 0.. {
        assert!(attempt < 1000);
        let mut client = Lines::connect(&host).await;
        client.0.get_mut().write_all(format!("{HEALTH}\n").as_bytes()).await.unwrap_or_default();
        if client.line().await.starts_with(r#"{"health":"#) {
            break;
        }
    }
}

/// A store with so many records of the longest values.
async fn large(records: u64) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(10_000));
    for network in 0..records {
        let address = Address::from_bits(0x2001_0db8 << 96 | u128::from(network) << 64);
        let key = Key { kind: KeyKind::Network, address, prefix_length: 64 };
        let update = RecordUpdate { key, value: vec![0; 4096], expires_in: u32::MAX, weight: 1 };
        assert_eq!(
            store.compare_and_set(Write { expected: None, update: &update, source: address, now: NOW }).await,
            Ok(Swap::Stored)
        );
    }
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_holds_up_nobody() {
    let limits = Limits { answer_time: Duration::from_millis(300), connections: 2, ..Limits::default() };
    let host = Host::with(large(60).await, limits);
    let mut deaf = Lines::connect(&host).await;
    // 300 kB each: the socket's buffer is full with the first.
    deaf.send(format!("{{\"request\":\"scan\",\"limit\":256,\"now\":{NOW}}}\n").repeat(20).as_bytes()).await;
    let mut client = Lines::connect(&host).await;
    assert!(client.ask(HEALTH).await.starts_with(r#"{"health":"#));
    // Its place becomes free once the host has given it up. Reading from it before would let the host go on.
    for attempt in 0.. {
        assert!(attempt < 2000, "the host waits for ever");
        let mut other = Lines::connect(&host).await;
        other.0.get_mut().write_all(format!("{HEALTH}\n").as_bytes()).await.unwrap_or_default();
        if other.line().await.starts_with(r#"{"health":"#) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What had been sent can be read, and then there is an end in the middle of an answer.
    let mut received = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), deaf.0.read_to_end(&mut received)).await.expect("an end");
    assert!(!received.is_empty() && !received.ends_with(b"\n"), "it was answered in full, though it read nothing");
    assert!(client.ask(HEALTH).await.starts_with(r#"{"health":"#));
}

/// Never answers, or panics.
struct Faulty;

impl Store for Faulty {
    fn get_many<'a>(&'a self, _: &'a [Key], _: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        Box::pin(std::future::pending())
    }

    fn compare_and_set<'a>(&'a self, _: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async { panic!("a fault of the store") })
    }

    fn scan<'a>(&'a self, _: Cursor, _: usize, _: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async { Err(StoreError::Unavailable("on fire".into())) })
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        Box::pin(async { Err(StoreError::Unavailable("on fire".into())) })
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

#[tokio::test]
async fn faults_of_the_host_end_one_connection_at_most() {
    let limits = Limits { store_time: Duration::from_millis(200), ..Limits::default() };
    let host = Host::with(Arc::new(Faulty), limits);
    let mut client = Lines::connect(&host).await;
    let network = r#"{"kind":"network","network":"2001:db8::/64"}"#;
    let error = client.error(&format!(r#"{{"request":"get","keys":[{network}]}}"#)).await;
    assert!(error.contains("no answer within 200ms"), "{error}");
    let error = client.error(r#"{"request":"scan"}"#).await;
    assert_eq!(error, "the store gives no answer: on fire; check that it runs and can be reached");
    let set = format!(r#"{{"request":"compare-and-set","key":{network},"value":"AQ==","expires-in":60,"weight":1}}"#);
    assert_eq!(client.ask(&set).await, "", "a panic in the store: closed");
    let mut client = Lines::connect(&host).await;
    assert_eq!(client.ask(r#"{"request":"keys","address":"::dead"}"#).await, "", "a panic in the policy: closed");
    assert_serves(&host).await;
}

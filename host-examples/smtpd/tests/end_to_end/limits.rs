//! The limits, really reached.

use smtp_fallback_demo::client::Client;

use crate::server::{RECIPIENT, Server, Setting, message};

const OBSERVE: &str = r#"{"mode": "observe"}"#;

async fn server(tables: &'static str) -> Server {
    Server::start(Setting { policy: OBSERVE, tables: tables.into(), ..Setting::default() }).await
}

/// So many lines of 100 octets.
fn lines(count: usize) -> Vec<u8> {
    format!("{}\r\n", "x".repeat(98)).repeat(count).into_bytes()
}

#[tokio::test]
async fn message_size() {
    let server = server("[limits]\nmessage_size = \"100KiB\"").await;
    let mut client = server.client(server.ipv6).await;
    for (parameter, code) in [("102401", 552), ("102400", 250)] {
        let reply = client.command(&format!("MAIL FROM:<a@plain.example> SIZE={parameter}")).await.unwrap();
        assert_eq!(reply.code, code, "{reply}");
    }
    client.command("RSET").await.unwrap();
    for (message, code) in [(lines(1024), 250), ([&lines(1024)[..], b"\r\n"].concat(), 552), (lines(5000), 552), (lines(1), 250)]
    {
        let reply = client.transaction("a@plain.example", RECIPIENT, &message).await.unwrap();
        assert_eq!(reply.code, code, "{} octets: {reply}", message.len());
    }
    assert_eq!(server.delivered().len(), 2);
}

#[tokio::test]
async fn a_message_without_end() {
    let server = server("[limits]\nmessage_size = \"100KiB\"").await;
    let mut client = server.client(server.ipv6).await;
    for command in ["MAIL FROM:<a@plain.example>", "RCPT TO:<postmaster>", "DATA"] {
        client.command(command).await.unwrap();
    }
    // The reply comes when far too much was sent, and a client that reads it only at its own end still gets it (A4).
    for _ in 0..300 {
        client.send(&lines(1000)).await.unwrap();
    }
    let reply = client.reply().await.unwrap();
    assert_eq!(reply.code, 552);
    assert!(reply.has_enhanced_code("5.3.4"), "{reply}");
    client.closed().await.unwrap();
    assert!(server.delivered().is_empty());
}

#[tokio::test]
async fn line_lengths() {
    let server = server("").await;
    let mut client = server.client(server.ipv4).await;
    let noop = |length: usize| format!("NOOP {}", "x".repeat(length - 7));
    assert_eq!(client.command(&noop(2048)).await.unwrap().code, 250);
    assert_eq!(client.command(&noop(2049)).await.unwrap().code, 500);
    assert_eq!(client.command(&noop(100_000)).await.unwrap().code, 500);
    for (length, code) in [(8192, 250), (8193, 550)] {
        let message = format!("{}\r\n", "x".repeat(length - 2));
        let reply = client.transaction("a@plain.example", RECIPIENT, message.as_bytes()).await.unwrap();
        assert_eq!(reply.code, code, "{length}: {reply}");
    }
}

#[tokio::test]
async fn recipients() {
    let server = server("").await;
    let mut client = server.client(server.ipv4).await;
    assert_eq!(client.command("MAIL FROM:<a@plain.example>").await.unwrap().code, 250);
    for number in 0..100 {
        assert_eq!(client.command(&format!("RCPT TO:<a{number}@demo.example>")).await.unwrap().code, 250);
    }
    let reply = client.command("RCPT TO:<one-more@demo.example>").await.unwrap();
    assert_eq!(reply.code, 452);
    assert!(reply.has_enhanced_code("4.5.3"));
    assert_eq!(client.command("DATA").await.unwrap().code, 354);
    assert_eq!(client.message(&message(1)).await.unwrap().code, 250);
    let kept = String::from_utf8(server.delivered().remove(0)).unwrap();
    assert_eq!(kept.matches("Delivered-To: ").count(), 100);
    assert!(!kept.contains("one-more") && !kept.contains("for <"));
}

#[tokio::test]
async fn errors() {
    let server = server("").await;
    let mut client = server.client(server.ipv4).await;
    for _ in 0..20 {
        assert_eq!(client.command("WHAT").await.unwrap().code, 500);
    }
    let reply = client.command("WHAT").await.unwrap();
    assert_eq!(reply.code, 421);
    assert!(reply.has_enhanced_code("4.7.0"));
    client.closed().await.unwrap();
}

#[tokio::test]
async fn connections() {
    let server = server("[limits]\nconnections = 2").await;
    // Over all listeners together.
    let first = server.client(server.ipv4).await;
    let _second = server.client(server.ipv6).await;
    let mut third = Client::connect(server.ipv6).await.unwrap();
    let reply = third.reply().await.unwrap();
    assert_eq!(reply.code, 421);
    assert!(reply.has_enhanced_code("4.3.2"), "{reply}");
    third.closed().await.unwrap();
    drop(first);
    for attempt in 0.. {
        let mut again = Client::connect(server.ipv6).await.unwrap();
        if again.reply().await.unwrap().code == 220 {
            break;
        }
        assert!(attempt < 100, "the place is not given back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn idle_time() {
    let server = server("[limits]\nidle = \"1s\"").await;
    let mut client = server.client(server.ipv6).await;
    let reply = client.reply().await.unwrap();
    assert_eq!(reply.code, 421);
    assert!(reply.has_enhanced_code("4.4.2"), "{reply}");
    client.closed().await.unwrap();
}

//! STARTTLS.

use smtp_fallback_demo::tls::connector;
use smtp_fallback_policy::contract::Tls as ToldTls;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;
use crate::tls::Files;
use crate::tls::tests::{client_ca_files, new_pki, pki_files};

fn setting(files: Files) -> Setting {
    Setting { certificates: Some(Certificates::load(files).expect("can be used")), ..Setting::default() }
}

/// The session under TLS, after STARTTLS was answered.
struct Secure {
    stream: TlsStream<DuplexStream>,
    _phase: watch::Sender<Phase>,
    maildir: TempDir,
}

impl Secure {
    async fn start(client: Client, connector: &TlsConnector) -> Secure {
        let Client { stream, phase, maildir } = client;
        let name = ServerName::try_from("mx.demo.example").expect("valid");
        let stream = connector.connect(name, stream).await.expect("a handshake");
        Secure { stream, _phase: phase, maildir }
    }

    /// The replies to a group of commands, up to a line that begins with `end`.
    async fn replies(&mut self, commands: &str, end: &str) -> String {
        self.stream.write_all(commands.as_bytes()).await.expect("open");
        let mut replies = String::new();
        let read = async {
            while !replies.lines().any(|line| line.starts_with(end)) || !replies.ends_with("\r\n") {
                let mut octets = [0; 1024];
                let read = self.stream.read(&mut octets).await.expect("open");
                assert!(read > 0, "closed after {replies}");
                replies.push_str(std::str::from_utf8(&octets[..read]).expect("ASCII"));
            }
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("replies in time");
        replies
    }
}

#[tokio::test]
async fn a_message_under_tls() {
    let pki = new_pki();
    let mut client = connected(setting(pki_files(&pki)), &[]).await;
    assert_eq!(client.command("STARTTLS").await, "503 5.5.1 EHLO must come first\r\n");
    assert!(client.command("HELP").await.contains(" STARTTLS "));
    assert!(client.command(HELLO).await.contains("250-STARTTLS\r\n"));
    assert!(client.command("STARTTLS").await.starts_with("220 2.0.0 "));
    let mut client = Secure::start(client, &connector(None).expect("supported")).await;
    let replies = client.replies("MAIL FROM:<a@b.example>\r\n", "503").await;
    assert_eq!(replies, "503 5.5.1 EHLO or HELO must come first\r\n", "the session begins anew");
    let replies = client.replies("EHLO client.example\r\n", "250 ").await;
    assert!(!replies.contains("STARTTLS"), "{replies}");
    assert_eq!(client.replies("STARTTLS\r\n", "503").await, "503 5.5.1 TLS is in use already\r\n");
    let help = client.replies("HELP\r\n", "214").await;
    assert!(help.contains(" MAIL ") && !help.contains("STARTTLS"), "{help}");
    client.replies(&format!("{MAIL}\r\n{RCPT}\r\nDATA\r\n"), "354").await;
    client.replies(&format!("{MESSAGE}.\r\n"), "250 2.0.0").await;
    let new = client.maildir.path().join("new");
    let file = std::fs::read_dir(new).expect("a folder").next().expect("a message").expect("readable").path();
    let message = std::fs::read_to_string(file).expect("UTF-8");
    assert!(message.contains("\t(using TLSv1.3 TLS_") && message.contains(" with ESMTPS id "), "{message}");
}

#[tokio::test]
async fn what_came_in_the_clear_behind_it_is_discarded() {
    let pki = new_pki();
    let mut client = connected(setting(pki_files(&pki)), &[HELLO]).await;
    client.send(format!("STARTTLS\r\nEHLO injected.example\r\n{MAIL}\r\n{RCPT}\r\n").as_bytes()).await;
    assert!(client.reply().await.starts_with("220 2.0.0 "));
    let mut client = Secure::start(client, &connector(None).expect("supported")).await;
    // No reply to what was injected, and no trace of it in the session.
    assert_eq!(client.replies("RCPT TO:<jones@demo.example>\r\n", "503").await, "503 5.5.1 MAIL must come first\r\n");
}

#[tokio::test]
async fn a11_the_acknowledgement_and_the_transaction_do_not_survive_it() {
    let pki = new_pki();
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let decider = scripted(move |connection, _, _| {
        seen.lock().expect("sound").push((
            connection.stage,
            connection.tls.clone(),
            connection.keyword_shown,
            connection.acknowledged,
        ));
        decision(Verdict::Continue)
    });
    let client =
        connected(Setting { decider, ..setting(pki_files(&pki)) }, &[HELLO, "IPV6-IPV4-FALLBACK", MAIL, RCPT, "STARTTLS"]).await;
    let mut client = Secure::start(client, &connector(None).expect("supported")).await;
    let reply = client.replies("IPV6-IPV4-FALLBACK\r\n", "503").await;
    assert_eq!(reply, "503 5.5.1 EHLO must come first\r\n");
    client.replies(&format!("{HELLO}\r\n{MAIL}\r\n"), "250 2.1.0").await;
    let told = told.lock().expect("sound").clone();
    assert_eq!(
        told[2..],
        [
            (Stage::Mail, ToldTls::None, true, true),
            (Stage::Ehlo, ToldTls::Encrypted, false, false),
            (Stage::Mail, ToldTls::Encrypted, true, false)
        ]
    );
}

#[tokio::test]
async fn a28_only_a_verified_client_is_told_as_one() {
    let pki = new_pki();
    for (identity, expected) in [
        (Some(pki.client("mail.client.example", true).expect("signed")), ToldTls::Verified(vec!["mail.client.example".into()])),
        // The mail of these is taken as well: their certificates are only worth nothing.
        (Some(pki.client("mail.client.example", false).expect("signed")), ToldTls::Encrypted),
        (None, ToldTls::Encrypted),
    ] {
        let told = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&told);
        let decider = scripted(move |connection, _, _| {
            *seen.lock().expect("sound") = Some(connection.tls.clone());
            decision(Verdict::Continue)
        });
        let client = connected(Setting { decider, ..setting(client_ca_files(&pki)) }, &[HELLO, "STARTTLS"]).await;
        let mut client = Secure::start(client, &connector(identity).expect("they fit")).await;
        client.replies(&format!("{HELLO}\r\n"), "250 ").await;
        assert_eq!(told.lock().expect("sound").clone(), Some(expected));
    }
}

#[tokio::test]
async fn no_tls_is_502_and_a_failed_handshake_closes() {
    let mut client = connected(Setting::default(), &[]).await;
    assert!(!client.command(HELLO).await.contains("STARTTLS"));
    assert_eq!(client.command("STARTTLS").await, "502 5.5.1 command not implemented\r\n");
    let pki = new_pki();
    let mut client = connected(setting(pki_files(&pki)), &[HELLO, "STARTTLS"]).await;
    client.send(b"EHLO client.example\r\n").await;
    let mut left = Vec::new();
    let read = client.stream.read_to_end(&mut left);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("closed in time").expect("in good order");
    assert!(!String::from_utf8_lossy(&left).contains("250"), "nothing is said in the clear any more");
    let limits = Limits { tls_handshake: IDLE, ..Setting::default().limits };
    let mut client = connected(Setting { limits, ..setting(pki_files(&pki)) }, &[HELLO, "STARTTLS"]).await;
    assert!(client.is_closed().await, "a handshake has its time");
}

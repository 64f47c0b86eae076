//! SMTPUTF8, the parameters for delivery reports, and clients that speak too early.

use super::*;

#[tokio::test]
async fn addresses_beyond_ascii_need_smtputf8() {
    let mut client = connected(Setting::default(), &[HELLO]).await;
    let codes = client
        .codes(&[
            "MAIL FROM:<jörg@bücher.example>",
            MAIL,
            "RCPT TO:<jörg@demo.example>",
            "RSET",
            "MAIL FROM:<jörg@bücher.example> SMTPUTF8",
            "RCPT TO:<jörg@demo.example>",
            "RCPT TO:<jörg@dämo.example>",
            "VRFY jörg",
        ])
        .await;
    assert_eq!(codes, ["553 5.6.7", "250 2.1.0", "553 5.6.7", "250 2.0.0", "250 2.1.0", "250 2.1.5", "550 5.7.1", "252 2.5.0"]);
    assert!(client.message("Subject: ü\r\n\r\n").await.starts_with("250 2.0.0"));
    let [message] = &client.delivered()[..] else { panic!("one message") };
    assert!(message.starts_with("Return-Path: <jörg@bücher.example>\r\nDelivered-To: jörg@demo.example\r\n"), "{message}");
    assert!(message.contains(" with UTF8SMTP id ") && message.contains("for <jörg@demo.example>;"), "{message}");
}

#[tokio::test]
async fn the_policy_sees_domains_in_ascii() {
    let seen = Arc::new(Mutex::new(None));
    let saved = Arc::clone(&seen);
    let decider = scripted(move |connection, envelope, _| {
        if connection.stage == Stage::Data {
            *saved.lock().expect("sound") = envelope.cloned();
        }
        decision(Verdict::Continue)
    });
    let commands = [HELLO, "MAIL FROM:<jörg@Bücher.example> SMTPUTF8", RCPT];
    let mut client = connected(Setting { decider, ..Setting::default() }, &commands).await;
    client.message(MESSAGE).await;
    let envelope = seen.lock().expect("sound").clone().expect("it was asked");
    assert_eq!(envelope.mail_from, "jörg@xn--bcher-kva.example");
    assert_eq!(envelope.recipients, ["jones@demo.example"]);
}

#[tokio::test]
async fn parameters_need_an_announcement() {
    let mut client = connected(Setting::default(), &["HELO client.example"]).await;
    let codes = client.codes(&["MAIL FROM:<a@b.example> SIZE=1", "MAIL FROM:<a@b.example> BODY=7BIT"]).await;
    assert_eq!(codes, ["555 5.5.4", "555 5.5.4"]);
    // Reports of delivery cannot be sent from a Maildir.
    client.command(HELLO).await;
    let codes = client
        .codes(&[
            "MAIL FROM:<a@b.example> RET=HDRS",
            "MAIL FROM:<a@b.example> BODY=8BITMIME",
            &format!("{RCPT} NOTIFY=NEVER"),
            RCPT,
        ])
        .await;
    assert_eq!(codes, ["555 5.5.4", "250 2.1.0", "555 5.5.4", "250 2.1.5"]);
}

#[tokio::test]
async fn who_speaks_before_the_greeting_is_refused() {
    let limits = |delay| Limits { greeting_delay: delay, ..Setting::default().limits };
    let mut client = connect(Setting { limits: limits(IDLE), ..Setting::default() });
    client.send(b"EHLO client.example\r\n").await;
    assert!(client.reply().await.starts_with("554 5.5.0"));
    assert!(client.is_closed().await);
    // Who waits is greeted, late; without the delay nobody looks.
    let start = Instant::now();
    connected(Setting { limits: limits(IDLE), ..Setting::default() }, &[HELLO]).await;
    assert!(start.elapsed() >= IDLE);
    let mut client = connect(Setting::default());
    client.send(b"EHLO client.example\r\n").await;
    assert!(client.reply().await.starts_with("220 "));
    assert!(client.reply().await.starts_with("250-"));
}

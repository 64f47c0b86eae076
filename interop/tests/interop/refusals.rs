//! What Postfix refuses, the client of smtpd hears in Postfix's words; what Postfix does not offer, smtpd does not offer.

use std::collections::BTreeSet;

use smtp_fallback_demo::client::{Client, Reply};
use smtp_fallback_interop::{Postfix, Setting, Setup, Smtpd};

use crate::{RECIPIENT, TOLD, all, message, session};

/// Refuses some senders, recipients and messages, in words of one line and of several.
fn choosy(tell: &str) -> Setup {
    Setup::told_by(tell)
        .file("recipients", "refused@demo.example 550 5.7.1 refused by test\nlater@demo.example 450 4.7.1 later\n")
        .file("senders", "spam@none.example REJECT no spam, please\nslow@none.example 452 4.3.1 no room: \u{20}two  spaces\n")
        .file("headers", "/^Subject: .*forbidden/ REJECT such a subject\n/^Subject: .*spool/ REJECT 4.7.1 not now\n")
        .file("mailboxes", "jones@demo.example box/\nrefused@demo.example box/\nlater@demo.example box/\n")
        .with("virtual_mailbox_maps", "texthash:$config_directory/mailboxes")
        .with("smtpd_recipient_restrictions", "check_recipient_access texthash:$config_directory/recipients, permit")
        .with("smtpd_sender_restrictions", "check_sender_access texthash:$config_directory/senders")
        .with("smtpd_reject_footer", "For help, call 555-0101 and tell us your address")
        .with("smtpd_delay_reject", "no")
        .with("header_checks", "regexp:$config_directory/headers")
        .with("smtpd_discard_ehlo_keywords", "size")
        .with("message_size_limit", "100000")
}

/// What is said to the server, and the code that it must answer.
async fn replies(client: &mut Client) -> Vec<Reply> {
    let subject = |text: &str| [format!("Subject: {text}\r\n").as_bytes(), &message(1)].concat();
    let mut replies = Vec::new();
    for (command, code) in [
        ("MAIL FROM:<spam@none.example>", 554),
        ("MAIL FROM:<slow@none.example>", 452),
        ("MAIL FROM:<smith@none.example>", 250),
        ("RCPT TO:<unknown@demo.example>", 550),
        ("RCPT TO:<refused@demo.example>", 550),
        ("RCPT TO:<later@demo.example>", 450),
        ("RCPT TO:<jones@elsewhere.example>", 454),
    ] {
        let reply = client.command(command).await.unwrap();
        assert_eq!(reply.code, code, "{command}: {reply}");
        replies.push(reply);
    }
    all(client, 250, &["RSET"]).await;
    for (octets, code) in [
        (subject("forbidden"), 550),
        (subject("spool"), 451),
        ([message(2), "xxxxxxxx\r\n".repeat(20_000).into_bytes()].concat(), 552),
    ] {
        let reply = client.transaction("smith@none.example", RECIPIENT, &octets).await.unwrap();
        assert_eq!(reply.code, code, "{reply}");
        replies.push(reply);
    }
    replies
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_passed_on_word_for_word() {
    for tell in TOLD {
        let postfix = Postfix::start(choosy(tell).with("mynetworks", "192.0.2.0/24"));
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell).for_any_domain().behind_a_proxy()).await;
        // The same Postfix, asked directly; where it wants to hear of the client first, by a client that says so.
        let mut direct = Client::connect(postfix.address()).await.unwrap();
        if tell == "proxy-v1" {
            direct.send(b"PROXY TCP6 ::1 ::1 40000 25\r\n").await.unwrap();
        }
        assert_eq!(direct.reply().await.unwrap().code, 220);
        assert_eq!(direct.command("EHLO client.example").await.unwrap().code, 250);
        let expected = replies(&mut direct).await;
        let mut client = smtpd.client_behind_proxy("2001:db8::5").await;
        for (reply, expected) in replies(&mut client).await.iter().zip(&expected) {
            assert_eq!(reply, expected, "{tell}");
        }
        assert!(expected.iter().any(|reply| reply.lines.len() > 1), "some have several lines: {expected:?}");
        // And the session goes on.
        assert_eq!(client.transaction("smith@none.example", RECIPIENT, &message(3)).await.unwrap().code, 250);
        assert_eq!(postfix.delivered().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_only_postfix_knows() {
    // Its limit is for the queue file, which is a little longer than the message.
    let postfix = Postfix::start(Setup::for_xclient().with("message_size_limit", "100000"));
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient")).await;
    let mut client = smtpd.connect(smtpd.ipv4).await;
    let hello = client.command("EHLO client.example").await.unwrap();
    assert!(hello.lines.contains(&"SIZE 100000".to_owned()), "{hello}");
    assert_eq!(client.command("MAIL FROM:<a@none.example> SIZE=100001").await.unwrap().code, 552);
    let of = |size: usize| {
        let lines = format!("{}\r\n", "x".repeat(98)).into_bytes().repeat(size / 100);
        [&message(1)[..], &lines[..size - message(1).len() - 2], b"\r\n"].concat()
    };
    for (size, expected) in [
        (90_000, "250 2.0.0 Ok: queued as "),
        (99_900, "552 5.3.4 Error: message file too big"),
        (100_001, "552 5.3.4 the message is longer than 100000 octets"),
        (90_000, "250 2.0.0 Ok: queued as "),
    ] {
        let reply = client.transaction("a@none.example", RECIPIENT, &of(size)).await.unwrap();
        assert!(reply.to_string().starts_with(expected), "{size}: {reply}");
    }
    assert_eq!(postfix.delivered().len(), 2);
}

/// The keywords of the reply to EHLO.
async fn keywords(client: &mut Client) -> BTreeSet<String> {
    let reply = client.command("EHLO client.example").await.unwrap();
    assert_eq!(reply.code, 250, "{reply}");
    reply.lines.iter().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ehlo_shows_what_both_can_do() {
    let all = ["PIPELINING", "SIZE", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "CHUNKING", "SMTPUTF8", "IPV6-IPV4-FALLBACK"];
    for (discarded, missing) in [
        ("", &[][..]),
        ("dsn, smtputf8", &["DSN", "SMTPUTF8"]),
        ("8bitmime", &["8BITMIME"]),
        ("enhancedstatuscodes", &["ENHANCEDSTATUSCODES"]),
        // Between smtpd and its client alone.
        ("pipelining, chunking, size, vrfy, etrn", &[]),
    ] {
        let postfix = Postfix::start(Setup::for_xclient().with("smtpd_discard_ehlo_keywords", discarded));
        let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient")).await;
        let mut client = smtpd.connect(smtpd.ipv6).await;
        let expected: BTreeSet<String> = all.iter().filter(|word| !missing.contains(word)).map(|&word| word.to_owned()).collect();
        assert_eq!(keywords(&mut client).await, expected, "{discarded}");
        // What is not offered is not taken.
        for (keyword, command) in [
            ("DSN", "MAIL FROM:<a@none.example> RET=FULL"),
            ("SMTPUTF8", "MAIL FROM:<a@none.example> SMTPUTF8"),
            ("8BITMIME", "MAIL FROM:<a@none.example> BODY=8BITMIME"),
        ] {
            let code = if missing.contains(&keyword) { 555 } else { 250 };
            assert_eq!(client.command(command).await.unwrap().code, code, "{discarded}: {command}");
            client.command("RSET").await.unwrap();
        }
        let reply = smtpd.send(smtpd.ipv4, "a@none.example", &message(1)).await;
        assert_eq!(reply.code, 250, "{reply}");
        let mut direct = session(postfix.address()).await;
        assert!(!keywords(&mut direct).await.contains("IPV6-IPV4-FALLBACK"), "Postfix knows it: this test shows nothing");
    }
}

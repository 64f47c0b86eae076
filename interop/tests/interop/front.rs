//! Mail that passes through smtpd to Postfix arrives once and unchanged.

use std::sync::Arc;

use smtp_fallback_demo::zone::PLAIN_DOMAIN;
use smtp_fallback_interop::{Postfix, Setting, Setup, Smtpd, kept_as, until};

use crate::{RECIPIENT, TOLD, all, by_bdat, fields_before, message};

/// The names of the fields, in their order.
fn names(fields: &str) -> Vec<&str> {
    fields.lines().filter(|line| !line.starts_with(['\t', ' '])).map(|line| line.split(':').next().unwrap()).collect()
}

/// Bodies that are easily spoilt on the way.
fn delicate() -> Vec<Vec<u8>> {
    let of = |number: u32, body: &[u8]| [&message(number)[..], body].concat();
    let long = |length: usize| [&vec![b'x'; length][..], b"\r\n"].concat();
    let megabyte: Vec<u8> =
        (0..10_000).flat_map(|n| format!("{n:05} {}\r\n.\r\n..{n}\r\n", "x".repeat(90)).into_bytes()).collect();
    vec![
        of(1, b".\r\n..\r\n.a\r\n...\r\n\r\n.\r\n"),
        of(2, b"\xc3\xa9 \xff\xfe \x80\r\n"),
        of(3, b"\r\n\r\n"),
        of(4, &long(998)),
        of(5, b" \r\n\t\r\nFrom here\r\nFrom: there\r\n"),
        of(6, &megabyte),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_unchanged_by_data_and_by_bdat() {
    for tell in TOLD {
        let postfix = Postfix::start(Setup::told_by(tell));
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell)).await;
        let mut sent = Vec::new();
        for address in [smtpd.ipv6, smtpd.ipv4] {
            // All in one session.
            let mut client = smtpd.client(address).await;
            for (body, chunk) in delicate().into_iter().flat_map(|body| [(body.clone(), 0), (body.clone(), 777), (body, 1 << 20)])
            {
                all(&mut client, 250, &["MAIL FROM:<smith@none.example> BODY=8BITMIME", "RCPT TO:<jones@demo.example>"]).await;
                let reply = match chunk {
                    0 => {
                        all(&mut client, 354, &["DATA"]).await;
                        client.message(&body).await.unwrap()
                    }
                    _ => by_bdat(&mut client, &body, chunk).await,
                };
                assert_eq!(reply.code, 250, "{reply}");
                // Postfix's own words, with the name of its queue file.
                assert!(reply.lines[0].starts_with("2.0.0 Ok: queued as "), "{reply}");
                sent.push((address, body));
            }
            all(&mut client, 221, &["QUIT"]).await;
        }
        let mut kept = postfix.delivered();
        assert_eq!(kept.len(), sent.len(), "each once\n{}", postfix.log());
        for (address, body) in sent {
            let literal = if address.is_ipv6() { "[IPv6:::1]" } else { "[127.0.0.1]" };
            let unix = kept_as(&body);
            let received = format!("Received: from client.example (unknown {literal})");
            let is_it = |kept: &Vec<u8>| kept.ends_with(&unix) && String::from_utf8_lossy(kept).contains(&received);
            let at =
                kept.iter().position(is_it).unwrap_or_else(|| panic!("missing: {received} {}", String::from_utf8_lossy(&body)));
            let fields = fields_before(&kept.remove(at), &body);
            assert_eq!(names(&fields), ["Return-Path", "X-Original-To", "Delivered-To", "Received"], "{fields}");
            assert!(fields.contains("by upstream.example (Postfix) with ESMTP id "), "{fields}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_gets_it() {
    let postfix = Postfix::start(Setup::for_xclient());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient")).await;
    let mut client = smtpd.client(smtpd.ipv6).await;
    let recipients = ["jones", "smith", "postmaster"].map(|name| format!("RCPT TO:<{name}@demo.example>"));
    all(&mut client, 250, &["MAIL FROM:<>"]).await;
    all(&mut client, 250, &recipients.each_ref().map(String::as_str)).await;
    // Already named: once is enough.
    all(&mut client, 250, &[&recipients[0]]).await;
    all(&mut client, 354, &["DATA"]).await;
    assert_eq!(client.message(&message(1)).await.unwrap().code, 250);
    let mut to: Vec<String> = postfix.delivered().iter().map(|kept| fields_before(kept, &message(1))).collect();
    to.sort();
    let to: Vec<_> = to.iter().map(|fields| fields.lines().find(|line| line.starts_with("Delivered-To")).unwrap()).collect();
    let mut expected = ["jones", "postmaster", "smith"].map(|name| format!("Delivered-To: {name}@demo.example"));
    expected.sort();
    assert_eq!(to, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_in_a_group() {
    let postfix = Postfix::start(
        Setup::for_xclient()
            .file("recipients", "refused@demo.example 550 5.7.1 refused by test\n")
            .with("smtpd_recipient_restrictions", "check_recipient_access texthash:$config_directory/recipients, permit"),
    );
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient")).await;
    let mut client = smtpd.client(smtpd.ipv6).await;
    let group = "MAIL FROM:<smith@none.example>\r\nRCPT TO:<refused@demo.example>\r\nRCPT TO:<jones@demo.example>\r\nDATA\r\n";
    let mut heard = Vec::new();
    client.send(group.as_bytes()).await.unwrap();
    for _ in 0..4 {
        heard.push(client.reply().await.unwrap().code);
    }
    // The next group right behind the dot.
    client.send(&[&message(1)[..], b".\r\n", group.as_bytes()].concat()).await.unwrap();
    for _ in 0..5 {
        heard.push(client.reply().await.unwrap().code);
    }
    client.send(&[&message(2)[..], b".\r\nQUIT\r\n"].concat()).await.unwrap();
    for _ in 0..2 {
        heard.push(client.reply().await.unwrap().code);
    }
    assert_eq!(heard, [250, 550, 250, 354, 250, 250, 550, 250, 354, 250, 221]);
    let kept = postfix.delivered();
    assert_eq!(kept.len(), 2);
    for number in 1..3 {
        assert!(kept.iter().any(|kept| kept.ends_with(&kept_as(&message(number)))), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once() {
    let postfix = Postfix::start(Setup::for_xclient());
    let smtpd = Arc::new(Smtpd::start(Setting::front(postfix.address(), "xclient")).await);
    let sessions: Vec<_> = (0..20)
        .map(|session| {
            let smtpd = Arc::clone(&smtpd);
            tokio::spawn(async move {
                let mut client = smtpd.client(if session % 2 == 0 { smtpd.ipv6 } else { smtpd.ipv4 }).await;
                for number in 0..5 {
                    let text = message(session * 100 + number);
                    assert_eq!(client.transaction("smith@none.example", RECIPIENT, &text).await.unwrap().code, 250);
                }
            })
        })
        .collect();
    for session in sessions {
        session.await.unwrap();
    }
    let kept = postfix.delivered();
    assert_eq!(kept.len(), 100);
    for (session, number) in (0..20).flat_map(|session| (0..5).map(move |number| (session, number))) {
        let literal = if session % 2 == 0 { "(unknown [IPv6:::1])" } else { "(unknown [127.0.0.1])" };
        let text = kept_as(&message(session * 100 + number));
        let is_it = |kept: &&Vec<u8>| kept.ends_with(&text) && String::from_utf8_lossy(kept).contains(literal);
        assert_eq!(kept.iter().filter(is_it).count(), 1, "{session} {number}: once, and of its own client");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_nothing() {
    let postfix = Postfix::start(Setup::for_xclient());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient")).await;
    for last in [
        &b"DATA\r\n"[..],
        b"DATA\r\nSubject: half\r\n\r\nText\r\n.\r",
        b"BDAT 20\r\nSubject: half\r\n\r\nabc",
        b"BDAT 20 LAST\r\nSubj",
    ] {
        let mut client = smtpd.client(smtpd.ipv6).await;
        all(&mut client, 250, &["MAIL FROM:<smith@none.example>", "RCPT TO:<jones@demo.example>"]).await;
        client.send(last).await.unwrap();
    }
    // Postfix hears that they are gone.
    until("all sessions with Postfix have ended", || {
        let log = postfix.log();
        if log.matches("disconnect from unknown[::1]").count() == 4 { Ok(()) } else { Err(log) }
    });
    assert!(postfix.delivered().is_empty());
    assert!(!postfix.log().contains("message-id="), "{}", postfix.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_extensions() {
    for tell in TOLD {
        let postfix = Postfix::start(Setup::told_by(tell));
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell)).await;
        let mut client = smtpd.connect(smtpd.ipv6).await;
        let hello = client.command("HELO client.example").await.unwrap();
        assert_eq!((hello.code, hello.lines.len()), (250, 1), "{hello}");
        assert_eq!(client.command("MAIL FROM:<smith@none.example> SIZE=1").await.unwrap().code, 555);
        let reply = client.transaction("smith@none.example", RECIPIENT, &message(1)).await.unwrap();
        assert_eq!(reply.code, 250, "{reply}");
        let [kept] = &postfix.delivered()[..] else { panic!("one message\n{}", postfix.log()) };
        let fields = fields_before(kept, &message(1));
        assert!(fields.contains("Received: from client.example (unknown [IPv6:::1])\n"), "{fields}");
        assert!(fields.contains("by upstream.example (Postfix) with SMTP id "), "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_beyond_ascii() {
    let postfix = Postfix::start(Setup::for_proxy());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "proxy-v1")).await;
    let mut client = smtpd.client(smtpd.ipv6).await;
    let body = [&b"X-Note: \xc3\xa9t\xc3\xa9\r\n"[..], &message(1)].concat();
    all(&mut client, 250, &["MAIL FROM:<j\u{f6}rg@none.example> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<j\u{f6}nes@demo.example>"])
        .await;
    all(&mut client, 354, &["DATA"]).await;
    assert_eq!(client.message(&body).await.unwrap().code, 250);
    let [kept] = &postfix.delivered()[..] else { panic!("one message\n{}", postfix.log()) };
    let fields = fields_before(kept, &body);
    assert!(fields.contains("Return-Path: <j\u{f6}rg@none.example>\n"), "{fields}");
    assert!(fields.contains("Delivered-To: j\u{f6}nes@demo.example\n"), "{fields}");
    assert!(fields.contains("with UTF8SMTP id"), "{fields}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_for_reports_reach_postfix() {
    // Held, so that the queue file can be looked into.
    let postfix = Postfix::start(Setup::for_xclient().with("smtpd_data_restrictions", "check_client_access static:HOLD"));
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient")).await;
    let mut client = smtpd.client(smtpd.ipv6).await;
    all(
        &mut client,
        250,
        &[
            "MAIL FROM:<smith@none.example> RET=HDRS ENVID=QQ314159 SIZE=1000 BODY=8BITMIME",
            "RCPT TO:<jones@demo.example> NOTIFY=NEVER",
            "RCPT TO:<smith@demo.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;smith+2B@old.example",
        ],
    )
    .await;
    all(&mut client, 354, &["DATA"]).await;
    assert_eq!(client.message(&message(1)).await.unwrap().code, 250);
    let [envelope] = &postfix.envelopes()[..] else { panic!("one message\n{}", postfix.log()) };
    // NEVER is 1, SUCCESS 2, DELAY 8; HDRS is 2.
    let parts = [
        "envelope_id=QQ314159\n",
        "ret_flags=2\n",
        "dsn_orig_rcpt=rfc822;smith+@old.example\n",
        "notify_flags=1\n",
        "notify_flags=10\n",
    ];
    for part in parts {
        assert!(envelope.contains(part), "{part}:\n{envelope}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_telling_our_own_field_names_the_client() {
    let postfix = Postfix::start(Setup::new());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "nothing")).await;
    for address in [smtpd.ipv6, smtpd.ipv4] {
        let reply = smtpd.send(address, &format!("smith@{PLAIN_DOMAIN}"), &message(1)).await;
        assert_eq!(reply.code, 250, "{reply}");
    }
    let mut kept: Vec<_> = postfix.delivered().iter().map(|kept| fields_before(kept, &message(1))).collect();
    kept.sort_by_key(|fields| fields.contains("[IPv6:::1]"));
    assert_eq!(kept.len(), 2);
    for (fields, literal) in kept.iter().zip(["[127.0.0.1]", "[IPv6:::1]"]) {
        assert_eq!(names(fields), ["Return-Path", "X-Original-To", "Delivered-To", "Received", "Received"], "{fields}");
        assert!(fields.contains("Received: from mx.demo.example (unknown [127.0.0.1])\n"), "{fields}");
        assert!(fields.contains(&format!("Received: from client.example ({literal})\n")), "{fields}");
        assert!(fields.contains(&format!("for <{RECIPIENT}>")), "{fields}");
    }
}

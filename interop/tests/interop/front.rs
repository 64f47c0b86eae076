//! Mail that passes through smtpd to Postfix arrives once and unchanged.

use smtp_fallback_demo::zone::PLAIN_DOMAIN;
use smtp_fallback_interop::{Postfix, Setting, Setup, Smtpd};

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
            let unix = smtp_fallback_interop::kept_as(&body);
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

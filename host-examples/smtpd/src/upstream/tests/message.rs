//! DATA, the text, the dot, and the replies.

use super::*;

const DATA: &str = "C DATA\nS 354 go on\n";

/// For each transport, the result of sending `parts` on a connection that does not survive it, and what the script's `W` has read.
async fn sent(script: &str, parts: &[&[u8]]) -> Vec<(Result<Delivered, Error>, String)> {
    let mut results = Vec::new();
    for transport in TRANSPORTS {
        let (mut upstream, peer) = plain(transport, script).await;
        let result = timeout(PATIENCE, upstream.message(parts, 1)).await.expect("in time");
        assert_dead(&mut upstream).await;
        upstream.abort();
        results.push((result, peer.rest().await));
    }
    results
}

#[tokio::test]
async fn a_message_is_delivered() {
    for (parts, text) in [
        (&[&b"Subject: a\r\n\r\n"[..], b"b\r\n"][..], "Subject: a\\r\\n\\r\\nb\\r\\n."),
        (&[b"a\r\n", b".b\r\n", b".\r", b"\n", b"c"], "a\\r\\n..b\\r\\n..\\r\\nc\\r\\n."),
        (&[], "."),
        (&[b""], "."),
    ] {
        let script = format!("{DATA}T {text}\nS 250 2.0.0 queued as 1\nC RSET\nS 250 ok");
        for transport in TRANSPORTS {
            let (mut upstream, peer) = plain(transport, &script).await;
            let delivered = upstream.message(parts, 1).await.expect("delivered");
            assert_eq!(delivered.replies, [reply(250, "2.0.0 queued as 1")]);
            assert_eq!(upstream.command("RSET").await.expect("in step").code, 250);
            peer.rest().await;
        }
    }
}

#[tokio::test]
async fn a_long_message_arrives_whole() {
    let line = ".23456789012345678901234567890123456789\r\n";
    let text = line.repeat(40_000);
    for transport in [Transport::Tcp, Transport::Unix] {
        let (ours, mut theirs) = pair(transport).await;
        let server = tokio::spawn(async move {
            theirs.write_all(b"220 mx\r\n").await.expect("open");
            let mut read = Vec::new();
            until(&mut theirs, &mut read, b"\r\n").await;
            theirs.write_all(b"250 mx\r\n").await.expect("open");
            until(&mut theirs, &mut read, b"\r\n").await;
            theirs.write_all(b"354 go\r\n").await.expect("open");
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n.\r\n") {
                assert_ne!(theirs.read_buf(&mut text).await.expect("open"), 0);
            }
            theirs.write_all(b"250 ok\r\n").await.expect("open");
            text
        });
        let mut upstream = Upstream::over(ours, &settings(Tell::Nothing), &client()).await.expect("connected");
        upstream.message(&[b"a: b\r\n", text.as_bytes()], 1).await.expect("delivered");
        let read = server.await.expect("no panic");
        assert!(read == format!("a: b\r\n{}.\r\n", format!(".{line}").repeat(40_000)).as_bytes());
    }
}

#[tokio::test]
async fn a_refusal_at_data_or_at_the_dot_leaves_the_session_open() {
    for (script, expected) in [
        ("C DATA\nS 554 5.5.1 no valid recipients".to_owned(), reply(554, "5.5.1 no valid recipients")),
        (format!("{DATA}T a\\r\\n.\nS 552 5.3.4 too big"), reply(552, "5.3.4 too big")),
        (format!("{DATA}T a\\r\\n.\nO 452 4.3.1 full"), reply(452, "4.3.1 full")),
    ] {
        for transport in TRANSPORTS {
            let (mut upstream, peer) = plain(transport, &format!("{script}\nC RSET\nS 250 ok")).await;
            let delivered = upstream.message(&[b"a\r\n"], 1).await.expect("a reply");
            assert_eq!(delivered.replies, std::slice::from_ref(&expected));
            assert_eq!(upstream.command("RSET").await.expect("open").code, 250);
            peer.rest().await;
        }
    }
}

#[tokio::test]
async fn a_421_ends_it_anywhere() {
    for script in
        ["C DATA\nS 421 4.3.2 down".to_owned(), format!("{DATA}T a\\r\\n.\nS 421 4.3.2 down"), format!("{DATA}S 421 4.3.2 down")]
    {
        for (result, _) in sent(&script, &[b"a\r\n"]).await {
            assert_eq!(result.expect("a reply").replies, [reply(421, "4.3.2 down")], "{script}");
        }
    }
    for script in ["C DATA\nS 354 go\\r\\n421 4.3.2 down\nW", "C DATA\nS 354 go\\r\\n4\\c\nO 21 4.3.2 down\nW"] {
        for (result, rest) in sent(script, &[b"a\r\n"]).await {
            assert_eq!(result.expect("a reply").replies, [reply(421, "4.3.2 down")]);
            assert_eq!(rest, "", "no dot was sent");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_goes_away_is_noticed() {
    for (script, at) in [
        ("C DATA".to_owned(), at::DATA),
        ("C DATA\nS 35\\c".to_owned(), at::DATA),
        (format!("{DATA}C a"), at::TEXT),
        (format!("{DATA}C a\nS 55\\c"), at::TEXT),
        (format!("{DATA}T a\\r\\nb\\r\\n."), at::DOT),
        (format!("{DATA}T a\\r\\nb\\r\\n.\nS 250-ok"), at::DOT),
    ] {
        // Long enough not to fit in any buffer where it must not.
        let long = "b\r\n".repeat(500_000);
        let text = if at == at::DOT { "b\r\n" } else { &long };
        for (result, _) in sent(&script, &[b"a\r\n", text.as_bytes()]).await {
            let error = result.expect_err("gone");
            assert!(matches!(error, Error::Closed(place) if place == at), "{script}: {error}");
            assert_eq!(error.is_outcome_unknown(), at == at::DOT);
        }
    }
}

#[tokio::test]
async fn an_early_refusal_is_passed_on_and_the_dot_is_never_sent() {
    // Too long for any buffer.
    let text = "b\r\n".repeat(500_000);
    for early in ["S 552 5.3.4 too big", "O 421 4.3.0 down", "S 5\\c\nO 52-5.3.4 a\nS 552 b\\c\nS \\r\\n\\c"] {
        for end in ["", "W"] {
            for (result, rest) in sent(&format!("{DATA}C a\n{early}\n{end}"), &[b"a\r\n", text.as_bytes()]).await {
                let replies = result.unwrap_or_else(|error| panic!("{early:?} {end:?}: {error}")).replies;
                assert!(matches!(replies[0].code, 552 | 421), "{replies:?}");
                assert!(!rest.contains('.'), "the dot was sent");
            }
        }
    }
    for early in ["S 250 ok", "S 354 more", "S 250-ok\nS 250 ok", "S nonsense", "S 55\\n2"] {
        for (result, rest) in sent(&format!("{DATA}C a\n{early}\nW"), &[b"a\r\n", text.as_bytes()]).await {
            assert!(matches!(result, Err(Error::Broken { at: at::TEXT, .. })), "{early}: {result:?}");
            assert!(!rest.contains('.'), "the dot was sent");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_there_breaks_it() {
    for (script, place) in [
        ("C DATA\nS 250 ok\nW".to_owned(), at::DATA),
        ("C DATA\nS 334 more\nW".to_owned(), at::DATA),
        ("C DATA\nS 354 go\\r\\n250 ok\nW".to_owned(), at::DATA),
        (format!("{DATA}T a\\r\\n.\nS 354 more\nW"), at::DOT),
        (format!("{DATA}T a\\r\\n.\nS 250 ok\\r\\n250 ok\nW"), at::DOT),
        (format!("{DATA}T a\\r\\n.\nS 250 ok\\r\\n550 no\nW"), at::DOT),
    ] {
        // In memory there is room for a part of the first reply only: the second is found by the next command.
        for transport in [Transport::Tcp, Transport::Unix] {
            let (mut upstream, peer) = plain(transport, &script).await;
            let error = upstream.message(&[b"a\r\n"], 1).await.expect_err("out of step");
            assert!(matches!(error, Error::Broken { at, .. } if at == place), "{script}: {error}");
            assert_dead(&mut upstream).await;
            upstream.abort();
            assert!(!peer.rest().await.contains('.'));
        }
    }
}

#[tokio::test]
async fn a_421_behind_the_last_reply_is_kept_for_the_next() {
    for transport in TRANSPORTS {
        let (mut upstream, peer) = plain(transport, &format!("{DATA}T a\\r\\n.\nS 250 taken\\r\\n421 4.3.2 down\nW")).await;
        assert_eq!(upstream.message(&[b"a\r\n"], 1).await.expect("taken").replies, [reply(250, "taken")]);
        assert_eq!(upstream.command("RSET").await.expect("a reply"), reply(421, "4.3.2 down"));
        assert_dead(&mut upstream).await;
        upstream.abort();
        peer.rest().await;
    }
}

#[tokio::test]
async fn what_could_be_two_messages_is_not_sent() {
    for transport in TRANSPORTS {
        let (mut upstream, peer) = plain(transport, "C RSET\nS 250 ok\nW").await;
        for parts in [&[&b"a\n.\r\n"[..]][..], &[b"a\r.\r\n"], &[b"a\r", b".\r\n"], &[b"a\0"]] {
            assert!(matches!(upstream.message(parts, 1).await, Err(Error::Unsendable(_))), "{parts:?}");
        }
        assert!(matches!(upstream.message(&[b"a\r\n"], 0).await, Err(Error::Unsendable(_))));
        assert!(upstream.is_alive());
        upstream.command("RSET").await.expect("nothing was written");
        upstream.abort();
        peer.rest().await;
    }
}

#[tokio::test]
async fn each_wait_has_its_limit() {
    let long =
        Timeouts { greeting: PATIENCE, command: PATIENCE, data: PATIENCE, block: PATIENCE, dot: PATIENCE, ..Timeouts::default() };
    let text = "b\r\n".repeat(500_000);
    for (timeouts, script, at) in [
        (Timeouts { data: SHORT, ..long }, "C DATA\nW".to_owned(), at::DATA),
        // It sends nothing and takes nothing.
        (Timeouts { block: SHORT, ..long }, format!("{DATA}\nH"), at::TEXT),
        (Timeouts { block: SHORT, ..long }, format!("{DATA}C a\nS 5\\c\nH"), at::TEXT),
        (Timeouts { dot: SHORT, ..long }, format!("{DATA}T a\\r\\n.\nS 250-ok\nW"), at::DOT),
    ] {
        for transport in TRANSPORTS {
            let settings = Settings { timeouts, ..settings(Tell::Nothing) };
            let (mut upstream, peer) = with(transport, &settings, &format!("{PLAIN}{script}")).await;
            let text = if at == at::TEXT { text.as_bytes() } else { b"" };
            let error = upstream.message(&[b"a\r\n", text], 1).await.expect_err("too slow");
            assert!(matches!(error, Error::TimedOut(place) if place == at), "{script}: {error}");
            assert_eq!(error.is_outcome_unknown(), at == at::DOT);
            assert_dead(&mut upstream).await;
            upstream.abort();
            peer.rest().await;
        }
    }
}

#[tokio::test]
async fn lmtp_gives_a_reply_for_each_recipient() {
    let lmtp = Settings { protocol: Protocol::Lmtp, ..settings(Tell::Nothing) };
    let greeting = "S 220 mx\nC LHLO front.example\nS 250 mx\n";
    for (script, recipients, expected) in [
        (format!("{DATA}T a\\r\\n.\nS 250 a\\r\\n550 b\\r\\n452 c\nC RSET\nS 250 ok"), 3, Ok(&[250, 550, 452][..])),
        (format!("{DATA}T a\\r\\n.\nO 250 a\nO 250-b\nO 250 c\nC RSET\nS 250 ok"), 2, Ok(&[250, 250])),
        ("C DATA\nS 503 none\nC RSET\nS 250 ok".to_owned(), 2, Ok(&[503, 503])),
        (format!("{DATA}T a\\r\\n.\nS 250 a\\r\\n421 down"), 3, Ok(&[250, 421, 421])),
        (format!("{DATA}T a\\r\\n.\nS 250 a\nS 25\\c"), 2, Err(at::DOT)),
        (format!("{DATA}T a\\r\\n.\nS 250 a\\r\\n250 b\\r\\n250 c\nW"), 2, Err(at::DOT)),
    ] {
        for transport in [Transport::Tcp, Transport::Unix] {
            let (mut upstream, peer) = with(transport, &lmtp, &format!("{greeting}{script}")).await;
            match (upstream.message(&[b"a\r\n"], recipients).await, expected) {
                (Ok(delivered), Ok(expected)) => {
                    let codes: Vec<u16> = delivered.replies.iter().map(|reply| reply.code).collect();
                    assert_eq!(codes, expected, "{script}");
                    let open = upstream.command("RSET").await;
                    assert_eq!(open.is_ok(), !codes.contains(&421), "{script}");
                }
                (Err(error), Err(_)) => assert!(error.is_outcome_unknown(), "{error}"),
                (result, _) => panic!("{script}: {result:?}"),
            }
            upstream.abort();
            peer.rest().await;
        }
    }
}

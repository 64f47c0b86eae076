//! Commands and their replies stay together, whatever comes between.

use super::*;

#[tokio::test]
async fn replies_are_passed_on_word_for_word() {
    let script = "C MAIL FROM:<smith@example.com> SIZE=7
        S 250 2.1.0 Ok
        C RCPT TO:<jones@example.org>
        O 550-5.1.1 <jones@example.org>: unknown
        O 550 5.1.1 see  https://mx.example/
        C rset
        S 250
        C RCPT TO:<grün@b.example>
        S 252 2.0.0 grün";
    for transport in TRANSPORTS {
        let (mut upstream, peer) = plain(transport, script).await;
        assert_eq!(upstream.command("MAIL FROM:<smith@example.com> SIZE=7").await.expect("a reply"), reply(250, "2.1.0 Ok"));
        let unknown = upstream.command("RCPT TO:<jones@example.org>").await.expect("a reply");
        assert_eq!(unknown.lines, ["5.1.1 <jones@example.org>: unknown", "5.1.1 see  https://mx.example/"]);
        assert_eq!(upstream.command("rset").await.expect("a reply"), reply(250, ""));
        assert_eq!(upstream.command("RCPT TO:<grün@b.example>").await.expect("a reply"), reply(252, "2.0.0 grün"));
        peer.rest().await;
    }
}

#[tokio::test]
async fn what_could_be_two_commands_is_not_sent() {
    for transport in TRANSPORTS {
        let (mut upstream, peer) = plain(transport, "C RSET\nS 250 ok\nW").await;
        for line in [
            "RSET\r\nDATA",
            "RSET\r",
            "RSET\n",
            "RSET\0",
            "MAIL FROM:<a\x1b@b>",
            "",
            " RSET",
            "DATA",
            "data",
            "BDAT 1 LAST",
            "STARTTLS",
            "AUTH PLAIN x",
            "XCLIENT ADDR=127.0.0.1",
            "EHLO x",
            "HELO x",
            "LHLO x",
            "QUIT",
            "RSETX",
            "TURN",
        ] {
            assert!(matches!(upstream.command(line).await, Err(Error::Unsendable(_))), "{line:?}");
        }
        assert!(upstream.is_alive());
        upstream.command("RSET").await.expect("nothing was written");
        upstream.abort();
        assert_eq!(peer.rest().await, "");
    }
}

#[tokio::test]
async fn two_replies_to_one_command_break_it() {
    for second in ["250 ok", "550 no", "2", "42", "422 x"] {
        let script = format!("C RSET\nS 250 ok\\r\\n{second}\nW");
        for transport in [Transport::Tcp, Transport::Unix] {
            let (mut upstream, peer) = plain(transport, &script).await;
            let first = upstream.command("RSET").await;
            // What begins like 421 is only judged when it is whole.
            let error = if second == "42" { first.and(upstream.command("RSET").await) } else { first }.expect_err("out of step");
            assert!(matches!(error, Error::Broken { .. }), "{second}: {error}");
            assert_dead(&mut upstream).await;
            upstream.abort();
            assert_eq!(peer.rest().await, "", "no further command");
        }
    }
}

#[tokio::test]
async fn a_second_reply_that_comes_later_is_found_by_the_next_command() {
    let (mut upstream, mut theirs) = by_hand().await;
    theirs.write_all(b"250 ok\r\n").await.expect("open");
    assert!(matches!(upstream.command("MAIL FROM:<>").await, Err(Error::Broken { at: at::IDLE, .. })));
    assert_dead(&mut upstream).await;
    drop(upstream);
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).await.expect("closed");
    assert_eq!(read, b"", "MAIL was not sent");
}

#[tokio::test]
async fn a_reply_that_asks_for_more_breaks_it() {
    for transport in TRANSPORTS {
        let (mut upstream, peer) = plain(transport, "C RSET\nS 354 go on\nW").await;
        assert!(matches!(upstream.command("RSET").await, Err(Error::Broken { .. })));
        assert_dead(&mut upstream).await;
        upstream.abort();
        peer.rest().await;
    }
}

#[tokio::test]
async fn a_421_is_the_last_reply() {
    // To the command, or before it came.
    for script in ["C MAIL FROM:<>\nS 421 4.3.2 down\nW", "S 421 4.3.2 down\nW", "S 421 4.3.2 down"] {
        for transport in TRANSPORTS {
            let (mut upstream, peer) = plain(transport, script).await;
            assert_eq!(upstream.command("MAIL FROM:<>").await.expect("a reply"), reply(421, "4.3.2 down"));
            assert_dead(&mut upstream).await;
            upstream.abort();
            peer.rest().await;
        }
    }
}

#[tokio::test]
async fn an_upstream_that_goes_away_is_noticed() {
    for (script, command, at) in [
        ("C MAIL FROM:<>", "MAIL FROM:<>", "MAIL"),
        ("C RCPT TO:<a@b>\nS 250-ok", "RCPT TO:<a@b>", "RCPT"),
        ("C RSET\nS 250 o\\c", "RSET", "RSET"),
    ] {
        for transport in TRANSPORTS {
            let (mut upstream, peer) = plain(transport, script).await;
            let error = upstream.command(command).await.expect_err("gone");
            assert!(matches!(error, Error::Closed(place) if place == at), "{error}");
            assert!(!error.is_outcome_unknown());
            assert_dead(&mut upstream).await;
            peer.rest().await;
        }
    }
}

#[tokio::test]
async fn the_end_of_a_resting_connection_is_seen() {
    for (script, refused) in
        [("", false), ("S 421 4.4.2 timeout", true), ("O 421-4.4.2 time\nO 421 4.4.2 out\nW", true), ("S 42\\c", false)]
    {
        for transport in TRANSPORTS {
            let (mut upstream, peer) = plain(transport, script).await;
            let error = timeout(PATIENCE, upstream.keep_alive()).await.expect("noticed");
            assert_eq!(matches!(error, Error::Refused(Reply { code: 421, .. })), refused, "{script}: {error}");
            assert!(refused || matches!(error, Error::Closed(at::IDLE)), "{error}");
            assert_dead(&mut upstream).await;
            upstream.abort();
            peer.rest().await;
        }
    }
    let (mut upstream, mut theirs) = by_hand().await;
    theirs.write_all(b"250 ok\r\n").await.expect("open");
    assert!(matches!(timeout(PATIENCE, upstream.keep_alive()).await, Ok(Error::Broken { at: at::IDLE, .. })));
    assert_dead(&mut upstream).await;
}

#[tokio::test]
async fn is_alive_sees_the_end_without_waiting() {
    for unasked in [&b"421 down\r\n"[..], b"4", b"250 ok\r\n", b""] {
        let (mut upstream, mut theirs) = by_hand().await;
        assert!(upstream.is_alive());
        theirs.write_all(unasked).await.expect("open");
        if unasked.is_empty() {
            drop(theirs);
        }
        assert!(!upstream.is_alive());
    }
}

#[tokio::test]
async fn keep_alive_sends_noop_after_silence() {
    let mut settings = settings(Tell::Nothing);
    settings.timeouts.keep_alive = SHORT;
    for transport in TRANSPORTS {
        let script = format!("{PLAIN}C NOOP\nS 250 ok\nC NOOP\nS 502 what?\nC NOOP\nO 250 ok\nS 421 enough\nW");
        let (mut upstream, peer) = with(transport, &settings, &script).await;
        let error = timeout(PATIENCE, upstream.keep_alive()).await.expect("the script ends");
        assert!(matches!(error, Error::Refused(reply) if reply.code == 421));
        upstream.abort();
        peer.rest().await;
    }
    for (script, expected) in
        [("C NOOP", at::NOOP), ("C NOOP\nS 250 ok\\r\\n250 ok\nW", at::NOOP), ("C NOOP\nS 354 ok\nW", at::NOOP)]
    {
        let (mut upstream, peer) = with(Transport::Tcp, &settings, &format!("{PLAIN}{script}")).await;
        let error = timeout(PATIENCE, upstream.keep_alive()).await.expect("noticed");
        assert!(matches!(error, Error::Closed(at) | Error::Broken { at, .. } if at == expected), "{script}: {error}");
        assert_dead(&mut upstream).await;
        upstream.abort();
        peer.rest().await;
    }
    settings.timeouts.command = SHORT;
    let (mut upstream, peer) = with(Transport::Tcp, &settings, &format!("{PLAIN}C NOOP\nW")).await;
    assert!(matches!(upstream.keep_alive().await, Error::TimedOut(at::NOOP)));
    upstream.abort();
    peer.rest().await;
}

/// Dropped after each possible number of wake-ups, with the NOOP partly written or its reply partly read.
#[tokio::test]
async fn keep_alive_dropped_anywhere_leaves_the_replies_in_step() {
    let mut settings = settings(Tell::Nothing);
    settings.timeouts.keep_alive = Duration::from_millis(1);
    for transport in TRANSPORTS {
        for polls in 1..40 {
            // The peer answers each NOOP, however many there are.
            let (ours, theirs) = pair(transport).await;
            let server = tokio::spawn(answering(theirs));
            let mut upstream = Upstream::over(ours, &settings, &client()).await.expect("connected");
            {
                let mut left = polls;
                let mut keep_alive = std::pin::pin!(upstream.keep_alive());
                std::future::poll_fn(|cx| {
                    left -= 1;
                    assert!(keep_alive.as_mut().poll(cx).is_pending());
                    if left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                })
                .await;
            }
            assert!(upstream.is_alive());
            for line in ["MAIL FROM:<>", "RCPT TO:<a@b>", "RSET"] {
                assert_eq!(upstream.command(line).await.expect("a reply"), reply(250, line), "{transport:?}, {polls} polls");
            }
            drop(upstream);
            server.await.expect("no panic");
        }
    }
}

/// An upstream that answers each line with 250 and that line.
async fn answering(mut stream: Box<dyn Stream>) {
    let _ = stream.write_all(b"220 mx\r\n").await;
    let mut line = Vec::new();
    while let Ok(octet) = stream.read_u8().await {
        line.push(octet);
        if line.ends_with(b"\r\n") {
            if stream.write_all(&[b"250 ", &line[..]].concat()).await.is_err() {
                return;
            }
            line.clear();
        }
    }
}

#[tokio::test]
async fn a_command_dropped_unfinished_ends_the_connection() {
    for transport in TRANSPORTS {
        let (mut upstream, peer) = plain(transport, "C MAIL FROM:<>\nW").await;
        assert!(timeout(SHORT, upstream.command("MAIL FROM:<>")).await.is_err(), "no reply");
        assert_dead(&mut upstream).await;
        upstream.abort();
        assert_eq!(peer.rest().await, "");
    }
}

#[tokio::test]
async fn quit_is_said_and_not_waited_for_long() {
    for transport in TRANSPORTS {
        let (upstream, peer) = plain(transport, "C QUIT\nS 221 bye\nW").await;
        upstream.quit().await;
        assert_eq!(peer.rest().await, "");
    }
    let mut settings = settings(Tell::Nothing);
    settings.timeouts.command = SHORT;
    let (upstream, peer) = with(Transport::Tcp, &settings, &format!("{PLAIN}C QUIT\nW")).await;
    timeout(QUIT_TIME, upstream.quit()).await.expect("bounded");
    assert_eq!(peer.rest().await, "");
}

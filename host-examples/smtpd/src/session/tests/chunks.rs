//! BDAT.

use super::*;

/// The reply to a chunk.
async fn chunk(client: &mut Client, line: &str, octets: &str) -> String {
    client.send(format!("{line}\r\n{octets}").as_bytes()).await;
    client.reply().await
}

#[tokio::test]
async fn a_message_in_chunks() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    assert_eq!(chunk(&mut client, "BDAT 12", "Subject: a\r\n").await, "250 2.0.0 12 octets received\r\n");
    assert_eq!(chunk(&mut client, "BDAT 0", "").await, "250 2.0.0 0 octets received\r\n");
    let last = chunk(&mut client, "BDAT 8 LAST", "\r\n.\r\n..x").await;
    assert!(last.starts_with("250 2.0.0 OK, kept as "), "{last}");
    let [message] = &client.delivered()[..] else { panic!("one message") };
    assert!(message.ends_with("Subject: a\r\n\r\n.\r\n..x\r\n"), "dots mean nothing here: {message}");
    // The session goes on.
    assert_eq!(client.codes(&[MAIL, RCPT, "BDAT 0 LAST"]).await, ["250 2.1.0", "250 2.1.5", "250 2.0.0"]);
    assert_eq!(client.delivered().len(), 2);
}

#[tokio::test]
async fn chunks_can_be_pipelined() {
    let mut client = connected(Setting::default(), &[HELLO]).await;
    client.send(format!("{MAIL}\r\n{RCPT}\r\nBDAT 3\r\na\r\nBDAT 5 LAST\r\nQUIT\n").as_bytes()).await;
    for code in ["250 2.1.0", "250 2.1.5", "250 2.0.0"] {
        assert!(client.reply().await.starts_with(code));
    }
    let reply = client.reply().await;
    assert!(reply.starts_with("550 5.6.0"), "a bare LF is refused here as well: {reply}");
    // What follows the chunk is a command again: the length leaves no doubt.
    assert_eq!(client.codes(&[MAIL, RCPT, "BDAT 0 LAST", "QUIT"]).await, ["250 2.1.0", "250 2.1.5", "250 2.0.0", "221 2.0.0"]);
}

#[tokio::test]
async fn a_chunk_is_never_read_as_commands() {
    let mut client = connected(Setting::default(), &[HELLO]).await;
    let hidden = "RSET\r\nNOOP\r\n";
    for (before, code) in [(&[][..], "503 5.5.1"), (&[MAIL], "554 5.5.1")] {
        for command in before {
            client.command(command).await;
        }
        let reply = chunk(&mut client, &format!("BDAT {} LAST", hidden.len()), hidden).await;
        assert!(reply.starts_with(code), "{reply}");
    }
    assert_eq!(client.command("NOOP").await, "250 2.0.0 OK\r\n", "one reply for each");
}

#[tokio::test]
async fn chunks_and_data_do_not_mix() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    chunk(&mut client, "BDAT 3", "a\r\n").await;
    assert_eq!(client.codes(&["DATA", RCPT, MAIL]).await, ["503 5.5.1", "503 5.5.1", "503 5.5.1"]);
    assert!(chunk(&mut client, "BDAT 0 LAST", "").await.starts_with("250 2.0.0"), "the message is still whole");
    client.codes(&[MAIL, RCPT]).await;
    chunk(&mut client, "BDAT 3", "a\r\n").await;
    assert_eq!(client.codes(&["RSET", "BDAT 0 LAST"]).await, ["250 2.0.0", "503 5.5.1"]);
    assert_eq!(client.delivered().len(), 1);
}

#[tokio::test]
async fn after_a_spoiled_chunk_the_rest_is_passed_over() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    for (line, octets, code) in
        [("BDAT 2", "a\n", "550 5.6.0"), ("BDAT 6", "NOOP\r\n", "503 5.5.1"), ("BDAT 6 LAST", "NOOP\r\n", "503 5.5.1")]
    {
        let reply = chunk(&mut client, line, octets).await;
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
    assert!(client.delivered().is_empty());
    client.codes(&[MAIL, RCPT]).await;
    assert!(chunk(&mut client, "BDAT 2 LAST", "a\r").await.starts_with("550 5.6.0"), "a CR at the end is bare");
}

#[tokio::test]
async fn hostile_sizes() {
    // 70,000 octets is the limit; what is up to 1 MiB long is passed over, and the session goes on.
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    assert!(chunk(&mut client, "BDAT 70001", &"x".repeat(70_001)).await.starts_with("552 5.3.4"));
    assert_eq!(client.codes(&["NOOP", MAIL, RCPT]).await, ["250 2.0.0", "250 2.1.0", "250 2.1.5"]);
    assert!(chunk(&mut client, "BDAT 69999", &"x\r\n".repeat(23_333)).await.starts_with("250 2.0.0"));
    assert!(chunk(&mut client, "BDAT 3 LAST", "y\r\n").await.starts_with("552 5.3.4"), "the sum counts");
    // A longer one is not waited for.
    for size in [(1_u64 << 20) + 1, 1 << 62] {
        for commands in [&[HELLO, MAIL, RCPT][..], &[HELLO]] {
            let mut client = connected(Setting::default(), commands).await;
            let reply = client.command(&format!("BDAT {size} LAST")).await;
            assert!(reply.starts_with(if commands.len() == 3 { "552 5.3.4" } else { "503 5.5.1" }), "{reply}");
            assert!(client.is_closed().await);
        }
    }
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    assert!(client.command("BDAT 18446744073709551617 LAST").await.starts_with("501 5.5.4"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_promised_chunk_that_does_not_come() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    client.send(b"BDAT 10 LAST\r\nabc").await;
    assert!(client.reply().await.starts_with("421 4.4.2"));
    assert!(client.is_closed().await && client.delivered().is_empty());
}

#[tokio::test]
async fn empty_chunks_are_no_way_to_stay() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    let mut replies = Vec::new();
    for _ in 0..IDLE_COMMANDS {
        replies.push(chunk(&mut client, "BDAT 0", "").await);
    }
    // EHLO and MAIL were two of them.
    assert!(replies[IDLE_COMMANDS - 3].starts_with("250"));
    assert!(replies[IDLE_COMMANDS - 2].starts_with("421 4.7.0"));
}

#[tokio::test]
async fn the_time_for_a_message_counts_between_chunks_as_well() {
    let limits = Limits { message_time: IDLE * 2, ..Setting::default().limits };
    let mut client = connected(Setting { limits, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    let start = Instant::now();
    let mut reply = String::new();
    // Each chunk comes in one piece with its command, and long before the client would count as idle.
    while !reply.starts_with("421 4.4.2") {
        assert!(start.elapsed() < IDLE * 10, "{reply}");
        reply = chunk(&mut client, "BDAT 3", "a\r\n").await;
        tokio::time::sleep(IDLE / 4).await;
    }
    assert!(start.elapsed() >= IDLE * 2);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_transaction_without_its_message_has_a_limit() {
    let limits = Limits { message_time: IDLE * 2, ..Setting::default().limits };
    let mut client = connected(Setting { limits, ..Setting::default() }, &[HELLO, MAIL]).await;
    let start = Instant::now();
    while client.command("NOOP").await.starts_with("250") {
        assert!(start.elapsed() < IDLE * 10);
        tokio::time::sleep(IDLE / 4).await;
    }
    assert!(start.elapsed() >= IDLE * 2);
}

#[tokio::test]
async fn a17_the_decision_is_the_reply_to_the_last_chunk() {
    let decider = refusing(Stage::EndOfData, 456, false);
    let mut client = connected(Setting { decider, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    assert!(chunk(&mut client, "BDAT 3", "a\r\n").await.starts_with("250 2.0.0"));
    assert_eq!(chunk(&mut client, "BDAT 0 LAST", "").await, "456-4.4.8 first\r\n456 4.4.8 second\r\n");
    assert_eq!(client.codes(&["NOOP"]).await, ["250 2.0.0"]);
    assert!(client.delivered().is_empty());
}

#[tokio::test]
async fn a13_a_refusal_at_data_comes_with_the_first_chunk() {
    let decider = refusing(Stage::Data, 456, false);
    let mut client = connected(Setting { decider, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    assert!(chunk(&mut client, "BDAT 6", "RSET\r\n").await.starts_with("456-4.4.8"));
    assert!(chunk(&mut client, "BDAT 6 LAST", "RSET\r\n").await.starts_with("503 5.5.1"));
    let decider = refusing(Stage::Data, 421, true);
    let mut client = connected(Setting { decider, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    assert!(chunk(&mut client, "BDAT 6 LAST", "RSET\r\n").await.starts_with("421-4.4.8"));
    assert!(client.is_closed().await);
}

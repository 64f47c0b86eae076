//! Too much of everything: commands and messages at their limits, over them, and far over them. The server stays up, its replies stay in
//! step, and its memory and time are bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peer::{ENVELOPE, Peer, memory, observing};
use crate::server::{Server, Setting};

/// Messages are verified, whatever address they come from, and none is refused.
const VERIFY: &str = r#"{"mode": "observe", "exempt": {"local_networks": false}}"#;
/// What the program may take for one message of 25 MiB at a time, in kB: the message, twice what it is while it grows, and what
/// verification makes of it.
const MEMORY: u64 = 200_000;

/// Lines, each of which would be a command of this verb if it were not so long: the padding goes where the tilde is.
const COMMANDS: [&str; 19] = [
    "EHLO ~",
    "HELO ~",
    "MAIL FROM:<~@plain.example>",
    "MAIL FROM:<a@~>",
    "MAIL FROM:<a@plain.example> ENVID=~",
    "MAIL FROM:<\"~\"@plain.example>",
    "RCPT TO:<~@demo.example>",
    "RCPT TO:<a@demo.example> ORCPT=rfc822;~",
    "RCPT TO:<@~:a@demo.example>",
    "DATA~",
    "RSET ~",
    "NOOP ~",
    "VRFY ~",
    "HELP ~",
    "QUIT ~",
    "STARTTLS ~",
    "IPV6-IPV4-FALLBACK ~",
    "~",
    "BDAT ~",
];

fn padded(command: &str, length: usize) -> String {
    command.replace('~', &"x".repeat(length - command.len() + 1))
}

#[tokio::test]
async fn commands() {
    let server = observing("").await;
    for command in COMMANDS {
        // With its CRLF: at the limit, over it, and far over it.
        for (length, too_long) in [(2048, false), (2049, true), (2050, true), (100_000, true), (1_000_000, true)] {
            let mut peer = Peer::introduced(server.ipv6).await;
            // All at once, and the last two octets alone.
            let line = padded(command, length - 2);
            peer.send_pieces([line.as_bytes(), b"\r", b"\nHELP\r\nQUIT\r\n"]).await;
            let replies = peer.rest().await;
            assert_eq!(replies[0].to_string().contains("longer than 2048"), too_long, "{command} of {length}: {replies:?}");
            let codes: Vec<u16> = replies.iter().skip(1).map(|reply| reply.code).collect();
            // Where a chunk may follow, or a message may, nothing that follows is read.
            let closed = command.starts_with("BDAT");
            assert_eq!(codes, if closed { &[][..] } else { &[214, 221] }, "{command} of {length}: {replies:?}");
        }
        // Without an end.
        let mut peer = Peer::introduced(server.ipv6).await;
        peer.send_what_is_taken(padded(command, 2 << 20).as_bytes()).await;
        let replies = peer.rest().await;
        assert_eq!(replies[0].code, 500, "{command}");
        let flood = replies.get(1).map(|reply| (reply.code, reply.has_enhanced_code("4.7.0")));
        assert_eq!(flood, if command.starts_with("BDAT") { None } else { Some((421, true)) }, "{command}: {replies:?}");
        assert!(replies.len() <= 2);
    }
    let memory = memory(server.pid(), "VmHWM");
    assert!(memory < 100_000, "{memory} kB for command lines");
}

#[tokio::test]
async fn octets_that_no_command_has() {
    let server = observing("").await;
    for command in COMMANDS.map(|command| command.replace('~', "x")) {
        for octet in [0, 1, 8, 0x0b, 0x1a, 0x1b, 0x7f, 0x80, 0xa0, 0xc0, 0xfe, 0xff] {
            for at in [0, 2.min(command.len()), command.len() / 2, command.len()] {
                let (before, behind) = command.as_bytes().split_at(at);
                let mut peer = Peer::introduced(server.ipv6).await;
                peer.send([before, &[octet], behind, b"\r\nHELP\r\nQUIT\r\n"].concat()).await;
                let codes = peer.closing_codes().await;
                let shown = [before, &[octet], behind].concat().escape_ascii().to_string();
                let closed = shown.starts_with("BDAT") && codes.len() == 1;
                assert!(codes[0] == 500 && (closed || codes[1..] == [214, 221]), "{shown}: {codes:?}");
            }
        }
    }
}

/// The message, by DATA over IPv6, where it is verified; then the session goes on.
async fn sent(server: &Server, message: &[u8]) -> (u16, Duration) {
    let mut peer = Peer::introduced(server.ipv6).await;
    peer.send([ENVELOPE, "DATA\r\n"].concat()).await;
    for code in [250, 250, 354] {
        assert_eq!(peer.reply().await.code, code);
    }
    let begin = Instant::now();
    peer.send(message).await;
    peer.send(".\r\n").await;
    let code = peer.reply().await.code;
    let time = begin.elapsed();
    assert_eq!(peer.codes(&["NOOP", "QUIT"]).await, [250, 221]);
    peer.closed().await;
    (code, time)
}

/// Lines of this text up to `size` octets in all.
fn lines(text: &str, size: usize) -> String {
    format!("{text}\r\n").repeat(size / (text.len() + 2))
}

/// Boundaries in boundaries.
fn nested(levels: usize) -> String {
    let part = |level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    (0..levels).map(part).collect::<String>() + "\r\ntext\r\n"
}

/// A message that costs as much as one can: signatures by keys that there are, in all ways to hash a body, over all that a header has.
fn costly() -> String {
    let [signature, hash] = [256, 32].map(|octets: usize| "A".repeat(octets.div_ceil(3) * 4));
    let names = "from".to_owned() + &":\r\n x-field".repeat(90);
    let ways = ["simple/simple", "relaxed/relaxed", "simple/relaxed", "relaxed/simple"];
    let field = |number: usize| {
        let way = ways[number % ways.len()];
        format!("DKIM-Signature: v=1; a=rsa-sha256; c={way}; d=signed.example; s=demo; h={names}; bh={hash}; b={signature}\r\n")
    };
    let header = (0..100).map(field).collect::<String>() + "From: a@signed.example\r\n" + &lines("X-Field:  \tx", 10_000);
    header + "\r\n" + &lines(&" \tx".repeat(300), 20_000_000)
}

#[tokio::test]
async fn messages() {
    const MIB: usize = 1 << 20;
    let tables = "[policy_limits]\ndeadline = \"10s\"\n".to_owned();
    let server = Server::start(Setting { policy: VERIFY, tables, ..Setting::default() }).await;
    let begun = memory(server.pid(), "VmHWM");
    let from = "From: a@plain.example\r\n";
    let wide = "x".repeat(900);
    let value = |size: usize| format!("{}\r\n", format!("\r\n {}", "A".repeat(7000)).repeat(size / 7003));
    let signature = |number: usize| {
        format!("DKIM-Signature: v=1; a=rsa-sha256; d=plain.example; s=s{number}; h=from; bh=AAAA; b={}", value(100_000))
    };
    let arc = |number: usize| {
        format!(
            "ARC-Seal: i={number}; a=rsa-sha256; cv=pass; d=plain.example; s=s; b=AAAA\r\nARC-Message-Signature: i={number}; \
             a=rsa-sha256; d=plain.example; s=s; h=from; bh=AAAA; b=AAAA\r\nARC-Authentication-Results: i={number}; x; spf=pass\r\n"
        )
    };
    let messages: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("an empty line", "\r\n".to_owned()),
        ("no header", lines("text", 1000)),
        ("50,000 header fields", from.to_owned() + &lines("X-Field: x", 600_000) + "\r\ntext\r\n"),
        ("50,000 different header fields", (0..50_000).map(|n| format!("X{n}: x\r\n")).collect::<String>() + "\r\ntext\r\n"),
        ("100,000 From fields", lines("From: a@plain.example", 2_300_000) + "\r\ntext\r\n"),
        ("a From field of 1 MB", format!("From: {}\r\n\r\ntext\r\n", "a@plain.example,\r\n ".repeat(1_000_000 / 19))),
        ("100,000 Received fields", from.to_owned() + &lines("Received: from a by b; x", 2_600_000) + "\r\ntext\r\n"),
        ("a header of 5 MB in one field", format!("{from}X-Field: x\r\n{}\r\ntext\r\n", lines(&format!(" {wide}"), 5_000_000))),
        ("a header of 5 MB that does not end", lines(&format!("X-Field: {wide}"), 5_000_000)),
        ("lines without a colon", lines("x", 1_000_000)),
        ("lines of colons", lines(":::::::::", 1_000_000)),
        ("folded lines alone", lines(" x", 1_000_000)),
        ("10,000 levels of MIME", from.to_owned() + &nested(10_000)),
        ("200 signatures of 100 kB", (0..200).map(signature).collect::<String>() + from + "\r\ntext\r\n"),
        ("a signature of 20 MB", format!("DKIM-Signature: v=1; d=plain.example; s=s; b={}{from}\r\ntext\r\n", value(20_000_000))),
        ("tags without end", format!("DKIM-Signature: {}\r\n{from}\r\ntext\r\n", "v=1;\r\n ".repeat(200_000))),
        ("1000 ARC sets", (1..=1000).map(arc).collect::<String>() + from + "\r\ntext\r\n"),
        ("white space to be relaxed", format!("{}{from}\r\n{}", signature(1), lines(&" \t".repeat(400), 5_000_000))),
        ("a line of 8192 octets", format!("X-Field: {}\r\n\r\n{}\r\n", "x".repeat(8192 - 11), "y".repeat(8190))),
        ("what costs most to verify", costly()),
        ("25 MiB", from.to_owned() + "\r\n" + &lines(&wide, 25 * MIB - 2000)),
    ];
    for (what, message) in &messages {
        let (code, time) = sent(&server, message.as_bytes()).await;
        let memory = memory(server.pid(), "VmHWM");
        println!("{what}: {} kB, {code} after {time:?}; {memory} kB so far", message.len() / 1000);
        assert_eq!(code, 250, "{what}");
        assert!(time < Duration::from_secs(20), "{what}: {time:?}");
        assert!(memory - begun < MEMORY, "{what}: {memory} kB, where {begun} kB was needed before");
    }
    for (what, message, expected) in [
        ("a line of 8193 octets", format!("{from}\r\n{}\r\n", "x".repeat(8191)), 550),
        ("a header line of 8193 octets", format!("X-Field: {}\r\n\r\n", "x".repeat(8193 - 11)), 550),
        ("25 MiB and an octet", from.to_owned() + &lines(&wide, 25 * MIB - 23 - 1000), 250),
        ("more than 25 MiB", from.to_owned() + &lines(&wide, 25 * MIB + 2000), 552),
        ("one line of 20 MiB", "x".repeat(20 * MIB) + "\r\n", 550),
    ] {
        assert_eq!(sent(&server, message.as_bytes()).await.0, expected, "{what}");
    }
    assert_eq!(server.delivered().len(), messages.len() + 1);
    assert!(server.has_no_drafts());
}

/// While some messages take all the time that verification may take, others are served.
#[tokio::test]
async fn costly_messages_beside_others() {
    // They come from one network, which has a share of it.
    let tables = "[policy_limits]\ndeadline = \"10s\"\n\n[limits]\nmessage_memory = \"1GiB\"\n".to_owned();
    let server = Arc::new(Server::start(Setting { policy: VERIFY, tables, ..Setting::default() }).await);
    let message = Arc::new(costly());
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (server, message) = (Arc::clone(&server), Arc::clone(&message));
            tokio::spawn(async move { sent(&server, message.as_bytes()).await })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !tasks.iter().all(|task| task.is_finished()) {
        let begin = Instant::now();
        let mut peer = Peer::introduced(server.ipv4).await;
        assert_eq!(peer.codes(&["MAIL FROM:<a@plain.example>", "QUIT"]).await, [250, 221]);
        slowest = slowest.max(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut longest = Duration::ZERO;
    for task in tasks {
        let (code, time) = task.await.unwrap();
        assert_eq!(code, 250);
        longest = longest.max(time);
    }
    let memory = memory(server.pid(), "VmHWM");
    println!("six costly messages took {longest:?}, and {memory} kB at most; another session waited {slowest:?} at most");
    assert!(slowest < Duration::from_secs(10) && longest < Duration::from_secs(40), "{slowest:?} and {longest:?}");
    assert!(memory < 6 * MEMORY, "{memory} kB");
}

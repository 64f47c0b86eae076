//! Hostile chunks (RFC 3030): sizes that are none, sizes that lie, floods, and commands hidden in what is no command.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::peer::{ENVELOPE, Peer, memory, observing};

/// What must not be read as commands, wherever it is.
const HIDDEN: &str =
    "RSET\r\nMAIL FROM:<hidden@demo.example>\r\nRCPT TO:<jones@demo.example>\r\nBDAT 8 LAST\r\nhidden\r\nVRFY x\r\n";

#[tokio::test]
async fn sizes_that_are_none() {
    let server = observing("").await;
    for (size, code) in [
        ("", 501),
        ("LAST", 501),
        ("-1", 501),
        ("-0", 501),
        ("+5", 501),
        ("0x10", 501),
        ("1e3", 501),
        ("5.0", 501),
        ("5,0", 501),
        ("5_0", 501),
        ("5LAST", 501),
        ("5 LAS", 501),
        ("5 LASTX", 501),
        ("5 LAST LAST", 501),
        ("5 LAST 5", 501),
        ("5 6", 501),
        ("five", 501),
        ("<5>", 501),
        ("\"5\"", 501),
        ("5\\", 501),
        ("%d", 501),
        ("18446744073709551615", 501),
        ("18446744073709551616", 501),
        ("99999999999999999999999999999999", 501),
        ("00000000000000000005", 501),
        ("340282366920938463463374607431768211461", 501),
        // Beyond ASCII no command has anything but addresses.
        ("\u{ff15}", 500),
        ("\u{665}", 500),
        ("5\u{a0}LAST", 500),
        ("5\u{85}", 500),
        ("5\u{7f}", 500),
        ("5 LAST\u{0}", 500),
        // Sizes, but larger than any message, and than what is passed over.
        ("9999999999999999999", 552),
        ("9223372036854775808", 552),
        ("9223372036854775807 LAST", 552),
        ("4294967301", 552),
        ("0000000000026214401", 552),
    ] {
        for verb in ["BDAT", "bdat", "BDat"] {
            let mut peer = Peer::introduced(server.ipv6).await;
            peer.send(format!("{ENVELOPE}{verb} {size}\r\n{HIDDEN}")).await;
            let codes = peer.closing_codes().await;
            assert_eq!(codes, [250, 250, code], "{verb} {size:?}: its end is not known, so nothing behind it is read");
        }
    }
    assert!(server.delivered().is_empty());
}

/// Where the line cannot be read, neither can its size.
#[tokio::test]
async fn lines_that_cannot_be_read() {
    let server = observing("").await;
    let long = format!("BDAT 5{}", " ".repeat(3000));
    for line in ["BDAT 5\0", "BDAT\0 5", "BDAT 5\n", "bdat 5\nx", "BDAT 5\rLAST", "BDAT 5\r", "BDAT 5 LAST\n\0", "\u{a0}", &long]
    {
        for transaction in ["", ENVELOPE] {
            let mut peer = Peer::introduced(server.ipv6).await;
            peer.send(format!("{transaction}{line}\r\n{HIDDEN}QUIT\r\n")).await;
            let codes = peer.closing_codes().await;
            let codes = &codes[transaction.lines().count()..];
            if line.to_ascii_uppercase().starts_with("BDAT") {
                assert_eq!(codes, [500], "{line:?}");
            } else {
                assert_eq!(codes, [500, 250, 250, 250, 250, 252, 221], "such a line alone closes nothing");
            }
        }
    }
    assert_eq!(server.delivered().len(), 2, "those of the last line but one");
}

#[tokio::test]
async fn sizes_that_are_written_oddly() {
    let server = observing("").await;
    for size in ["8", "0008", "0000000000000000008", " 8", "8 ", "\t8\t"] {
        let mut peer = Peer::introduced(server.ipv6).await;
        peer.send(format!("{ENVELOPE}BDAT {size}\r\nRSET\r\n\r\nBDAT 0 LAST\r\nQUIT\r\n")).await;
        assert_eq!(peer.closing_codes().await, [250, 250, 250, 250, 221], "{size:?}");
    }
    assert!(server.delivered().iter().all(|message| message.ends_with(b"\r\nRSET\r\n\r\n")));
}

#[tokio::test]
async fn more_is_promised_than_comes() {
    let server = observing("[limits]\ndata_block = \"1s\"").await;
    let group = format!("{ENVELOPE}BDAT 1000 LAST\r\n{HIDDEN}QUIT\r\n");
    // The client waits: so does the server, for as long as a block may take.
    let mut peer = Peer::introduced(server.ipv6).await;
    peer.send(&group).await;
    let replies = peer.rest().await;
    assert_eq!(replies.len(), 3, "{replies:?}");
    assert!(replies[2].code == 421 && replies[2].has_enhanced_code("4.4.2"), "{replies:?}");
    // The client sends no more.
    let mut peer = Peer::introduced(server.ipv6).await;
    peer.send(&group).await;
    let mut stream = peer.into_stream();
    stream.shutdown().await.unwrap();
    assert_eq!(Peer::over(stream).closing_codes().await, [250, 250]);
    assert!(server.delivered().is_empty() && server.has_no_drafts());
}

#[tokio::test]
async fn more_comes_than_is_promised() {
    let server = observing("").await;
    for (group, expected) in [
        ("BDAT 3 LAST\r\nabcNOOP\r\n", &[250, 250][..]),
        ("BDAT 3 LAST\r\nabcdef\r\nNOOP\r\n", &[250, 500, 250]),
        // CRLF behind a chunk is an empty command.
        ("BDAT 3\r\nabc\r\nBDAT 5 LAST\r\ndef\r\n", &[250, 500, 250]),
        ("BDAT 0 LAST\r\nMAIL FROM:<second@plain.example>\r\nRSET\r\n", &[250, 250, 250]),
    ] {
        let mut peer = Peer::introduced(server.ipv6).await;
        peer.send(format!("{ENVELOPE}{group}QUIT\r\n")).await;
        assert_eq!(peer.closing_codes().await, [&[250, 250], expected, &[221]].concat(), "{group:?}");
    }
    assert_eq!(server.delivered().len(), 4);
}

#[tokio::test]
async fn commands_in_a_chunk_that_nobody_wants() {
    let server = observing("[limits]\nmessage_size = \"2MiB\"").await;
    let size = HIDDEN.len();
    for (before, codes) in [
        ("", &[503][..]),
        ("MAIL FROM:<first@plain.example>\r\n", &[250, 554]),
        ("MAIL FROM:<first@plain.example>\r\nRCPT TO:<x@elsewhere.example>\r\n", &[250, 550, 554]),
    ] {
        for last in ["", " LAST"] {
            for ehlo in [true, false] {
                if !ehlo && !before.is_empty() {
                    continue;
                }
                let mut peer = if ehlo { Peer::introduced(server.ipv6).await } else { Peer::greeted(server.ipv6).await };
                peer.send(format!("{before}BDAT {size}{last}\r\n{HIDDEN}HELP\r\nQUIT\r\n")).await;
                assert_eq!(peer.closing_codes().await, [codes, &[214, 221]].concat(), "{before}");
            }
        }
    }
    // Up to the size of a message; beyond it the connection is closed.
    for (size, expected) in [(2 << 20, &[503, 214, 221][..]), ((2 << 20) + 1, &[503])] {
        let mut peer = Peer::introduced(server.ipv6).await;
        let chunk = HIDDEN.repeat(size / HIDDEN.len() + 1);
        peer.send(format!("BDAT {size}\r\n")).await;
        peer.send_what_is_taken(&chunk.as_bytes()[..size]).await;
        peer.send_what_is_taken(b"HELP\r\nQUIT\r\n").await;
        assert_eq!(peer.closing_codes().await, expected, "{size}");
    }
    assert!(server.delivered().is_empty());
}

#[tokio::test]
async fn between_two_chunks() {
    let server = observing("").await;
    for (between, codes, finished) in [
        ("MAIL FROM:<second@plain.example>", &[503][..], true),
        ("RCPT TO:<postmaster>", &[503], true),
        ("NOOP", &[250], true),
        ("IPV6-IPV4-FALLBACK", &[503], true),
        ("RSET", &[250], false),
        ("EHLO again.example", &[250], false),
        ("HELO again.example", &[250], false),
    ] {
        let mut peer = Peer::introduced(server.ipv6).await;
        peer.send(format!("{ENVELOPE}BDAT 3\r\none{between}\r\nBDAT 5 LAST\r\ntwo\r\nQUIT\r\n")).await;
        let last = if finished { 250 } else { 503 };
        assert_eq!(peer.closing_codes().await, [&[250, 250, 250], codes, &[last, 221]].concat(), "{between}");
    }
    // Behind DATA comes no message, but who knows whether the client thinks so.
    let mut peer = Peer::introduced(server.ipv6).await;
    peer.send(format!("{ENVELOPE}BDAT 3\r\noneDATA\r\n{HIDDEN}.\r\nQUIT\r\n")).await;
    assert_eq!(peer.closing_codes().await, [250, 250, 250, 503, 421]);
    let delivered = server.delivered();
    assert!(delivered.len() == 4 && delivered.iter().all(|message| message.ends_with(b"onetwo\r\n")));
}

#[tokio::test]
async fn single_octets() {
    let server = observing("").await;
    let mut peer = Peer::introduced(server.ipv6).await;
    let group = format!("{ENVELOPE}BDAT 6\r\nRSET\r\nBDAT 1\r\n\r\nBDAT 7 LAST\r\n\nQUIT\r\nQUIT\r\n");
    // "BDAT 1" has CR alone; what follows its line end is LF and the next command.
    let group = group.replace("BDAT 1\r\n\r\n", "BDAT 1\r\n\r");
    peer.send_pieces(group.as_bytes().chunks(1)).await;
    assert_eq!(peer.closing_codes().await, [250, 250, 250, 250, 250, 221]);
    assert!(server.delivered()[0].ends_with(b"\r\nRSET\r\n\r\nQUIT\r\n"), "{}", server.delivered()[0].escape_ascii());
}

#[tokio::test]
async fn a_flood_of_empty_chunks() {
    let server = observing("").await;
    let mut peer = Peer::introduced(server.ipv6).await;
    peer.send(ENVELOPE).await;
    peer.send_what_is_taken("BDAT 0\r\n".repeat(100_000).as_bytes()).await;
    let replies = peer.rest().await;
    assert!(replies[..replies.len() - 1].iter().all(|reply| reply.code == 250), "{replies:?}");
    let last = replies.last().unwrap();
    assert!(last.code == 421 && last.has_enhanced_code("4.7.0"), "{last}");
    // Of the commands that bring no mail there may be 100; EHLO and MAIL are such, too.
    assert!((100..=103).contains(&replies.len()), "{}", replies.len());
}

/// Each chunk is a command, and brings the message forward by an octet: that is allowed, and has to be cheap.
#[tokio::test]
async fn a_million_chunks_of_an_octet() {
    const CHUNKS: usize = 1_000_000;
    let server = observing("").await;
    let begin = Instant::now();
    let (read, mut write) = TcpStream::connect(server.ipv6).await.unwrap().into_split();
    let sent = tokio::spawn(async move {
        write.write_all(format!("EHLO client.example\r\n{ENVELOPE}").as_bytes()).await.unwrap();
        let line = [b'x'; 98].into_iter().chain(*b"\r\n");
        let lines: Vec<u8> = line.flat_map(|octet| [&b"BDAT 1\r\n"[..], &[octet]].concat()).collect();
        for _ in 0..CHUNKS / 100 {
            write.write_all(&lines).await.unwrap();
        }
        write.write_all(b"BDAT 0 LAST\r\nQUIT\r\n").await.unwrap();
        write
    });
    let (mut chunks, mut line, mut read) = (0, String::new(), BufReader::new(read));
    while tokio::time::timeout(Duration::from_secs(60), read.read_line(&mut line)).await.unwrap().unwrap() > 0 {
        chunks += usize::from(line == "250 2.0.0 1 octets received\r\n");
        assert!(line.starts_with('2'), "{line}");
        line.clear();
    }
    sent.await.unwrap();
    assert_eq!(chunks, CHUNKS);
    let [message] = &server.delivered()[..] else { panic!("one message") };
    assert!(message.len() > CHUNKS && message.len() < CHUNKS + 1000);
    let (time, memory) = (begin.elapsed(), memory(server.pid(), "VmHWM"));
    println!("{CHUNKS} chunks took {time:?}; {memory} kB at most");
    assert!(time < Duration::from_secs(60), "{time:?}");
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

//! SMTP smuggling: octets that one server reads as text and another as the end of a message with a second message behind it, in all
//! forms that were published, and then some. None gets a second message through, neither into the Maildir nor to the worst mail system
//! there can be behind.

use smtp_fallback_demo::client::Reply;
use tokio::net::TcpStream;

use crate::naive::{Heard, Naive};
use crate::peer::{ENVELOPE, Peer, observing};
use crate::server::Server;

/// What somebody takes for CRLF "." CRLF. First those of SEC Consult's "SMTP Smuggling" (2023) and of the advisories that followed it.
const FORMS: &[&[u8]] = &[
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r.\n",
    b"\n\n.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\0\n.\r\n",
    b"\n\0.\n",
    b"\r\0.\r\0",
    b"\0\n.\0\n",
    b"\r\n\r.\r\n",
    b"\r\n\n.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n.\n\r\n",
    b"\n\r.\n\r",
    b"\r\n.\n\n",
    b"\r\n\n.\n\r\n",
    b"\r.\r\r\n.\r",
];

/// What is to get through.
const SMUGGLED: &[u8] =
    b"MAIL FROM:<smuggled@demo.example>\r\nRCPT TO:<jones@demo.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n.\r\n";

/// A message with the form and the second transaction in it.
fn text(before: &str, form: &[u8]) -> Vec<u8> {
    [b"Subject: first\r\n\r\n", before.as_bytes(), b"text", form, SMUGGLED].concat()
}

fn codes(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.code).collect()
}

async fn in_data(server: &Server) -> Peer {
    let mut peer = Peer::introduced(server.ipv4).await;
    peer.send([ENVELOPE, "DATA\r\n"].concat()).await;
    for code in [250, 250, 354] {
        assert_eq!(peer.reply().await.code, code);
    }
    peer
}

/// One reply for the one message, and then the end: what follows is not believed to be the client's own.
async fn refused_and_closed(peer: &mut Peer, form: &[u8]) {
    let replies = peer.rest().await;
    let shown = form.escape_ascii();
    assert_eq!(codes(&replies), [550, 421], "{shown}: {replies:?}");
    assert!(replies[0].has_enhanced_code("5.6.0") && replies[1].has_enhanced_code("4.7.0"), "{shown}: {replies:?}");
}

/// The chunk or chunks as BDAT, in one go; the replies to them and to the NOOP behind them.
async fn in_chunks(server: &Server, chunks: &[&[u8]]) -> Vec<u16> {
    let mut peer = Peer::introduced(server.ipv4).await;
    let mut group = ENVELOPE.as_bytes().to_vec();
    for (number, chunk) in chunks.iter().enumerate() {
        let last = if number + 1 == chunks.len() { " LAST" } else { "" };
        group.extend_from_slice(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
        group.extend_from_slice(chunk);
    }
    peer.send([&group[..], b"VRFY x\r\nQUIT\r\n"].concat()).await;
    let codes = peer.closing_codes().await;
    assert_eq!(codes[..2], [250, 250]);
    assert_eq!(codes[codes.len() - 2..], [252, 221], "the replies are in step");
    codes[2..codes.len() - 2].to_vec()
}

#[tokio::test]
async fn through_data_into_the_maildir() {
    let server = observing("").await;
    for form in FORMS {
        let text = [&text("", form)[..], b"\r\n.\r\nQUIT\r\n"].concat();
        let mut peer = in_data(&server).await;
        peer.send(&text).await;
        refused_and_closed(&mut peer, form).await;
        // Each octet of the form in a segment of its own.
        let mut peer = in_data(&server).await;
        let at = text.windows(form.len()).position(|part| part == *form).unwrap();
        let pieces = [&text[..at]].into_iter().chain(text[at..at + form.len()].chunks(1)).chain([&text[at + form.len()..]]);
        peer.send_pieces(pieces).await;
        refused_and_closed(&mut peer, form).await;
    }
    assert!(server.delivered().is_empty() && server.has_no_drafts());
}

#[tokio::test]
async fn behind_another_fault_of_the_message() {
    let server = observing("[limits]\nmessage_size = \"64KiB\"").await;
    for (before, code) in [("x".repeat(9000), 550), ("x\r\n".repeat(30_000), 552)] {
        for form in FORMS {
            let mut peer = in_data(&server).await;
            peer.send([&text(&before, form)[..], b"NOOP\r\n"].concat()).await;
            let codes = peer.closing_codes().await;
            assert_eq!(codes, [code, 421], "{}", form.escape_ascii());
        }
    }
    assert!(server.delivered().is_empty());
}

#[tokio::test]
async fn through_bdat_into_the_maildir() {
    let server = observing("").await;
    for form in FORMS {
        let text = text("", form);
        assert_eq!(in_chunks(&server, &[&text]).await, [550], "{}", form.escape_ascii());
        let at = text.windows(form.len()).position(|part| part == *form).unwrap();
        for cut in at..=at + form.len() {
            let codes = in_chunks(&server, &[&text[..cut], &text[cut..]]).await;
            // The first chunk may be in order, or what is left of it once a fault was seen has no transaction.
            assert!(matches!(codes[..], [250, 550] | [550, 503]), "{} cut at {}: {codes:?}", form.escape_ascii(), cut - at);
        }
    }
    assert!(server.delivered().is_empty() && server.has_no_drafts());
}

#[tokio::test]
async fn in_front_of_the_worst_mail_system() {
    let naive = Naive::start().await;
    let server = naive.front("").await;
    for form in FORMS {
        let text = text("", form);
        let mut peer = in_data(&server).await;
        peer.send([&text[..], b"QUIT\r\n"].concat()).await;
        // QUIT is believed, whoever sent it.
        assert_eq!(peer.closing_codes().await, [550, 221], "{}", form.escape_ascii());
        not_smuggled(&naive.heard(), form);
        assert_eq!(in_chunks(&server, &[&text]).await, [550]);
        not_smuggled(&naive.heard(), form);
        let middle = text.len() - SMUGGLED.len() - 1;
        in_chunks(&server, &[&text[..middle], &text[middle..]]).await;
        not_smuggled(&naive.heard(), form);
    }
}

fn not_smuggled(heard: &Heard, form: &[u8]) {
    assert_eq!(heard.with("MAIL"), ["MAIL FROM:<first@plain.example>"], "{}", form.escape_ascii());
    assert!(heard.messages.is_empty() && heard.with("DATA").is_empty(), "{heard:?}");
    assert!(heard.with("XCLIENT").len() == 1 && heard.with("RCPT").len() == 1, "{heard:?}");
}

/// The tests above could fail: without this server in between each form gets its second message through.
#[tokio::test]
async fn each_form_smuggles_where_nobody_is_in_front() {
    let naive = Naive::start().await;
    for form in FORMS {
        let mut peer = Peer::new(TcpStream::connect(naive.address).await.unwrap());
        peer.send([ENVELOPE.as_bytes(), b"DATA\r\n", &text("", form), b"QUIT\r\n"].concat()).await;
        // The greeting, the envelope, 354 and the reply to the dot, for both, and that to QUIT. Empty lines get none there.
        let mut codes = vec![peer.reply().await.code];
        while *codes.last().unwrap() != 221 {
            codes.push(peer.reply().await.code);
        }
        let heard = naive.heard();
        assert!(heard.with("MAIL").contains(&"MAIL FROM:<smuggled@demo.example>"), "{}: {heard:?}", form.escape_ascii());
        assert_eq!(heard.messages.len(), 2, "{}", form.escape_ascii());
    }
}

/// A chunk may have lines with dots: its size says where it ends, and they are no end of anything upstream either.
#[tokio::test]
async fn dots_in_a_chunk_are_text() {
    let naive = Naive::start().await;
    let (alone, front) = (observing("").await, naive.front("").await);
    let hidden = [b"Subject: first\r\n\r\ntext\r\n.\r\n", SMUGGLED].concat();
    let texts: [&[u8]; 8] = [
        b".\r\n",
        b"..\r\n",
        b".",
        b"...\r\n.\r\n..\r\n.\r\n",
        b".Subject: x\r\n\r\n.\r\n.",
        b"Subject: x\r\n\r\n.\r\n\r\n.\r\n",
        b"\r\n.\r\n",
        &hidden,
    ];
    for (number, text) in texts.iter().enumerate() {
        let shown = text.escape_ascii();
        let whole = if text.ends_with(b"\r\n") { text.to_vec() } else { [text, &b"\r\n"[..]].concat() };
        for cut in [0, 1, text.len() / 2, text.len() - 1, text.len()] {
            for server in [&alone, &front] {
                let codes = in_chunks(server, &[&text[..cut], &text[cut..]]).await;
                assert_eq!(codes, [250, 250], "{shown} cut at {cut}");
            }
            let heard = naive.heard();
            assert_eq!(heard.with("MAIL"), ["MAIL FROM:<first@plain.example>"], "{shown}");
            assert_eq!(heard.with("DATA").len(), 1);
            let [message] = &heard.messages[..] else { panic!("{shown}: {heard:?}") };
            assert_eq!(message.escape_ascii().to_string(), whole.escape_ascii().to_string());
            // Each line that begins with a dot got another.
            assert!(
                heard.wire[0]
                    .split(|octet| *octet == b'\n')
                    .filter(|line| line.starts_with(b"."))
                    .all(|line| { line == b".\r" || line.starts_with(b"..") })
            );
        }
        let kept = alone.delivered();
        assert_eq!(kept.len(), (number + 1) * 5);
        assert_eq!(kept.iter().filter(|message| message.ends_with(&[b"\r\n", &whole[..]].concat())).count() % 5, 0);
    }
    assert!(alone.delivered().iter().all(|message| message.starts_with(b"Return-Path: <first@plain.example>\r\n")));
}

/// Line ends inside command lines: such a line is one, and refused. What is behind it in the same line is never run.
#[tokio::test]
async fn line_ends_inside_commands() {
    let naive = Naive::start().await;
    let (alone, front) = (observing("").await, naive.front("").await);
    const HIDDEN: &str = "MAIL FROM:<smuggled@demo.example>";
    for end in ["\n", "\r", "\n\n", "\r\r", "\n\r", "\r\r\n", "\0", "\n\0", "\r\0\n", "\u{85}", "\u{2028}", "\u{b}", "\u{c}"] {
        for server in [&alone, &front] {
            for command in ["NOOP", "VRFY x", "HELP", "RSET", "EHLO x", "NOOP x"] {
                let mut peer = Peer::introduced(server.ipv6).await;
                // In `\r\r\n` CRLF ends the line: the hidden command is a line of its own, and then the client's own.
                let hidden = if end == "\r\r\n" { "NOOP" } else { HIDDEN };
                peer.send(format!("{command}{end}{hidden}\r\nRCPT TO:<jones@demo.example>\r\nQUIT\r\n")).await;
                let codes = peer.closing_codes().await;
                let expected: &[u16] = if end == "\r\r\n" { &[500, 250, 503, 221] } else { &[500, 503, 221] };
                assert_eq!(codes, expected, "{command:?} {end:?}");
            }
            for line in ["MAIL FROM:<first@plain.example>", "RCPT TO:<jones@demo.example>"] {
                let mut peer = Peer::introduced(server.ipv6).await;
                peer.send(format!("{ENVELOPE}RSET\r\n{line}{end}DATA\r\n.\r\nRSET\r\nQUIT\r\n")).await;
                let codes = peer.closing_codes().await;
                assert_eq!(codes[..3], [250; 3]);
                assert!(codes[3..].iter().all(|code| [500, 503, 421, 250, 221].contains(code)), "{line}{end:?}: {codes:?}");
            }
        }
        let heard = naive.heard();
        assert!(heard.messages.is_empty() && heard.with("DATA").is_empty(), "{end:?}: {heard:?}");
        assert!(heard.with("MAIL").iter().all(|line| *line == "MAIL FROM:<first@plain.example>"), "{end:?}: {heard:?}");
    }
    assert!(alone.delivered().is_empty());
}

/// RFC 2920 §3.1: a message behind a DATA that is refused is no group of commands.
#[tokio::test]
async fn a_message_behind_a_refused_data() {
    let server = observing("").await;
    for before in
        ["", "MAIL FROM:<first@plain.example>\r\n", "MAIL FROM:<first@plain.example>\r\nRCPT TO:<x@elsewhere.example>\r\n"]
    {
        let mut peer = Peer::introduced(server.ipv4).await;
        peer.send([before.as_bytes(), b"DATA\r\n", SMUGGLED].concat()).await;
        let codes = peer.closing_codes().await;
        assert_eq!(*codes.last().unwrap(), 421, "{codes:?}");
        assert_eq!(codes.len(), before.lines().count() + 2, "none of {codes:?} is for a line of the message");
    }
    assert!(server.delivered().is_empty());
}

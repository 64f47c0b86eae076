//! What a client may choose comes back in replies, in the header that is put before its message, in commands to upstream and in the log.
//! Nowhere does it end a line, or mean anything.

use smtp_fallback_demo::client::Reply;
use smtp_fallback_demo::zone::{NameServer, Zone};

use crate::naive::Naive;
use crate::peer::{OBSERVE, Peer, observing};
use crate::server::{Folder, Server, Setting};

/// What could end a line, or mean something to who reads it.
const PAYLOADS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\r",
    b"\0",
    b"\x1b[2J",
    b"\x7f",
    b"\x08",
    b"\t",
    b"%s%n%0a",
    b"{failed}",
    b"{client}",
    b"\\r\\n",
    b"+0D+0A",
    "\u{85}".as_bytes(),
    "\u{2028}".as_bytes(),
    "\u{2029}".as_bytes(),
    "\u{9b}2J".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{e4}".as_bytes(),
    b"\xff",
    b"\xe4",
    b"\x85",
    b"\xc0\x8a",
    b"\x8d\x8a",
];

/// All places for it in commands. What must come before, and the line, where a tilde stands for the payload.
const FIELDS: &[(&str, &str)] = &[
    ("", "EHLO a~b.example"),
    ("", "HELO a~b.example"),
    ("", "EHLO [IPv6:~]"),
    ("", "VRFY ~"),
    ("", "NOOP ~"),
    ("", "HELP ~"),
    ("", "EXPN ~"),
    ("", "~"),
    ("", "~NOOP"),
    ("", "WHAT~ x"),
    ("", "RSET ~"),
    ("", "RSET~"),
    ("", "DATA ~"),
    ("", "QUIT ~"),
    ("", "STARTTLS ~"),
    ("", "BDAT 5~"),
    ("", "BDAT ~"),
    ("", "IPV6-IPV4-FALLBACK ~"),
    ("", "AUTH PLAIN ~"),
    ("", "GET /~ HTTP/1.0"),
    ("", "GET~ / HTTP/1.0"),
    ("", "MAIL ~"),
    ("", "MAIL FROM:~"),
    ("", "MAIL FROM:<~>"),
    ("", "MAIL FROM:<a~@plain.example>"),
    ("", "MAIL FROM:<\"a~\"@plain.example>"),
    ("", "MAIL FROM:<\"a\\~\"@plain.example>"),
    ("", "MAIL FROM:<a@pl~ain.example>"),
    ("", "MAIL FROM:<a@[127.0.0.1~]>"),
    ("", "MAIL FROM:<@a~.example:a@plain.example>"),
    ("", "MAIL FROM:<a@plain.example>~"),
    ("", "MAIL FROM:<a@plain.example> ~"),
    ("", "MAIL FROM:<a@plain.example> ENVID=a~"),
    ("", "MAIL FROM:<a@plain.example> RET=FULL~"),
    ("", "MAIL FROM:<a@plain.example> SIZE=1~"),
    ("", "MAIL FROM:<a@plain.example> BODY=8BITMIME~"),
    ("", "MAIL FROM:<a@plain.example> SMTPUTF8 ~=x"),
    ("", "MAIL FROM:<a~@plain.example> SMTPUTF8"),
    ("", "MAIL FROM:<a@pl~ain.example> SMTPUTF8"),
    (MAIL, "RCPT ~"),
    (MAIL, "RCPT TO:<a~@demo.example>"),
    (MAIL, "RCPT TO:<\"a~\"@demo.example>"),
    (MAIL, "RCPT TO:<a@demo.example~>"),
    (MAIL, "RCPT TO:<a@demo.example> NOTIFY=NEVER~"),
    (MAIL, "RCPT TO:<a@demo.example> ORCPT=rfc822;a~"),
    (MAIL, "RCPT TO:<a@demo.example> ORCPT=r~fc;a"),
    (MAIL, "RCPT TO:<a@demo.example> ~"),
    (MAIL, "RCPT TO:<a~@elsewhere.example>"),
    (UTF8, "RCPT TO:<a~@demo.example>"),
    (UTF8, "RCPT TO:<\"~\"@demo.example>"),
    (UTF8, "RCPT TO:<a@de~mo.example>"),
];
const MAIL: &str = "MAIL FROM:<first@plain.example>\r\n";
const UTF8: &str = "MAIL FROM:<first@plain.example> SMTPUTF8\r\n";
/// What stands behind the payload, to be found wherever it turns up.
const MARK: &str = "250-injected";

/// The template with payload and mark in it.
fn filled(template: &str, payload: &[u8]) -> Vec<u8> {
    let (before, behind) = template.split_once('~').unwrap();
    [before.as_bytes(), payload, MARK.as_bytes(), behind.as_bytes()].concat()
}

/// Every field with every payload, each in a session of its own: each line gets one reply, and none has the client's words in it.
async fn all_commands(server: &Server) {
    for (number, (before, template)) in FIELDS.iter().enumerate() {
        for payload in PAYLOADS {
            let line = filled(template, payload);
            let shown = line.escape_ascii();
            // Both families; the one with the extension and all checks more often.
            let mut peer = Peer::introduced(if number % 4 == 0 { server.ipv4 } else { server.ipv6 }).await;
            peer.send([before.as_bytes(), &line, b"\r\nHELP\r\nQUIT\r\n"].concat()).await;
            let replies = peer.rest().await;
            let codes: Vec<u16> = replies.iter().map(|reply| reply.code).collect();
            let lines = before.lines().count() + if *payload == b"\r\n" { 2 } else { 1 };
            let in_step = codes.len() == lines + 2 && codes.ends_with(&[214, 221]);
            // Or the connection was closed, at DATA by a reply more.
            let closed = (1..=lines + 1).contains(&codes.len()) && !codes.contains(&214);
            assert!(in_step || closed, "{shown}: {replies:?}");
            for text in replies.iter().flat_map(|reply| &reply.lines) {
                assert!(!text.contains("injected") && !text.contains(['%', '{', '+', '\\']), "{shown}: {replies:?}");
            }
        }
    }
}

/// Messages with the payloads in their header fields, as far as they can be in a message at all.
async fn all_messages(server: &Server) {
    for payload in PAYLOADS {
        let payload = match *payload {
            b"\r\n" => b"\r\n ",
            payload if payload.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) => continue,
            payload => payload,
        };
        let mut message = Vec::new();
        for template in [
            "From: a~ <a~@pl~ain.example>",
            "Sender: ~",
            "Subject: ~",
            "Message-ID: <~@client.example>",
            "Date: ~",
            "~: x",
            "Return-Path: <~>",
            "DKIM-Signature: v=1; a=rsa-sha256; d=pl~ain.example; s=s~s; h=from~:subject; bh=~; b=~",
            "DKIM-Signature: v=1; a=~; d=~; s=~; i=~@~; h=from; bh=AAAA; b=AAAA",
            "Authentication-Results: mx.demo.example; spf=~",
            "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=~; s=~; b=AAAA",
            "ARC-Message-Signature: i=1; a=rsa-sha256; d=~; s=~; h=from; bh=AAAA; b=AAAA",
            "ARC-Authentication-Results: i=1; ~; spf=pass",
            "Received: from ~ by ~; ~",
            "Content-Type: multipart/mixed; boundary=\"~\"",
        ] {
            for part in template.split('~').enumerate() {
                if part.0 > 0 {
                    message.extend_from_slice(&[payload, MARK.as_bytes()].concat());
                }
                message.extend_from_slice(part.1.as_bytes());
            }
            message.extend_from_slice(b"\r\n");
        }
        let mut peer = Peer::introduced(server.ipv6).await;
        let reply = peer.message(&[&message[..], b"\r\ntext\r\n.\r\n"].concat()).await;
        assert!(reply.code == 250 && !format!("{reply}").contains("injected"), "{reply}");
        assert_eq!(peer.command("QUIT").await.code, 221);
        peer.closed().await;
    }
}

#[tokio::test]
async fn into_replies_and_a_log_for_people() {
    let setting = Setting { policy: OBSERVE, ..Setting::default() };
    let nameserver = NameServer::start(Zone::demo()).await.unwrap();
    let folder = Folder::new(&setting, nameserver.addr());
    // hickory's own words at this level have line ends in them.
    let path = folder.path().join("smtpd.toml");
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("log = \"debug\"", "log = \"info,smtp_fallback_smtpd=debug,smtp_fallback_daemon=debug\"");
    std::fs::write(&path, text).unwrap();
    let server = Server::start_in(folder, &[], nameserver);
    all_commands(&server).await;
    all_messages(&server).await;
    let log = flushed(&server);
    assert!(log.contains("injected"), "it shows what clients said");
    for line in log.lines() {
        let shown = line.escape_debug();
        assert!(line.chars().all(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}')), "raw: {shown}");
        // As `2026-11-24T12:40:18.123456Z  INFO `: no line was begun by a client.
        let (time, rest) = line.split_at_checked(27).unwrap_or_else(|| panic!("forged: {shown}"));
        let begins = time.ends_with('Z') && time.as_bytes()[10] == b'T' && time.starts_with("20");
        let level = rest.trim_start().split(' ').next().unwrap_or_default();
        assert!(begins && ["ERROR", "WARN", "INFO", "DEBUG"].contains(&level), "forged: {shown}");
        // What a client said is quoted, and its own quotes are escaped.
        if let Some(at) = line.find("injected") {
            let quotes = line[..at].replace("\\\\", "").replace("\\\"", "").matches('"').count();
            assert!(quotes % 2 == 1, "not quoted: {shown}");
        }
    }
}

#[tokio::test]
async fn into_a_log_for_programs() {
    let top = "domains = [\"demo.example\"]\nmaildir = \"mail\"\nlog_format = \"json\"".to_owned();
    let server = Server::start(Setting { policy: OBSERVE, top, ..Setting::default() }).await;
    all_commands(&server).await;
    all_messages(&server).await;
    let log = flushed(&server);
    let mut said = 0;
    for line in log.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let object = object.as_object().unwrap_or_else(|| panic!("no object: {line:?}"));
        assert!(object.contains_key("timestamp") && object.contains_key("level"), "{line:?}");
        assert!(!line.contains(['\u{1b}', '\0']), "{line:?}");
        assert!(!object.keys().any(|key| key.contains("injected")), "{line:?}");
        said += usize::from(object.values().any(|value| value.to_string().contains("injected")));
    }
    assert!(said > 50, "{said} lines show what clients said");
}

/// The log up to now: a session of this test's own is the last thing in it.
fn flushed(server: &Server) -> String {
    server.terminate();
    server.logged(&["shutdown"]);
    server.log()
}

#[tokio::test]
async fn into_commands_to_upstream() {
    let naive = Naive::start().await;
    let server = naive.front("").await;
    for (before, template) in FIELDS {
        for payload in PAYLOADS {
            let mut peer = Peer::introduced(server.ipv6).await;
            peer.send([before.as_bytes(), &filled(template, payload), b"\r\nHELP\r\nQUIT\r\n"].concat()).await;
            let replies = peer.rest().await;
            let heard = naive.heard();
            let shown = filled(template, payload).escape_ascii().to_string();
            assert!(!replies.iter().any(|reply| reply.to_string().contains("injected")), "{shown}: {replies:?}");
            // Its own greeting, then what the client's commands stand for; what there is of it is one line, whatever it says.
            for command in &heard.commands {
                let verb = command.split(' ').next().unwrap();
                assert!(["EHLO", "HELO", "XCLIENT", "MAIL", "RCPT", "RSET", "QUIT"].contains(&verb), "{shown}: {heard:?}");
                // Whoever decodes xtext there must not meet the end of a line either (RFC 3461 §4).
                let xtext = command.split_once(" ENVID=").or(command.split_once(" ORCPT="));
                assert!(!xtext.is_some_and(|(_, value)| value.contains("+0")), "{shown}: {heard:?}");
                assert!(!command.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{fffd}')), "{shown}: {heard:?}");
            }
            // Where the line was run, it is one command.
            let expected = |verb: &str| usize::from(before.starts_with(verb)) + usize::from(template.starts_with(verb));
            assert!(
                heard.with("MAIL").len() <= expected("MAIL") && heard.with("RCPT").len() <= expected("RCPT"),
                "{shown}: {heard:?}"
            );
            assert!(heard.messages.is_empty());
        }
    }
}

/// What is put before the message has the lines that it must have, and no other.
#[tokio::test]
async fn into_the_header_of_a_kept_message() {
    let server = observing("").await;
    let long = "x".repeat(255);
    let names = [
        "client.example",
        "a(b)c",
        "x;y",
        "\"q\"",
        "<a@b>",
        "a\\b",
        "%s{failed}",
        "[IPv6:::1]",
        "[127.0.0.1])\\r\\n\\tby_mx",
        "a=?utf-8?q?=0A?=",
        "(((((",
        "))))",
        "Received:",
        "=0D=0ASubject:x",
        &long,
    ];
    let paths = [
        ("<>", "<jones@demo.example>"),
        ("<\"a b\\\"c;(x)\"@plain.example>", "<\"Bcc: x\"@demo.example>"),
        ("<a%b{failed}@plain.example>", "<{client}%0a@demo.example>"),
        ("<\"Received: from evil.example\"@plain.example>", "<\"> (\"@demo.example>"),
        ("<\"\\ \\>\"@[127.0.0.1]>", "<\"\\\\\"@demo.example>"),
        ("<=?utf-8?q?=0AX?=@plain.example>", "<=?q?@demo.example>"),
        ("<m\u{fc}ller@b\u{fc}cher.example> SMTPUTF8", "<j\u{f6}nes@demo.example>"),
        ("<\"\u{202e}\u{a0}\"@plain.example> SMTPUTF8", "<\"\u{feff}\"@demo.example>"),
        ("<@evil.example,@b.example:a@plain.example>", "<@evil.example:jones@demo.example>"),
    ];
    // What the client puts on top of its message looks like it, and is its own.
    let text =
        b"Return-Path: <evil@demo.example>\r\nDelivered-To: evil@demo.example\r\nReceived: from evil.example\r\n\r\ntext\r\n";
    let mut sent = 0;
    for (number, name) in names.iter().enumerate() {
        let (from, to) = paths[number % paths.len()];
        let mut peer = Peer::greeted(server.ipv4).await;
        let lines = [
            format!("EHLO {name}"),
            format!("MAIL FROM:{from}"),
            format!("RCPT TO:{to}"),
            "RCPT TO:<postmaster>".into(),
            "DATA".into(),
        ];
        assert_eq!(peer.codes(&lines.each_ref().map(String::as_str)).await, [250, 250, 250, 250, 354], "{lines:?}");
        peer.send([&text[..], b".\r\n"].concat()).await;
        assert_eq!(peer.reply().await.code, 250, "{lines:?}");
        sent += 1;
    }
    let delivered = server.delivered();
    assert_eq!(delivered.len(), sent);
    for file in delivered {
        let header = std::str::from_utf8(file.strip_suffix(text).expect("the message as it was sent")).unwrap();
        let lines: Vec<&str> = header.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        let begins: Vec<bool> =
            ["Return-Path: <", "Delivered-To: ", "Delivered-To: ", "Received: from ", "\tby mx.demo.example with ", "\t"]
                .iter()
                .enumerate()
                .map(|(at, begin)| lines.get(at).is_some_and(|line| line.starts_with(begin)))
                .collect();
        assert!(begins == [true; 6] && lines.len() == 6, "{header}");
        assert!(!header.contains("evil@") && !lines.iter().any(|line| line[1..].contains(char::is_control)), "{header}");
        // The name is one word of the Received field, and opens no comment.
        let received = lines[3].strip_prefix("Received: from ").unwrap();
        let (name, address) = received.split_once(' ').unwrap();
        assert!(address == "([127.0.0.1])" && !name.contains(['(', ')', ';', '<', '>', '"', '\\', '=']), "{header}");
        assert!(lines[0].ends_with('>'), "{header}");
    }
}

/// A trusted proxy may be as hostile: a header that is none ends the connection without a word.
#[tokio::test]
async fn in_the_header_of_a_proxy() {
    let listeners = "[[listener]]\naddress = \"[::1]:0\"\nextension = true\nproxy_from = [\"::1\"]\n\n[[listener]]\naddress = \"127.0.0.1:0\"";
    let server = Server::start(Setting { policy: OBSERVE, listeners: listeners.to_owned(), ..Setting::default() }).await;
    for line in [
        "PROXY TCP6 ~ 2001:db8::2 1 25",
        "PROXY TCP6 2001:db8::1~ 2001:db8::2 1 25",
        "PROXY TCP6 2001:db8::1 2001:db8::2~ 1 25",
        "PROXY TCP6 2001:db8::1 2001:db8::2 1~ 25",
        "PROXY TCP6 2001:db8::1 2001:db8::2 1 25~",
        "PROXY TCP6 fe80::1%~ fe80::2 1 25",
        "PROXY ~",
        "~",
        "PROXY TCP4 2001:db8::1~ 192.0.2.1 1 25",
        "\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24~",
    ] {
        for payload in PAYLOADS {
            // Where the line may end.
            if *payload == b"\r\n" && line.ends_with("25~") {
                continue;
            }
            let mut peer = Peer::new(tokio::net::TcpStream::connect(server.ipv6).await.unwrap());
            peer.send_what_is_taken(&[&filled(line, payload)[..], b"\r\n"].concat()).await;
            peer.send_what_is_taken(b"EHLO client.example\r\nQUIT\r\nQUIT\r\n").await;
            let replies = replies_if_any(peer).await;
            // The header of version 2 takes any 16 octets for an address, and is long enough then.
            assert!(
                replies.is_empty() || line.starts_with('\r'),
                "{:?}: {replies:?}",
                filled(line, payload).escape_ascii().to_string()
            );
        }
    }
    // Anything may stand behind UNKNOWN, up to the line's end. The session is the proxy's own.
    let mut peer = Peer::new(tokio::net::TcpStream::connect(server.ipv6).await.unwrap());
    peer.send(format!("PROXY UNKNOWN %s{{client}} {MARK}\r\n")).await;
    assert_eq!(peer.reply().await.code, 220);
    assert_eq!(peer.command("QUIT").await.code, 221);
    let log = flushed(&server);
    assert!(log.contains("proxy-failure"));
    assert!(log.lines().all(|line| line.starts_with("20") && !line.contains(char::is_control)), "{log}");
}

/// The connection may break, since what was sent was not read.
async fn replies_if_any(peer: Peer) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let (mut stream, mut octets) = (peer.into_stream(), Vec::new());
    let _ = tokio::time::timeout(std::time::Duration::from_secs(20), stream.read_to_end(&mut octets)).await.expect("it ends");
    octets
}

/// Texts of the policy have placeholders: what fills them is not the client's to choose.
#[tokio::test]
async fn into_texts_of_the_policy() {
    let policy = r#"{"mode": "enforce", "url": "https://policy.demo.example/", "exempt": {"local_networks": false}, "penalty": {"at_greeting": false},
        "texts": {"unauthenticated": ["{failed} of {client} in {prefix}: see {url}", "100 % {failed}"]}}"#;
    let server = Server::start(Setting { policy, ..Setting::default() }).await;
    let mut replies = Vec::new();
    for mark in ["x", "%s%n", "{failed}", "{client}{url}", "{{", "}", "injected"] {
        let mut peer = Peer::greeted(server.ipv6).await;
        assert_eq!(peer.command(format!("EHLO a{mark}.example")).await.code, 250);
        let from = format!("MAIL FROM:<a{mark}@plain.example>");
        assert_eq!(peer.codes(&[&from, "RCPT TO:<jones@demo.example>", "DATA"]).await, [250, 250, 354]);
        let text = format!(
            "From: <a{mark}@plain{mark}.example>\r\nSubject: {mark}\r\n\
             DKIM-Signature: v=1; a=rsa-sha256; d={mark}plain.example; s={mark}; h=from; bh=AAAA; b=AAAA\r\n\r\n{mark}\r\n.\r\n"
        );
        peer.send(text).await;
        replies.push(peer.reply().await);
        peer.closed().await;
    }
    let [first, ..] = &replies[..] else { panic!("replies") };
    assert_eq!(first.code, 421);
    let [line, percent] = &first.lines[..] else { panic!("{first}") };
    assert!(line.starts_with("4.4.8 ") && line.ends_with(" of ::1 in ::/64: see https://policy.demo.example/"), "{first}");
    assert!(percent.starts_with("4.4.8 100 % "), "{first}");
    let differing: Vec<&Reply> = replies[1..].iter().filter(|reply| reply.lines != first.lines).collect();
    assert!(differing.is_empty(), "{differing:?} and {first}");
}

//! The verb IPV6-IPV4-FALLBACK in every wrong place (A8 to A11), and what it changes: a message that fails is refused by 456 and the
//! session goes on, where the verb was accepted, and by 421 at the session's end everywhere else (P2, P3, A14).

use std::net::SocketAddr;

use smtp_fallback_demo::client::Reply;

use crate::peer::Peer;
use crate::server::{Server, Setting, message};

const VERB: &str = "IPV6-IPV4-FALLBACK";
const EHLO: &str = "EHLO client.example";
const MAIL: &str = "MAIL FROM:<smith@plain.example>";
const RCPT: &str = "RCPT TO:<jones@demo.example>";
/// Unauthenticated mail is refused, from any address and however often.
const ENFORCE: &str = r#"{"mode": "enforce", "exempt": {"local_networks": false}, "penalty": {"at_greeting": false}}"#;

/// With four more listeners: IPv6 without the extension, two behind a proxy, and one of another kind.
async fn server() -> Server {
    let listener = |address: &str, more: &str| format!("[[listener]]\naddress = \"{address}:0\"\n{more}\n\n");
    let tables = [
        "[policy_limits]\ndeadline = \"10s\"\n\n".to_owned(),
        listener("[::1]", ""),
        listener("[::1]", "extension = true\nproxy_from = [\"::1\"]"),
        listener("127.0.0.1", "extension = true\nproxy_from = [\"127.0.0.1\"]"),
        listener("[::1]", "extension = true\nkind = \"submission\""),
    ];
    Server::start(Setting { policy: ENFORCE, tables: tables.concat(), ..Setting::default() }).await
}

/// All listeners, in the order of the configuration.
fn listeners(server: &Server) -> [SocketAddr; 6] {
    // The last is logged last.
    let wait = || {
        let log = server.log();
        let lines =
            log.lines().filter_map(|line| line.split_once("listening address=")).map(|(_, address)| address.trim().parse());
        lines.collect::<Result<Vec<SocketAddr>, _>>().unwrap().try_into()
    };
    for _ in 0..500 {
        if let Ok(addresses) = wait() {
            return addresses;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not all listen:\n{}", server.log());
}

/// What the failing message is answered, from MAIL on or from wherever the transaction is.
async fn verdict(peer: &mut Peer, from: usize) -> Reply {
    assert_eq!(peer.codes(&[MAIL, RCPT, "DATA"][from..]).await, [250, 250, 354][from..]);
    peer.send([&message(1)[..], b".\r\n"].concat()).await;
    peer.reply().await
}

async fn with_456(peer: &mut Peer, what: &str) {
    for _ in 0..2 {
        let reply = verdict(peer, 0).await;
        assert!(reply.code == 456 && reply.has_enhanced_code("4.4.8"), "{what}: {reply}");
    }
    assert_eq!(peer.codes(&["NOOP", "QUIT"]).await, [250, 221], "{what}: the session goes on");
    peer.closed().await;
}

async fn with_421(peer: &mut Peer, from: usize, what: &str) {
    let reply = verdict(peer, from).await;
    assert!(reply.code == 421 && reply.has_enhanced_code("4.4.8"), "{what}: {reply}");
    peer.closed().await;
}

/// What is said, what it is answered, and whether the verb is in force then.
#[tokio::test]
async fn p2_p3_a8_a9_a10_where_it_counts_and_where_not() {
    const LOWER: &str = "ipv6-ipv4-fallback";
    let server = server().await;
    let sessions: &[(&[(&str, u16)], bool)] = &[
        (&[(EHLO, 250)], false),
        (&[(EHLO, 250), (VERB, 250)], true),
        (&[(EHLO, 250), (LOWER, 250)], true),
        (&[(EHLO, 250), ("IPv6-IPv4-FallBack", 250)], true),
        (&[(EHLO, 250), (VERB, 250), (VERB, 250), (LOWER, 250)], true),
        // White space at the end is no argument (RFC 5321 §4.1.1).
        (&[(EHLO, 250), ("IPV6-IPV4-FALLBACK ", 250)], true),
        // Before EHLO, and after HELO.
        (&[(VERB, 503), (EHLO, 250)], false),
        (&[("HELO client.example", 250), (VERB, 503)], false),
        (&[(EHLO, 250), ("HELO client.example", 250), (VERB, 503)], false),
        // With an argument, before and after.
        (&[(EHLO, 250), ("IPV6-IPV4-FALLBACK x", 501)], false),
        (&[(EHLO, 250), ("IPV6-IPV4-FALLBACK\t1", 501)], false),
        (&[(EHLO, 250), (VERB, 250), ("IPV6-IPV4-FALLBACK x", 501)], true),
        // Which is not what it looks like.
        (&[(EHLO, 250), ("IPV6-IPV4-FALLBACKS", 500)], false),
        (&[(EHLO, 250), ("IPV6-IPV4-FALLBACK:", 500)], false),
        (&[(EHLO, 250), (" IPV6-IPV4-FALLBACK", 500)], false),
        (&[(EHLO, 250), ("XIPV6-IPV4-FALLBACK", 500)], false),
        (&[(EHLO, 250), ("IPV6-IPV4-FALLBACK\0", 500)], false),
        (&[(EHLO, 250), ("IPV6-IPV4-FALLBACK\r", 500)], false),
        (&[(EHLO, 250), ("IPV6-IPV4-FALLBACK\n", 500)], false),
        (&[(EHLO, 250), ("NOOP\nIPV6-IPV4-FALLBACK", 500)], false),
        (&[(EHLO, 250), ("NOOP IPV6-IPV4-FALLBACK", 250)], false),
        (&[(EHLO, 250), ("\u{ff29}PV6-IPV4-FALLBACK", 500)], false),
        (&[(EHLO, 250), ("\u{131}pv6-ipv4-fallback", 500)], false),
        (&[("EHLO IPV6-IPV4-FALLBACK", 250)], false),
        // Inside a transaction, which goes on; before it, and after it was given up.
        (&[(EHLO, 250), (MAIL, 250), (VERB, 503), ("RSET", 250)], false),
        (&[(EHLO, 250), (MAIL, 250), (RCPT, 250), (VERB, 503), ("RSET", 250)], false),
        (&[(EHLO, 250), (VERB, 250), (MAIL, 250), (VERB, 503), ("RSET", 250)], true),
        (&[(EHLO, 250), (MAIL, 250), ("RSET", 250), (VERB, 250)], true),
        (&[(EHLO, 250), (MAIL, 250), ("DATA", 554), (VERB, 503), ("RSET", 250)], false),
        (&[(EHLO, 250), ("DATA", 503), (VERB, 250)], true),
        (&[(EHLO, 250), (MAIL, 250), (RCPT, 250), ("BDAT 0", 250), (VERB, 503), ("RSET", 250)], false),
        // It outlives RSET, and what changes nothing; it does not outlive EHLO and HELO, unless they fail.
        (&[(EHLO, 250), (VERB, 250), ("RSET", 250), ("NOOP", 250), ("HELP", 214), ("VRFY x", 252), ("WHAT", 500)], true),
        (&[(EHLO, 250), (VERB, 250), (EHLO, 250)], false),
        (&[(EHLO, 250), (VERB, 250), ("HELO client.example", 250)], false),
        (&[(EHLO, 250), (VERB, 250), (EHLO, 250), (VERB, 250)], true),
        (&[(EHLO, 250), (VERB, 250), ("EHLO", 501), ("EHLO a b", 501)], true),
        (&[(EHLO, 250), (VERB, 250), ("STARTTLS", 502)], true),
    ];
    for (said, in_force) in sessions {
        let mut peer = Peer::greeted(server.ipv6).await;
        for (line, code) in *said {
            let reply = peer.command(line).await;
            assert_eq!(reply.code, *code, "{line:?} of {said:?}: {reply}");
            let enhanced = match code {
                501 => "5.5.4",
                503 | 554 => "5.5.1",
                _ => continue,
            };
            assert!(reply.has_enhanced_code(enhanced), "{line:?}: {reply}");
        }
        let what = format!("{said:?}");
        if *in_force { with_456(&mut peer, &what).await } else { with_421(&mut peer, 0, &what).await }
    }
    assert!(server.delivered().is_empty());
}

#[tokio::test]
async fn a8_a_transaction_goes_on_without_it() {
    let server = server().await;
    for from in [1, 2] {
        let mut peer = Peer::introduced(server.ipv6).await;
        assert_eq!(peer.codes(&[MAIL, RCPT][..from]).await, [250, 250][..from]);
        assert_eq!(peer.command(VERB).await.code, 503);
        with_421(&mut peer, from, "refused inside the transaction").await;
    }
}

#[tokio::test]
async fn a12_in_a_group() {
    let server = server().await;
    let mut peer = Peer::greeted(server.ipv6).await;
    peer.send(format!("{EHLO}\r\n{VERB}\r\n{MAIL}\r\n{RCPT}\r\n{VERB}\r\nDATA\r\n")).await;
    for code in [250, 250, 250, 250, 503, 354] {
        assert_eq!(peer.reply().await.code, code);
    }
    peer.send([&message(1)[..], b".\r\n"].concat()).await;
    assert_eq!(peer.reply().await.code, 456);
    assert_eq!(peer.command("QUIT").await.code, 221);
}

/// In a message it is text, and behind the message too late.
#[tokio::test]
async fn it_is_no_command_in_a_message() {
    let server = server().await;
    let text = format!("{VERB}\r\n\r\n{VERB}\r\n");
    let mut peer = Peer::introduced(server.ipv6).await;
    let reply = peer.message(format!("{text}.\r\n{VERB}\r\n").as_bytes()).await;
    assert!(reply.code == 421 && reply.has_enhanced_code("4.4.8"), "{reply}");
    peer.closed().await;
    for chunks in [format!("BDAT {} LAST\r\n{text}", text.len()), format!("BDAT {}\r\n{text}BDAT 0 LAST\r\n", text.len())] {
        let mut peer = Peer::introduced(server.ipv6).await;
        assert_eq!(peer.codes(&[MAIL, RCPT]).await, [250, 250]);
        peer.send(chunks + VERB + "\r\n").await;
        assert_eq!(*peer.closing_codes().await.last().unwrap(), 421);
    }
    // A chunk that nobody wants.
    let mut peer = Peer::introduced(server.ipv6).await;
    peer.send(format!("BDAT {} LAST\r\n{VERB}\r\n", VERB.len() + 2)).await;
    assert_eq!(peer.reply().await.code, 503);
    with_421(&mut peer, 0, "a chunk outside a transaction").await;
}

/// R1, A23: who has nothing to fall back from, or was not told of it, has no such command.
#[tokio::test]
async fn a8_a23_where_it_is_not_announced() {
    let server = server().await;
    let [_, ipv4, without, proxied, proxied_ipv4, submission] = listeners(&server);
    for (listener, header, announced, refused) in [
        (ipv4, "", false, false),
        (without, "", false, true),
        (proxied, "PROXY TCP4 192.0.2.1 192.0.2.2 1234 25\r\n", false, false),
        (proxied, "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1234 25\r\n", false, false),
        (proxied, "PROXY TCP6 2001:db8::1 2001:db8::2 1234 25\r\n", true, true),
        (proxied_ipv4, "PROXY TCP6 2001:db8::1 2001:db8::2 1234 25\r\n", true, true),
        (proxied_ipv4, "PROXY TCP4 192.0.2.1 192.0.2.2 1234 25\r\n", false, false),
        // The proxy's own connection.
        (proxied_ipv4, "PROXY UNKNOWN\r\n", false, false),
        (proxied, "PROXY UNKNOWN\r\n", true, true),
        // Another kind of service is not in the policy's scope (A18).
        (submission, "", true, false),
    ] {
        for says_it in [true, false] {
            let what = format!("{listener} {header:?}, the verb said: {says_it}");
            let mut peer = Peer::new(tokio::net::TcpStream::connect(listener).await.unwrap());
            peer.send(header).await;
            assert_eq!(peer.reply().await.code, 220, "{what}");
            if says_it {
                assert_eq!(peer.command(VERB).await.code, if announced { 503 } else { 502 }, "{what}: before EHLO");
            }
            assert_eq!(peer.command(EHLO).await.announces(VERB), announced, "{what}");
            if says_it {
                let replies = [peer.command(VERB).await, peer.command("ipv6-ipv4-fallback x").await];
                let codes = replies.each_ref().map(|reply| reply.code);
                assert_eq!(codes, if announced { [250, 501] } else { [502, 502] }, "{what}");
            }
            match (refused, says_it && announced) {
                (false, _) => assert_eq!(verdict(&mut peer, 0).await.code, 250, "{what}"),
                (true, true) => with_456(&mut peer, &what).await,
                (true, false) => with_421(&mut peer, 0, &what).await,
            }
        }
    }
}

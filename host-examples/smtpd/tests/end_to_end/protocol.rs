//! The protocol over real sockets.

use std::net::{Ipv4Addr, Ipv6Addr};

use smtp_fallback_demo::client::Client;

use crate::server::{RECIPIENT, Server, Setting, message};

/// Nothing is refused by policy.
async fn server() -> Server {
    Server::start(Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }).await
}

async fn codes(client: &mut Client, commands: &[&str]) -> Vec<u16> {
    let mut codes = Vec::new();
    for command in commands {
        codes.push(client.command(command).await.unwrap().code);
    }
    codes
}

async fn in_transaction(client: &mut Client) {
    let rcpt = format!("RCPT TO:<{RECIPIENT}>");
    assert_eq!(codes(client, &["MAIL FROM:<smith@plain.example>", &rcpt, "DATA"]).await, [250, 250, 354]);
}

#[tokio::test]
async fn r1_a8_a23_keyword_and_verb() {
    const VERB: &str = "IPV6-IPV4-FALLBACK";
    let server = server().await;
    let mut client = Client::connect(server.ipv6).await.unwrap();
    assert_eq!(client.reply().await.unwrap().code, 220);
    assert_eq!(codes(&mut client, &[VERB, "HELO client.example", VERB]).await, [503, 250, 503]);
    let reply = client.command("EHLO client.example").await.unwrap();
    for keyword in ["PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", VERB] {
        assert!(reply.announces(keyword), "{reply}");
    }
    assert_eq!(reply.lines.last().map(String::as_str), Some(VERB), "without parameters");
    let commands = ["ipv6-ipv4-fallback x", "ipv6-ipv4-fallback", VERB, "MAIL FROM:<>", VERB, "RSET", VERB, "QUIT"];
    assert_eq!(codes(&mut client, &commands).await, [501, 250, 250, 250, 503, 250, 250, 221]);

    let mut client = Client::connect(server.ipv4).await.unwrap();
    client.reply().await.unwrap();
    let reply = client.command("EHLO client.example").await.unwrap();
    assert!(reply.announces("PIPELINING") && !reply.announces(VERB), "{reply}");
    assert_eq!(codes(&mut client, &[VERB, "NOOP"]).await, [502, 250]);
}

#[tokio::test]
async fn a23_an_ipv6_listener_takes_no_ipv4() {
    let tables = "[[listener]]\naddress = \"[::]:0\"".into();
    let server = Server::start(Setting { tables, ..Setting::default() }).await;
    let line = server.logged(&["listening address=[::]:"]);
    let port: u16 = line.rsplit(':').next().unwrap().parse().unwrap();
    server.client((Ipv6Addr::LOCALHOST, port).into()).await;
    assert!(Client::connect((Ipv4Addr::LOCALHOST, port).into()).await.is_err());
}

#[tokio::test]
async fn a_helo_session() {
    let server = server().await;
    let mut client = Client::connect(server.ipv6).await.unwrap();
    client.reply().await.unwrap();
    let reply = client.command("HELO client.example").await.unwrap();
    assert_eq!((reply.code, reply.lines.len()), (250, 1));
    assert_eq!(codes(&mut client, &["MAIL FROM:<a@plain.example> SIZE=1"]).await, [555]);
    let reply = client.transaction("smith@plain.example", RECIPIENT, &message(1)).await.unwrap();
    assert_eq!(reply.code, 250);
    assert!(String::from_utf8_lossy(&server.delivered()[0]).contains("with SMTP id"));
}

#[tokio::test]
async fn a_pipelined_group() {
    let server = server().await;
    let mut client = server.client(server.ipv6).await;
    let group = b"IPV6-IPV4-FALLBACK\r\nMAIL FROM:<smith@plain.example>\r\nRCPT TO:<x@elsewhere.example>\r\n\
                  RCPT TO:<jones@demo.example>\r\nDATA\r\n";
    client.send(group).await.unwrap();
    for code in [250, 250, 550, 250, 354] {
        assert_eq!(client.reply().await.unwrap().code, code);
    }
    client.send(&[&message(1)[..], b".\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n"].concat()).await.unwrap();
    for code in [250, 250, 250, 221] {
        assert_eq!(client.reply().await.unwrap().code, code);
    }
    client.closed().await.unwrap();
    assert_eq!(server.delivered().len(), 1);
}

#[tokio::test]
async fn no_smuggling() {
    let server = server().await;
    for end in
        ["\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\n\n.\r\n", "\r\n\0.\r\n", "\r\n.\0\r\n", "\r\r\n.\r\n"]
    {
        let mut client = server.client(server.ipv6).await;
        in_transaction(&mut client).await;
        // In one piece: whoever takes `end` for the end has a second transaction at hand.
        let smuggled = format!(
            "Subject: outer\r\n\r\nText{end}MAIL FROM:<evil@plain.example>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n\
             Subject: smuggled\r\n\r\nText\r\n.\r\n"
        );
        client.send(smuggled.as_bytes()).await.unwrap();
        let reply = client.reply().await.unwrap();
        assert_eq!(reply.code, 550, "{end:?}: {reply}");
        assert!(reply.has_enhanced_code("5.6.0"), "{end:?}: {reply}");
        // Whatever follows is taken for no command, also after a sequence that does end the message ("\r\r\n.\r\n"): who passed this
        // on may have read it otherwise.
        let next = match client.command("NOOP").await {
            Ok(reply) => reply.code,
            Err(_) => client.reply().await.map_or(0, |reply| reply.code),
        };
        assert!(matches!(next, 421 | 0), "{end:?}: {next}");
    }
    let mut client = server.client(server.ipv6).await;
    in_transaction(&mut client).await;
    client.send(b"Subject: outer\r\n\r\nText\r\n.\r\nNOOP\r\n").await.unwrap();
    assert_eq!(client.reply().await.unwrap().code, 250, "the true end");
    assert_eq!(client.reply().await.unwrap().code, 250);
    assert_eq!(server.delivered().len(), 1, "only the one with the true end");
}

#[tokio::test]
async fn commands_end_with_crlf_only() {
    let server = server().await;
    for (line, replies) in [
        (&b"NOOP\nNOOP\r\n"[..], &[500][..]),
        (b"NOOP\rNOOP\r\n", &[500]),
        (b"NO\0OP\r\n", &[500]),
        (b"NOOP \xff\r\n", &[500]),
        (b"MAIL FROM:<a@plain.example>\nRCPT TO:<jones@demo.example>\nDATA\r\n", &[500]),
        (b"NOOP\r\nNOOP\r\n", &[250, 250]),
    ] {
        let mut client = server.client(server.ipv4).await;
        client.send(line).await.unwrap();
        for code in replies {
            assert_eq!(client.reply().await.unwrap().code, *code, "{:?}", String::from_utf8_lossy(line));
        }
        assert_eq!(client.command("QUIT").await.unwrap().code, 221, "{:?}", String::from_utf8_lossy(line));
    }
}

#[tokio::test]
async fn what_is_sent_is_kept_octet_for_octet() {
    let server = server().await;
    let bodies: [&[u8]; 4] = [
        b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n...\r\n",
        b"Subject: 8bit\r\n\r\n\xc3\xa9 \xff\xfe\r\n",
        b"Subject: no body\r\n",
        b"",
    ];
    for body in bodies {
        let mut client = server.client(server.ipv4).await;
        assert_eq!(
            codes(&mut client, &["MAIL FROM:<a@plain.example> BODY=8BITMIME", "RCPT TO:<postmaster>", "DATA"]).await,
            [250, 250, 354]
        );
        assert_eq!(client.message(body).await.unwrap().code, 250);
    }
    let mut kept: Vec<Vec<u8>> = server
        .delivered()
        .into_iter()
        .map(|message| {
            let date = message.windows(8).position(|octets| octets == b" +0000\r\n").expect("a Received field") + 8;
            message[date..].to_vec()
        })
        .collect();
    let mut sent: Vec<_> = bodies.iter().map(|body| body.to_vec()).collect();
    kept.sort();
    sent.sort();
    assert_eq!(kept, sent);
}

#[tokio::test]
async fn what_a_client_says_of_itself_forges_nothing() {
    let server = server().await;
    let mut client = Client::connect(server.ipv4).await.unwrap();
    client.reply().await.unwrap();
    assert_eq!(client.command("EHLO a\x1b[2J").await.unwrap().code, 500);
    assert_eq!(client.command("EHLO x\"event=\\\"fake\\\"(c);<d>").await.unwrap().code, 250);
    let reply = client.transaction("\"a\\\" verdict=x\"@plain.example", RECIPIENT, &message(1)).await.unwrap();
    assert_eq!(reply.code, 250);
    let line = server.logged(&["end-of-data", "client=127.0.0.1"]);
    assert!(line.contains(r#"ehlo="x\"event=\\\"fake\\\"(c);<d>""#), "{line}");
    assert!(line.contains(r#"mail_from="\"a\\\" verdict=x\"@plain.example""#), "{line}");
    let kept = String::from_utf8(server.delivered().remove(0)).unwrap();
    assert!(kept.contains("Received: from x?event???fake???c???d? ([127.0.0.1])\r\n"), "{kept}");
    assert!(kept.starts_with("Return-Path: <\"a\\\" verdict=x\"@plain.example>\r\n"), "{kept}");
}

#[tokio::test]
async fn the_log_says_why_a_command_was_refused() {
    let server = Server::start(Setting::default()).await;
    let mut client = server.client(server.ipv4).await;
    for (command, code) in [
        ("MAIL FROM:<a@plain.example> SIZE=999999999", 552),
        ("MAIL FROM:<a@plain.example>", 250),
        ("RCPT TO:<b@elsewhere.example>", 550),
        ("RSET now", 501),
    ] {
        assert_eq!(client.command(command).await.unwrap().code, code, "{command}");
    }
    for parts in [
        &["INFO", "\"refused\"", "command=\"MAIL\"", "address=\"a@plain.example\"", "by=\"server\"", "code=552", "5.3.4"][..],
        &["INFO", "\"refused\"", "command=\"RCPT\"", "address=\"b@elsewhere.example\"", "code=550", "relaying refused"],
        &["DEBUG", "\"refused\"", "command=\"RSET\"", "code=501"],
    ] {
        let line = server.logged(parts);
        assert!(line.contains("client=127.0.0.1") && line.contains("ehlo=\"client.example\""), "{line}");
    }
    let refused = client.transaction("a@plain.example", RECIPIENT, b"a\nb\r\n").await.unwrap();
    assert_eq!(refused.code, 503, "the transaction is still open: {refused}");
    client.command("RSET").await.unwrap();
    assert_eq!(client.transaction("a@plain.example", RECIPIENT, b"a\nb\r\n").await.unwrap().code, 550);
    server.logged(&["\"message-refused\"", "mail_from=\"a@plain.example\"", "recipients=1", "fault=\"bare-lf\""]);
}

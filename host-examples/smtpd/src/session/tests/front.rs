//! Front mode, with an upstream that a script plays. The end-to-end tests have real ones.

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::upstream::{Address, Protocol, Tell, Timeouts};

/// What upstream does with a line: a reply, or nothing to close the connection.
type Script = fn(&str) -> Option<String>;

/// An upstream on the loopback interface. What it was told is in `heard`, a line an entry, `<connection>` for each of those.
struct Played {
    settings: Settings,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Played {
    async fn start(script: Script) -> Played {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                log.lock().expect("sound").push("<connection>".to_owned());
                tokio::spawn(play(stream, script, Arc::clone(&log)));
            }
        });
        let short = Duration::from_secs(2);
        let timeouts = Timeouts {
            connect: short,
            greeting: short,
            command: short,
            data: short,
            block: short,
            dot: short,
            ..Timeouts::default()
        };
        let host_name = "mx.demo.example".to_owned();
        let settings =
            Settings { address: Address::Tcp(address), protocol: Protocol::Smtp, tell: Tell::ProxyV1, host_name, timeouts };
        Played { settings, heard }
    }

    fn setting(&self) -> Setting {
        Setting { upstream: Some(self.settings.clone()), ..Setting::default() }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("sound").clone()
    }
}

async fn play(stream: TcpStream, script: Script, heard: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let Some(greeting) = script("<greeting>") else { return };
    stream.write_all(greeting.as_bytes()).await.expect("open");
    let mut in_message = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end_matches("\r\n").to_owned();
        heard.lock().expect("sound").push(line.clone());
        if line.starts_with("PROXY ") || (in_message && line != ".") {
            continue;
        }
        let Some(reply) = script(&line) else { return };
        in_message = reply.starts_with("354");
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Takes everything.
fn willing(line: &str) -> Option<String> {
    Some(match line.split([' ', ':']).next().unwrap_or_default() {
        "<greeting>" => "220 inner.example\r\n".to_owned(),
        "EHLO" => "250-inner.example\r\n250-SIZE 5000\r\n250-DSN\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n".to_owned(),
        "DATA" => "354 go on\r\n".to_owned(),
        "." => "250-2.0.0 queued\r\n250 2.0.0 as 4711\r\n".to_owned(),
        "QUIT" => "221 bye\r\n".to_owned(),
        verb => format!("250 2.1.0 {verb} by inner\r\n"),
    })
}

#[tokio::test]
async fn a_message_goes_through() {
    let upstream = Played::start(willing).await;
    let mut client = connected(upstream.setting(), &[]).await;
    let ehlo = client.command(HELLO).await;
    assert_eq!(
        ehlo,
        "250-mx.demo.example\r\n250-PIPELINING\r\n250-SIZE 5000\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n\
         250-CHUNKING\r\n250 IPV6-IPV4-FALLBACK\r\n",
        "what both sides can do: no SMTPUTF8, and the smaller size"
    );
    let mail = "MAIL FROM:<smith@example.com> SIZE=30 BODY=8BITMIME RET=HDRS ENVID=a+2Bb";
    assert_eq!(client.command(mail).await, "250 2.1.0 MAIL by inner\r\n");
    assert_eq!(client.command(&format!("{RCPT} NOTIFY=NEVER ORCPT=rfc822;a")).await, "250 2.1.0 RCPT by inner\r\n");
    assert_eq!(client.message("Subject: a\r\n\r\n..b\r\n").await, "250-2.0.0 queued\r\n250 2.0.0 as 4711\r\n");
    assert!(client.command("QUIT").await.starts_with("221 2.0.0"));
    assert!(client.is_closed().await);
    let expected = [
        "<connection>",
        "PROXY TCP6 2001:db8::1 2001:db8::25 40000 25",
        "EHLO client.example",
        mail,
        "RCPT TO:<jones@demo.example> NOTIFY=NEVER ORCPT=rfc822;a",
        "DATA",
        "Subject: a",
        "",
        "..b",
        ".",
        "QUIT",
    ];
    let deadline = Instant::now() + Duration::from_secs(5);
    while upstream.heard().len() < expected.len() && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.heard(), expected);
}

#[tokio::test]
async fn chunks_arrive_as_one_message() {
    let upstream = Played::start(willing).await;
    let mut client = connected(upstream.setting(), &[HELLO, MAIL, RCPT]).await;
    client.send(b"BDAT 4\r\n.a\r\nBDAT 3 LAST\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("250 2.0.0 4 octets"));
    assert!(client.reply().await.starts_with("250-2.0.0 queued"));
    assert!(upstream.heard().ends_with(&["DATA", "..a", "..", "."].map(str::to_owned)), "{:?}", upstream.heard());
}

#[tokio::test]
async fn upstreams_refusals_are_passed_on_word_for_word() {
    let upstream = Played::start(|line| match line {
        "RCPT TO:<nobody@demo.example>" => Some("550-5.1.1 no such user\r\n550 5.1.1 here\r\n".to_owned()),
        "MAIL FROM:<spam@example.com>" => Some("553 5.7.1 go away\r\n".to_owned()),
        "." => Some("554 5.7.1 that is spam\r\n".to_owned()),
        line => willing(line),
    })
    .await;
    let mut client = connected(upstream.setting(), &[HELLO]).await;
    assert_eq!(client.command("MAIL FROM:<spam@example.com>").await, "553 5.7.1 go away\r\n");
    assert_eq!(client.codes(&[RCPT, MAIL]).await, ["503 5.5.1", "250 2.1.0"]);
    assert_eq!(client.command("RCPT TO:<nobody@demo.example>").await, "550-5.1.1 no such user\r\n550 5.1.1 here\r\n");
    assert_eq!(client.codes(&["DATA", RCPT]).await, ["554 5.5.1", "250 2.1.0"]);
    assert_eq!(client.message(MESSAGE).await, "554 5.7.1 that is spam\r\n");
    assert_eq!(client.codes(&[MAIL]).await, ["250 2.1.0"], "the session goes on");
}

#[tokio::test]
async fn r8_a_refusal_by_the_policy_leaves_nothing_upstream() {
    let upstream = Played::start(willing).await;
    let decider = refusing(Stage::EndOfData, 456, false);
    let mut client = connected(Setting { decider, ..upstream.setting() }, &[HELLO, MAIL, RCPT]).await;
    assert!(client.message(MESSAGE).await.starts_with("456-4.4.8"));
    assert_eq!(client.codes(&[MAIL]).await, ["250 2.1.0"]);
    let heard = upstream.heard();
    assert!(!heard.contains(&"DATA".to_owned()), "{heard:?}");
    assert!(heard.ends_with(&["RSET".to_owned(), MAIL.to_owned()]), "{heard:?}");

    let upstream = Played::start(willing).await;
    let decider = refusing(Stage::EndOfData, 421, true);
    let mut client = connected(Setting { decider, ..upstream.setting() }, &[HELLO, MAIL, RCPT]).await;
    assert!(client.message(MESSAGE).await.starts_with("421-4.4.8"));
    assert!(client.is_closed().await);
    assert_eq!(upstream.heard().last(), Some(&RCPT.to_owned()), "and the connection was closed");
}

#[tokio::test]
async fn after_a_refusal_at_data_upstream_is_reset() {
    // As Postfix does, it keeps the envelope then, and MAIL would be nested.
    let upstream = Played::start(|line| match line {
        "DATA" => Some("451 4.7.1 greylisted\r\n".to_owned()),
        line => willing(line),
    })
    .await;
    let mut client = connected(upstream.setting(), &[HELLO, MAIL, RCPT]).await;
    assert_eq!(client.message(MESSAGE).await, "451 4.7.1 greylisted\r\n");
    assert_eq!(client.codes(&[MAIL]).await, ["250 2.1.0"]);
    assert!(upstream.heard().ends_with(&["DATA".to_owned(), "RSET".to_owned(), MAIL.to_owned()]), "{:?}", upstream.heard());
}

#[tokio::test]
async fn a_refused_greeting_costs_upstream_nothing() {
    let upstream = Played::start(willing).await;
    let mut client = connect(Setting { decider: refusing(Stage::Greeting, 451, true), ..upstream.setting() });
    assert!(client.reply().await.starts_with("451-4.4.8"));
    assert!(client.is_closed().await);
    assert!(upstream.heard().is_empty());
}

/// The reply of a session whose upstream closes the connection at this line.
async fn dies_at(script: Script) -> String {
    let upstream = Played::start(script).await;
    let mut client = connected(upstream.setting(), &[]).await;
    for command in [HELLO, MAIL, RCPT] {
        let reply = client.command(command).await;
        if !reply.starts_with("250") {
            assert!(client.is_closed().await, "{command}");
            return format!("{command}: {reply}");
        }
    }
    client.message(MESSAGE).await
}

#[tokio::test]
async fn a15_upstream_that_dies_is_a_temporary_error_of_our_own() {
    let text = "the mail system behind this host does not answer; try again later\r\n";
    let scripts: [(Script, &str, &str); 6] = [
        (|_| None, HELLO, "421 4.3.2"),
        (|line| willing(line).filter(|_| !line.starts_with("EHLO")), HELLO, "421 4.3.2"),
        (|line| willing(line).filter(|_| !line.starts_with("MAIL")), MAIL, "421 4.3.2"),
        (|line| willing(line).filter(|_| !line.starts_with("RCPT")), RCPT, "421 4.3.2"),
        (|line| willing(line).filter(|_| line != "DATA"), "", "451 4.3.0"),
        (|line| willing(line).filter(|_| line != "."), "", "451 4.3.0"),
    ];
    for (script, command, code) in scripts {
        let at = if command.is_empty() { String::new() } else { format!("{command}: ") };
        assert_eq!(dies_at(script).await, format!("{at}{code} {text}"));
    }
}

#[tokio::test]
async fn upstream_that_is_not_there_or_does_not_want_the_client() {
    // A port that nobody else gets, and nobody listens on.
    let held = tokio::net::TcpSocket::new_v4().expect("a socket");
    held.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let nobody = Address::Tcp(held.local_addr().expect("bound"));
    let mut upstream = Played::start(willing).await;
    upstream.settings.address = nobody;
    let mut client = connected(upstream.setting(), &[]).await;
    assert!(client.command(HELLO).await.starts_with("421 4.3.2"));
    assert!(client.is_closed().await);

    let unwilling: [(Script, &str); 2] = [
        (|_| Some("554 5.7.1 we do not know you\r\n".to_owned()), "554 5.7.1 we do not know you\r\n"),
        (|line| if line == "<greeting>" { willing(line) } else { Some("421 4.7.0 busy\r\n".to_owned()) }, "421 4.7.0 busy\r\n"),
    ];
    for (script, reply) in unwilling {
        let mut client = connected(Played::start(script).await.setting(), &[]).await;
        assert_eq!(client.command(HELLO).await, reply);
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn between_messages_upstream_may_go_away() {
    let upstream = Played::start(willing).await;
    let mut client = connected(upstream.setting(), &[HELLO, MAIL, RCPT]).await;
    assert!(client.message(MESSAGE).await.starts_with("250"));
    // Answers MAIL with 421 once: then it is connected to anew.
    let forgetful = Played::start(|line| match line {
        "MAIL FROM:<once@example.com>" => None,
        line => willing(line),
    })
    .await;
    let mut client = connected(forgetful.setting(), &[HELLO]).await;
    assert!(client.command("MAIL FROM:<once@example.com>").await.starts_with("421 4.3.2"), "twice is enough");
    assert_eq!(forgetful.heard().iter().filter(|line| *line == "<connection>").count(), 2);
}

#[tokio::test]
async fn a_421_to_mail_is_passed_on() {
    // It is upstream's limit of errors, most likely: a new connection would be a way around it.
    let upstream = Played::start(|line| match line.starts_with("MAIL") {
        true => Some("421 4.7.0 too many errors\r\n".to_owned()),
        false => willing(line),
    })
    .await;
    let mut client = connected(upstream.setting(), &[HELLO]).await;
    assert_eq!(client.command(MAIL).await, "421 4.7.0 too many errors\r\n");
    assert!(client.is_closed().await);
    assert_eq!(upstream.heard().iter().filter(|line| *line == "<connection>").count(), 1);
}

#[tokio::test]
async fn what_upstream_said_on_going_is_passed_on() {
    // As Postfix does at its limit of errors: a 421 that nobody asked for, behind the reply to RCPT.
    let upstream = Played::start(|line| match line.starts_with("RCPT") {
        true => Some("550 5.1.1 unknown\r\n421 4.7.0 too many errors\r\n".to_owned()),
        false => willing(line),
    })
    .await;
    let mut client = connected(upstream.setting(), &[HELLO, MAIL]).await;
    assert_eq!(client.command(RCPT).await, "550 5.1.1 unknown\r\n");
    assert_eq!(client.command("RCPT TO:<other@demo.example>").await, "421 4.7.0 too many errors\r\n");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn what_upstream_wants_of_this_server_is_no_bounce() {
    let upstream = Played::start(|line| match line.starts_with("MAIL") {
        true => Some("530 5.7.0 Must issue a STARTTLS command first\r\n".to_owned()),
        false => willing(line),
    })
    .await;
    let mut client = connected(upstream.setting(), &[HELLO]).await;
    assert!(client.command(MAIL).await.starts_with("421 4.3.2"));
}

#[tokio::test]
async fn mail_that_upstream_refuses_is_no_way_to_stay() {
    let upstream = Played::start(|line| match line.starts_with("MAIL") {
        true => Some("553 5.7.1 go away\r\n".to_owned()),
        false => willing(line),
    })
    .await;
    let mut client = connected(upstream.setting(), &[HELLO]).await;
    for _ in 0..IDLE_COMMANDS - 1 {
        assert!(client.command(MAIL).await.starts_with("553 5.7.1"));
    }
    assert!(client.command(MAIL).await.starts_with("421 4.7.0"));
}

#[tokio::test]
async fn a_client_that_only_waits_does_not_hold_upstream() {
    let mut upstream = Played::start(willing).await;
    upstream.settings.timeouts.idle = IDLE / 6;
    let mut client = connected(upstream.setting(), &[HELLO]).await;
    for expected in [1, 2] {
        let quit = async {
            while upstream.heard().iter().filter(|line| *line == "QUIT").count() < expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(IDLE / 2, quit).await.expect("upstream is let go");
        assert_eq!(client.codes(&[MAIL, "RSET"]).await, ["250 2.1.0", "250 2.0.0"]);
    }
    assert_eq!(upstream.heard().iter().filter(|line| *line == "<connection>").count(), 3);
}

#[tokio::test]
async fn who_relays_is_for_upstream_to_say_only_where_it_knows_the_client() {
    let elsewhere = "RCPT TO:<a@elsewhere.example>";
    for (any_domain, known, tell, command, code) in [
        (false, true, Tell::Xclient, elsewhere, "550 5.7.1"),
        (true, true, Tell::Xclient, elsewhere, "250 2.1.0"),
        (true, false, Tell::Xclient, elsewhere, "550 5.7.1"),
        (true, false, Tell::Xclient, RCPT, "550 5.7.1"),
        (false, false, Tell::Xclient, RCPT, "250 2.1.0"),
        // Upstream takes this server for the client, and these for routes.
        (false, true, Tell::Nothing, RCPT, "250 2.1.0"),
        (false, true, Tell::Nothing, "RCPT TO:<a%elsewhere.example@demo.example>", "550 5.7.1"),
        (false, true, Tell::Nothing, "RCPT TO:<elsewhere.example!a@demo.example>", "550 5.7.1"),
        (false, true, Tell::Nothing, "RCPT TO:<\"a@elsewhere.example\"@demo.example>", "550 5.7.1"),
        (false, true, Tell::ProxyV1, "RCPT TO:<a%elsewhere.example@demo.example>", "250 2.1.0"),
    ] {
        let mut upstream = Played::start(|line| match line.starts_with("XCLIENT") {
            true => Some("220 inner.example\r\n".to_owned()),
            false => willing(line).map(|reply| reply.replace("250-DSN", "250-XCLIENT NAME ADDR")),
        })
        .await;
        upstream.settings.tell = tell;
        let mut client = connected(Setting { any_domain, known, ..upstream.setting() }, &[HELLO, MAIL]).await;
        assert_eq!(client.codes(&[command]).await, [code], "{any_domain} {known} {tell:?} {command}");
    }
}

#[tokio::test]
async fn upstream_does_not_idle_out_while_a_client_takes_its_time() {
    let mut upstream = Played::start(willing).await;
    upstream.settings.timeouts.keep_alive = IDLE / 6;
    let noops = |heard: Vec<String>| heard.iter().filter(|line| *line == "NOOP").count();
    let mut client = connected(upstream.setting(), &[HELLO]).await;
    tokio::time::sleep(IDLE / 2).await;
    assert_eq!(noops(upstream.heard()), 0, "between messages it may");
    client.codes(&[MAIL, RCPT]).await;
    tokio::time::sleep(IDLE / 2).await;
    let in_transaction = noops(upstream.heard());
    assert!(in_transaction > 0, "{:?}", upstream.heard());
    assert!(client.command("DATA").await.starts_with("354"));
    client.send(b"Subject: a\r\n").await;
    tokio::time::sleep(IDLE / 2).await;
    assert!(noops(upstream.heard()) > in_transaction);
    assert!(client.command(".").await.starts_with("250-2.0.0 queued"), "replies are in step");
}

#[tokio::test]
async fn lmtp_takes_one_recipient_at_a_time() {
    let mut upstream = Played::start(|line| if line.starts_with("LHLO") { willing("EHLO") } else { willing(line) }).await;
    upstream.settings.protocol = Protocol::Lmtp;
    upstream.settings.tell = Tell::Nothing;
    let mut client = connected(upstream.setting(), &[HELLO, MAIL, RCPT]).await;
    assert_eq!(client.codes(&[RCPT, "RCPT TO:<other@demo.example>"]).await, ["250 2.1.5", "452 4.5.3"]);
    assert!(client.message(MESSAGE).await.starts_with("250-2.0.0 queued"));
    let heard = upstream.heard();
    assert_eq!(heard[1], "LHLO mx.demo.example");
    assert!(heard.iter().any(|line| line == "Received: from client.example ([IPv6:2001:db8::1])"), "{heard:?}");
    assert!(!heard.iter().any(|line| line.contains("other@demo.example")));
}

#[tokio::test]
async fn r6_no_enhanced_codes_where_upstream_has_none() {
    let upstream = Played::start(|line| match line.split(' ').next() {
        Some("EHLO") => Some("250 inner.example\r\n".to_owned()),
        _ => willing(line),
    })
    .await;
    let mut client = connected(upstream.setting(), &[]).await;
    let ehlo = client.command(HELLO).await;
    assert!(!ehlo.contains("ENHANCED") && !ehlo.contains("8BITMIME") && ehlo.contains("SIZE 70000"), "{ehlo}");
    assert_eq!(client.command("NOOP").await, "250 OK\r\n");
    assert!(client.command("MAIL FROM:<a@b.example> BODY=8BITMIME").await.starts_with("555 "));
}

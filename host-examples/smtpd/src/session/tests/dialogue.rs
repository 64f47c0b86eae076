//! The commands of RFC 5321, the verb, and where the policy is asked.

use super::*;

#[tokio::test]
async fn takes_a_message() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    let reply = client.message("Subject: a\r\n\r\n..b\r\né\r\n").await;
    let id = reply.strip_prefix("250 2.0.0 OK, kept as ").expect(&reply).trim_end();
    let [message] = &client.delivered()[..] else { panic!("one message") };
    assert!(message.ends_with("\r\n\r\n.b\r\né\r\n"), "{message}");
    assert!(
        message
            .starts_with("Return-Path: <smith@example.com>\r\nDelivered-To: jones@demo.example\r\nReceived: from client.example")
    );
    assert!(message.contains(&format!(" id {id}\r\n")) && message.contains("([IPv6:2001:db8::1])"), "{message}");
    assert_eq!(client.command("QUIT").await, "221 2.0.0 closing\r\n");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn announces_what_it_can_do() {
    let mut client = connected(Setting::default(), &[]).await;
    let reply = client.command("ehlo [IPv6:2001:db8::1]").await;
    assert_eq!(
        reply,
        "250-mx.demo.example\r\n250-PIPELINING\r\n250-SIZE 70000\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n\
         250-CHUNKING\r\n250-SMTPUTF8\r\n250 IPV6-IPV4-FALLBACK\r\n"
    );
    assert_eq!(client.command("HELO client.example").await, "250 mx.demo.example\r\n");
    let help = client.command("HELP").await;
    assert!(help.contains(" MAIL ") && !help.contains("STARTTLS"), "there are no certificates: {help}");
}

#[tokio::test]
async fn commands_have_an_order() {
    let mut client = connected(Setting::default(), &[]).await;
    let codes = client.codes(&[MAIL, RCPT, "DATA", "NOOP", "RSET", "VRFY smith", "HELP"]).await;
    assert_eq!(codes, ["503 5.5.1", "503 5.5.1", "503 5.5.1", "250 2.0.0", "250 2.0.0", "252 2.5.0", "214 2.0.0"]);
    client.command(HELLO).await;
    let codes = client.codes(&[RCPT, MAIL, MAIL, "DATA", RCPT, "RSET", "DATA", MAIL, RCPT]).await;
    assert_eq!(
        codes,
        ["503 5.5.1", "250 2.1.0", "503 5.5.1", "554 5.5.1", "250 2.1.5", "250 2.0.0", "503 5.5.1", "250 2.1.0", "250 2.1.5"]
    );
    // EHLO ends a transaction.
    client.command(HELLO).await;
    assert_eq!(client.codes(&["DATA"]).await, ["503 5.5.1"]);
}

#[tokio::test]
async fn relays_for_nobody() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL]).await;
    let codes = client
        .codes(&[
            "RCPT TO:<a@example.com>",
            "RCPT TO:<a@sub.demo.example>",
            "RCPT TO:<a%example.com@example.org>",
            "RCPT TO:<a@[127.0.0.1]>",
            "RCPT TO:<a@mx.demo.example>",
            "RCPT TO:<@demo.example:a@example.com>",
            "RCPT TO:<a@DEMO.example>",
            "RCPT TO:<a@other.example>",
            "RCPT TO:<Postmaster>",
            "RCPT TO:<postmaster@MX.demo.example>",
        ])
        .await;
    let (refused, taken) = codes.split_at(6);
    assert!(refused.iter().all(|code| code == "550 5.7.1"), "{refused:?}");
    assert!(taken.iter().all(|code| code == "250 2.1.5"), "{taken:?}");
}

#[tokio::test]
async fn a8_the_verb() {
    const VERB: &str = "IPV6-IPV4-FALLBACK";
    let mut client = connected(Setting::default(), &[]).await;
    assert_eq!(client.codes(&[VERB]).await, ["503 5.5.1"], "before EHLO");
    client.command("HELO client.example").await;
    assert_eq!(client.codes(&[VERB]).await, ["503 5.5.1"], "after HELO");
    client.command(HELLO).await;
    let codes = client.codes(&["IPV6-IPV4-FALLBACK yes", VERB, "ipv6-ipv4-FALLBACK", MAIL, VERB, "RSET", VERB]).await;
    assert_eq!(
        codes,
        ["501 5.5.4", "250 2.0.0", "250 2.0.0", "250 2.1.0", "503 5.5.1", "250 2.0.0", "250 2.0.0"],
        "an argument, alone, again in another case, inside a transaction, after RSET"
    );
}

#[tokio::test]
async fn a8_a23_the_verb_is_unknown_where_it_is_not_announced() {
    for (client, offers) in [("2001:db8::1", false), ("192.0.2.1", true), ("::ffff:192.0.2.1", true), ("64:ff9b::c000:201", true)]
    {
        let mut session = connected(Setting { client, offers, ..Setting::default() }, &[]).await;
        assert!(!session.command(HELLO).await.contains("FALLBACK"), "{client}");
        assert_eq!(session.codes(&["IPV6-IPV4-FALLBACK", "IPV6-IPV4-FALLBACK x"]).await, ["502 5.5.1", "502 5.5.1"], "{client}");
    }
}

/// What the policy was told at each stage.
async fn told(setting: Setting, commands: &[&str]) -> Vec<(Stage, Connection, Option<Envelope>)> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let decider = scripted(move |connection, envelope, _| {
        seen.lock().expect("sound").push((connection.stage, connection.clone(), envelope.cloned()));
        decision(if connection.stage == Stage::EndOfData { Verdict::Accept } else { Verdict::Continue })
    });
    let mut client = connected(Setting { decider, ..setting }, &[]).await;
    for command in commands {
        client.command(command).await;
    }
    drop(client);
    let told = told.lock().expect("sound");
    told.clone()
}

#[tokio::test]
async fn tells_the_policy_what_it_knows() {
    let message = format!("{MESSAGE}.");
    let told =
        told(Setting::default(), &[HELLO, "IPV6-IPV4-FALLBACK", MAIL, RCPT, "RCPT TO:<postmaster>", "DATA", &message]).await;
    let stages: Vec<_> = told.iter().map(|(stage, ..)| *stage).collect();
    assert_eq!(stages, [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Data, Stage::EndOfData]);
    let (_, greeting, none) = &told[0];
    assert_eq!((greeting.client.to_string().as_str(), &greeting.ehlo_name, none), ("2001:db8::1", &None, &None));
    assert!(greeting.listener_offers && greeting.reachable_over_ipv4 && greeting.ipv4_arrivals_visible);
    assert!(told.iter().all(|(_, connection, _)| connection.nonce == greeting.nonce), "one nonce for a connection");
    let (_, ehlo, _) = &told[1];
    assert_eq!((ehlo.ehlo_name.as_deref(), ehlo.keyword_shown, ehlo.acknowledged), (Some("client.example"), false, false));
    let (_, mail, envelope) = &told[2];
    assert!(mail.keyword_shown && mail.acknowledged);
    let envelope = envelope.as_ref().expect("known");
    assert_eq!((envelope.mail_from.as_str(), envelope.recipients.len()), ("smith@example.com", 0));
    let (_, _, envelope) = &told[3];
    assert_eq!(envelope.as_ref().expect("known").recipients, ["jones@demo.example", "postmaster@mx.demo.example"]);
}

#[tokio::test]
async fn a9_a10_what_clears_the_acknowledgement() {
    let after = async |command: &'static str| {
        let told = told(Setting::default(), &[HELLO, "IPV6-IPV4-FALLBACK", command, MAIL]).await;
        let (stage, connection, _) = told.last().expect("asked").clone();
        assert_eq!(stage, Stage::Mail);
        (connection.keyword_shown, connection.acknowledged)
    };
    assert_eq!(after("RSET").await, (true, true));
    assert_eq!(after("NOOP").await, (true, true));
    assert_eq!(after("EHLO").await, (true, true), "no EHLO: it has no name");
    assert_eq!(after("EHLO again.example").await, (true, false));
    assert_eq!(after("HELO again.example").await, (false, false));
}

#[tokio::test]
async fn p4_451_in_place_of_the_greeting_closes() {
    // Whatever the policy says about closing.
    for close in [true, false] {
        let mut client = connect(Setting { decider: refusing(Stage::Greeting, 451, close), ..Setting::default() });
        client.send(b"QUIT\r\n").await;
        assert_eq!(client.reply().await, "451-4.4.8 first\r\n451 4.4.8 second\r\n");
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn p4_421_closes_and_the_message_is_gone() {
    let mut client =
        connected(Setting { decider: refusing(Stage::EndOfData, 421, true), ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    assert_eq!(client.message(MESSAGE).await, "421-4.4.8 first\r\n421 4.4.8 second\r\n");
    client.send(b"QUIT\r\n").await;
    assert!(client.is_closed().await, "a QUIT that comes is drained (A41)");
    assert_eq!(client.delivered(), [""; 0], "R8");
}

#[tokio::test]
async fn r4_p19_after_456_the_session_goes_on() {
    let decider = scripted(|connection, envelope, _| {
        let bad = envelope.is_some_and(|envelope| envelope.mail_from.starts_with("bad"));
        decision(match connection.stage {
            Stage::EndOfData if bad => refusal(456, false),
            Stage::EndOfData => Verdict::Accept,
            _ => Verdict::Continue,
        })
    });
    let commands = [HELLO, "MAIL FROM:<bad@example.com>", RCPT];
    let mut client = connected(Setting { decider, ..Setting::default() }, &commands).await;
    assert_eq!(client.message(MESSAGE).await, "456-4.4.8 first\r\n456 4.4.8 second\r\n");
    assert_eq!(client.codes(&["DATA", MAIL, RCPT]).await, ["503 5.5.1", "250 2.1.0", "250 2.1.5"], "that transaction is over");
    assert!(client.message(MESSAGE).await.starts_with("250 "));
    assert_eq!(client.delivered().len(), 1);
}

#[tokio::test]
async fn refusals_before_the_end() {
    for (stage, commands) in [(Stage::Ehlo, &[][..]), (Stage::Mail, &[HELLO]), (Stage::Data, &[HELLO, MAIL, RCPT])] {
        let last = [HELLO, MAIL, "", "DATA"][if stage == Stage::Data { 3 } else { commands.len() }];
        let mut client = connected(Setting { decider: refusing(stage, 421, true), ..Setting::default() }, commands).await;
        assert_eq!(client.command(last).await, "421-4.4.8 first\r\n421 4.4.8 second\r\n", "{stage:?}");
        assert!(client.is_closed().await, "{stage:?}");
        // Without closing there is no transaction left.
        let mut client = connected(Setting { decider: refusing(stage, 451, false), ..Setting::default() }, commands).await;
        assert!(client.command(last).await.starts_with("451-4.4.8"), "{stage:?}");
        assert_eq!(client.codes(&["DATA"]).await, ["503 5.5.1"], "{stage:?}");
    }
}

#[tokio::test]
async fn a13_an_early_accept_holds_for_the_connection() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let decider = scripted(move |connection, _, _| {
        *count.lock().expect("sound") += 1;
        decision(if connection.stage == Stage::Ehlo { Verdict::Accept } else { Verdict::Continue })
    });
    let mut client = connected(Setting { decider, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    assert!(client.message(MESSAGE).await.starts_with("250 "));
    assert_eq!(*asked.lock().expect("sound"), 2, "greeting and EHLO");
}

#[tokio::test]
async fn an_accepted_message_settles_nothing_for_the_next() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let decider = scripted(move |connection, _, _| {
        let at_the_end = connection.stage == Stage::EndOfData;
        let mut asked = count.lock().expect("sound");
        *asked += usize::from(at_the_end);
        decision(match (at_the_end, *asked) {
            (false, _) => Verdict::Continue,
            (true, 1) => Verdict::Accept,
            (true, _) => refusal(421, true),
        })
    });
    let mut client = connected(Setting { decider, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    assert!(client.message(MESSAGE).await.starts_with("250 "));
    assert_eq!(client.codes(&[MAIL, RCPT]).await, ["250 2.1.0", "250 2.1.5"]);
    assert!(client.message(MESSAGE).await.starts_with("421-"));
}

#[tokio::test]
async fn records_are_stored_before_the_next_decision() {
    let decider = scripted(|connection, _, _| {
        let count = connection.records.first().map_or(0, |record| record.value[0]);
        let record = update(connection.client.bits(), count + 1);
        let verdict = if count == 3 { refusal(451, false) } else { Verdict::Continue };
        Decision { records: vec![record], ..decision(verdict) }
    });
    // Greeting, EHLO and MAIL count; the fourth question is refused.
    let mut client = connected(Setting { decider, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    assert!(client.command("DATA").await.starts_with("451-"));
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let mut client = connected(Setting::default(), &[HELLO]).await;
    client.send(format!("{MAIL}\r\nRCPT TO:<a@example.com>\r\n{RCPT}\r\nDATA\r\n").as_bytes()).await;
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(client.reply().await[..3].to_owned());
    }
    assert_eq!(codes, ["250", "550", "250", "354"]);
    client.send(format!("{MESSAGE}.\r\n{MAIL}\r\nQUIT\r\n").as_bytes()).await;
    for code in ["250", "250", "221"] {
        assert_eq!(&client.reply().await[..3], code);
    }
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn after_an_ambiguous_message_nothing_more_is_taken() {
    for text in ["a\n.\nb\r\n", "a\r.\rb\r\n", "a\n.\r\nMAIL FROM:<x@example.com>\r\n", "a\0\r\n"] {
        let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
        assert_eq!(client.message(text).await[..9], *"550 5.6.0", "{text:?}");
        assert_eq!(client.codes(&[MAIL]).await, ["421 4.7.0"], "{text:?}");
        assert!(client.is_closed().await);
        assert_eq!(client.delivered(), [""; 0]);
    }
    for line in ["Subject: b", "", "NO\0OP", "QUIT please", "a\nQUIT"] {
        let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
        client.message("a\nb\r\n").await;
        assert_eq!(client.codes(&[line]).await, ["421 4.7.0"], "{line:?}");
        assert!(client.is_closed().await);
    }
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    client.message("a\nb\r\n").await;
    assert_eq!(client.codes(&["QUIT"]).await, ["221 2.0.0"]);
}

#[tokio::test]
async fn a_message_behind_a_refused_data_is_no_commands() {
    let before_rcpt = || (Setting::default(), &[HELLO, MAIL][..], "554 5.5.1");
    let before_mail = || (Setting::default(), &[HELLO][..], "503 5.5.1");
    let by_policy =
        || (Setting { decider: refusing(Stage::Data, 456, false), ..Setting::default() }, &[HELLO, MAIL, RCPT][..], "456-4.4.8");
    for (setting, commands, refusal) in [before_rcpt(), before_mail(), by_policy()] {
        let mut client = connected(setting, commands).await;
        client.send(format!("DATA\r\nNOOP\r\n{MAIL}\r\n").as_bytes()).await;
        let replies = [client.reply().await, client.reply().await];
        assert!(replies[0].starts_with(refusal) && replies[1].starts_with("421 4.7.0 "), "{replies:?}");
        assert!(client.is_closed().await, "{refusal}");
    }
    // Who waits for the reply goes on.
    for (setting, commands, refusal) in [before_rcpt(), before_mail(), by_policy()] {
        let mut client = connected(setting, commands).await;
        assert_eq!(client.codes(&["DATA", "NOOP"]).await, [refusal, "250 2.0.0"]);
    }
}

#[tokio::test]
async fn http_is_closed_at_its_first_line() {
    let mut client = connected(Setting::default(), &[]).await;
    client.send(format!("POST / HTTP/1.1\r\nHost: mx\r\n\r\n{HELLO}\r\n{MAIL}\r\n").as_bytes()).await;
    assert!(client.reply().await.starts_with("421 4.7.0 "));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_message_far_over_the_limit_is_refused_for_its_size() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    client.command("DATA").await;
    client.send(lines(12_000).as_bytes()).await;
    assert!(client.reply().await.starts_with("552 5.3.4 "));
    assert!(client.is_closed().await, "what follows is still the message");
    assert_eq!(client.delivered(), [""; 0]);
}

#[tokio::test]
async fn after_a_message_with_a_long_line_the_session_goes_on() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    assert_eq!(client.message(&format!("{}\r\n", "x".repeat(8191))).await[..9], *"550 5.6.0");
    assert_eq!(client.codes(&["NOOP", MAIL]).await, ["250 2.0.0", "250 2.1.0"]);
    assert_eq!(client.delivered(), [""; 0]);
}

#[tokio::test]
async fn bad_command_lines_are_refused_once() {
    let mut client = connected(Setting::default(), &[HELLO]).await;
    let reply = client.command(&format!("{MAIL}\n{RCPT}")).await;
    assert!(reply.starts_with("500 5.5.2"), "{reply}");
    assert_eq!(client.codes(&["NO\0OP", "NOOP\r", RCPT, "NOOP"]).await, ["500 5.5.2", "500 5.5.2", "503 5.5.1", "250 2.0.0"]);
}

#[tokio::test]
async fn sizes_have_limits() {
    let mut client = connected(Setting::default(), &[HELLO]).await;
    let codes = client.codes(&["MAIL FROM:<a@b> SIZE=70001", "MAIL FROM:<a@b> SIZE=70000", RCPT]).await;
    assert_eq!(codes, ["552 5.3.4", "250 2.1.0", "250 2.1.5"]);
    let reply = client.message(&lines(701)).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    assert_eq!(client.codes(&[MAIL, RCPT]).await, ["250 2.1.0", "250 2.1.5"]);
    assert!(client.message(&lines(700)).await.starts_with("250 "));
}

/// So many lines of 100 octets.
fn lines(count: usize) -> String {
    format!("{}\r\n", "x".repeat(98)).repeat(count)
}

#[tokio::test]
async fn recipients_have_a_limit() {
    let limits = Limits { recipients: 2, idle: IDLE, ..Limits::default() };
    let mut client = connected(Setting { limits, ..Setting::default() }, &[HELLO, MAIL]).await;
    let rcpt = |n: usize| format!("RCPT TO:<a{n}@demo.example>");
    let codes = client.codes(&[&rcpt(1), &rcpt(1), &rcpt(2), &rcpt(3), &rcpt(2)]).await;
    assert_eq!(codes, ["250 2.1.5", "250 2.1.5", "250 2.1.5", "452 4.5.3", "250 2.1.5"]);
    for n in 5..20 {
        assert_eq!(client.codes(&[&rcpt(n)]).await, ["452 4.5.3"]);
    }
    assert_eq!(client.codes(&[&rcpt(20)]).await, ["421 4.7.0"], "ten times the limit");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn errors_have_a_limit() {
    let limits = Limits { errors: 3, idle: IDLE, ..Limits::default() };
    let mut client = connected(Setting { limits, ..Setting::default() }, &[]).await;
    assert_eq!(
        client.codes(&["A", "B", "NOOP", "C", "D"]).await,
        ["500 5.5.1", "500 5.5.1", "250 2.0.0", "500 5.5.1", "421 4.7.0"]
    );
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn commands_without_mail_have_a_limit() {
    let mut client = connected(Setting::default(), &[]).await;
    for _ in 0..IDLE_COMMANDS {
        assert_eq!(client.codes(&["NOOP"]).await, ["250 2.0.0"]);
    }
    assert_eq!(client.codes(&["NOOP"]).await, ["421 4.7.0"]);
}

#[tokio::test]
async fn silence_has_a_limit() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL]).await;
    assert!(client.reply().await.starts_with("421 4.4.2"));
    assert!(client.is_closed().await);
    // Also in the middle of a message.
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    client.command("DATA").await;
    client.send(b"Subject: a\r\n").await;
    assert!(client.reply().await.starts_with("421 4.4.2"));
    assert_eq!(client.delivered(), [""; 0]);
}

#[tokio::test]
async fn a_message_has_a_time_limit() {
    let limits = Limits { message_time: IDLE * 2, idle: IDLE, ..Limits::default() };
    let mut client = connected(Setting { limits, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    client.command("DATA").await;
    let start = Instant::now();
    while start.elapsed() < IDLE * 4 && client.stream.write_all(b"drip\r\n").await.is_ok() {
        tokio::time::sleep(IDLE / 10).await;
        if tokio::time::timeout(Duration::from_millis(1), client.stream.read_u8()).await.is_ok() {
            break;
        }
    }
    assert!(start.elapsed() < IDLE * 3, "a message may not drip for ever");
}

#[tokio::test]
async fn messages_share_memory() {
    let limits = Limits { message_memory: 64 << 10, idle: IDLE, ..Limits::default() };
    let mut client = connected(Setting { limits, ..Setting::default() }, &[HELLO, MAIL, RCPT]).await;
    assert!(client.message(&lines(700)).await.starts_with("452 4.3.1"));
}

#[tokio::test]
async fn a15_a_failed_delivery_is_451_4_3_0() {
    let mut client = connected(Setting::default(), &[HELLO, MAIL, RCPT]).await;
    std::fs::remove_dir(client.maildir.path().join("tmp")).expect("empty");
    assert!(client.message(MESSAGE).await.starts_with("451 4.3.0 "));
    assert_eq!(client.delivered(), [""; 0]);
    std::fs::create_dir(client.maildir.path().join("tmp")).expect("can be made");
    client.codes(&[MAIL, RCPT]).await;
    assert!(client.message(MESSAGE).await.starts_with("250 "), "the session goes on");
}

#[tokio::test]
async fn shutdown_closes_idle_sessions_and_finishes_transactions() {
    let mut client = connected(Setting::default(), &[HELLO]).await;
    client.phase.send(Phase::Draining).expect("a receiver");
    assert!(client.reply().await.starts_with("421 4.3.2"));
    assert!(client.is_closed().await);

    let mut client = connected(Setting::default(), &[HELLO, MAIL]).await;
    client.phase.send(Phase::Draining).expect("a receiver");
    assert_eq!(client.codes(&[RCPT]).await, ["250 2.1.5"]);
    assert!(client.message(MESSAGE).await.starts_with("250 "));
    assert!(client.reply().await.starts_with("421 4.3.2"));
    assert_eq!(client.delivered().len(), 1);

    let mut client = connected(Setting::default(), &[HELLO, MAIL]).await;
    client.phase.send(Phase::Stopping).expect("a receiver");
    assert!(client.reply().await.starts_with("421 4.3.2"));
}

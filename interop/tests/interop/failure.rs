//! Postfix that is away, slow, or tired of waiting: the client hears so in words of smtpd's own, never with 4.4.8, which is the
//! policy's alone (A15), and nothing is lost.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use smtp_fallback_demo::client::{Client, Reply};
use smtp_fallback_interop::{Postfix, Setting, Setup, Smtpd, until};

use crate::{RECIPIENT, TOLD, all, fields_before, message, no_message_is_taken};

fn is(reply: &Reply, code: u16, enhanced: &str) {
    assert_eq!(reply.code, code, "{reply}");
    assert!(reply.has_enhanced_code(enhanced), "{reply}");
}

/// That exactly these messages were delivered.
fn delivered(postfix: &Postfix, numbers: &[u32]) {
    let kept = postfix.delivered();
    assert_eq!(kept.len(), numbers.len(), "{}", postfix.log());
    for number in numbers {
        let unix = smtp_fallback_interop::kept_as(&message(*number));
        assert!(kept.iter().any(|kept| kept.ends_with(&unix)), "{number} is missing\n{}", postfix.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_started_again() {
    for tell in TOLD {
        let postfix = Postfix::start(Setup::told_by(tell));
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell).enforcing()).await;
        postfix.stop();
        for address in [smtpd.ipv6, smtpd.ipv4] {
            for verb in ["EHLO", "HELO"] {
                let mut client = smtpd.connect(address).await;
                is(&client.command(&format!("{verb} client.example")).await.unwrap(), 421, "4.3.2");
                client.closed().await.unwrap();
            }
        }
        postfix.start_again();
        assert_eq!(smtpd.send(smtpd.ipv6, "smith@spf.example", &message(1)).await.code, 250);
        assert_eq!(smtpd.send(smtpd.ipv4, "smith@none.example", &message(2)).await.code, 250);
        delivered(&postfix, &[1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_the_middle_of_a_session() {
    let postfix = Postfix::start(Setup::for_xclient());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient")).await;
    let (mail, rcpt) = ("MAIL FROM:<smith@none.example>", "RCPT TO:<jones@demo.example>");
    let mut after_ehlo = smtpd.client(smtpd.ipv6).await;
    let mut after_mail = smtpd.client(smtpd.ipv6).await;
    all(&mut after_mail, 250, &[mail]).await;
    let mut after_rcpt = smtpd.client(smtpd.ipv6).await;
    all(&mut after_rcpt, 250, &[mail, rcpt]).await;
    let mut in_data = smtpd.client(smtpd.ipv6).await;
    all(&mut in_data, 250, &[mail, rcpt]).await;
    all(&mut in_data, 354, &["DATA"]).await;
    let mut in_bdat = smtpd.client(smtpd.ipv6).await;
    all(&mut in_bdat, 250, &[mail, rcpt]).await;
    in_bdat.send(b"BDAT 3\r\nA: ").await.unwrap();
    assert_eq!(in_bdat.reply().await.unwrap().code, 250);
    let mut refused = smtpd.client(smtpd.ipv6).await;
    all(&mut refused, 250, &[mail, rcpt]).await;

    postfix.stop();
    is(&after_ehlo.command(mail).await.unwrap(), 421, "4.3.2");
    after_ehlo.closed().await.unwrap();
    is(&after_mail.command(rcpt).await.unwrap(), 421, "4.3.2");
    after_mail.closed().await.unwrap();
    no_message_is_taken(after_rcpt).await;
    is(&in_data.message(&message(2)).await.unwrap(), 451, "4.3.0");
    in_bdat.send(b"BDAT 5 LAST\r\nb\r\n\r\n").await.unwrap();
    is(&in_bdat.reply().await.unwrap(), 451, "4.3.0");
    all(&mut refused, 250, &["RSET"]).await;

    postfix.start_again();
    // Sessions that are still there go on with a new connection.
    for (number, client) in [(4, &mut in_data), (5, &mut in_bdat), (6, &mut refused)] {
        let reply = client.transaction("smith@none.example", RECIPIENT, &message(number)).await.unwrap();
        assert_eq!(reply.code, 250, "{number}: {reply}\n{}", smtpd.log());
    }
    delivered(&postfix, &[4, 5, 6]);
    let kept = postfix.delivered();
    let all_from_the_client =
        kept.iter().all(|kept| String::from_utf8_lossy(kept).contains("from client.example (unknown [IPv6:::1])"));
    assert!(all_from_the_client, "also after the second connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_at_each_step() {
    // A policy service that takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = format!("check_policy_service inet:{}", silent.local_addr().unwrap());
    let setup = Setup::for_proxy()
        .with("smtpd_restriction_classes", "slow")
        .with("slow", &service)
        .with("smtpd_delay_reject", "no")
        .file("clients", "2001:db8::66 slow\n")
        .file("names", "helo.example slow\n")
        .file("senders", "mail@none.example slow\n")
        .file("recipients", "rcpt@demo.example slow\n")
        .file("data", "data@none.example slow\n")
        .file("dot", "dot@none.example slow\n")
        .with("smtpd_client_restrictions", "check_client_access cidr:$config_directory/clients")
        .with("smtpd_helo_restrictions", "check_helo_access texthash:$config_directory/names")
        .with("smtpd_sender_restrictions", "check_sender_access texthash:$config_directory/senders")
        .with("smtpd_recipient_restrictions", "check_recipient_access texthash:$config_directory/recipients")
        .with("smtpd_data_restrictions", "check_sender_access texthash:$config_directory/data")
        .with("smtpd_end_of_data_restrictions", "check_sender_access texthash:$config_directory/dot");
    let postfix = Postfix::start(setup);
    // The greeting of a client whose connection is fine takes no longer than a process to start.
    let timeouts = "\n[upstream.timeouts]\ngreeting = \"4s\"\ncommand = \"3s\"\ndata = \"3s\"\ndot = \"3s\"\n";
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "proxy-v1").behind_a_proxy().and(timeouts)).await;
    let at_mail = async |address: &str, name: &str, sender: &str| {
        let (mut client, reply) = after_ehlo(&smtpd, address, name).await;
        assert_eq!(reply.code, 250, "{reply}");
        let reply = client.command(&format!("MAIL FROM:<{sender}>")).await.unwrap();
        (client, reply)
    };
    let cut_off = async |mut client: Client, reply: Reply| {
        is(&reply, 421, "4.3.2");
        client.closed().await.unwrap();
    };
    let greeting = async {
        let (client, reply) = after_ehlo(&smtpd, "2001:db8::66", "client.example").await;
        cut_off(client, reply).await;
    };
    let ehlo = async {
        let (client, reply) = after_ehlo(&smtpd, "2001:db8::1", "helo.example").await;
        cut_off(client, reply).await;
    };
    let mail = async {
        let (client, reply) = at_mail("2001:db8::1", "client.example", "mail@none.example").await;
        cut_off(client, reply).await;
    };
    let rcpt = async {
        let (mut client, reply) = at_mail("2001:db8::1", "client.example", "smith@none.example").await;
        assert_eq!(reply.code, 250);
        let reply = client.command("RCPT TO:<rcpt@demo.example>").await.unwrap();
        cut_off(client, reply).await;
    };
    let message_of = async |sender: &str, number| {
        let (mut client, reply) = at_mail("2001:db8::1", "client.example", sender).await;
        assert_eq!(reply.code, 250);
        all(&mut client, 250, &["RCPT TO:<jones@demo.example>"]).await;
        all(&mut client, 354, &["DATA"]).await;
        is(&client.message(&message(number)).await.unwrap(), 451, "4.3.0");
        // The session goes on.
        let reply = client.transaction("smith@none.example", RECIPIENT, &message(number + 1)).await.unwrap();
        assert_eq!(reply.code, 250, "{reply}");
    };
    let start = Instant::now();
    tokio::join!(greeting, ehlo, mail, rcpt, message_of("data@none.example", 10), message_of("dot@none.example", 20));
    assert!(start.elapsed() >= Duration::from_secs(3), "nothing was slow");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // Nobody is there any more to hear of the messages that Postfix asks about in vain.
    drop(silent);
    delivered(&postfix, &[11, 21]);
}

/// A session of a client at this address and with this name, and the reply to its EHLO.
async fn after_ehlo(smtpd: &Smtpd, address: &str, name: &str) -> (Client, Reply) {
    let mut client = smtpd.connect_behind_proxy(address).await;
    let reply = client.command(&format!("EHLO {name}")).await.unwrap();
    (client, reply)
}

/// Waits for longer than Postfix waits, from now on: a session that begins now runs out of time.
async fn longer_than_postfix_waits(postfix: &Postfix, tell: &str) {
    let mut idle = Client::connect(postfix.address()).await.unwrap();
    if tell == "proxy-v1" {
        idle.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n").await.unwrap();
    }
    assert_eq!(idle.reply().await.unwrap().code, 220);
    is(&idle.reply().await.unwrap(), 421, "4.4.2");
}

/// A Postfix of little patience, and smtpd with the given time for `keep_alive` in front of it.
async fn impatient(tell: &str, keep_alive: &str) -> (Postfix, Smtpd) {
    let postfix = Postfix::start(Setup::told_by(tell).with("smtpd_timeout", "2s"));
    let setting = Setting::front(postfix.address(), tell);
    let smtpd = Smtpd::start(setting.and(&format!("\n[upstream.timeouts]\nkeep_alive = \"{keep_alive}\"\n"))).await;
    (postfix, smtpd)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_takes_long_between_messages() {
    // After EHLO, and after each message, Postfix goes away, and smtpd comes back.
    for tell in TOLD {
        let (postfix, smtpd) = impatient(tell, "500ms").await;
        let mut client = smtpd.client(smtpd.ipv6).await;
        for number in 1..3 {
            longer_than_postfix_waits(&postfix, tell).await;
            let reply = client.transaction("smith@none.example", RECIPIENT, &message(number)).await.unwrap();
            assert_eq!(reply.code, 250, "{reply}");
        }
        delivered(&postfix, &[1, 2]);
        postfix.logged(&["timeout after EHLO from unknown[::1]"]);
        postfix.logged(&["timeout after END-OF-MESSAGE from unknown[::1]"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_waits_for_an_idle_client() {
    let postfix = Postfix::start(Setup::for_xclient());
    let setting = Setting::front(postfix.address(), "xclient");
    let smtpd = Smtpd::start(setting.and("\n[upstream.timeouts]\nidle = \"300ms\"\n")).await;
    let mut client = smtpd.client(smtpd.ipv6).await;
    for number in 1..3 {
        let reply = client.transaction("smith@none.example", RECIPIENT, &message(number)).await.unwrap();
        assert_eq!(reply.code, 250, "{reply}");
        // The client is still there, and its connection with Postfix is not.
        until("Postfix is rid of it", || {
            let log = postfix.log();
            let ended = log.lines().filter(|line| line.contains("disconnect from unknown[::1]") && line.contains("data=1"));
            if ended.count() == number as usize { Ok(()) } else { Err(log) }
        });
        assert!(!postfix.log().contains("lost connection after END-OF-MESSAGE"), "in good order: {}", postfix.log());
    }
    all(&mut client, 221, &["QUIT"]).await;
    delivered(&postfix, &[1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_takes_long_within_a_message() {
    for (tell, keep_alive) in [("xclient", "500ms"), ("proxy-v1", "500ms"), ("xclient", "60s")] {
        let (postfix, smtpd) = impatient(tell, keep_alive).await;
        let mut client = smtpd.client(smtpd.ipv6).await;
        all(&mut client, 250, &["MAIL FROM:<smith@none.example>", "RCPT TO:<jones@demo.example>"]).await;
        all(&mut client, 354, &["DATA"]).await;
        let text = message(3);
        let (begin, end) = text.split_at(30);
        client.send(begin).await.unwrap();
        longer_than_postfix_waits(&postfix, tell).await;
        let reply = client.message(end).await.unwrap();
        if keep_alive == "60s" {
            // The negative control: without a word to Postfix it has gone away.
            is(&reply, 451, "4.3.0");
            delivered(&postfix, &[]);
        } else {
            assert_eq!(reply.code, 250, "{reply}\n{}", smtpd.log());
            delivered(&postfix, &[3]);
            drop(client);
            postfix.logged(&["disconnect from unknown[::1]", "noop="]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_takes_long_within_an_envelope() {
    let (mail, rcpt) = ("MAIL FROM:<smith@none.example>", "RCPT TO:<jones@demo.example>");
    for keep_alive in ["500ms", "60s"] {
        let (postfix, smtpd) = impatient("xclient", keep_alive).await;
        let mut before_rcpt = smtpd.client(smtpd.ipv6).await;
        all(&mut before_rcpt, 250, &[mail]).await;
        let mut before_data = smtpd.client(smtpd.ipv6).await;
        all(&mut before_data, 250, &[mail, rcpt]).await;
        let mut between_chunks = smtpd.client(smtpd.ipv6).await;
        all(&mut between_chunks, 250, &[mail, rcpt]).await;
        let text = message(3);
        let (begin, end) = text.split_at(30);
        between_chunks.send(&[b"BDAT 30\r\n", begin].concat()).await.unwrap();
        assert_eq!(between_chunks.reply().await.unwrap().code, 250);
        longer_than_postfix_waits(&postfix, "xclient").await;
        between_chunks.send(&[format!("BDAT {} LAST\r\n", end.len()).as_bytes(), end].concat()).await.unwrap();
        let chunked = between_chunks.reply().await.unwrap();
        if keep_alive == "60s" {
            // The negative control, with nothing lost: nothing was promised. What Postfix said on going is passed on.
            is(&before_rcpt.command(rcpt).await.unwrap(), 421, "4.4.2");
            no_message_is_taken(before_data).await;
            is(&chunked, 451, "4.3.0");
            delivered(&postfix, &[]);
            continue;
        }
        assert_eq!(chunked.code, 250, "{chunked}\n{}", smtpd.log());
        all(&mut before_rcpt, 250, &[rcpt]).await;
        for (client, number) in [(&mut before_rcpt, 1), (&mut before_data, 2)] {
            all(client, 354, &["DATA"]).await;
            assert_eq!(client.message(&message(number)).await.unwrap().code, 250);
        }
        delivered(&postfix, &[1, 2, 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_that_has_had_enough() {
    let postfix = Postfix::start(
        Setup::for_xclient()
            .file("mailboxes", "jones@demo.example box/\n")
            .with("virtual_mailbox_maps", "texthash:$config_directory/mailboxes")
            .with("smtpd_soft_error_limit", "1")
            .with("smtpd_hard_error_limit", "2")
            .with("smtpd_error_sleep_time", "0s"),
    );
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient")).await;
    let mut client = smtpd.client(smtpd.ipv6).await;
    all(&mut client, 250, &["MAIL FROM:<smith@none.example>"]).await;
    let unknown = "RCPT TO:<unknown@demo.example>";
    all(&mut client, 550, &[unknown, unknown]).await;
    // At the limit Postfix says 421 without being asked, and has hung up.
    postfix.logged(&["too many errors after RCPT from unknown[::1]"]);
    let reply = client.command(unknown).await.unwrap();
    assert_eq!(reply.to_string(), "421 4.7.0 upstream.example Error: too many errors");
    client.closed().await.unwrap();
    let mut client = smtpd.client(smtpd.ipv6).await;
    assert_eq!(client.transaction("smith@none.example", RECIPIENT, &message(1)).await.unwrap().code, 250);
    let [kept] = &postfix.delivered()[..] else { panic!("one message") };
    fields_before(kept, &message(1));
}

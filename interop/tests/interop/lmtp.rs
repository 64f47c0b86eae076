//! An LMTP server behind smtpd: Dovecot.

use smtp_fallback_interop::{Dovecot, Setting, Smtpd};

use crate::{RECIPIENT, all, by_bdat, fields_before, message, no_message_is_taken};

/// By the UNIX socket, where Dovecot cannot be told who the client is, or by the port, where it can.
fn front(dovecot: &Dovecot, tell: &str) -> Setting {
    let address = match tell {
        "nothing" => format!("unix:{}", dovecot.socket().display()),
        _ => dovecot.address().to_string(),
    };
    Setting::front(address, tell).and("protocol = \"lmtp\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_arrives_for_one_recipient_at_a_time() {
    for tell in ["nothing", "xclient"] {
        let dovecot = Dovecot::start();
        let smtpd = Smtpd::start(front(&dovecot, tell)).await;
        let mut client = smtpd.connect(smtpd.ipv6).await;
        let hello = client.command("EHLO client.example").await.unwrap();
        assert!(hello.announces("PIPELINING") && hello.announces("CHUNKING"), "{hello}\n{}\n{}", smtpd.log(), dovecot.log());
        for recipient in ["jones", "smith"] {
            all(&mut client, 250, &["MAIL FROM:<smith@none.example>", &format!("RCPT TO:<{recipient}@demo.example>")]).await;
            let other = if recipient == "jones" { "smith" } else { "jones" };
            let reply = client.command(&format!("RCPT TO:<{other}@demo.example>")).await.unwrap();
            assert_eq!(reply.code, 452, "{reply}");
            assert!(reply.has_enhanced_code("4.5.3"), "{reply}");
            all(&mut client, 354, &["DATA"]).await;
            let reply = client.message(&message(1)).await.unwrap();
            assert_eq!(reply.code, 250, "{reply}\n{}", dovecot.log());
            // Dovecot's own words.
            assert!(reply.to_string().contains(&format!("2.0.0 <{recipient}@demo.example> ")), "{reply}");
        }
        all(&mut client, 250, &["MAIL FROM:<>", "RCPT TO:<jones@demo.example>"]).await;
        assert_eq!(by_bdat(&mut client, &message(2), 20).await.code, 250);
        for (name, numbers) in [("jones", &[1, 2][..]), ("smith", &[1])] {
            let kept = dovecot.delivered(name);
            assert_eq!(kept.len(), numbers.len(), "{name}");
            for number in numbers {
                let with_end = |kept: &&Vec<u8>| kept.ends_with(&smtp_fallback_interop::kept_as(&message(*number)));
                let kept = kept.iter().find(with_end).unwrap_or_else(|| panic!("{name} has no {number}"));
                let fields = fields_before(kept, &message(*number));
                match tell {
                    "nothing" => assert!(fields.contains("Received: from client.example ([IPv6:::1])\n"), "{fields}"),
                    _ => assert_eq!(fields.matches("Received: ").count(), 1, "{fields}"),
                }
                assert!(fields.contains("client.example ("), "{fields}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_failures() {
    let dovecot = Dovecot::start();
    let smtpd = Smtpd::start(front(&dovecot, "nothing")).await;
    let mut client = smtpd.client(smtpd.ipv6).await;
    all(&mut client, 250, &["MAIL FROM:<smith@none.example>"]).await;
    let reply = client.command("RCPT TO:<unknown@demo.example>").await.unwrap();
    assert_eq!(reply.to_string(), "550 5.1.1 <unknown@demo.example> User doesn't exist: unknown@demo.example");
    all(&mut client, 250, &["RCPT TO:<jones@demo.example>"]).await;
    drop(dovecot);
    no_message_is_taken(client).await;
    let mut client = smtpd.connect(smtpd.ipv6).await;
    let reply = client.command("EHLO client.example").await.unwrap();
    assert_eq!(reply.code, 421, "{reply}");
    assert!(reply.has_enhanced_code("4.3.2"), "{reply}");
    client.closed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_refused_message_leaves_nothing() {
    let dovecot = Dovecot::start();
    let smtpd = Smtpd::start(front(&dovecot, "nothing").enforcing()).await;
    let mut client = smtpd.client(smtpd.ipv6).await;
    all(&mut client, 250, &["IPV6-IPV4-FALLBACK"]).await;
    let reply = client.transaction("smith@fail.example", RECIPIENT, &message(1)).await.unwrap();
    assert_eq!(reply.code, 456, "{reply}");
    let reply = client.transaction("smith@spf.example", RECIPIENT, &message(2)).await.unwrap();
    assert_eq!(reply.code, 250, "{reply}");
    let [kept] = &dovecot.delivered("jones")[..] else { panic!("one message") };
    fields_before(kept, &message(2));
}

//! The policy decides before Postfix has anything of a message (R8).

use smtp_fallback_demo::zone::{FAILING_DOMAIN, PLAIN_DOMAIN, SPF_DOMAIN};
use smtp_fallback_interop::{Postfix, Setting, Setup, Smtpd};

use crate::{RECIPIENT, TOLD, all, by_bdat, fields_before, message};

fn sender(domain: &str) -> String {
    format!("smith@{domain}")
}

/// That Postfix has seen nothing of a message: no queue file was begun.
fn has_nothing(postfix: &Postfix) {
    assert!(postfix.delivered().is_empty());
    let shown = postfix.program("postqueue", &["-p"]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "Mail queue is empty", "{shown:?}");
    let log = postfix.log();
    assert!(!log.contains("message-id=") && !log.contains("queued as") && !log.contains("from=<"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_refused_message_leaves_nothing_at_postfix() {
    for tell in TOLD {
        let postfix = Postfix::start(Setup::told_by(tell));
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell).enforcing()).await;
        for domain in [FAILING_DOMAIN, PLAIN_DOMAIN] {
            let mut client = smtpd.client(smtpd.ipv6).await;
            let reply = client.transaction(&sender(domain), RECIPIENT, &message(1)).await.unwrap();
            assert_eq!(reply.code, 421, "{domain}: {reply}");
            assert!(reply.has_enhanced_code("4.4.8"), "{reply}");
            client.closed().await.unwrap();
            let mut client = smtpd.client(smtpd.ipv6).await;
            all(&mut client, 250, &[&format!("MAIL FROM:<{}>", sender(domain)), "RCPT TO:<jones@demo.example>"]).await;
            let reply = by_bdat(&mut client, &message(2), 10).await;
            assert_eq!(reply.code, 421, "{reply}");
            client.closed().await.unwrap();
        }
        // The sessions with Postfix were ended by smtpd, which says nothing after the recipients.
        postfix.logged(&["disconnect from unknown[::1]", "mail=1 rcpt=1"]);
        has_nothing(&postfix);
        assert!(!postfix.log().contains("data="), "{}", postfix.log());

        // The same over IPv4 arrives, once.
        let reply = smtpd.send(smtpd.ipv4, &sender(PLAIN_DOMAIN), &message(1)).await;
        assert_eq!(reply.code, 250, "{reply}");
        let [kept] = &postfix.delivered()[..] else { panic!("one message\n{}", postfix.log()) };
        assert!(fields_before(kept, &message(1)).contains("from client.example (unknown [127.0.0.1])"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_after_456_the_next_message_arrives() {
    for tell in TOLD {
        let postfix = Postfix::start(Setup::told_by(tell));
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell).enforcing()).await;
        let mut client = smtpd.client(smtpd.ipv6).await;
        all(&mut client, 250, &["IPV6-IPV4-FALLBACK"]).await;
        for number in 1..3 {
            let reply = client.transaction(&sender(FAILING_DOMAIN), RECIPIENT, &message(number)).await.unwrap();
            assert_eq!(reply.code, 456, "{reply}");
            assert!(reply.has_enhanced_code("4.4.8"), "{reply}");
        }
        has_nothing(&postfix);
        let reply = client.transaction(&sender(SPF_DOMAIN), RECIPIENT, &message(3)).await.unwrap();
        assert_eq!(reply.code, 250, "{reply}");
        all(&mut client, 221, &["QUIT"]).await;
        let [kept] = &postfix.delivered()[..] else { panic!("one message\n{}", postfix.log()) };
        fields_before(kept, &message(3));
        // All in one session with Postfix, each refused transaction ended by RSET.
        postfix.logged(&["disconnect from unknown[::1]", "mail=3 rcpt=3 data=1 rset=2 quit=1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_penalty_costs_postfix_no_connection() {
    let postfix = Postfix::start(Setup::for_xclient());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient").enforcing()).await;
    let mut refused = 0;
    loop {
        let mut client = smtp_fallback_demo::client::Client::connect(smtpd.ipv6).await.unwrap();
        let greeting = client.reply().await.unwrap();
        if greeting.code == 451 {
            assert!(greeting.has_enhanced_code("4.4.8"), "{greeting}");
            break;
        }
        all(&mut client, 250, &["EHLO client.example"]).await;
        let reply = client.transaction(&sender(FAILING_DOMAIN), RECIPIENT, &message(refused)).await.unwrap();
        assert_eq!(reply.code, 421, "{reply}");
        refused += 1;
        assert!(refused < 20, "no penalty");
    }
    let connections = |postfix: &Postfix| postfix.log().matches(": connect from").count();
    smtpd.logged(&["stage=\"greeting\"", "reason=\"penalty\""]);
    // The first is that of the start.
    assert_eq!(connections(&postfix), 1 + refused as usize, "{}", postfix.log());
    has_nothing(&postfix);
}

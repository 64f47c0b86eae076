//! Sendmail asks the milter.

use smtp_fallback_demo::client::Reply;
use smtp_fallback_demo::sign::{self, Algorithm};
use smtp_fallback_demo::zone::{Kind, PLAIN_DOMAIN, SIGNED_DOMAIN};
use smtp_fallback_interop::{IPV6, Milter, Sendmail, kept_as};

use crate::message;

const POLICY: &str = r#"{
    "mode": "enforce",
    "penalty": {"probe_one_in": 0},
    "url": "https://policy.demo.example/100%25"
}"#;
/// The domain whose mail from Sendmail's own machine passes by SPF.
const PASSING: &str = "passing.example";

struct Site {
    sendmail: Sendmail,
    milter: Milter,
}

impl Site {
    async fn start(daemon: &str, more: &str) -> Site {
        let sendmail = Sendmail::prepare(daemon);
        let milter = Milter::start_at(sendmail.socket(), POLICY, more).await;
        milter.nameserver.change(|zone| zone.add(PASSING, Kind::Txt, &format!("v=spf1 ip6:{IPV6} -all")).unwrap());
        sendmail.start();
        Site { sendmail, milter }
    }

    /// The last reply to a message.
    fn send(&self, ipv6: bool, domain: &str, octets: &[u8]) -> Reply {
        self.sendmail.send(ipv6, &format!("smith@{domain}"), octets).pop().unwrap()
    }
}

/// The words for unauthenticated mail of this client, as the policy has them.
fn words(code: u16) -> Reply {
    let lines = [
        "4.4.8 SPF=none, DKIM=none: not accepted over IPv6, retry over IPv4 now; see https://policy.demo.example/100%25"
            .to_owned(),
        format!("4.4.8 Client {IPV6}: over IPv6 this host takes authenticated mail only"),
    ];
    Reply { code, lines: lines.to_vec() }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_what_passes() {
    let site = Site::start("MTA", "").await;
    // The address came as `IPv6:2001:db8:25:0:0:0:0:25`.
    assert_eq!(site.send(true, PLAIN_DOMAIN, &message(1)), words(421));
    let refused = site.milter.logged(&["event=\"decision\"", "stage=\"end-of-data\"", "verdict=\"refuse\""]);
    let id = refused.split_once(" id=\"").expect("a queue id").1.split('"').next().unwrap().to_owned();
    site.sendmail.logged(&[&id, "Milter: data, reject=421-4.4.8"]);
    // It closes; and over IPv4 the same is taken.
    let replies = site.sendmail.talk(
        true,
        &[
            "EHLO client.example",
            "MAIL FROM:<smith@none.example>",
            "RCPT TO:<jones@demo.example>",
            "DATA",
            "Subject: a\r\n\r\ntext\r\n",
            "NOOP",
        ],
    );
    assert_eq!(replies.unwrap().pop().unwrap().code, 421);
    let reply = site.send(false, PLAIN_DOMAIN, &message(1));
    assert_eq!(reply.code, 250, "{reply}");
    site.milter.logged(&["verdict=\"accept\"", "linked="]);

    let signed = sign::signed(&message(2), Algorithm::Rsa).unwrap();
    let reply = site.send(true, SIGNED_DOMAIN, &signed);
    assert_eq!(reply.code, 250, "{reply}\n{}", site.milter.program().log());
    let reply = site.send(true, PASSING, &message(3));
    assert_eq!(reply.code, 250, "{reply}");
    let text = |octets: &[u8]| String::from_utf8(kept_as(octets)).unwrap();
    let mailbox = site.sendmail.delivered(&text(&message(3)));
    for octets in [message(1), signed] {
        assert_eq!(mailbox.matches(&text(&octets)).count(), 1, "{mailbox}");
    }

    // Until there is a penalty, which is told at HELO.
    let mut number = 10;
    let refused = loop {
        let replies = site.sendmail.send(true, "smith@none.example", &message(number));
        if replies.len() < 6 {
            break replies;
        }
        assert_eq!(replies[5], words(421));
        number += 1;
        assert!(number < 30, "no penalty");
    };
    let lines = [
        "4.4.8 Not accepting mail from 2001:db8:25::/64 over IPv6, retry over IPv4 now; see https://policy.demo.example/100%25"
            .to_owned(),
        format!("4.4.8 Client {IPV6}: most recent mail of your network was not authenticated"),
    ];
    assert_eq!(refused.last(), Some(&Reply { code: 421, lines: lines.to_vec() }));
    assert_eq!(refused.len(), 2, "a greeting, and this: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_front_the_verb_makes_it_456() {
    let site = Site::start("front", "trusted_fronts = [\"front\"]\nbehind_front = true\n").await;
    let first = String::from_utf8(message(1)).unwrap();
    let mail = ["MAIL FROM:<smith@none.example>", "RCPT TO:<jones@demo.example>", "DATA", &first];
    let replies =
        site.sendmail.talk(true, &[&["EHLO client.example", "IPV6-IPV4-FALLBACK"][..], &mail, &["NOOP"]].concat()).unwrap();
    assert_eq!(replies[2].code, 500, "Sendmail does not know it: {replies:?}");
    assert_eq!(replies[6], words(456));
    assert_eq!(replies[7].code, 250, "it stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_milter_mail_flows_and_the_log_says_why() {
    let mut site = Site::start("MTA", "").await;
    assert_eq!(site.send(true, PLAIN_DOMAIN, &message(1)), words(421));
    site.milter.stop();
    let reply = site.send(true, PLAIN_DOMAIN, &message(2));
    assert_eq!(reply.code, 250, "{reply}");
    site.sendmail.logged(&["Milter (smtp-fallback): to error state"]);
    site.milter.start_again();
    assert_eq!(site.send(true, PLAIN_DOMAIN, &message(3)), words(421));
}

//! Postfix asks the milter. The client says by XCLIENT which address it has.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use smtp_fallback_demo::client::{Client, Reply};
use smtp_fallback_demo::sign::{self, Algorithm};
use smtp_fallback_demo::zone::{Kind, PLAIN_DOMAIN, SIGNED_DOMAIN, SPF_DOMAIN};
use smtp_fallback_interop::{Milter, Opendkim, PATIENCE, Postfix, Setup, kept_as, until};

use crate::{RECIPIENT, all, by_bdat, fields_before, message};

/// Enforces, with words that an MTA may garble: two lines, and per cent.
const POLICY: &str = r#"{
    "mode": "enforce",
    "exempt": {"local_networks": false},
    "penalty": {"probe_one_in": 0},
    "url": "https://policy.demo.example/100%25"
}"#;
/// A client over IPv6, and one over IPv4.
const IPV6: &str = "IPV6:2001:db8::25";
const IPV4: &str = "192.0.2.25";
/// The domain whose mail from 2001:db8::/32 passes by SPF.
const PASSING: &str = "passing.example";

struct Site {
    milter: Milter,
    postfix: Postfix,
}

impl Site {
    async fn start(policy: &str, more: &str) -> Site {
        Site::with(policy, more, Setup::for_xclient()).await
    }

    async fn with(policy: &str, more: &str, setup: Setup) -> Site {
        let milter = Milter::start(policy, more).await;
        milter.nameserver.change(|zone| zone.add(PASSING, Kind::Txt, "v=spf1 ip6:2001:db8::/32 -all").unwrap());
        let postfix = Postfix::start(setup.with("smtpd_milters", &milter.for_postfix()));
        Site { milter, postfix }
    }

    /// A session of this client, after the greeting.
    async fn connect(&self, client: &str) -> Client {
        let mut session = Client::connect(self.postfix.address()).await.unwrap();
        assert_eq!(session.reply().await.unwrap().code, 220);
        let reply = session.command(&format!("XCLIENT ADDR={client}")).await.unwrap();
        assert_eq!(reply.code, 220, "{reply}\n{}", self.postfix.log());
        session
    }

    /// The same after EHLO.
    async fn client(&self, client: &str) -> Client {
        let mut session = self.connect(client).await;
        all(&mut session, 250, &["EHLO client.example"]).await;
        session
    }

    async fn send(&self, client: &str, sender: &str, octets: &[u8]) -> Reply {
        self.client(client).await.transaction(sender, RECIPIENT, octets).await.unwrap()
    }
}

fn sender(domain: &str) -> String {
    format!("smith@{domain}")
}

/// What the client sees of the draft's reply, to the octet: its lines with code and enhanced code.
fn has_the_words(reply: &Reply, code: u16) {
    assert_eq!(reply.code, code, "{reply}");
    assert!(reply.has_enhanced_code("4.4.8"), "{reply}");
    assert!(reply.lines.len() > 1, "{reply}");
    assert!(reply.lines.iter().any(|line| line.contains("https://policy.demo.example/100%25")), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_mail_gets_421_after_the_dot_and_arrives_over_ipv4() {
    let site = Site::start(POLICY, "").await;
    let mut client = site.client(IPV6).await;
    let reply = client.transaction(&sender(PLAIN_DOMAIN), RECIPIENT, &message(1)).await.unwrap();
    has_the_words(&reply, 421);
    client.closed().await.unwrap();
    // The log of both has the queue id, and the milter's the key of the mail's record.
    let refused = site.milter.logged(&["event=\"decision\"", "stage=\"end-of-data\"", "verdict=\"refuse\""]);
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("{name}: {line}"));
        rest.split('"').next().unwrap().to_owned()
    };
    let mail = field(&refused, "mail");
    assert!(mail.starts_with("exact:"), "{refused}");
    site.postfix.logged(&[&field(&refused, "id"), "milter-reject: END-OF-MESSAGE", "421 4.4.8"]);

    let reply = site.send(IPV4, &sender(PLAIN_DOMAIN), &message(1)).await;
    assert_eq!(reply.code, 250, "{reply}");
    let linked = site.milter.logged(&["stage=\"end-of-data\"", "verdict=\"accept\"", "linked="]);
    assert_eq!(field(&linked, "mail"), mail);
    site.postfix.logged(&[&field(&linked, "id"), "message-id=<1@client.example>"]);
    let [kept] = &site.postfix.delivered()[..] else { panic!("one message\n{}", site.postfix.log()) };
    fields_before(kept, &message(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticated_mail_arrives_once_and_unchanged() {
    let site = Site::start(POLICY, "").await;
    let signed = sign::signed(&odd_message(), Algorithm::Rsa).unwrap();
    // Of one session: by SPF, by DKIM, the null sender by the SPF of its name, by BDAT.
    let mut client = site.client(IPV6).await;
    let reply = client.transaction(&sender(PASSING), RECIPIENT, &message(1)).await.unwrap();
    assert_eq!(reply.code, 250, "{reply}\n{}", site.milter.program().log());
    let reply = client.transaction(&sender(SIGNED_DOMAIN), RECIPIENT, &signed).await.unwrap();
    assert_eq!(reply.code, 250, "{reply}\n{}", site.milter.program().log());
    all(&mut client, 250, &["EHLO passing.example"]).await;
    let reply = client.transaction("", RECIPIENT, &message(3)).await.unwrap();
    assert_eq!(reply.code, 250, "{reply}\n{}", site.milter.program().log());
    all(&mut client, 250, &["MAIL FROM:<smith@passing.example> BODY=8BITMIME", "RCPT TO:<jones@demo.example>"]).await;
    assert_eq!(by_bdat(&mut client, &message(4), 7).await.code, 250);
    // An altered one is not authenticated.
    let altered = [&signed[..], b"more\r\n"].concat();
    has_the_words(&client.transaction(&sender(SIGNED_DOMAIN), RECIPIENT, &altered).await.unwrap(), 421);
    client.closed().await.unwrap();
    let mut kept = site.postfix.delivered();
    assert_eq!(kept.len(), 4, "{}", site.postfix.log());
    for octets in [message(1), signed, message(3), message(4)] {
        let octets = kept_as(&octets);
        let place = kept.iter().position(|kept| kept.ends_with(&octets)).expect("it arrived, unchanged");
        kept.remove(place);
    }
}

/// What signatures are broken by when a filter does not get it as it was sent: folded fields, tabs, spaces at the ends, empty fields, a body
/// with dots and empty lines at its end.
fn odd_message() -> Vec<u8> {
    b"From:smith@signed.example\r\nTo:  jones@demo.example\r\nSubject: folded\r\n\tonce\r\n  and twice  \r\nX-Empty:\r\n\
      Date: Tue, 24 Nov 2026 12:40:18 +0000\r\nMessage-ID: <odd@client.example>\r\n\r\n.dot\r\n..\r\n \t\r\nlast\r\n\r\n\r\n"
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_penalty_is_refused_at_helo() {
    let site = Site::start(POLICY, "").await;
    let mut refused = 0;
    loop {
        let mut client = site.connect(IPV6).await;
        let reply = client.command("EHLO client.example").await.unwrap();
        if reply.code != 250 {
            assert_eq!(reply.code, 421, "{reply}");
            assert!(reply.has_enhanced_code("4.4.8"), "{reply}");
            client.closed().await.unwrap();
            break;
        }
        let reply = client.transaction(&sender(PLAIN_DOMAIN), RECIPIENT, &message(refused)).await.unwrap();
        has_the_words(&reply, 421);
        refused += 1;
        assert!(refused < 20, "no penalty");
    }
    site.milter.logged(&["stage=\"ehlo\"", "reason=\"penalty\"", "code=421"]);
    // HELO as well; and another network is not meant.
    let mut client = site.connect(IPV6).await;
    assert_eq!(client.command("HELO client.example").await.unwrap().code, 421);
    all(&mut site.connect("IPV6:2001:db8:1::25").await, 250, &["EHLO client.example"]).await;
    // Who comes over IPv4 is let in.
    assert_eq!(site.send(IPV4, &sender(PLAIN_DOMAIN), &message(0)).await.code, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_front_the_verb_makes_it_456() {
    let front = "trusted_fronts = [\"front\"]\nbehind_front = true\n";
    let setup = || Setup::for_xclient().with("milter_macro_daemon_name", "front");
    let site = Site::with(POLICY, front, setup()).await;
    let mut client = site.client(IPV6).await;
    // Postfix does not know the verb; a front keeps that from the client.
    let verb = "IPV6-IPV4-FALLBACK";
    assert!(matches!(client.command(verb).await.unwrap().code, 500 | 502));
    for number in 1..3 {
        let reply = client.transaction(&sender(PLAIN_DOMAIN), RECIPIENT, &message(number)).await.unwrap();
        has_the_words(&reply, 456);
    }
    // Another EHLO, and it has not acknowledged anything.
    all(&mut client, 250, &["EHLO client.example"]).await;
    has_the_words(&client.transaction(&sender(PLAIN_DOMAIN), RECIPIENT, &message(3)).await.unwrap(), 421);
    client.closed().await.unwrap();

    // Where the front decides, this does not.
    let site = Site::with(POLICY, "trusted_fronts = [\"front\"]\n", setup()).await;
    assert_eq!(site.send(IPV6, &sender(PLAIN_DOMAIN), &message(4)).await.code, 250);
    assert!(!site.milter.program().log().contains("event=\"decision\""), "{}", site.milter.program().log());
    // From anywhere else the verb means nothing.
    let site = Site::with(POLICY, front, Setup::for_xclient()).await;
    let mut client = site.client(IPV6).await;
    client.command(verb).await.unwrap();
    has_the_words(&client.transaction(&sender(PLAIN_DOMAIN), RECIPIENT, &message(5)).await.unwrap(), 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_users_are_out_of_scope() {
    let site = Site::start(POLICY, "").await;
    let mut client = Client::connect(site.postfix.address()).await.unwrap();
    client.reply().await.unwrap();
    assert_eq!(client.command(&format!("XCLIENT ADDR={IPV6} LOGIN=smith")).await.unwrap().code, 220);
    all(&mut client, 250, &["EHLO client.example"]).await;
    assert_eq!(client.transaction(&sender(PLAIN_DOMAIN), RECIPIENT, &message(1)).await.unwrap().code, 250);
    let site = Site::with(POLICY, "", Setup::for_xclient().with("milter_macro_daemon_name", "ORIGINATING")).await;
    assert_eq!(site.send(IPV6, &sender(PLAIN_DOMAIN), &message(2)).await.code, 250);
    // What the machine itself sends.
    let sent = Command::new("sh")
        .args(["-c", "printf 'Subject: local\\n\\ntext\\n' | sendmail -C \"$0\" -f smith@none.example jones@demo.example"])
        .arg(site.postfix.config())
        .env("MAIL_CONFIG", site.postfix.config())
        .status()
        .unwrap();
    assert!(sent.success());
    until("it was delivered", || match site.postfix.delivered().len() {
        2 => Ok(()),
        other => Err(format!("{other}\n{}", site.postfix.log())),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_milter_mail_flows_and_the_log_says_why() {
    let mut site = Site::start(POLICY, "").await;
    assert_eq!(site.send(IPV6, &sender(PLAIN_DOMAIN), &message(1)).await.code, 421);
    let (status, log) = site.milter.stop();
    assert!(status.success(), "{log}");
    assert!(!site.milter.socket().exists());
    assert_eq!(site.send(IPV6, &sender(PLAIN_DOMAIN), &message(2)).await.code, 250);
    site.postfix.logged(&["warning: connect to Milter service unix:"]);
    site.milter.start_again();
    assert_eq!(site.send(IPV6, &sender(PLAIN_DOMAIN), &message(3)).await.code, 421);
    assert_eq!(site.postfix.delivered().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_refuses_nothing() {
    let site = Site::start(&POLICY.replace("enforce", "observe"), "").await;
    for number in 0..10 {
        assert_eq!(site.send(IPV6, &sender(PLAIN_DOMAIN), &message(number)).await.code, 250);
    }
    site.milter.logged(&["would=\"refuse 421\"", "id=\""]);
    assert_eq!(site.postfix.delivered().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_protocol_serves_as_well() {
    let setup = || Setup::for_xclient().with("milter_protocol", "2");
    let site = Site::with(POLICY, "", setup()).await;
    has_the_words(&site.send(IPV6, &sender(PLAIN_DOMAIN), &message(1)).await, 421);
    assert_eq!(site.send(IPV6, &sender(PASSING), &message(2)).await.code, 250);
    let signed = sign::signed(&message(3), Algorithm::Rsa).unwrap();
    assert_eq!(site.send(IPV6, &sender(SIGNED_DOMAIN), &signed).await.code, 250, "{}", site.milter.program().log());
}

/// All that the server says to these lines, octet for octet; each is sent when the reply to the one before is there. After a 421 it has to close.
fn heard(address: SocketAddr, lines: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut heard = String::new();
    let mut lines = lines.iter();
    loop {
        let start = heard.len();
        if replies.read_line(&mut heard).unwrap() == 0 {
            return heard;
        }
        if heard[start..].starts_with("421 ") {
            continue;
        }
        if heard.as_bytes()[start + 3] == b' ' {
            let Some(line) = lines.next() else { return heard };
            stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_to_the_octet() {
    let front = "trusted_fronts = [\"front\"]\nbehind_front = true\n";
    let site = Site::with(POLICY, front, Setup::for_xclient().with("milter_macro_daemon_name", "front")).await;
    let xclient = format!("XCLIENT ADDR={IPV6}");
    let hello = [xclient.as_str(), "HELO client.example"];
    let mail = ["MAIL FROM:<smith@none.example>", "RCPT TO:<jones@demo.example>", "DATA", "Subject: a\r\n\r\ntext\r\n."];
    let words = |code: u16| {
        format!(
            "{code}-4.4.8 SPF=none, DKIM=none: not accepted over IPv6, retry over IPv4 now; see https://policy.demo.example/100%25\r\n\
             {code} 4.4.8 Client 2001:db8::25: over IPv6 this host takes authenticated mail only\r\n"
        )
    };
    let replies = |lines: &[&str]| heard(site.postfix.address(), lines);
    let refused = replies(&[&hello[..], &mail].concat());
    assert!(refused.ends_with(&["354 End data with <CR><LF>.<CR><LF>\r\n", &words(421)].concat()), "{refused}");
    let refused = replies(&[&hello[..], &["IPV6-IPV4-FALLBACK"], &mail, &["NOOP"]].concat());
    assert!(refused.ends_with(&[words(456).as_str(), "250 2.0.0 Ok\r\n"].concat()), "{refused}");
    // Until there is a penalty, of a network from where nobody has issued the verb.
    let hello = ["XCLIENT ADDR=IPV6:2001:db8:2::25", "HELO client.example"];
    let refused = (0..20)
        .map(|number| {
            let message = format!("Message-ID: <{number}@client.example>\r\n{}", mail[3]);
            replies(&[&hello[..], &mail[..3], &[&message]].concat())
        })
        .find(|heard| !heard.contains("354 "));
    let at_helo = "421-4.4.8 Not accepting mail from 2001:db8:2::/64 over IPv6, retry over IPv4 now; see https://policy.demo.example/100%25\r\n\
                   421 4.4.8 Client 2001:db8:2::25: most recent mail of your network was not authenticated\r\n";
    let refused = refused.expect("a penalty");
    assert!(refused.ends_with(at_helo), "{refused}");
}

/// A session in which TLS begins after EHLO, so that a second EHLO follows.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_within_tls() {
    let made = rcgen::generate_simple_self_signed(["upstream.example".to_owned()]).unwrap();
    let setup = Setup::new()
        .over_ipv6()
        .file("certificate.pem", &made.cert.pem())
        .file("key.pem", &made.signing_key.serialize_pem())
        .with("smtpd_tls_security_level", "may")
        .with("smtpd_tls_cert_file", "$config_directory/certificate.pem")
        .with("smtpd_tls_key_file", "$config_directory/key.pem");
    let site = Site::with(POLICY, "", setup).await;
    let dialogue = |domain: &str| {
        format!(
            "EHLO second.example\nMAIL FROM:<smith@{domain}>\nRCPT TO:<{RECIPIENT}>\nDATA\nSubject: within TLS\nMessage-ID: <{domain}>\n\nText\n.\n\
             MAIL FROM:<smith@{domain}>\nQUIT\n"
        )
    };
    let starttls = |dialogue: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-starttls", "smtp", "-name", "first.example", "-brief", "-ign_eof", "-crlf", "-connect"]);
        let mut child = command
            .arg(site.postfix.address().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended already.
        let _ = child.stdin.take().unwrap().write_all(dialogue.as_bytes());
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let heard = starttls(&dialogue(PLAIN_DOMAIN));
    assert!(heard.contains("\n421-4.4.8 ") && !heard.contains("221 2.0.0"), "{heard}");
    let heard = starttls(&dialogue(SPF_DOMAIN));
    assert!(heard.contains("250 2.0.0 Ok: queued as ") && heard.contains("221 2.0.0 Bye"), "{heard}");
    // The EHLO that counts is the second one.
    site.milter.logged(&["stage=\"end-of-data\"", "verdict=\"accept\"", "ehlo=\"second.example\""]);
    assert_eq!(site.postfix.delivered().len(), 1);
}

/// By the PROXY protocol the address comes with the connection, and the milter hears of no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_names_the_client() {
    let site = Site::with(POLICY, "", Setup::for_proxy()).await;
    for (line, code) in [("TCP6 2001:db8::25 ::1", 421), ("TCP4 192.0.2.25 127.0.0.1", 250)] {
        let mut client = Client::connect(site.postfix.address()).await.unwrap();
        client.send(format!("PROXY {line} 40000 25\r\n").as_bytes()).await.unwrap();
        assert_eq!(client.reply().await.unwrap().code, 220);
        all(&mut client, 250, &["EHLO client.example"]).await;
        let reply = client.transaction(&sender(PLAIN_DOMAIN), RECIPIENT, &message(1)).await.unwrap();
        assert_eq!(reply.code, code, "{reply}");
    }
    site.milter.logged(&["client=2001:db8::25", "verdict=\"refuse\""]);
    site.milter.logged(&["client=192.0.2.25", "linked="]);
}

/// opendkim is asked first, and the milter goes by what it says. opendkim removes fields that came with the message and have its own id.
#[tokio::test(flavor = "multi_thread")]
async fn results_of_opendkim_count_and_forged_ones_do_not() {
    let forged = "Authentication-Results: upstream.example; dkim=pass header.d=none.example header.s=a\r\n";
    for always in [true, false] {
        let milter = Milter::start(POLICY, "authserv_ids = [\"Upstream.example\"]\n").await;
        let opendkim = Opendkim::start("upstream.example", if always { "AlwaysAddARHeader yes" } else { "AlwaysAddARHeader no" });
        let milters = format!("unix:{}, {}", opendkim.socket().display(), milter.for_postfix());
        let postfix = Postfix::start(Setup::for_xclient().with("smtpd_milters", &milters));
        let site = Site { milter, postfix };
        let signed = sign::signed(&message(1), Algorithm::Rsa).unwrap();
        for octets in [signed.clone(), [forged.as_bytes(), &signed].concat()] {
            let reply = site.send(IPV6, &sender(SIGNED_DOMAIN), &octets).await;
            assert_eq!(reply.code, 250, "{reply}\n{}", site.milter.program().log());
        }
        site.milter.logged(&["reason=\"authenticated\"", "spf=none, spf-helo=none, dkim=pass (signed.example)"]);
        for octets in [message(2), [forged.as_bytes(), &message(3)].concat()] {
            let reply = site.send(IPV6, &sender(PLAIN_DOMAIN), &octets).await;
            // Unless it is told otherwise, opendkim says nothing of mail without signatures; and without a word from the filter nothing is known.
            let code = if always { 421 } else { 250 };
            assert_eq!(reply.code, code, "{reply}\n{}", site.milter.program().log());
        }
        site.milter.logged(&[if always { "reason=\"unauthenticated\"" } else { "reason=\"no-evidence\"" }]);
    }
}

//! Postfix judges the true client, never smtpd, which it trusts.

use smtp_fallback_demo::client::Reply;
use smtp_fallback_demo::zone::Kind;
use smtp_fallback_interop::{Postfix, Setting, Setup, Smtpd, check_config, kept_as};

use crate::{RECIPIENT, TOLD, all, fields_before, message};

/// Whether Postfix would take mail for another domain, if it were not told to send none.
fn may_relay(reply: &Reply) -> bool {
    match (reply.code, reply.to_string()) {
        (454, said) if said.ends_with("<jones@elsewhere.example>: Relay access denied") => false,
        // smtpd leaves this to Postfix only for clients from elsewhere.
        (550, said) if said.ends_with("this server does not know who its client is") => false,
        (550, said) if said.ends_with("no mail leaves this machine") => true,
        (_, said) => panic!("{said}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_open_relay() {
    let outside = "RCPT TO:<jones@elsewhere.example>";
    for tell in TOLD {
        // The usual rules: who is in mynetworks may relay, and smtpd's own address is. Who may hears only that no mail leaves.
        let postfix = Postfix::start(Setup::told_by(tell).with("mynetworks", "127.0.0.0/8, 192.0.2.0/24, [2001:db8:1::]/48"));
        if tell == "xclient" {
            // The negative control: whoever Postfix takes for smtpd may.
            let mut direct = crate::session(postfix.address()).await;
            all(&mut direct, 250, &["MAIL FROM:<smith@none.example>"]).await;
            assert!(may_relay(&direct.command(outside).await.unwrap()));
        }
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell).for_any_domain().behind_a_proxy()).await;
        for (client, may) in [
            ("203.0.113.5", false),
            ("2001:db8::5", false),
            ("126.255.255.255", false),
            ("::ffff:203.0.113.5", false),
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.3.0", false),
            ("2001:db8:1::7", true),
            ("127.0.0.1", false),
            ("127.255.255.255", false),
            ("::1", false),
        ] {
            let mut session = smtpd.client_behind_proxy(client).await;
            all(&mut session, 250, &["MAIL FROM:<smith@none.example>"]).await;
            let reply = session.command(outside).await.unwrap();
            assert_eq!(may_relay(&reply), may, "{tell} {client}: {reply}");
            // A new EHLO, a new connection, the same client.
            all(&mut session, 250, &["EHLO localhost", "MAIL FROM:<smith@none.example>"]).await;
            assert_eq!(may_relay(&session.command(outside).await.unwrap()), may, "{tell} {client}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_open_relay_for_the_clients_own_words() {
    let outside = "RCPT TO:<jones@elsewhere.example>";
    let postfix = Postfix::start(Setup::for_xclient());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient").for_any_domain().behind_a_proxy()).await;
    for name in [
        "client.example",
        "127.0.0.1",
        "[127.0.0.1]",
        "x+20ADDR+3D127.0.0.1",
        "\"x",
        "x\"",
        "<x",
        "[UNAVAILABLE]",
        "a=b",
        "ADDR=127.0.0.1",
        "x\\",
        "(x",
    ] {
        for verb in ["EHLO", "HELO"] {
            let mut client = smtpd.connect_behind_proxy("2001:db8::5").await;
            let reply = client.command(&format!("{verb} {name}")).await.unwrap();
            if reply.code != 250 {
                assert!((500..600).contains(&reply.code), "{verb} {name}: {reply}\n{}", smtpd.log());
                continue;
            }
            // Our clients have no XCLIENT.
            assert_eq!(client.command("XCLIENT ADDR=127.0.0.1 NAME=localhost").await.unwrap().code, 500);
            all(&mut client, 250, &["MAIL FROM:<smith@none.example>"]).await;
            let reply = client.command(outside).await.unwrap();
            assert_eq!(reply.code, 454, "{verb} {name}: {reply}");
        }
    }
    assert!(!postfix.log().contains("from unknown[127.0.0.1]: 454"), "only 2001:db8::5 has asked");
}

#[test]
fn without_telling_domains_are_demanded() {
    for tell in TOLD.into_iter().chain(["nothing"]) {
        let setting = Setting::front("127.0.0.1:25", tell);
        assert!(check_config(&setting).status.success());
        let output = check_config(&setting.for_any_domain());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), tell != "nothing", "{words}");
        if tell == "nothing" {
            assert!(words.contains("any_domain") && words.contains("list the domains"), "{words}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_telling_other_domains_are_refused() {
    let postfix = Postfix::start(Setup::new());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "nothing")).await;
    for address in [smtpd.ipv6, smtpd.ipv4] {
        let mut client = smtpd.client(address).await;
        all(&mut client, 250, &["MAIL FROM:<smith@none.example>"]).await;
        for recipient in
            ["jones@elsewhere.example", "\"jones@elsewhere.example\"@other.example", "jones%elsewhere.example@x.example"]
        {
            assert_eq!(client.command(&format!("RCPT TO:<{recipient}>")).await.unwrap().code, 550);
        }
        all(&mut client, 250, &["RCPT TO:<jones@demo.example>"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restrictions_are_about_the_true_client() {
    for (tell, delayed) in TOLD.into_iter().flat_map(|tell| [(tell, "yes"), (tell, "no")]) {
        let setup = Setup::told_by(tell)
            .file("clients", "::1 REJECT not this one\n2001:db8::/32 REJECT nor these\n192.0.2.0/24 450 4.7.1 later\n")
            .with("smtpd_client_restrictions", "check_client_access cidr:$config_directory/clients")
            .with("smtpd_delay_reject", delayed);
        let postfix = Postfix::start(setup);
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell).behind_a_proxy()).await;
        for (address, refusal) in [
            ("::1", Some((554, "5.7.1", "not this one"))),
            ("2001:db8:1::5", Some((554, "5.7.1", "nor these"))),
            ("192.0.2.7", Some((450, "4.7.1", "later"))),
            ("::2", None),
            ("127.0.0.1", None),
        ] {
            let mut client = smtpd.connect_behind_proxy(address).await;
            let hello = client.command("EHLO client.example").await.unwrap();
            let reply = if delayed == "yes" {
                assert_eq!(hello.code, 250, "{hello}");
                all(&mut client, 250, &["MAIL FROM:<smith@none.example>"]).await;
                client.command("RCPT TO:<jones@demo.example>").await.unwrap()
            } else {
                hello
            };
            match refusal {
                None => assert_eq!(reply.code, 250, "{tell} {delayed} {address}: {reply}"),
                Some((code, enhanced, text)) => {
                    assert_eq!(reply.code, code, "{tell} {delayed} {address}: {reply}");
                    let said = reply.to_string();
                    let expected = format!("<unknown[{address}]>: Client host rejected: {text}");
                    assert!(said.contains(enhanced) && said.ends_with(&expected), "{tell} {delayed}: {said}");
                    if delayed == "no" {
                        client.closed().await.unwrap();
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_name_is_told() {
    let postfix = Postfix::start(Setup::for_xclient());
    let smtpd = Smtpd::start(Setting::front(postfix.address(), "xclient").behind_a_proxy()).await;
    let reverse = format!("5{}.8.b.d.0.1.0.0.2.ip6.arpa", ".0".repeat(23));
    let send = async |number| {
        let mut client = smtpd.client_behind_proxy("2001:db8::5").await;
        let reply = client.transaction("smith@none.example", RECIPIENT, &message(number)).await.unwrap();
        assert_eq!(reply.code, 250, "{reply}");
    };
    smtpd.nameserver.change(|zone| {
        zone.add(&reverse, Kind::Ptr, "relay.client.example").unwrap();
        zone.add("relay.client.example", Kind::Aaaa, "2001:db8::5").unwrap();
    });
    send(1).await;
    // A name that does not lead back is none.
    smtpd.nameserver.change(|zone| zone.replace("relay.client.example", Kind::Aaaa, &["2001:db8::6"]).unwrap());
    send(2).await;
    // Nobody knows.
    smtpd.nameserver.change(|zone| zone.fail("relay.client.example"));
    send(3).await;
    let kept = postfix.delivered();
    for (number, name) in [(1, "relay.client.example"), (2, "unknown"), (3, "unknown")] {
        let kept = kept.iter().find(|kept| kept.ends_with(&kept_as(&message(number)))).expect("it arrived");
        let fields = fields_before(kept, &message(number));
        assert!(
            fields.contains(&format!("Received: from client.example ({name} [IPv6:2001:db8::5])\n")),
            "{fields}\n{}",
            smtpd.log()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_not_local() {
    // Postfix completes the header of its own users' mail, and of nobody else's: that would break signatures.
    let body = b"Subject: no Date, and no domain\r\nTo: jones\r\n\r\nText\r\n";
    let sent = async |setup: Setup, tell| {
        let postfix = Postfix::start(setup);
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell).behind_a_proxy()).await;
        for address in ["2001:db8::5", "203.0.113.5"] {
            let mut client = smtpd.client_behind_proxy(address).await;
            let reply = client.transaction("smith@none.example", RECIPIENT, body).await.unwrap();
            assert_eq!(reply.code, 250, "{reply}");
        }
        postfix.delivered()
    };
    for tell in TOLD {
        for kept in sent(Setup::told_by(tell), tell).await {
            fields_before(&kept, body);
        }
    }
    // With its default, Postfix goes by the address of the connection, XCLIENT or not; the PROXY protocol replaces that.
    let by_default = |setup: Setup| setup.with("local_header_rewrite_clients", "permit_inet_interfaces");
    for kept in sent(by_default(Setup::for_proxy()), "proxy-v1").await {
        fields_before(&kept, body);
    }
    for kept in sent(by_default(Setup::for_xclient()), "xclient").await {
        let kept = String::from_utf8(kept).unwrap();
        assert!(
            kept.contains("\nTo: jones@upstream.example\n"),
            "this Postfix goes by XCLIENT: say so where it is configured\n{kept}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_that_does_not_want_to_be_told() {
    // Each with the wrong configuration of the other side: no mail passes, and no client is taken for smtpd.
    for (tell, setup, hint) in [
        ("xclient", Setup::new(), "smtpd_authorized_xclient_hosts"),
        ("proxy-v1", Setup::for_xclient(), "smtpd_upstream_proxy_protocol"),
    ] {
        let postfix = Postfix::start(setup);
        let smtpd = Smtpd::start(Setting::front(postfix.address(), tell)).await;
        let mut client = smtpd.connect(smtpd.ipv6).await;
        let reply = client.command("EHLO client.example").await.unwrap();
        assert_eq!(reply.code, 421, "{tell}: {reply}");
        assert!(reply.has_enhanced_code("4.3.2"), "{reply}");
        client.closed().await.unwrap();
        smtpd.logged(&["upstream-failure", hint]);
        assert!(postfix.delivered().is_empty());
    }
}

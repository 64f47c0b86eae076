//! Who the client is.

use crate::mta::Reply;
use crate::program::{Milter, PLAIN, Setting, message};

const IPV6: &str = "2001:db8::25";

#[tokio::test(flavor = "multi_thread")]
async fn addresses_as_postfix_and_sendmail_write_them() {
    let milter = Milter::start(Setting::default()).await;
    for (number, address) in [IPV6, "IPv6:2001:db8:0:0:0:0:0:25", "IPV6:2001:DB8::25", "2001:db8:0:0::25"].into_iter().enumerate()
    {
        assert_eq!(milter.session(address).message(PLAIN, "A1", &message(number as u32)).code(), "421", "{address}");
        assert!(milter.decision("A1").contains(" client=2001:db8::25 "), "{}", milter.log());
    }
    // IPv4, also in IPv6's clothes.
    for address in ["192.0.2.25", "::ffff:192.0.2.25", "IPv6:::ffff:192.0.2.25"] {
        assert_eq!(milter.session(address).message(PLAIN, "B1", &message(100)), Reply::Continue, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_an_address_is_nobody_to_refuse() {
    let milter = Milter::start(Setting::default()).await;
    for data in [&b"localhost\0U"[..], b"localhost\0L\0\0/run/socket\0", b"unknown\x006\0\x19nonsense\0", b"unknown\x006\0\x19\0"]
    {
        assert_eq!(milter.postfix().command(b'C', data), Reply::Accept, "{}", data.escape_ascii());
    }
    // What the command lacks, a macro may have.
    let mut mta = milter.postfix();
    mta.macros(b'C', &[("{client_addr}", "IPv6:2001:db8::25")]);
    assert_eq!(mta.command(b'C', b"unknown\0U"), Reply::Continue);
    mta.helo("client.example");
    assert_eq!(mta.message(PLAIN, "A1", &message(1)).code(), "421");
    // But not for a socket of this machine.
    let mut mta = milter.postfix();
    mta.macros(b'C', &[("{client_addr}", "2001:db8::25")]);
    assert_eq!(mta.command(b'C', b"localhost\0L\0\0/run/socket\0"), Reply::Accept);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_users_are_out_of_scope() {
    let milter = Milter::start(Setting::top("submission_daemons = [\"ORIGINATING\", \"internal\"]")).await;
    for (daemon, port) in [("ORIGINATING", "25"), ("internal", "2525"), ("mx", "587"), ("mx", "465")] {
        let mut mta = milter.postfix();
        assert_eq!(mta.client_of(IPV6, daemon, port), Reply::Continue);
        assert_eq!(mta.helo("client.example"), Reply::Accept, "{daemon} {port}");
    }
    for (daemon, port) in [("originating", "25"), ("mx", "25"), ("", "5870")] {
        let mut mta = milter.postfix();
        mta.client_of(IPV6, daemon, port);
        assert_eq!(mta.helo("client.example"), Reply::Continue);
        assert_eq!(mta.message(PLAIN, "A1", &message(1)).code(), "421", "{daemon} {port}");
    }
    // Whoever has authenticated himself.
    for (name, value) in [("{auth_authen}", "smith"), ("{auth_type}", "PLAIN")] {
        let mut mta = milter.session(IPV6);
        mta.macros(b'M', &[(name, value)]);
        assert_eq!(mta.mail(PLAIN), Reply::Accept, "{name}");
    }
    let mut mta = milter.session(IPV6);
    mta.macros(b'M', &[("{auth_authen}", "")]);
    assert_eq!(mta.mail(PLAIN), Reply::Continue, "empty macros are none");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_policy_exempts_it_is_not_asked_about_again() {
    let policy = r#"{"mode": "enforce", "exempt": {"networks": ["2001:db8::/48"]}}"#;
    let milter = Milter::start(Setting { policy: policy.to_owned(), ..Setting::default() }).await;
    let queries = milter.nameserver.queries();
    let mut mta = milter.postfix();
    assert_eq!(mta.client(IPV6), Reply::Continue);
    assert_eq!(mta.helo("client.example"), Reply::Accept);
    assert_eq!(mta.mail(PLAIN), Reply::Accept);
    assert_eq!(mta.mail(PLAIN), Reply::Accept);
    assert_eq!(milter.nameserver.queries(), queries);
    milter.logged(&["stage=\"ehlo\"", "reason=\"exempt-network\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_client_on_the_same_socket_is_another_one() {
    let policy = r#"{"mode": "enforce", "exempt": {"networks": ["2001:db8::/48"]}}"#;
    let milter = Milter::start(Setting { policy: policy.to_owned(), ..Setting::default() }).await;
    let mut mta = milter.session(IPV6);
    assert_eq!(mta.mail(PLAIN), Reply::Accept);
    mta.send(b'K', b"");
    assert_eq!(mta.client("2001:db8:1::25"), Reply::Continue);
    mta.helo("client.example");
    assert_eq!(mta.message(PLAIN, "A1", &message(1)).code(), "421");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_where_it_was_verified() {
    let policy = r#"{"mode": "enforce", "require": "tls"}"#;
    let milter = Milter::start(Setting { policy: policy.to_owned(), ..Setting::default() }).await;
    let postfix = [("{tls_version}", "TLSv1.3"), ("{cert_subject}", "mail.example"), ("{cert_issuer}", "CA")];
    let sendmail = |verify| [("{tls_version}", "TLSv1.3"), ("{cert_subject}", "/C=DE/CN=mail.example"), ("{verify}", verify)];
    for (macros, code) in [
        (&postfix[..], "250"),
        (&sendmail("OK"), "250"),
        (&sendmail("FAIL"), "421"),
        (&sendmail("NO"), "421"),
        (&sendmail("OK")[..2], "421"),
        (&postfix[..1], "421"),
        (&postfix[1..], "421"),
    ] {
        let mut mta = milter.session(IPV6);
        mta.macros(b'M', macros);
        mta.mail(PLAIN);
        mta.rcpt("jones@demo.example");
        assert_eq!(mta.text("A1", &message(1)).code(), code, "{macros:?}\n{}", milter.log());
    }
}

//! Behind a front that announces the keyword and passes the verb on.

use crate::mta::{Mta, Reply};
use crate::program::{Milter, PLAIN, Setting, message};

const IPV6: &str = "2001:db8::25";
const FRONT: &str = "trusted_fronts = [\"front\"]\nbehind_front = true";

/// A client that came by this service, after EHLO.
fn session(milter: &Milter, client: &str, daemon: &str) -> Mta {
    let mut mta = milter.postfix();
    mta.client_of(client, daemon, "25");
    mta.helo("client.example");
    mta
}

/// A command that the MTA does not know.
fn unknown(mta: &mut Mta, line: &str) {
    mta.strings(b'U', &[line]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verb_makes_it_456_until_the_session_begins_anew() {
    let milter = Milter::start(Setting::top(FRONT)).await;
    let mut mta = session(&milter, IPV6, "front");
    unknown(&mut mta, "ipv6-ipv4-fallback");
    assert_eq!(mta.message(PLAIN, "A1", &message(1)).code(), "456");
    assert!(milter.decision("A1").contains("acknowledged=true"));
    // RSET, or a message of the MTA's own refusing, changes nothing.
    mta.send(b'A', b"");
    mta.send(b'A', b"");
    assert_eq!(mta.message(PLAIN, "A2", &message(2)).code(), "456");
    mta.helo("client.example");
    assert_eq!(mta.message(PLAIN, "A3", &message(3)).code(), "421");

    // STARTTLS: Postfix aborts, and a second EHLO comes with a version of TLS.
    let mut mta = session(&milter, IPV6, "front");
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    mta.send(b'A', b"");
    mta.macros(b'H', &[("{tls_version}", "TLSv1.3")]);
    mta.helo("client.example");
    assert_eq!(mta.message(PLAIN, "A4", &message(4)).code(), "421");
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    mta.macros(b'M', &[("{tls_version}", "TLSv1.3")]);
    assert_eq!(mta.message(PLAIN, "A5", &message(5)).code(), "456");
    // Or it does not say EHLO again.
    let mut mta = session(&milter, IPV6, "front");
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    mta.macros(b'M', &[("{tls_version}", "TLSv1.3")]);
    assert_eq!(mta.message(PLAIN, "A6", &message(6)).code(), "421");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_verb_is_none() {
    let milter = Milter::start(Setting::top(FRONT)).await;
    let mut number = 0;
    let mut is_421 = |mut mta: Mta, what: &str| {
        number += 1;
        assert_eq!(mta.message(PLAIN, "A1", &message(number)).code(), "421", "{what}");
    };
    for line in ["IPV6-IPV4-FALLBACK now", "IPV6-IPV4-FALLBACKS", "XIPV6-IPV4-FALLBACK", "", "IPV6"] {
        let mut mta = session(&milter, IPV6, "front");
        unknown(&mut mta, line);
        is_421(mta, line);
    }
    for daemon in ["mx", "FRONT", ""] {
        let mut mta = session(&milter, IPV6, daemon);
        unknown(&mut mta, "IPV6-IPV4-FALLBACK");
        is_421(mta, daemon);
    }
    // Before EHLO, or within a message. Of another network: the one before has a penalty by now.
    const OTHER: &str = "2001:db8:1::25";
    let mut mta = milter.postfix();
    mta.client_of(OTHER, "front", "25");
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    mta.helo("client.example");
    is_421(mta, "before EHLO");
    let mut mta = milter.postfix();
    mta.client_of(OTHER, "front", "25");
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    is_421(mta, "without EHLO");
    let mut mta = session(&milter, OTHER, "front");
    assert_eq!(mta.mail(PLAIN), Reply::Continue);
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    is_421(mta, "within a message");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_front_decides_the_filter_does_not() {
    let milter = Milter::start(Setting::top("trusted_fronts = [\"front\"]")).await;
    let mut mta = milter.postfix();
    mta.client_of(IPV6, "front", "25");
    assert_eq!(mta.helo("client.example"), Reply::Accept);
    assert_eq!(mta.mail(PLAIN), Reply::Accept);
    assert_eq!(session(&milter, IPV6, "mx").message(PLAIN, "A1", &message(1)).code(), "421");
    milter.decision("A1");
    assert_eq!(milter.log().matches("event=\"decision\" stage=\"end-of-data\"").count(), 1, "{}", milter.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ipv4_and_for_the_next_client_the_verb_means_nothing() {
    let milter = Milter::start(Setting::top(FRONT)).await;
    let mut mta = session(&milter, "192.0.2.25", "front");
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    assert_eq!(mta.message(PLAIN, "A1", &message(1)), Reply::Continue);
    assert!(milter.decision("A1").contains("acknowledged=false"), "{}", milter.decision("A1"));
    // Another connection on the same socket has its own EHLO.
    let mut mta = session(&milter, IPV6, "front");
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    mta.send(b'K', b"");
    mta.client_of(IPV6, "front", "25");
    mta.helo("client.example");
    assert_eq!(mta.message(PLAIN, "A2", &message(2)).code(), "421");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_456_the_session_goes_on() {
    let milter = Milter::start(Setting::top(FRONT)).await;
    let mut mta = session(&milter, IPV6, "front");
    unknown(&mut mta, "IPV6-IPV4-FALLBACK");
    let Reply::Refuse(text) = mta.message(PLAIN, "A1", &message(1)) else { panic!("{}", milter.log()) };
    assert!(text.lines().all(|line| line.starts_with("456-4.4.8 ") || line.starts_with("456 4.4.8 ")), "{text}");
    assert_eq!(mta.message("smith@passing.example", "A2", &message(2)), Reply::Continue);
    assert_eq!(mta.message(PLAIN, "A3", &message(3)).code(), "456");
    mta.quit();
}

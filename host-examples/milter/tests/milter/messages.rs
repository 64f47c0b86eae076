//! Messages: several on one connection, given up, signed, large.

use smtp_fallback_demo::sign::{self, Algorithm};

use crate::mta::Reply;
use crate::program::{Milter, PASSING, PLAIN, Setting, message};

const IPV6: &str = "2001:db8::25";
const SIGNED: &str = "smith@signed.example";

/// What breaks a signature when it does not come through as it was sent: folded fields, tabs, spaces at the ends, an empty field, dots and
/// empty lines.
fn odd() -> Vec<u8> {
    b"From:smith@signed.example\r\nTo:  jones@demo.example\r\nSubject: folded\r\n\tonce\r\n  and twice  \r\nX-Empty:\r\n\
      Date: Tue, 24 Nov 2026 12:40:18 +0000\r\nMessage-ID: <odd@client.example>\r\n\r\n.dot\r\n..\r\n \t\r\nlast\r\n\r\n\r\n"
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_connection_is_judged_by_itself() {
    let milter = Milter::start(Setting::default()).await;
    let mut mta = milter.session(IPV6);
    let signed = sign::signed(&odd(), Algorithm::Rsa).unwrap();
    assert_eq!(mta.message(&format!("smith@{PASSING}"), "A1", &message(1)), Reply::Continue);
    assert_eq!(mta.message(SIGNED, "A2", &signed), Reply::Continue, "{}", milter.log());
    assert_eq!(mta.message(SIGNED, "A3", &[&signed[..], b"more\r\n"].concat()).code(), "421");
    assert_eq!(mta.message(PLAIN, "A4", &message(4)).code(), "421");
    assert_eq!(mta.message(SIGNED, "A5", &sign::signed(&message(5), Algorithm::Ed25519).unwrap()), Reply::Continue);
    // The null sender goes by the name of the client.
    assert_eq!(mta.message("", "A6", &message(6)).code(), "421");
    mta.helo(PASSING);
    assert_eq!(mta.message("", "A7", &message(7)), Reply::Continue);
    assert!(milter.decision("A2").contains("domains=\"signed.example\""));
    assert!(milter.decision("A7").contains(&format!("ehlo=\"{PASSING}\" mail_from=\"\"")), "{}", milter.decision("A7"));
    mta.quit();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_mta_takes_spaces_away_and_signatures_hold_all_the_same() {
    let milter = Milter::start(Setting::default()).await;
    let mut mta = milter.old_mta();
    mta.client(IPV6);
    mta.helo("client.example");
    // Its signer canonicalizes spaces at the beginning of a value away, too.
    let signed = sign::signed(&message(1), Algorithm::Rsa).unwrap();
    assert_eq!(mta.message(SIGNED, "A1", &signed), Reply::Continue, "{}", milter.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_leaves_nothing_behind() {
    let milter = Milter::start(Setting::default()).await;
    let mut mta = milter.session(IPV6);
    // With no message, and twice.
    mta.send(b'A', b"");
    mta.send(b'A', b"");
    // Given up within the header, by RSET, by EHLO, and by a MAIL after one that the MTA itself refused.
    let give_up: [fn(&mut crate::mta::Mta); 3] = [
        |mta| mta.send(b'A', b""),
        |mta| {
            mta.helo("client.example");
        },
        |_| {},
    ];
    for (number, give_up) in give_up.into_iter().enumerate() {
        assert_eq!(mta.mail("spam@elsewhere.example"), Reply::Continue);
        mta.rcpt("postmaster@demo.example");
        if number < 2 {
            mta.command(b'T', b"");
            mta.strings(b'L', &["Message-ID", " <given-up@elsewhere.example>"]);
        }
        give_up(&mut mta);
        let id = format!("A{number}");
        assert_eq!(mta.message(&format!("smith@{PASSING}"), &id, &message(number as u32)), Reply::Continue);
        let decision = milter.decision(&id);
        assert!(decision.contains(&format!("mail_from=\"smith@{PASSING}\"")) && !decision.contains("spam@"), "{decision}");
    }
    let log = milter.log();
    assert!(!log.lines().any(|line| line.contains("stage=\"ehlo\"") && line.contains("mail_from=")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_may_end_with_the_end_of_the_message() {
    let milter = Milter::start(Setting::default()).await;
    let mut mta = milter.session(IPV6);
    let signed = String::from_utf8(sign::signed(&message(1), Algorithm::Rsa).unwrap()).unwrap();
    let (header, body) = signed.split_once("\r\n\r\n").unwrap();
    mta.mail(SIGNED);
    mta.rcpt("jones@demo.example");
    mta.command(b'T', b"");
    let mut value = String::new();
    let mut name = "";
    for line in header.split("\r\n").chain([""]) {
        if let Some(folded) = line.strip_prefix('\t') {
            value.push_str(&format!("\r\n\t{folded}"));
            continue;
        }
        if !name.is_empty() {
            mta.strings(b'L', &[name, &value]);
        }
        let (next, rest) = line.split_once(':').unwrap_or_default();
        (name, value) = (next, rest.to_owned());
    }
    mta.macros(b'E', &[("i", "A1")]);
    assert_eq!(mta.command(b'E', body.as_bytes()), Reply::Continue, "{}", milter.log());
    assert!(milter.decision("A1").contains("dkim=pass (signed.example)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_a_message_that_is_too_large_are_a_temporary_error() {
    let tables = "[limits]\nmessage_size = \"64KiB\"\nmessage_memory = \"64KiB\"";
    let milter = Milter::start(Setting { tables, ..Setting::default() }).await;
    let of_size = |size: usize| {
        let signed = sign::signed(&[&message(1)[..], &b"x".repeat(size), b"\r\n"].concat(), Algorithm::Rsa).unwrap();
        (signed.len(), signed)
    };
    // To the octet.
    let (overhead, _) = of_size(1000);
    let mut mta = milter.session(IPV6);
    for (id, more, logged) in [("A1", 0, false), ("A2", 1, true)] {
        let (size, signed) = of_size(65536 - (overhead - 1000) + more);
        assert_eq!(size, 65536 + more);
        assert_eq!(mta.message(SIGNED, id, &signed), Reply::Continue, "{}", milter.log());
        let results = if logged { "dkim=temperror" } else { "dkim=pass (signed.example)" };
        assert!(milter.decision(id).contains(results), "{}", milter.decision(id));
        assert_eq!(milter.log().contains("event=\"not-verified\""), logged);
    }
    assert!(milter.decision("A2").contains("reason=\"temporary-error\""), "{}", milter.decision("A2"));
    // SPF is not in question.
    assert_eq!(mta.message(&format!("smith@{PASSING}"), "A3", &of_size(70_000).1), Reply::Continue);
    assert!(milter.decision("A3").contains("reason=\"authenticated\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_given_back() {
    let tables = "[limits]\nmessage_size = \"64KiB\"\nmessage_memory = \"64KiB\"";
    let milter = Milter::start(Setting { tables, ..Setting::default() }).await;
    let body = [&message(1)[..], &b"x".repeat(60_000), b"\r\n"].concat();
    let signed = sign::signed(&body, Algorithm::Rsa).unwrap();
    // Given up after the text came, by each way, and one whose MTA is gone.
    let begun = |mta: &mut crate::mta::Mta| {
        mta.mail(SIGNED);
        mta.rcpt("jones@demo.example");
        mta.command(b'T', b"");
        mta.command(b'B', &body);
    };
    for round in 0..5 {
        let mut mta = milter.session(IPV6);
        begun(&mut mta);
        match round % 3 {
            0 => mta.send(b'A', b""),
            1 => {
                mta.helo("client.example");
            }
            _ => drop(std::mem::replace(&mut mta, milter.session(IPV6))),
        }
        // The one that is gone is noticed in its own time.
        let mut tries = 0;
        while {
            let id = format!("A{round}{tries}");
            mta.message(SIGNED, &id, &signed);
            !milter.decision(&id).contains("dkim=pass")
        } {
            tries += 1;
            assert!(round % 3 == 2 && tries < 100, "{round}: {}", milter.log());
        }
    }
    // While one is in hand, another of that network has no room. An old MTA waits until each part has been taken in.
    let mut mta = milter.old_mta();
    mta.client(IPV6);
    mta.helo("client.example");
    begun(&mut mta);
    milter.session("2001:db8::26").message(SIGNED, "B1", &signed);
    assert!(milter.decision("B1").contains("dkim=temperror"), "{}", milter.decision("B1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_network_cannot_take_the_memory_of_another() {
    let tables = "[limits]\nmessage_size = \"64KiB\"\nmessage_memory = \"256KiB\"";
    let milter = Milter::start(Setting { tables, ..Setting::default() }).await;
    let signed = sign::signed(&[&message(1)[..], &b"x".repeat(60_000), b"\r\n"].concat(), Algorithm::Rsa).unwrap();
    // An old MTA waits at each stage: what it has said has been taken in.
    let mut held = milter.old_mta();
    held.client(IPV6);
    held.helo("client.example");
    held.mail(SIGNED);
    held.rcpt("jones@demo.example");
    held.command(b'T', b"");
    assert_eq!(held.command(b'B', &b"x".repeat(60_000)), Reply::Continue);
    // The same /64, and another one.
    for (id, client, result) in
        [("A1", "2001:db8::ffff:26", "dkim=temperror"), ("A2", "2001:db8:0:1::26", "dkim=pass (signed.example)")]
    {
        milter.session(client).message(SIGNED, id, &signed);
        assert!(milter.decision(id).contains(result), "{}", milter.decision(id));
    }
    held.send(b'A', b"");
    held.mail(SIGNED);
    milter.session("2001:db8::ffff:26").message(SIGNED, "A3", &signed);
    assert!(milter.decision("A3").contains("dkim=pass (signed.example)"), "{}", milter.decision("A3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_message_may_have_no_body() {
    let milter = Milter::start(Setting::default()).await;
    let message = String::from_utf8(message(1)).unwrap();
    let header = message.split_once("\r\n\r\n").unwrap().0;
    let signed = sign::signed(format!("{header}\r\n\r\n").as_bytes(), Algorithm::Rsa).unwrap();
    assert_eq!(milter.session(IPV6).message(SIGNED, "A1", &signed), Reply::Continue, "{}", milter.log());
    let decision = milter.decision("A1");
    assert!(decision.contains("dkim=pass (signed.example)"), "{decision}");
    assert!(decision.contains(&format!(" size={} ", signed.len())), "{decision}, and not {}", signed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_client_whose_connection_ended_within_a_message_nothing_is_left() {
    let milter = Milter::start(Setting::default()).await;
    let mut mta = milter.session(IPV6);
    mta.macros(b'M', &[("{auth_authen}", "smith")]);
    assert_eq!(mta.mail("spam@elsewhere.example"), Reply::Accept);
    mta.send(b'K', b"");
    // Another client, who has not authenticated himself, and one more, within whose message the connection ends.
    mta.client("2001:db8:1::25");
    mta.helo("other.example");
    assert_eq!(mta.mail("spam@elsewhere.example"), Reply::Continue);
    mta.rcpt("postmaster@demo.example");
    mta.send(b'K', b"");
    mta.client("2001:db8:2::25");
    assert_eq!(mta.message(PLAIN, "A1", &message(1)).code(), "421");
    let decision = milter.decision("A1");
    assert!(decision.contains(" client=2001:db8:2::25 ") && decision.contains(&format!("mail_from=\"{PLAIN}\"")), "{decision}");
    assert!(!decision.contains("ehlo="), "this one has not said EHLO: {decision}");
}

//! By the Authentication-Results of filters before this one.

use crate::mta::Reply;
use crate::program::{Milter, PLAIN, Setting, message};

const IPV6: &str = "2001:db8::25";
const ONE: &str = "authserv_ids = [\"mx.demo.example\"]";
const TWO: &str = "authserv_ids = [\"mx.demo.example\", \"spf.demo.example\"]";
const PASS: &str = "Authentication-Results: mx.demo.example; dkim=pass header.d=signed.example header.s=a\r\n";
const NONE: &str = "Authentication-Results: mx.demo.example; dkim=none\r\n";

/// The code for a message with these fields on top, and what the log says of it.
fn answer(milter: &Milter, number: u32, fields: &str) -> (String, String) {
    let id = format!("A{number}");
    let reply = milter.session(IPV6).message(PLAIN, &id, &[fields.as_bytes(), &message(number)].concat());
    (reply.code().to_owned(), milter.decision(&id))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topmost_field_of_a_trusted_id_counts_and_a_second_one_voids_it() {
    let milter = Milter::start(Setting::top(ONE)).await;
    let queries = milter.nameserver.queries();
    let other = "Authentication-Results: elsewhere.example; dkim=pass header.d=none.example header.s=a\r\n";
    let folded = "authentication-results: MX.demo.example;\r\n\tdkim=pass\r\n\theader.d=signed.example\r\n\theader.s=a\r\n";
    for (number, (fields, code, reason)) in [
        (PASS.to_owned(), "250", "authenticated"),
        (folded.to_owned(), "250", "authenticated"),
        (format!("{other}{PASS}{other}"), "250", "authenticated"),
        (NONE.to_owned(), "421", "unauthenticated"),
        (other.to_owned(), "250", "no-evidence"),
        (String::new(), "250", "no-evidence"),
        // The real one on top, and a forged one below; which is which cannot be seen.
        (format!("{NONE}{PASS}"), "421", "unauthenticated"),
        (format!("{PASS}{PASS}"), "421", "unauthenticated"),
        (format!("{PASS}{}", PASS.replace("mx.demo", "MX.Demo")), "421", "unauthenticated"),
        // One that cannot be read is one all the same.
        (format!("Authentication-Results: mx.demo.example; (\r\n{PASS}"), "421", "unauthenticated"),
        ("Authentication-Results: mx.demo.example; dkim=pass (\r\n".to_owned(), "421", "unauthenticated"),
    ]
    .into_iter()
    .enumerate()
    {
        let (found, decision) = answer(&milter, number as u32, &fields);
        assert_eq!(found, code, "{fields:?}\n{decision}");
        assert!(decision.contains(&format!("reason=\"{reason}\"")), "{fields:?}\n{decision}");
    }
    assert_eq!(milter.log().matches("event=\"forged-results\"").count(), 4, "{}", milter.log());
    assert_eq!(milter.nameserver.queries(), queries, "nothing is verified here");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_filters_each_is_believed_and_both_are_waited_for() {
    let milter = Milter::start(Setting::top(TWO)).await;
    let spf = |result: &str| format!("Authentication-Results: spf.demo.example; spf={result} smtp.mailfrom=none.example\r\n");
    for (number, (fields, code, reason)) in [
        (format!("{}{NONE}", spf("pass")), "250", "authenticated"),
        (format!("{}{PASS}", spf("fail")), "250", "authenticated"),
        (format!("{}{NONE}", spf("fail")), "421", "unauthenticated"),
        // The other filter is silent: what it would have said is not known.
        (spf("fail"), "250", "temporary-error"),
        (NONE.to_owned(), "250", "temporary-error"),
        (spf("pass"), "250", "authenticated"),
        (format!("{}{}{NONE}", spf("pass"), spf("pass")), "421", "unauthenticated"),
    ]
    .into_iter()
    .enumerate()
    {
        let (found, decision) = answer(&milter, number as u32, &fields);
        assert_eq!(found, code, "{fields:?}\n{decision}");
        assert!(decision.contains(&format!("reason=\"{reason}\"")), "{fields:?}\n{decision}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ids_no_field_counts() {
    let milter = Milter::start(Setting::default()).await;
    assert_eq!(answer(&milter, 1, PASS).0, "421");
    assert_eq!(milter.session(IPV6).mail(PLAIN), Reply::Continue);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_fields_of_others_hide_none_of_a_trusted_one() {
    let milter = Milter::start(Setting::top(ONE)).await;
    let others = "Authentication-Results: elsewhere.example; dkim=pass header.d=none.example header.s=a\r\n".repeat(300);
    for (number, (fields, code, reason)) in [
        // A filter may add its field at the end.
        (format!("{others}{NONE}"), "421", "unauthenticated"),
        (format!("{others}{PASS}"), "250", "authenticated"),
        (format!("{NONE}{others}{PASS}"), "421", "unauthenticated"),
        (others.clone(), "250", "no-evidence"),
        (PASS.repeat(300), "421", "unauthenticated"),
    ]
    .into_iter()
    .enumerate()
    {
        let (found, decision) = answer(&milter, number as u32, &fields);
        assert_eq!(found, code, "{number}\n{decision}");
        assert!(decision.contains(&format!("reason=\"{reason}\"")), "{number}\n{decision}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_mail_over_ipv4_are_nobodys_business() {
    let milter = Milter::start(Setting::top(ONE)).await;
    let forged = [PASS.as_bytes(), NONE.as_bytes(), &message(1)].concat();
    assert_eq!(milter.session("192.0.2.25").message(PLAIN, "A1", &forged), Reply::Continue);
    let decision = milter.decision("A1");
    assert!(decision.contains("reason=\"ipv4\"") && !decision.contains("results="), "{decision}");
    assert!(!milter.log().contains("forged-results"), "{}", milter.log());
}

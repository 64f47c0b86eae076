//! A component that cannot be relied on: it harms no mail.

use std::fs;

use smtp_fallback_policy::contract::Reply as Words;
use tempfile::TempDir;

use crate::mta::Reply;
use crate::process::fixture::{self, UNAUTHENTICATED};
use crate::program::{Milter, PLAIN, Setting, message};

const IPV6: &str = "2001:db8::25";

/// A component that does this at the end of data, and goes on before: an instruction that leaves the function with the address of an answer.
/// Its folder must be kept.
async fn at_the_end(instruction: &str, reply: &Words) -> (Milter, TempDir) {
    let call = "(call $answer (local.get 0))";
    // The stage lies at the beginning of the connection.
    let decide = format!(
        "(global.set $heap (i32.const 65536)) (if (i32.eq (i32.load8_u (local.get 0)) (i32.const 5)) (then {instruction})) (i32.const 2048)"
    );
    let module = fixture::module("", "", &fixture::refusal(reply, UNAUTHENTICATED, false));
    assert_eq!(module.matches(call).count(), 1);
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("component.wasm");
    fs::write(&component, fixture::component(&module.replace(call, &decide))).unwrap();
    (Milter::start(Setting { component, policy: "{}".to_owned(), ..Setting::default() }).await, folder)
}

fn words(code: u16, enhanced_code: &str, line: &str) -> Words {
    Words { code, enhanced_code: enhanced_code.to_owned(), lines: vec![line.to_owned()], close: code == 421 }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_refusal_reaches_the_client_where_it_may() {
    let (milter, _folder) = at_the_end(fixture::ANSWER_DATA, &words(421, "4.4.8", "100 % of it")).await;
    let reply = milter.session(IPV6).message(PLAIN, "A1", &message(1));
    assert_eq!(reply, Reply::Refuse("421 4.4.8 100 %% of it".to_owned()), "{}", milter.log());
    // The same for a client over IPv4 is never passed on.
    assert_eq!(milter.session("192.0.2.25").message(PLAIN, "A2", &message(2)), Reply::Continue);
    milter.logged(&["ERROR", "the policy failed", "over IPv4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_at_the_end_of_a_message_accepts_it() {
    let (milter, _folder) = at_the_end("unreachable", &words(421, "4.4.8", "x")).await;
    let mut mta = milter.session(IPV6);
    for number in 0..3 {
        assert_eq!(mta.message(PLAIN, &format!("A{number}"), &message(number)), Reply::Continue, "{}", milter.log());
    }
    let decision = milter.decision("A2");
    assert!(decision.contains("verdict=\"accept\"") && decision.contains("policy-failed"), "{decision}");
    mta.quit();
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_mean_something_else_and_words_that_no_mta_passes_on_accept_the_mail() {
    for (refusal, event) in [
        (words(250, "2.0.0", "x"), "the policy failed"),
        (words(421, "5.4.8", "x"), "the policy failed"),
        // The client has not issued the verb.
        (words(456, "4.4.8", "x"), "the policy failed"),
        (words(421, "4.4.8", "x\r\n250 y"), "the policy failed"),
        // An MTA makes other words of a code alone.
        (words(421, "4.4.8", " "), "event=\"refusal-failure\""),
    ] {
        let (milter, _folder) = at_the_end(fixture::ANSWER_DATA, &refusal).await;
        assert_eq!(milter.session(IPV6).message(PLAIN, "A1", &message(1)), Reply::Continue, "{refusal:?}\n{}", milter.log());
        milter.logged(&["ERROR", event]);
    }
}

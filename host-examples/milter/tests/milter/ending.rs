//! The end: what is in hand, what comes too late, and how long it takes.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::mta::{Mta, Reply};
use crate::program::{Milter, PLAIN, Setting, message};

const IPV6: &str = "2001:db8::25";
/// Far below the time for messages in hand.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn connections_between_two_messages_do_not_hold_the_end_up() {
    let listen = "\"unix:milter.sock\", \"inet:127.0.0.1:0\"";
    for signal in ["TERM", "INT"] {
        let mut milter = Milter::start(Setting { listen, ..Setting::default() }).await;
        // Before the negotiation, before HELO, after it, after a message, after one that was given up, and one that says nothing needs a look.
        let mut silent = Mta::silent(&milter.socket("inet"));
        let mut connected = milter.postfix();
        connected.client(IPV6);
        let mut between = milter.session(IPV6);
        assert_eq!(between.message(PLAIN, "A1", &message(1)).code(), "421");
        let mut given_up = milter.session("192.0.2.25");
        assert_eq!(given_up.mail(PLAIN), Reply::Continue);
        given_up.send(b'A', b"");
        let mut settled = milter.session("::1");
        assert_eq!(settled.mail(PLAIN), Reply::Accept);
        let began = Instant::now();
        milter.signal(signal);
        for mta in [&mut connected, &mut between, &mut given_up, &mut settled] {
            assert_eq!(mta.reply(), Reply::Closed, "{signal}");
        }
        assert_eq!(silent.reply(), Reply::Closed, "{signal}");
        assert!(milter.ended().success(), "{}", milter.log());
        let took = began.elapsed();
        assert!(took < SOON && !milter.log().contains("cut off"), "{took:?}\n{}", milter.log());
        milter.logged(&["event=\"stopped\""]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_taken_in_any_more_and_a_second_signal_ends_it_at_once() {
    let mut milter = Milter::start(Setting::default()).await;
    let mut busy = milter.session(IPV6);
    assert_eq!(busy.mail(PLAIN), Reply::Continue);
    assert_eq!(busy.rcpt("jones@demo.example"), Reply::Continue);
    let began = Instant::now();
    milter.signal("TERM");
    milter.logged(&["event=\"shutdown\"", "finishing"]);
    // The file goes with the socket, so that the MTA does without the filter at once.
    let socket = milter.path().join("milter.sock");
    while socket.exists() {
        assert!(began.elapsed() < SOON, "{}", milter.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(UnixStream::connect(&socket).is_err());
    milter.signal("TERM");
    milter.logged(&["WARN", "event=\"shutdown\"", "cut off"]);
    assert_eq!(busy.reply(), Reply::Closed);
    assert!(milter.ended().success(), "{}", milter.log());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_hand_keeps_its_policy_and_its_verification() {
    let mut milter = Milter::start(Setting::default()).await;
    let mut busy = milter.session(IPV6);
    assert_eq!(busy.mail("smith@passing.example"), Reply::Continue);
    milter.signal("TERM");
    milter.logged(&["event=\"shutdown\""]);
    assert_eq!(busy.rcpt("jones@demo.example"), Reply::Continue);
    assert_eq!(busy.text("A1", &message(1)), Reply::Continue);
    assert!(milter.decision("A1").contains("reason=\"authenticated\""), "{}", milter.log());
    assert_eq!(busy.reply(), Reply::Closed, "a second one is not begun");
    assert!(milter.ended().success(), "{}", milter.log());
}

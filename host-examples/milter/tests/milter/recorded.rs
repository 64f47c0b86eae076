//! Sessions of Postfix and Sendmail as they were recorded, and damaged ones: the corpus of the codec.

use std::fs;
use std::path::Path;

use crate::mta::{Mta, Reply};
use crate::program::{Milter, Setting};

/// The recorded clients came from `::1`.
const POLICY: &str = r#"{"mode": "enforce", "exempt": {"local_networks": false}, "penalty": {"probe_one_in": 0}}"#;

/// A file of the corpus.
fn recorded(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../milter-codec/corpus").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Its packets: commands and their data.
fn packets(mut octets: &[u8]) -> Vec<(u8, &[u8])> {
    let mut packets = Vec::new();
    while let Some((length, rest)) = octets.split_first_chunk::<4>() {
        let (packet, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        packets.push((packet[0], &packet[1..]));
        octets = rest;
    }
    packets
}

async fn milter() -> Milter {
    Milter::start(Setting { policy: POLICY.to_owned(), ..Setting::default() }).await
}

/// Says it all, and gives the replies other than "go on", each after its command.
fn say(milter: &Milter, name: &str) -> Vec<String> {
    let octets = recorded(name);
    let packets = packets(&octets);
    let numbers: Vec<u32> = packets[0].1.chunks(4).map(|number| u32::from_be_bytes(number.try_into().unwrap())).collect();
    let mut mta = Mta::connect(&milter.socket("unix"), numbers.try_into().unwrap());
    let mut replies = Vec::new();
    for (command, data) in &packets[1..] {
        if matches!(command, b'D' | b'A' | b'K' | b'Q') {
            mta.send(*command, data);
            continue;
        }
        match mta.command(*command, data) {
            Reply::Continue => {}
            reply => {
                replies.push(format!("{} {}", char::from(*command), if reply == Reply::Accept { "accept" } else { reply.code() }))
            }
        }
    }
    assert_eq!(mta.reply(), Reply::Closed, "{name}: nothing is left over");
    replies
}

#[tokio::test(flavor = "multi_thread")]
async fn what_real_mtas_have_said_is_answered_as_they_wait_for_it() {
    let milter = milter().await;
    for (name, replies) in [
        ("postfix-6.bin", &["E 421"][..]),
        ("postfix-4.bin", &["E 421"]),
        ("postfix-2.bin", &["E 421"]),
        // It goes on where it may: both messages are refused.
        ("sendmail-6.bin", &["E 421", "E 421"]),
        ("sendmail-unknown-client.bin", &["C accept", "H accept", "M accept"]),
        // Then a client on a socket of this machine.
        ("new-connection.bin", &["E 421", "C accept", "M accept"]),
    ] {
        assert_eq!(say(&milter, name), replies, "{name}\n{}", milter.log());
    }
    // Postfix's queue id came with the end of the message, Sendmail's with MAIL.
    let postfix = milter.decision("32763A4A108");
    assert!(postfix.contains(" client=::1 ") && postfix.contains("mail_from=\"smith@example.org\""), "{postfix}");
    let sendmail = milter.decision("5AS1k4aB012345");
    assert!(sendmail.contains(" client=2001:db8::1 ") && sendmail.contains("ehlo=\"mail.example.org\""), "{sendmail}");
    // Of one mail with a Message-ID there is one name, whichever version said it.
    let mail = |line: &str| line.split_once("mail=\"").unwrap().1.split('"').next().unwrap().to_owned();
    assert!(mail(&postfix).starts_with("exact:"), "{postfix}");
    assert_eq!(mail(&postfix), mail(&milter.decision("E128AA4A074")));
    let log = milter.log();
    assert!(!log.contains("event=\"mta-failure\"") && !log.contains("internal-error"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_sessions_end_and_say_why() {
    let milter = milter().await;
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../milter-codec/corpus");
    let names = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("bad-")).collect();
    names.sort();
    assert!(names.len() >= 10, "{names:?}");
    for (number, name) in names.iter().enumerate() {
        let mut mta = Mta::silent(&milter.socket("unix"));
        mta.send_raw(&recorded(name));
        mta.end();
        milter.logged_times(number + 1, &["ERROR", "event=\"mta-failure\"", "error="]);
    }
    assert_eq!(say(&milter, "postfix-6.bin"), ["E 421"], "others are served on\n{}", milter.log());
    assert!(!milter.log().contains("internal-error"), "{}", milter.log());
}

//! What holds for each decision, whatever led to it.

use crate::contract::{Connection, Decision, Key, KeyKind, Listener, Message, Note, Reason, Reply, Stage, StoredRecord, Verdict};
use crate::record::Record;

/// `keys` are those that the module wanted for this decision, of which the host looked up the records.
pub(super) fn check(connection: &Connection, message: Option<&Message>, keys: &[Key], decision: &Decision) {
    check_keys(keys);
    let at_end = connection.stage == Stage::EndOfData;
    let verdicts = [Some(&decision.verdict), decision.would.as_ref()];
    for verdict in verdicts.into_iter().flatten() {
        match verdict {
            Verdict::Continue => assert!(!at_end, "no end: {decision:?}"),
            Verdict::Accept => {}
            Verdict::Refuse(reply) => check_refusal(connection, message, decision.reason, reply),
        }
    }
    if decision.would.is_some() {
        assert_eq!(decision.verdict, if at_end { Verdict::Accept } else { Verdict::Continue }, "A38: {decision:?}");
    }
    // What may be stored is what was looked up: else a host would write over what it has not seen.
    for (place, update) in decision.records.iter().enumerate() {
        assert!(keys.contains(&update.key), "{:?} was not asked for: {keys:?}", update.key);
        assert!(decision.records[..place].iter().all(|other| other.key != update.key), "twice: {:?}", update.key);
        let record = StoredRecord { key: update.key, value: update.value.clone() };
        assert!(Record::read(&record).is_some(), "cannot be read again: {record:?}");
    }
    if connection.client.is_ipv4() {
        assert!(matches!(decision.reason, Reason::Ipv4 | Reason::NoPolicy));
    }
    for (place, note) in decision.notes.iter().enumerate() {
        assert!(!decision.notes[..place].contains(note) && !matches!(note, Note::Other(_)), "{:?}", decision.notes);
    }
    for domain in &decision.authenticated_domains {
        assert!(!domain.chars().any(|c| c.is_ascii_uppercase()), "{domain:?}");
    }
}

fn check_keys(keys: &[Key]) {
    for (place, key) in keys.iter().enumerate() {
        assert!(!keys[..place].contains(key), "twice: {key:?}");
        assert!(key.prefix_length <= 128 && key.address.masked(key.prefix_length) == key.address, "{key:?}");
        let length = match key.kind {
            KeyKind::Budget => 48,
            KeyKind::Network => key.prefix_length,
            KeyKind::Address | KeyKind::Exact | KeyKind::Inferred => 128,
        };
        assert_eq!(key.prefix_length, length);
    }
    // A host looks them up one by one.
    assert!(keys.len() <= 8, "{keys:?}");
}

fn check_refusal(connection: &Connection, message: Option<&Message>, reason: Reason, reply: &Reply) {
    assert!(!connection.client.is_ipv4(), "P9: {reply:?}");
    assert!(connection.listener == Listener::Mx && !connection.authenticated, "A18: {reply:?}");
    assert!(connection.reachable_over_ipv4, "A20: {reply:?}");
    assert!(reply.code != 456 || connection.acknowledged, "P8: {reply:?}");
    assert!(connection.stage != Stage::Mail && connection.stage != Stage::Rcpt, "A13: {reply:?}");
    let codes: &[u16] = match (connection.stage, reason) {
        (Stage::Greeting, Reason::Penalty) => &[451, 421],
        (Stage::Ehlo, Reason::Penalty) => &[421],
        (Stage::EndOfData, Reason::TemporaryErrorBudget) => &[451],
        (Stage::EndOfData, Reason::NeverFallsBack) if connection.ipv4_arrivals_visible => &[550],
        // For a host that knows the message too early: without it no mail is recognised at DATA.
        (Stage::Data, Reason::NeverFallsBack) if connection.ipv4_arrivals_visible && message.is_some() => &[550],
        (Stage::Data | Stage::EndOfData, Reason::Unauthenticated | Reason::Distrusted) if connection.acknowledged => &[456],
        (Stage::Data | Stage::EndOfData, Reason::Unauthenticated | Reason::Distrusted) => &[421, 451],
        (stage, reason) => panic!("refused at {stage:?} for {reason:?}: {reply:?}"),
    };
    assert!(codes.contains(&reply.code), "{reply:?} for {reason:?}");
    assert_eq!(reply.close, reply.code == 421 || connection.stage <= Stage::Ehlo, "{reply:?}");
    check_reply(reply);
}

/// RFC 5321 §4.2 and §4.5.3.1.5, RFC 3463 §2.
fn check_reply(reply: &Reply) {
    let parts: Vec<&str> = reply.enhanced_code.split('.').collect();
    let number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit());
    assert!(parts.len() == 3 && parts.iter().all(number), "{reply:?}");
    assert_eq!(parts[0], (reply.code / 100).to_string(), "{reply:?}");
    assert!(!reply.lines.is_empty(), "{reply:?}");
    for line in &reply.lines {
        let octets = "456-".len() + reply.enhanced_code.len() + " ".len() + line.len() + "\r\n".len();
        assert!(octets <= 512 && !line.is_empty() && line.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{reply:?}");
    }
}

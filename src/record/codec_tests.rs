//! Tests of the records' octets.

use super::codec::{MAIL_OCTETS, SETTLED_BY};
use super::*;
use crate::evidence::Evidence;

fn full() -> NetworkRecord {
    NetworkRecord {
        evidence: Evidence { passed: 1, failed: 2, at: 3 },
        penalty: Some(PenaltyRecord { refuse_until: 4, doublings: 5, last_failure: 6, simulated: true }),
        capable_at: Some(7),
        incapable_at: Some(8),
        temporary: Some(Window { since: 9, count: 10 }),
        let_in: Some(LetIn { since: 11, until: 12, by_operator: true, failing: Some(Window { since: 13, count: 14 }) }),
        waiting: [1, 2, 3, 4].map(|n| Some(Waiting { exact: n, inferred: n + 4, since: 15, acknowledged: n % 2 == 0 })),
        not_believed_until: Some(16),
        probed_at: Some(17),
        probe: Some(18),
    }
}

/// With all that a mail's record can have.
pub(super) fn mail() -> MailRead<'static> {
    MailRecord {
        network: Network::parse("2001:db8::/64").expect("valid"),
        first_refusal: 1,
        last_refusal: 2,
        refusals: 3,
        acknowledged: true,
        message_id: MessageId::Known,
        refused_for: RefusedFor::Distrusted,
        lacked: "SPF=none, DKIM=none".into(),
        ehlo_name: "mail.example".into(),
        sender_domain: "bücher.example".into(),
        settled: Some(Settled { at: 4, by: SettledBy::Rejected }),
    }
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(NetworkRecord::decode(&full().encode()), Some(full()));
    assert_eq!(NetworkRecord::decode(&NetworkRecord::default().encode()), Some(NetworkRecord::default()));
    let address = AddressRecord { evidence: full().evidence };
    assert_eq!(AddressRecord::decode(&address.encode()), Some(address));
    let budget = BudgetRecord { temporary: full().temporary, let_in: Some(Window { since: 5, count: 6 }) };
    assert_eq!(BudgetRecord::decode(&budget.encode()), Some(budget));
    for by in SETTLED_BY {
        let mail = MailRecord { settled: Some(Settled { at: 4, by }), ..mail() };
        assert_eq!(MailRecord::decode(&mail.encode()), Some(mail));
    }
    for message_id in [MessageId::Absent, MessageId::NotYet] {
        let mail = MailRecord { message_id, ..mail() };
        assert_eq!(MailRecord::decode(&mail.encode()), Some(mail));
    }
    let mail = MailRecord { settled: None, ehlo_name: "".into(), refused_for: RefusedFor::Unauthenticated, ..mail() };
    assert_eq!(MailRecord::decode(&mail.encode()), Some(mail));
}

#[test]
fn times_after_2106_count_as_its_last() {
    let at = |at| AddressRecord { evidence: Evidence { passed: 1, failed: 2, at } };
    let last = u64::from(u32::MAX);
    assert_eq!(AddressRecord::decode(&at(last - 1).encode()), Some(at(last - 1)));
    assert_eq!(AddressRecord::decode(&at(last + 1).encode()), Some(at(last)));
}

#[test]
fn a_judged_network_takes_16_octets() {
    let judged = NetworkRecord { evidence: full().evidence, ..NetworkRecord::default() };
    assert_eq!(judged.encode().len(), 16);
    assert_eq!(NetworkRecord::default().encode().len(), 2, "nothing counted is not written");
    assert_eq!(NetworkRecord { incapable_at: Some(1), ..judged }.encode().len(), 22, "what a store keeps in one piece");
}

#[test]
fn the_room_for_a_mail_is_what_it_takes() {
    let mail = mail();
    let texts = mail.lacked.len() + mail.ehlo_name.len() + mail.sender_domain.len();
    assert_eq!(mail.encode().len(), MAIL_OCTETS + texts);
}

#[test]
fn cut_repeated_and_foreign_values_are_no_record() {
    let value = full().encode();
    let ends = [2, 16, 28, 34, 40, 50, 69, 123, 129, 135]; // Before a part, a record is whole.
    for length in (0..value.len()).filter(|length| !ends.contains(length)) {
        assert_eq!(NetworkRecord::decode(&value[..length]), None, "{length}");
    }
    let repeated = [&value[..], &value[2..]].concat();
    assert_eq!(NetworkRecord::decode(&repeated), None);
    assert_eq!(AddressRecord::decode(&value), None, "another kind");
    assert_eq!(NetworkRecord::decode(&[2, b'n']), None, "another format");
    assert_eq!(NetworkRecord::decode(&[&[1, b'n', 99, 255][..], &[0; 255]].concat()), Some(NetworkRecord::default()));
}

#[test]
fn no_more_than_four_mails_wait() {
    let octets = full().encode();
    let tag = octets[69];
    let waiting = |octets: u8| [&[1, b'n', tag, octets][..], &vec![0; octets.into()]].concat();
    assert_eq!(octets[69..71], waiting(52)[2..4], "four of 13 octets");
    for whole in [0, 13, 52] {
        assert!(NetworkRecord::decode(&waiting(whole)).is_some(), "{whole}");
    }
    for other in [12, 14, 53, 65, 66] {
        assert_eq!(NetworkRecord::decode(&waiting(other)), None, "{other}");
    }
}

#[test]
fn a_mail_s_record_has_to_make_sense() {
    let value = mail().encode();
    let ends = [36, 43, 64, 78]; // After the refusal, it is whole before each part.
    for length in (0..value.len()).filter(|length| !ends.contains(length)) {
        assert_eq!(MailRecord::decode(&value[..length]), None, "{length}");
    }
    let with = |at: usize, octet: u8| {
        let mut value = value.clone();
        value[at] = octet;
        MailRead::decode(&value).map(MailRead::into_owned)
    };
    assert!(with(2 + 2 + 16, 64).is_some());
    assert_eq!(with(2 + 2 + 16, 16), None, "bits after the prefix");
    assert_eq!(with(2 + 2 + 16, 129), None);
    assert_eq!(with(33, 2), None, "acknowledged, or not");
    assert_eq!(with(34, 3), None, "known, absent, or not yet there");
    assert_eq!(with(35, 2), None, "an unknown reason");
    assert_eq!(with(42, 4), None, "settled in an unknown way");
    assert_eq!(with(value.len() - 1, 0xff), None, "no UTF-8");
    assert_eq!(with(29, 0), None, "no refusal");
}

#[test]
fn parts_of_later_versions_are_passed_over() {
    let mut value = full().encode();
    value.extend_from_slice(&[200, 3, 1, 2, 3]);
    assert_eq!(NetworkRecord::decode(&value), Some(full()));
}

#[test]
fn long_values_are_foreign() {
    let part = |tag: u8, octets: u8| [&[tag, octets][..], &vec![0; octets.into()]].concat();
    let value = |octets: u8| [vec![1, b'n'], part(100, 255), part(101, 255), part(102, 255), part(103, octets)].concat();
    assert_eq!((value(249).len(), value(250).len()), (1024, 1025));
    assert!(NetworkRecord::decode(&value(249)).is_some());
    assert!(NetworkRecord::decode(&value(250)).is_none());
}

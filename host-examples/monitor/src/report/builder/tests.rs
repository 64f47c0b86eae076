//! Reports on records that a test made.

use super::super::mails::tests::{NOW, mail, settled};
use super::*;
use smtp_fallback_policy::Module;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, StoredRecord};
use smtp_fallback_policy::record::{MessageId, RefusedFor, SettledBy};

/// A builder that was given these mails, each under this kind of fingerprint.
fn builder(mails: &[(MailRecord, bool)]) -> ReportBuilder {
    let mut builder = ReportBuilder::new(NOW);
    for (mail, is_exact) in mails {
        builder.add_mail(mail, *is_exact);
    }
    builder
}

/// Refused without a Message-ID, or before it was there.
fn without_id(mail: MailRecord) -> MailRecord {
    MailRecord { message_id: MessageId::Absent, ..mail }
}

fn network(n: u32) -> Network {
    Network::of(Address::from_words([0x2001_0db8, n, 0, 0]), 64)
}

#[test]
fn a_mail_without_a_fingerprint_of_its_own_counts_beside_others() {
    let jones = MailRecord { sender_domain: "example.org".into(), ..without_id(mail(1, 700, 700)) };
    let smith = mail(1, 100, 100);
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mails = [(smith.clone(), true), (smith.clone(), false), (jones.clone(), false)];
        let report = builder(&order.map(|n| mails[n].clone())).finish();
        assert_eq!((report.waiting.mails, report.waiting.oldest_since), (2, Some(NOW - 700)), "{order:?}");
        let domains: Vec<&str> = report.waiting.oldest.entries.iter().map(|mail| mail.sender_domain.as_str()).collect();
        assert_eq!(domains, ["example.org", "example.net"]);
    }
    // Two mails of one sender have one record under the sender: the first's first refusal, the second's last.
    let two = [(mail(1, 900, 900), true), (mail(1, 100, 100), true), (mail(2, 900, 100), false)];
    let report = builder(&two).finish();
    assert_eq!((report.waiting.mails, report.waiting.oldest.entries.len()), (2, 2));
    // After the one that arrived there was another.
    let later = [(settled(mail(1, 100, 100), SettledBy::Ipv4, 96), true), (without_id(mail(1, 50, 50)), false)];
    let report = builder(&later).finish();
    assert_eq!((report.waiting.mails, report.waiting.oldest_since, report.clients.falls_back), (1, Some(NOW - 50), 1));
    // In the same second another one of its sender, for whatever reason.
    let report = builder(&[(mail(1, 100, 100), true), (without_id(mail(1, 100, 100)), false)]).finish();
    assert_eq!(report.waiting.mails, 2);
    // It arrived, and so did what its sender is known by.
    let arrived = |mail| settled(mail, SettledBy::Ipv4, 90);
    let report = builder(&[(arrived(mail(1, 100, 100)), true), (arrived(mail(1, 100, 100)), false)]).finish();
    assert_eq!((report.settled.ipv4, report.waiting.mails), (1, 0));
}

#[test]
fn what_an_operator_let_in_shows_nothing() {
    let let_in = settled(mail(1, 900, 900), SettledBy::LetIn, 60);
    let record = |by_operator| NetworkRecord {
        let_in: Some(LetIn { since: NOW - 100, until: NOW + 100, by_operator, failing: None }),
        ..NetworkRecord::default()
    };
    for by_operator in [true, false] {
        let mut builder = builder(&[(let_in.clone(), true), (let_in.clone(), false)]);
        builder.add_network(let_in.network, &record(by_operator));
        let report = builder.finish();
        assert_eq!((report.let_in.total(), report.never.total()), (1, u64::from(!by_operator)), "{report:?}");
        assert_eq!(report.clients.passes, u64::from(by_operator));
    }
    // What its mail shows counts all the same.
    let mut builder = builder(&[(mail(3, 9000, 100), true)]);
    builder.add_network(let_in.network, &record(true));
    let report = builder.finish();
    assert!(report.never.entries[0].let_in.is_some_and(|let_in| let_in.by_operator), "{report:?}");
}

#[test]
fn a_network_that_is_let_in_is_not_refused_at_the_greeting() {
    for (by_operator, simulated) in [(true, false), (false, false), (true, true)] {
        let penalty = PenaltyRecord { refuse_until: NOW + 900, doublings: 0, last_failure: NOW - 10, simulated };
        let record = |until| NetworkRecord {
            penalty: Some(penalty),
            let_in: Some(LetIn { since: NOW - 100, until, by_operator, failing: None }),
            ..NetworkRecord::default()
        };
        let mut builder = ReportBuilder::new(NOW);
        builder.add_network(network(1), &record(NOW + 100));
        // Its time is over.
        builder.add_network(network(2), &record(NOW));
        let report = builder.finish();
        let mut listed = report.penalties.entries.iter().chain(&report.simulated_penalties.entries);
        assert_eq!(listed.next().map(|entry| entry.network.as_str()), Some("2001:db8:0:2::/64"), "{report:?}");
        assert_eq!((listed.next(), report.let_in.total()), (None, 1));
    }
}

#[test]
fn a_client_that_the_policy_let_in_by_its_own_numbers_has_names() {
    let let_in = settled(MailRecord { lacked: "SPF=fail".into(), ..mail(2, 900, 60) }, SettledBy::LetIn, 60);
    let report = |mails: &[(MailRecord, bool)], by_operator| {
        let mut builder = builder(mails);
        let record = LetIn { since: NOW - 60, until: NOW + 100, by_operator, failing: None };
        builder.add_network(let_in.network, &NetworkRecord { let_in: Some(record), ..NetworkRecord::default() });
        builder.finish()
    };
    let found = report(&[(let_in.clone(), true), (let_in.clone(), false)], false);
    let [never] = found.never.entries.as_slice() else { panic!("one: {found:?}") };
    assert_eq!(
        (&never.ehlo_names.shown[..], &never.sender_domains.shown[..]),
        (&["mail.example.net".to_owned()][..], &["example.net".to_owned()][..])
    );
    assert_eq!((never.refusals, never.since, never.lacked.as_str()), (2, Some(NOW - 900), "SPF=fail"));
    // Where a mail shows it by itself, whatever was let in besides shows nothing.
    let shown = MailRecord { ehlo_name: "other.example".into(), ..mail(3, 9000, 100) };
    for by_operator in [true, false] {
        for order in [[0, 1], [1, 0]] {
            let mails = [(let_in.clone(), true), (shown.clone(), true)];
            let found = report(&order.map(|n| mails[n].clone()), by_operator);
            assert_eq!(
                (&found.never.entries[0].ehlo_names.shown[..], found.never.entries[0].refusals),
                (&["other.example".to_owned()][..], 3)
            );
        }
    }
    // An operator's word shows nothing, though a mail was rejected, which is known by its sender only.
    let rejected = settled(without_id(mail(3, 900, 60)), SettledBy::Rejected, 60);
    let found = report(&[(let_in.clone(), true), (rejected, false)], true);
    assert_eq!((found.never.total(), found.never.entries[0].refusals), (1, 0), "{found:?}");
}

#[test]
fn what_is_counted_is_how_often_a_mail_came_and_what_is_seen_is_that_it_was_brought() {
    let let_in = settled(mail(3, 9000, 100), SettledBy::LetIn, 100);
    let text = builder(&[(let_in, true), (settled(mail(1, 100, 100), SettledBy::Ipv4, 96), true)]).finish().to_text();
    assert!(text.contains("      came 3 times without authentication since "), "{text}");
    assert!(
        text.contains("1 were brought over IPv4") && text.contains("Refused mail was brought over IPv4 within 5 minutes."),
        "{text}"
    );
    assert!(!text.contains("arrived over IPv4"), "{text}");
    let distrusted = MailRecord { refused_for: RefusedFor::Distrusted, ..mail(3, 9000, 100) };
    let text = builder(&[(distrusted, true)]).finish().to_text();
    assert!(text.contains("      came 3 times since "), "{text}");
    let words = ClientKind::Never.meaning();
    assert!(words.contains("or the policy let it in or rejected it by its own numbers"), "{words}");
}

#[test]
fn the_record_under_the_sender_counts_only_where_there_is_no_other() {
    let both = builder(&[(mail(1, 100, 100), true), (mail(1, 100, 100), false)]).finish();
    assert_eq!((both.waiting.mails, both.waiting.oldest.entries.len(), both.clients.waiting), (1, 1, 1));
    let alone = builder(&[(mail(2, 300, 100), false)]).finish();
    assert_eq!((alone.waiting.mails, alone.waiting.oldest_since, alone.clients.waiting), (1, Some(NOW - 300), 1));
    assert_eq!(alone.waiting.oldest.entries[0].refusals, 2);
    let quick = settled(mail(1, 100, 100), SettledBy::Ipv4, 96);
    // As the module settles both.
    let of_sender = settled(mail(3, 9000, 100), SettledBy::Ipv4, 96);
    let arrived = builder(&[(of_sender, false), (quick, true)]).finish();
    assert_eq!((arrived.waiting.mails, arrived.settled.ipv4, arrived.clients.falls_back), (0, 1, 1));
    assert!(arrived.waiting.oldest.is_empty());
}

#[test]
fn details_are_of_the_mails_that_show_it() {
    let named = |ehlo_name: &str, mail: MailRecord| MailRecord { ehlo_name: ehlo_name.into(), ..mail };
    let report = builder(&[
        (named("a.example", mail(3, 9000, 2000)), true),
        (named("b.example", MailRecord { lacked: "SPF=fail".into(), ..mail(5, 8000, 1000) }), true),
        (named("c.example", mail(1, 50_000, 50_000)), true),
        (named("a.example", settled(mail(3, 7000, 4000), SettledBy::LetIn, 3900)), true),
    ])
    .finish();
    let [never] = report.never.entries.as_slice() else { panic!("one: {report:?}") };
    assert_eq!(never.ehlo_names.shown, ["a.example", "b.example"]);
    assert_eq!((never.refusals, never.since, never.last_refusal), (11, Some(NOW - 9000), Some(NOW - 1000)));
    assert_eq!((never.lacked.as_str(), never.oldest_waiting, never.let_in), ("SPF=fail", Some(NOW - 9000), None));
    assert_eq!((report.waiting.mails, report.waiting.given_up, report.settled.let_in), (2, 1, 1));
}

#[test]
fn names_are_few() {
    let many = (0..9).map(|n| (MailRecord { ehlo_name: format!("{n}.example"), ..mail(3, 9000, 100) }, true));
    let report = builder(&many.collect::<Vec<_>>()).finish();
    let names = &report.never.entries[0].ehlo_names;
    assert_eq!((names.shown.len(), names.more), (5, true));
    assert_eq!(report.never.entries[0].sender_domains.shown, ["example.net"]);
    assert!(!report.never.entries[0].sender_domains.more);
}

#[test]
fn a_penalty_of_a_wrong_clock_is_none() {
    let penalty = |refuse_until| PenaltyRecord { refuse_until, doublings: 0, last_failure: NOW - 10, simulated: false };
    assert!(in_force(penalty(NOW + 1), NOW));
    assert!(!in_force(penalty(NOW), NOW));
    assert!(!in_force(penalty(u64::MAX), NOW));
    let longest = NOW - 10 + LONGEST_PENALTY;
    assert!(in_force(penalty(longest), NOW) && !in_force(penalty(longest + 1), NOW));
    assert!(!in_force(penalty(longest + 1), longest), "nor does it come into force later");
    assert!(in_force(PenaltyRecord { last_failure: NOW + 60, ..penalty(NOW + 900) }, NOW), "another host's clock is ahead");
}

#[test]
fn the_longest_penalty_is_that_of_the_longest_policy() {
    let policy = |maximum: u64, jitter: u32| {
        let text = format!(r#"{{"penalty": {{"first": "7d", "maximum": "{maximum}s", "jitter_percent": {jitter}}}}}"#);
        Module::new().configure(&text, b"secret").is_ok()
    };
    let maximum = LONGEST_PENALTY * 100 / 120;
    assert!(policy(maximum, 20));
    assert!(!policy(maximum + 1, 20) && !policy(maximum, 21), "a policy may make a longer one");
}

#[test]
fn what_has_expired_is_passed_over_and_what_is_no_record_counted() {
    let key = Key { kind: KeyKind::Network, address: network(1).prefix(), prefix_length: 64 };
    let listed = |expires_at| Listed { record: StoredRecord { key, value: b"foreign".to_vec() }, expires_at, weight: 0 };
    let report = Report::from_records(&[listed(NOW), listed(NOW + 1)], NOW);
    assert_eq!(report.records, Records { unreadable: 1, ..Records::default() });
}

#[test]
fn memory_is_bounded_and_those_refused_most_stay() {
    let mut builder = ReportBuilder::new(NOW);
    // The refusals of each network: many with the same number, and a few with more, first, last and in between.
    for n in 0..MOST_NETWORKS as u32 + 10 {
        let refusals = if n % 1000 == 7 { 1000 + n / 1000 } else { 3 + n % 2 };
        builder.add_mail(&MailRecord { network: network(n), refusals, ..mail(3, 9000, 100) }, true);
        assert!(builder.details < MOST_DETAILS);
    }
    let held = builder.networks.values().filter(|known| known.details.is_some()).count();
    assert_eq!((builder.networks.len(), held), (MOST_NETWORKS, builder.details));
    let report = builder.finish();
    assert_eq!(report.clients.never, MOST_NETWORKS as u64);
    assert_eq!(report.clients.not_classified, 10);
    assert_eq!(report.waiting.mails, MOST_NETWORKS as u64 + 10, "the mails are counted");
    assert_eq!((report.never.entries.len(), report.never.more), (MOST_ENTRIES, (MOST_NETWORKS - MOST_ENTRIES) as u64));
    let most: Vec<u64> = report.never.entries.iter().take(100).map(|entry| entry.refusals).collect();
    assert_eq!(most, (1000..1100).rev().collect::<Vec<u64>>());
    assert_eq!(report.waiting.oldest.entries.len(), MOST_WAITING);
}

#[test]
fn what_was_refused_as_distrusted_is_said_to_be() {
    let distrusted = MailRecord { refused_for: RefusedFor::Distrusted, lacked: "distrusted domain".into(), ..mail(3, 9000, 100) };
    let report = builder(&[(distrusted, true)]).finish();
    assert_eq!(report.never.entries[0].refused_for, Some("distrusted"));
    assert_eq!(report.waiting.oldest.entries[0].refused_for, "distrusted");
    let words = "; distrusted: only domains that the policy distrusts authenticated it\n";
    assert_eq!(report.to_text().matches(words).count(), 2, "{}", report.to_text());
    let report = builder(&[(mail(3, 9000, 100), true)]).finish();
    assert_eq!(report.never.entries[0].refused_for, Some("unauthenticated"));
    assert!(!report.to_text().contains("distrust") && report.to_text().matches("; lacked SPF=none, DKIM=none\n").count() == 2);
}

#[test]
fn who_let_a_network_in_is_said_and_what_that_lets_in() {
    for (by_operator, words) in [(true, "by an operator"), (false, "by the policy")] {
        let mut builder = builder(&[(mail(3, 9000, 100), true)]);
        let let_in = LetIn { since: NOW - 100, until: NOW + 100, by_operator, failing: None };
        builder.add_network(mail(1, 1, 1).network, &NetworkRecord { let_in: Some(let_in), ..NetworkRecord::default() });
        let text = builder.finish().to_text();
        assert_eq!(text.matches(words).count(), 2, "{text}");
        assert!(text.contains("An operator's word lets everything of a network in, the policy a limited number"), "{text}");
    }
}

#[test]
fn records_that_cannot_be_read_are_said_to_be_there() {
    let key = Key { kind: KeyKind::Network, address: network(1).prefix(), prefix_length: 64 };
    let foreign = Listed { record: StoredRecord { key, value: b"foreign".to_vec() }, expires_at: NOW + 1, weight: 0 };
    let text = |records: &[Listed]| Report::from_records(records, NOW).to_text();
    assert!(text(std::slice::from_ref(&foreign)).ends_with(
        "\n1 record cannot be read and counts as absent: written by another version of the host than this program is of.\n"
    ));
    assert!(text(&[foreign.clone(), foreign]).contains("\n2 records cannot be read and count as absent"));
    assert!(!text(&[]).contains("cannot be read"));
}

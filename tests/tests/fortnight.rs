//! Simulated fortnights, through the shipped component: whose mail arrives, how late, and how often it is refused on its way.
//!
//! `cargo xtask test -p smtp-fallback-tests --test fortnight -- --nocapture` prints the tables. In them "IPv6" and "IPv4" are the mails
//! that came in so; mean, p95 and worst are their delays; "greeting" are refused connections, "data" mails refused after their data;
//! "spared" is the share of the failing mails' octets that penalties kept away.

use std::ops::Range;
use std::sync::LazyLock;

use smtp_fallback_embed::Component;
use smtp_fallback_tests::simulation::{Layout, Mta, Row, Sender, Setting, Table, Tally, fortnight, kinds};
use smtp_fallback_tests::{Embedded, Native};

const POLICY: &str = r#"{ "url": "https://receiver.example/ipv6" }"#;

/// Three courses of events where mails are few, one where they are thousands.
const FEW: Range<u64> = 1..4;
const MANY: Range<u64> = 1..2;

/// Bots and spammers get less of their mail in over IPv6, in per cent.
const LITTLE: f64 = 20.0;
/// So long after a sender mended its SPF record nothing of it is refused any more, in seconds.
const MENDED: u64 = 8 * 3600;

static COMPONENT: LazyLock<Component> = LazyLock::new(Embedded::component);

/// The rows of some senders, with these MX records; the counts of several runs in each.
fn rows(policy_json: &str, senders: &[Sender], layouts: &[Layout], seeds: Range<u64>) -> Vec<Row> {
    let mut all = Vec::new();
    for &layout in layouts {
        let mut rows: Vec<Row> = senders.iter().map(|sender| Row::new(sender, layout)).collect();
        for seed in seeds.clone() {
            let setting = Setting { policy_json, layout, senders, seed };
            let tallies = fortnight(&mut Embedded::new(&COMPONENT), &setting, None);
            for (row, tally) in rows.iter_mut().zip(&tallies) {
                row.tally.add(tally);
            }
        }
        all.extend(rows);
    }
    all
}

/// Each of the kinds with each server that was measured and each safe layout.
fn with_all_servers(policy_json: &str, kinds: &[fn(Mta) -> Sender], seeds: Range<u64>) -> Table {
    let senders = kinds.iter().flat_map(|kind| Mta::MEASURED.map(kind));
    let table = Table(senders.flat_map(|sender| rows(policy_json, &[sender], &Layout::ALL, seeds.clone())).collect());
    println!("{table}");
    table
}

fn all_arrives(tally: &Tally) -> bool {
    tally.lost == 0 && tally.in_over_ipv6 + tally.in_over_ipv4 == tally.mails && tally.mails > 0
}

/// Every row holds; a row that does not is printed with what was expected.
fn assert_each(table: &Table, expected: &str, holds: impl Fn(&Row) -> bool) {
    let failing: Vec<String> = table.0.iter().filter(|row| !holds(row)).map(Row::to_string).collect();
    assert!(failing.is_empty(), "expected: {expected}; but (columns: see the table above)\n{}", failing.join("\n"));
}

#[test]
fn mail_of_a_bulk_mailer_arrives_and_it_is_never_penalised() {
    let table = with_all_servers(POLICY, &[kinds::bulk_mailer], MANY);
    assert_each(&table, "all mail arrives", |row| all_arrives(&row.tally));
    assert_each(&table, "no penalty", |row| row.tally.penalties == 0);
}

#[test]
fn where_half_of_the_mail_passes_all_arrives_and_penalties_are_rare() {
    let table = with_all_servers(POLICY, &[kinds::half_sound], FEW);
    assert_each(&table, "all mail arrives", |row| all_arrives(&row.tally));
    let penalties: u32 = table.0.iter().map(|row| row.tally.penalties).sum();
    let fortnights = table.0.len() as u32 * (FEW.end - FEW.start) as u32;
    println!("{penalties} penalties in {fortnights} fortnights");
    assert!(
        penalties * 4 <= fortnights,
        "{penalties} penalties in {fortnights} fortnights; expected at most one in four\n{table}"
    );
}

#[test]
fn mail_of_hosts_with_a_broken_spf_record_arrives() {
    let table = with_all_servers(POLICY, &[kinds::broken, kinds::busy_broken], FEW);
    assert_each(&table, "all mail arrives", |row| all_arrives(&row.tally));
    assert_each(&table, "within 12 h", |row| row.tally.delay().2 < 12 * 3600);
}

#[test]
fn forwarded_mail_arrives() {
    let table = with_all_servers(POLICY, &[kinds::forwarder, kinds::forwarder_with_srs], MANY);
    assert_each(&table, "all mail arrives", |row| all_arrives(&row.tally));
}

#[test]
fn mail_of_hosts_without_ipv4_arrives() {
    let table = with_all_servers(POLICY, &[kinds::ipv6_only], FEW);
    assert_each(&table, "all mail arrives, over IPv6", |row| all_arrives(&row.tally) && row.tally.in_over_ipv4 == 0);
    assert_each(&table, "the failing mails were let in", |row| row.tally.let_in == row.tally.mails - row.tally.sound);
}

#[test]
fn unless_they_are_let_in_their_mail_is_lost() {
    let policy = r#"{ "no_fallback": { "action": "alert" } }"#;
    let table = Table(rows(policy, &[kinds::ipv6_only(Mta::Haraka)], &Layout::ALL, MANY));
    assert_each(&table, "lost mail", |row| row.tally.lost > 0);
}

#[test]
fn mail_of_a_host_with_the_verb_arrives_without_penalty_or_delay() {
    let table = Table(rows(POLICY, &[kinds::capable()], &Layout::ALL, FEW));
    println!("{table}");
    assert_each(&table, "all mail arrives at once, by 456 and IPv4", |row| {
        let tally = &row.tally;
        all_arrives(tally)
            && tally.delay().2 == 0
            && tally.refused_at_greeting == 0
            && tally.refused_after_data == tally.over_ipv6
    });
}

#[test]
fn eight_hours_after_a_sender_mended_its_spf_record_nothing_is_refused() {
    let table = with_all_servers(POLICY, &[kinds::fixed], FEW);
    assert_each(&table, "all mail arrives", |row| all_arrives(&row.tally));
    assert_each(&table, "no refusal 8 h after the record was mended", |row| row.tally.last_refusal_after_mending < Some(MENDED));
    let refused_last = table.0.iter().filter_map(|row| row.tally.last_refusal_after_mending).max();
    println!("the last refusal came {refused_last:?} s after the record was mended");
    assert!(refused_last.is_some(), "some are still refused for a while, or nothing was tested");
}

#[test]
fn penalties_of_up_to_a_week_would_refuse_it_for_longer() {
    let policy = r#"{ "penalty": { "maximum": "7d" } }"#;
    let table = Table(rows(policy, &[kinds::fixed(Mta::Postfix)], &[Layout::Ipv6Better], FEW));
    assert_each(&table, "a refusal more than 8 h after the record was mended", |row| {
        row.tally.last_refusal_after_mending > Some(MENDED)
    });
}

#[test]
fn bots_that_never_retry_get_little_in() {
    let senders = [kinds::bots(), kinds::bots_with_one_mail(), kinds::bots_with_verb()];
    let table = Table(senders.into_iter().flat_map(|sender| rows(POLICY, &[sender], &[Layout::Pair], MANY)).collect());
    println!("{table}");
    assert_each(&table, "less than 20 % in over IPv6", |row| row.tally.percent_in_over_ipv6() < LITTLE);
    let named = |name| move |row: &Row| row.sender != name || row.tally.percent_spared() > 50.0;
    assert_each(&table, "penalties spare most of their data", named(kinds::bots().name));
    assert_each(&table, "the verb does not spare them the penalties (A37)", named(kinds::bots_with_verb().name));
}

#[test]
fn spammers_that_retry_and_fall_back_get_little_in_over_ipv6() {
    let senders = [Mta::Postfix, Mta::Haraka].map(kinds::spammer);
    let layouts = [Layout::Pair, Layout::TwoPairs];
    let table = Table(senders.into_iter().flat_map(|sender| rows(POLICY, &[sender], &layouts, MANY)).collect());
    println!("{table}");
    assert_each(&table, "less than 20 % in over IPv6", |row| row.tally.percent_in_over_ipv6() < LITTLE);
    assert_each(&table, "penalties spare most of their data", |row| row.tally.percent_spared() > 50.0);
}

#[test]
fn spammers_that_retry_over_ipv6_alone_get_little_in() {
    let senders = [kinds::ipv6_only_spammer(Mta::Haraka), kinds::spammer_with_verb(Mta::Haraka)];
    let table = Table(senders.into_iter().flat_map(|sender| rows(POLICY, &[sender], &[Layout::Ipv6Better], MANY)).collect());
    println!("{table}");
    assert_each(&table, "less than 20 % in over IPv6", |row| row.tally.percent_in_over_ipv6() < LITTLE);
    assert_each(&table, "penalties spare most of their data", |row| row.tally.percent_spared() > 50.0);
}

#[test]
fn good_neighbours_of_a_bad_one_lose_nothing_and_are_not_delayed_in_good_standing() {
    let senders = Mta::MEASURED.map(kinds::neighbours);
    let table = Table(senders.iter().flat_map(|senders| rows(POLICY, senders, &Layout::ALL, MANY)).collect());
    println!("{table}");
    assert_each(&table, "all mail of good neighbours arrives", |row| row.sender.starts_with("bad") || all_arrives(&row.tally));
    assert_each(&table, "none is refused in good standing (P13)", |row| row.tally.refused_in_good_standing == 0);
    assert_each(&table, "the bad one gets little in", |row| {
        !row.sender.starts_with("bad") || row.tally.percent_in_over_ipv6() < LITTLE
    });
    let stood: u32 = table.0.iter().map(|row| row.tally.in_good_standing).sum();
    assert!(stood > 1000, "only {stood} mails came in good standing: too few to tell");
}

#[test]
fn the_component_decides_as_the_library_does() {
    let mut senders = vec![
        kinds::bulk_mailer(Mta::Exim),
        kinds::busy_broken(Mta::OpenSmtpd),
        kinds::fixed(Mta::Haraka),
        kinds::forwarder_with_srs(Mta::Sendmail),
        kinds::ipv6_only(Mta::Postfix),
        kinds::capable(),
        kinds::bots_with_verb(),
    ];
    senders.extend(kinds::neighbours(Mta::Haraka));
    let setting = Setting { policy_json: POLICY, layout: Layout::TwoPairs, senders: &senders, seed: 7 };
    let (mut by_component, mut by_library) = (Vec::new(), Vec::new());
    fortnight(&mut Embedded::new(&COMPONENT), &setting, Some(&mut by_component));
    fortnight(&mut Native::default(), &setting, Some(&mut by_library));
    assert!(by_library.len() > 10_000, "only {} decisions", by_library.len());
    let first = by_component.iter().zip(&by_library).position(|(component, library)| component != library);
    if let Some(at) = first {
        panic!("decision {at}: the component says {:?}, the library {:?}", by_component[at], by_library[at]);
    }
    assert_eq!(by_component.len(), by_library.len());
}

//! Making a report from one record at a time, in bounded memory.

use std::cmp::Reverse;
use std::collections::HashMap;

use smtp_fallback_policy::contract::KeyKind;
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::{LetIn, MESSAGE, MailRecord, NetworkRecord, PenaltyRecord, Record};
use smtp_fallback_store::Listed;

use super::definitions::{MOST_ENTRIES, MOST_WAITING};
use super::mails::{self, Details, Mails, Shows};
use super::top::Top;
use super::{
    ClientKind, Clients, LetInNetwork, LetInNow, Listing, NeverFallsBack, PenaltyInForce, Records, Report, SettledMails,
    WaitingMail, WaitingMails,
};

/// So many networks with refused mail are told apart: about 45 MB.
const MOST_NETWORKS: usize = 100_000;

/// Of so many networks whose clients do not fall back more is kept; when it is reached, those refused most often stay.
const MOST_DETAILS: usize = 10 * MOST_ENTRIES;

/// No policy can make a longer penalty, in seconds: a time beyond it is of a clock that was wrong, and the module ignores it (A7).
const LONGEST_PENALTY: u64 = 40 * 24 * 3600;

/// Makes a [`Report`] from records that come one at a time, such as the pages of a scan. A record that comes twice counts twice.
///
/// Memory is bounded, whatever comes: about 50 MB with 100,000 networks that sent mail that was refused.
pub struct ReportBuilder {
    now: u64,
    records: Records,
    penalties: Top<(Reverse<u32>, Network), PenaltyInForce>,
    simulated: Top<(Reverse<u32>, Network), PenaltyInForce>,
    networks: HashMap<Network, OfNetwork>,
    details: usize,
    /// By fingerprint of their own, and of their sender.
    waiting: [Top<(u64, Network), (Network, WaitingMail)>; 2],
    not_classified: Unclassified,
}

/// What is known of a network with refused mail, or that is let in.
#[derive(Default)]
struct OfNetwork {
    exact: Mails,
    inferred: Mails,
    let_in: Option<LetInNow>,
    details: Option<Box<Details>>,
}

/// Of mails whose network is not among those told apart; by the fingerprint of their own only.
#[derive(Default)]
struct Unclassified {
    records: u64,
    mails: Mails,
}

impl ReportBuilder {
    /// An empty report as of `now`, in seconds since 1970.
    pub fn new(now: u64) -> Self {
        ReportBuilder {
            now,
            records: Records::default(),
            penalties: Top::new(MOST_ENTRIES),
            simulated: Top::new(MOST_ENTRIES),
            networks: HashMap::new(),
            details: 0,
            waiting: [Top::new(MOST_WAITING), Top::new(MOST_WAITING)],
            not_classified: Unclassified::default(),
        }
    }

    /// Takes a record in. One that has expired is passed over; octets that are no record are counted.
    pub fn add(&mut self, listed: &Listed) {
        if listed.expires_at <= self.now {
            return;
        }
        let key = listed.record.key;
        match Record::read(&listed.record) {
            None => self.records.unreadable += 1,
            Some(Record::Address(_)) => self.records.address += 1,
            Some(Record::Budget(_)) => self.records.budget += 1,
            Some(Record::Network(record)) => {
                self.records.network += 1;
                self.add_network(Network::of(key.address, key.prefix_length), &record);
            }
            Some(Record::Mail(mail)) => {
                self.records.mail += 1;
                self.add_mail(&mail, key.kind == KeyKind::Exact);
            }
        }
    }

    /// The report on all that was added.
    pub fn finish(self) -> Report {
        let now = self.now;
        let mut clients = Clients { not_classified: self.not_classified.records, ..Clients::default() };
        let mut never = Top::new(MOST_ENTRIES);
        let mut let_in = Top::new(MOST_ENTRIES);
        let mut all = Totals::default();
        all.add(&self.not_classified.mails);
        for (network, known) in &self.networks {
            all.add(known.mails());
            if let Some(kind) = known.kind() {
                clients.count(kind);
                if kind == ClientKind::Never {
                    let refusals = known.details.as_ref().map_or(0, |details| details.refusals);
                    never.add((known.let_in.is_some(), Reverse(refusals), *network), || known.never_falls_back(*network));
                }
            }
            if let Some(known) = known.let_in {
                let_in.add((!known.by_operator, Reverse(known.until), *network), || LetInNetwork {
                    network: network.to_string(),
                    let_in: known,
                });
            }
        }
        Report {
            at: now,
            penalties: self.penalties.finish(),
            simulated_penalties: self.simulated.finish(),
            never: never.finish(),
            let_in: let_in.finish(),
            waiting: WaitingMails {
                mails: all.waiting,
                oldest_since: (all.oldest > 0).then_some(all.oldest),
                given_up: all.given_up,
                oldest: oldest_waiting(self.waiting, &self.networks, all.waiting),
            },
            settled: SettledMails {
                ipv4: all.settled[0],
                ipv6: all.settled[1],
                let_in: all.settled[2],
                rejected: all.settled[3],
            },
            clients,
            records: self.records,
        }
    }

    fn add_network(&mut self, network: Network, record: &NetworkRecord) {
        if let Some(penalty) = record.penalty.filter(|penalty| in_force(*penalty, self.now)) {
            let evidence = record.evidence;
            let list = if penalty.simulated { &mut self.simulated } else { &mut self.penalties };
            list.add((Reverse(evidence.failed), network), || PenaltyInForce {
                network: network.to_string(),
                refuse_until: penalty.refuse_until,
                last_failure: penalty.last_failure,
                doublings: penalty.doublings,
                failed: messages(evidence.failed),
                passed: messages(evidence.passed),
            });
        }
        if let Some(LetIn { since, until, by_operator, .. }) = record.let_in.filter(|let_in| let_in.in_force(self.now))
            && let Some(known) = self.of_network(network)
        {
            known.let_in = Some(LetInNow { since, until, by_operator });
        }
    }

    fn add_mail(&mut self, mail: &MailRecord, is_exact: bool) {
        let now = self.now;
        let shows = mails::shows(mail, is_exact, now);
        if mail.settled.is_none() && mails::is_tried(mail, now) {
            self.waiting[usize::from(!is_exact)].add((mail.first_refusal, mail.network), || (mail.network, waiting_mail(mail)));
        }
        let Some(known) = self.of_network(mail.network) else {
            self.not_classified.records += 1;
            if is_exact {
                self.not_classified.mails.add(mail, shows, now);
            }
            return;
        };
        let of_kind = if is_exact { &mut known.exact } else { &mut known.inferred };
        of_kind.add(mail, shows, now);
        // The record under its sender's fingerprint says the same once more.
        if is_exact && shows == Shows::Never {
            let is_new = known.details.is_none();
            known.details.get_or_insert_with(|| Box::new(Details::new())).add(mail);
            self.details += usize::from(is_new);
            if self.details >= MOST_DETAILS {
                self.drop_details();
            }
        }
    }

    /// `None` when the network is new and there are as many as are told apart.
    fn of_network(&mut self, network: Network) -> Option<&mut OfNetwork> {
        if self.networks.len() >= MOST_NETWORKS && !self.networks.contains_key(&network) {
            return None;
        }
        Some(self.networks.entry(network).or_default())
    }

    /// Keeps the half with the most refusals.
    fn drop_details(&mut self) {
        let refusals = |known: &OfNetwork| known.details.as_ref().map(|details| details.refusals);
        let mut all: Vec<u64> = self.networks.values().filter_map(refusals).collect();
        let half = all.len() / 2;
        let (_, &mut median, more) = all.select_nth_unstable(half);
        // Of those with as many as the median, as many as there is room for.
        let mut room = half.saturating_sub(more.iter().filter(|&&refusals| refusals > median).count());
        let mut left = 0;
        for known in self.networks.values_mut() {
            let Some(refusals) = refusals(known) else { continue };
            if refusals > median || refusals == median && room > 0 {
                room -= usize::from(refusals == median);
                left += 1;
            } else {
                known.details = None;
            }
        }
        self.details = left;
    }
}

impl OfNetwork {
    /// Those under a fingerprint of their own; if there are none, those under their sender's.
    fn mails(&self) -> &Mails {
        if self.exact.is_empty() { &self.inferred } else { &self.exact }
    }

    fn kind(&self) -> Option<ClientKind> {
        match self.let_in {
            Some(let_in) if !let_in.by_operator => Some(ClientKind::Never),
            _ => self.mails().kind(),
        }
    }

    fn never_falls_back(&self, network: Network) -> NeverFallsBack {
        let details = self.details.as_deref();
        let since = details.map(|details| details.since).or(self.let_in.map(|let_in| let_in.since));
        NeverFallsBack {
            network: network.to_string(),
            ehlo_names: details.map(|details| details.ehlo_names.clone()).unwrap_or_default(),
            sender_domains: details.map(|details| details.sender_domains.clone()).unwrap_or_default(),
            since,
            refusals: details.map_or(0, |details| details.refusals),
            last_refusal: details.map(|details| details.last_refusal),
            lacked: details.map(|details| details.lacked.clone()).unwrap_or_default(),
            oldest_waiting: details.and_then(|details| details.oldest_waiting),
            let_in: self.let_in,
            exempt: format!(r#""exempt": {{"networks": ["{network}"]}}"#),
            command: format!("smtp-fallback cache exempt {} --for 7d", network.prefix()),
        }
    }
}

/// Sums over all networks.
#[derive(Default)]
struct Totals {
    settled: [u64; 4],
    waiting: u64,
    given_up: u64,
    /// 0: none.
    oldest: u64,
}

impl Totals {
    fn add(&mut self, mails: &Mails) {
        for (sum, count) in self.settled.iter_mut().zip(mails.settled) {
            *sum += u64::from(count);
        }
        self.waiting += u64::from(mails.waiting);
        self.given_up += u64::from(mails.given_up);
        if mails.oldest > 0 && (self.oldest == 0 || mails.oldest < self.oldest) {
            self.oldest = mails.oldest;
        }
    }
}

/// The oldest waiting mails. Those that are known by their sender only count where their network has no others.
fn oldest_waiting(
    [exact, inferred]: [Top<(u64, Network), (Network, WaitingMail)>; 2],
    networks: &HashMap<Network, OfNetwork>,
    total: u64,
) -> Listing<WaitingMail> {
    let counts = |network: &Network| networks.get(network).is_some_and(|known| known.exact.is_empty());
    let mut all = exact.into_parts().0;
    all.extend(inferred.into_parts().0.into_iter().filter(|(_, (network, _))| counts(network)));
    all.sort_by_key(|(key, _)| *key);
    all.truncate(MOST_WAITING);
    let more = total.saturating_sub(all.len() as u64);
    Listing { entries: all.into_iter().map(|(_, (_, mail))| mail).collect(), more }
}

fn waiting_mail(mail: &MailRecord) -> WaitingMail {
    WaitingMail {
        network: mail.network.to_string(),
        ehlo_name: mail.ehlo_name.clone(),
        sender_domain: mail.sender_domain.clone(),
        since: mail.first_refusal,
        last_refusal: mail.last_refusal,
        refusals: mail.refusals,
        refused_for: mail.refused_for.as_str(),
        lacked: mail.lacked.clone(),
    }
}

fn in_force(penalty: PenaltyRecord, now: u64) -> bool {
    penalty.refuse_until > now && penalty.refuse_until - penalty.last_failure.min(now) <= LONGEST_PENALTY
}

/// A count in messages, to the nearest hundredth.
fn messages(count: u32) -> f64 {
    (f64::from(count) * 100.0 / f64::from(MESSAGE)).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::super::mails::tests::{NOW, mail, settled};
    use super::*;
    use smtp_fallback_policy::address::Address;
    use smtp_fallback_policy::contract::{Key, StoredRecord};
    use smtp_fallback_policy::record::SettledBy;

    /// A builder that was given these mails, each under this kind of fingerprint.
    fn builder(mails: &[(MailRecord, bool)]) -> ReportBuilder {
        let mut builder = ReportBuilder::new(NOW);
        for (mail, is_exact) in mails {
            builder.add_mail(mail, *is_exact);
        }
        builder
    }

    fn network(n: u32) -> Network {
        Network::of(Address::from_words([0x2001_0db8, n, 0, 0]), 64)
    }

    #[test]
    fn the_record_under_the_sender_counts_only_where_there_is_no_other() {
        let both = builder(&[(mail(1, 100, 100), true), (mail(1, 100, 100), false)]).finish();
        assert_eq!((both.waiting.mails, both.waiting.oldest.entries.len(), both.clients.waiting), (1, 1, 1));
        let alone = builder(&[(mail(2, 300, 100), false)]).finish();
        assert_eq!((alone.waiting.mails, alone.waiting.oldest_since, alone.clients.waiting), (1, Some(NOW - 300), 1));
        assert_eq!(alone.waiting.oldest.entries[0].refusals, 2);
        let quick = settled(mail(1, 100, 100), SettledBy::Ipv4, 96);
        let arrived = builder(&[(mail(3, 9000, 50), false), (quick, true)]).finish();
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
        assert!(in_force(PenaltyRecord { last_failure: NOW + 60, ..penalty(NOW + 900) }, NOW), "another host's clock is ahead");
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
}

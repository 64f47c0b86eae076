//! Making a report from one record at a time, in bounded memory.

use std::cmp::Reverse;
use std::collections::HashMap;

use smtp_fallback_policy::contract::KeyKind;
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::{LetIn, MESSAGE, MailRecord, MessageId, NetworkRecord, PenaltyRecord, Record};
use smtp_fallback_store::Listed;

use super::definitions::{MOST_ENTRIES, MOST_WAITING};
use super::mails::{Brief, Details, Mails, Shows};
use super::top::Top;
use super::{
    ClientKind, Clients, LetInNetwork, LetInNow, Listing, NeverFallsBack, PenaltyInForce, Records, Report, SettledMails,
    WaitingMail, WaitingMails,
};

/// So many networks with refused mail are told apart: about 45 MB.
const MOST_NETWORKS: usize = 100_000;

/// Of so many networks whose clients do not fall back more is kept; when it is reached, those refused most often stay.
const MOST_DETAILS: usize = 10 * MOST_ENTRIES;

/// No policy can make a longer penalty, in seconds: `penalty.maximum` is seven days at most, and the jitter adds a fifth. A time beyond
/// it is of a clock that was wrong, and the module ignores it (A7).
const LONGEST_PENALTY: u64 = 7 * 24 * 3600 * 120 / 100;

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
    waiting: Top<Place, WaitingMail>,
    /// Those that count only where their network has no others.
    perhaps_waiting: Top<Place, WaitingMail>,
    not_classified: Unclassified,
}

/// Of a waiting mail in the list: when it was first refused, and from where.
type Place = (u64, Network);

/// What is known of a network with refused mail, or that is let in.
#[derive(Default)]
struct OfNetwork {
    mails: Mails,
    /// By the fingerprint of their sender though they have one of their own. That record may be lost: they count if there are none else.
    perhaps: Mails,
    let_in: Option<LetInNow>,
    details: Option<Box<Details>>,
}

/// Of mails whose network is not among those told apart.
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
            waiting: Top::new(MOST_WAITING),
            perhaps_waiting: Top::new(MOST_WAITING),
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
                    let refusals = known.details().map_or(0, |details| details.refusals);
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
                oldest: oldest_waiting(self.waiting, self.perhaps_waiting, &self.networks, all.waiting),
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
        let let_in = record.let_in.filter(|let_in| let_in.in_force(self.now));
        // Its penalty goes on, and would refuse it again were it no longer let in.
        let penalty = record.penalty.filter(|_| let_in.is_none());
        if let Some(penalty) = penalty.filter(|penalty| in_force(*penalty, self.now)) {
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
        if let Some(LetIn { since, until, by_operator, .. }) = let_in
            && let Some(known) = self.of_network(network)
        {
            known.let_in = Some(LetInNow { since, until, by_operator });
        }
    }

    fn add_mail(&mut self, mail: &MailRecord, is_exact: bool) {
        let brief = Brief::of(mail, is_exact, self.now);
        // Most mails have two records, which say the same.
        let counts = is_exact || mail.message_id != MessageId::Known;
        if brief.waits() {
            let waiting = if counts { &mut self.waiting } else { &mut self.perhaps_waiting };
            waiting.add((mail.first_refusal, mail.network), || waiting_mail(mail));
        }
        let Some(known) = self.of_network(mail.network) else {
            self.not_classified.records += 1;
            if counts {
                self.not_classified.mails.add(brief);
            }
            return;
        };
        let of_kind = if counts { &mut known.mails } else { &mut known.perhaps };
        of_kind.add(brief);
        let shows_it = brief.shows == Shows::Never;
        if is_exact && (shows_it || brief.was_let_in()) {
            let is_new = known.details.is_none();
            let details = known.details.get_or_insert_with(|| Box::new(Details::new(shows_it)));
            if shows_it && !details.shows_it {
                **details = Details::new(true);
            }
            if shows_it == details.shows_it {
                details.add(mail);
            }
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
    fn mails(&self) -> &Mails {
        if self.mails.is_empty() { &self.perhaps } else { &self.mails }
    }

    fn kind(&self) -> Option<ClientKind> {
        match self.let_in {
            Some(let_in) if !let_in.by_operator => Some(ClientKind::Never),
            _ => self.mails().kind(),
        }
    }

    /// Of mails that were let in only where the policy lets the network in: by its own numbers, they show that it does not fall back.
    fn details(&self) -> Option<&Details> {
        let by_policy = self.let_in.is_some_and(|let_in| !let_in.by_operator);
        self.details.as_deref().filter(|details| details.shows_it || by_policy)
    }

    fn never_falls_back(&self, network: Network) -> NeverFallsBack {
        let details = self.details();
        let since = details.map(|details| details.since).or(self.let_in.map(|let_in| let_in.since));
        NeverFallsBack {
            network: network.to_string(),
            ehlo_names: details.map(|details| details.ehlo_names.clone()).unwrap_or_default(),
            sender_domains: details.map(|details| details.sender_domains.clone()).unwrap_or_default(),
            since,
            refusals: details.map_or(0, |details| details.refusals),
            last_refusal: details.map(|details| details.last_refusal),
            lacked: details.map(|details| details.lacked.clone()).unwrap_or_default(),
            refused_for: details.map(|details| details.refused_for),
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

/// The oldest of so many.
fn oldest_waiting(
    waiting: Top<Place, WaitingMail>,
    perhaps: Top<Place, WaitingMail>,
    networks: &HashMap<Network, OfNetwork>,
    total: u64,
) -> Listing<WaitingMail> {
    let counts = |network: &Network| networks.get(network).is_some_and(|known| known.mails.is_empty());
    let mut all = waiting.into_parts().0;
    all.extend(perhaps.into_parts().0.into_iter().filter(|((_, network), _)| counts(network)));
    all.sort_by_key(|(place, _)| *place);
    all.truncate(MOST_WAITING);
    let more = total.saturating_sub(all.len() as u64);
    Listing { entries: all.into_iter().map(|(_, mail)| mail).collect(), more }
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
mod tests;

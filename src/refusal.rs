//! Records of refused mails: made at a refusal, settled when the mail is seen (A33).

use crate::case::Case;
use crate::contract::{Connection, Key, Link, Listener, MatchKind, RecordUpdate, Stage};
use crate::explain::Trail;
use crate::fingerprint::{Fingerprints, tag};
use crate::lacking;
use crate::network::Network;
use crate::policy::MAX_FAILED;
use crate::record::{self, Found, MailRecord, NetworkRecord, RefusedFor, Settled, SettledBy, Waiting, network_key, shortened};

/// A mail with the records that are kept about it.
pub(crate) struct Mail {
    exact: Kept,
    inferred: Kept,
    /// A record could not be read.
    pub(crate) is_malformed: bool,
}

/// What is kept under one of the mail's fingerprints.
struct Kept {
    /// `None` where the mail has no such fingerprint.
    key: Option<Key>,
    record: Option<MailRecord>,
    /// It is another than the one that was found.
    is_changed: bool,
}

impl Kept {
    /// The mail was refused once more.
    fn refuse(&mut self, refusal: &MailRecord) {
        if self.key.is_none() {
            return;
        }
        // What was seen since begins anew.
        let before = self.record.take().filter(|mail| mail.settled.is_none());
        let mut mail = refusal.clone();
        if let Some(before) = before {
            mail.first_refusal = before.first_refusal.min(mail.first_refusal);
            mail.refusals = before.refusals.saturating_add(1);
        }
        self.record = Some(mail);
        self.is_changed = true;
    }

    /// The mail was seen.
    fn settle(&mut self, settled: Settled) {
        if let Some(mail) = self.record.as_mut().filter(|mail| mail.settled.is_none()) {
            mail.settled = Some(settled);
            self.is_changed = true;
        }
    }

    fn tag(&self) -> Option<u32> {
        self.key.map(tag)
    }

    /// The refusal that this mail's next refusal or arrival belongs to.
    fn link(&self, match_kind: MatchKind, now: u64) -> Option<Link> {
        let mail = self.record.as_ref().filter(|mail| mail.settled.is_none())?;
        let seconds = u32::try_from(now.saturating_sub(mail.first_refusal)).unwrap_or(u32::MAX);
        Some(Link { match_kind, network: network_key(mail.network), seconds })
    }
}

impl Mail {
    /// What is known of the mail that is being sent.
    pub(crate) fn of(case: &Case<'_>) -> Self {
        let Fingerprints { exact, inferred } = Fingerprints::of(case.key, case.connection, case.envelope, case.message);
        let mut is_malformed = false;
        let mut find = |key: Option<Key>| {
            let record = match key.map_or(Found::Absent, |key| record::find(&case.connection.records, key)) {
                Found::Record(mail) => Some(mail),
                Found::Absent => None,
                Found::Malformed => {
                    is_malformed = true;
                    None
                }
            };
            Kept { key, record, is_changed: false }
        };
        let (exact, inferred) = (find(exact), find(inferred));
        Mail { exact, inferred, is_malformed }
    }

    /// Whether it was refused before, whatever became of it since. Sure, by its exact fingerprint.
    pub(crate) fn was_refused(&self) -> bool {
        self.exact.record.is_some()
    }

    /// Whether mail of this sender was refused and not seen since. What it was cannot be told before the message is there.
    pub(crate) fn is_perhaps_waiting(&self) -> bool {
        self.inferred.record.as_ref().is_some_and(|mail| mail.settled.is_none())
    }

    /// The earlier refusal that this mail's next refusal or arrival over IPv6 belongs to. By its sender alone only where it has no exact
    /// fingerprint: senders write many mails.
    pub(crate) fn link(&self, now: u64) -> Option<Link> {
        match self.exact.key {
            Some(_) => self.exact.link(MatchKind::Exact, now),
            None => self.inferred.link(MatchKind::Inferred, now),
        }
    }

    /// The mail is refused once more: its record under the exact fingerprint, if it has one, and all that is to be stored. It waits
    /// in the network's record from now on.
    pub(crate) fn refuse(
        &mut self,
        case: &Case<'_>,
        refused_for: RefusedFor,
        network: Network,
        record: &mut NetworkRecord,
    ) -> Option<&MailRecord> {
        let now = case.connection.now;
        let lacked = match refused_for {
            RefusedFor::Unauthenticated => lacking::listed(&lacking::failed(case)),
            RefusedFor::Distrusted => "distrusted domain".into(),
        };
        let sender = case.envelope.map_or("", |envelope| &envelope.mail_from);
        let ehlo_name = case.connection.ehlo_name.as_deref().unwrap_or_default();
        let refusal = MailRecord {
            network,
            first_refusal: now,
            last_refusal: now,
            refusals: 1,
            acknowledged: case.connection.acknowledged,
            refused_for,
            lacked: shortened(&lacked, MAX_FAILED).into(),
            ehlo_name: shortened(ehlo_name, MailRecord::MAX_NAME).into(),
            sender_domain: shortened(sender.rsplit_once('@').map_or("", |(_, domain)| domain), MailRecord::MAX_NAME).into(),
            settled: None,
        };
        self.exact.refuse(&refusal);
        self.inferred.refuse(&refusal);
        let waits = self.exact.record.as_ref().or(self.inferred.record.as_ref());
        if let Some(since) = waits.map(|mail| mail.first_refusal) {
            let waiting = Waiting {
                exact: self.exact.tag().unwrap_or(0),
                inferred: self.inferred.tag().unwrap_or(0),
                since,
                acknowledged: case.connection.acknowledged,
            };
            record.add_waiting(waiting, now);
        }
        self.exact.record.as_ref()
    }

    /// The mail was seen: its records say so, and it waits no longer.
    pub(crate) fn settle(&mut self, by: SettledBy, now: u64, record: &mut NetworkRecord) {
        let settled = Settled { at: now, by };
        // Another mail of the same sender may still wait; then the inferred record is about that one.
        let same = match (&self.exact.record, &self.inferred.record) {
            (Some(exact), Some(inferred)) => inferred.last_refusal <= exact.last_refusal,
            (Some(_), None) => false,
            (None, _) => self.exact.key.is_none() || by == SettledBy::Ipv4,
        };
        self.exact.settle(settled);
        if same {
            self.inferred.settle(settled);
        }
        record.remove_waiting(self.exact.tag(), self.inferred.tag().filter(|_| same));
    }

    /// What is to be stored: the records that are others than those that were found.
    pub(crate) fn updates(&self, now: u64, updates: &mut Vec<RecordUpdate>) {
        for kept in [&self.exact, &self.inferred] {
            if let (true, Some(key), Some(mail)) = (kept.is_changed, kept.key, &kept.record) {
                updates.push(mail.update(key, now));
            }
        }
    }
}

/// Whether a mail can arrive here, so that it is looked whether it was refused over IPv6: at the end of data, from another domain's
/// server.
pub(crate) fn may_arrive(connection: &Connection) -> bool {
    connection.stage == Stage::EndOfData && connection.listener == Listener::Mx && !connection.authenticated
}

/// A mail arrived over IPv4: the refusal that sent it here, and the records that give its network credit (A33). By its sender alone where
/// it was refused before the message was there, or where its Message-ID was another.
pub(crate) fn arrived(case: &Case<'_>, trail: &mut Trail) -> (Option<Link>, Vec<RecordUpdate>) {
    let now = case.connection.now;
    let mut mail = Mail::of(case);
    let exact = mail.exact.link(MatchKind::Exact, now);
    // A mail that arrived before, for other recipients, is not another mail of its sender.
    let inferred = if mail.was_refused() { None } else { mail.inferred.link(MatchKind::Inferred, now) };
    let Some(link) = exact.or(inferred) else { return (None, Vec::new()) };
    trail.say(format_args!("refused {} s ago from {}/{}", link.seconds, link.network.address, link.network.prefix_length));
    let found = match record::find::<NetworkRecord>(&case.connection.records, link.network) {
        Found::Record(record) => record,
        _ => NetworkRecord::default(),
    };
    let mut record = found;
    mail.settle(SettledBy::Ipv4, now, &mut record);
    let mut updates = Vec::new();
    mail.updates(now, &mut updates);
    if record != found {
        let network = Network::of(link.network.address, link.network.prefix_length);
        updates.push(record.update(network, &case.policy.penalty, now));
    }
    (Some(link), updates)
}

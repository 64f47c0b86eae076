//! Records of refused mails: made at a refusal, settled when the mail is seen (A33).

use std::borrow::Cow;

use crate::case::Case;
use crate::contract::{Connection, Key, Link, Listener, MatchKind, RecordUpdate, Stage};
use crate::explain::Trail;
use crate::fingerprint::{Fingerprints, tag};
use crate::lacking;
use crate::network::Network;
use crate::record::{
    self, Found, MailRead, MailRecord, MessageId, NetworkRecord, RefusedFor, Settled, SettledBy, Waiting, network_key, shortened,
};

/// A mail with the records that are kept about it.
pub(crate) struct Mail<'a> {
    exact: Kept<'a>,
    inferred: Kept<'a>,
    /// A record could not be read.
    pub(crate) is_malformed: bool,
}

/// What is kept under one of the mail's fingerprints.
struct Kept<'a> {
    /// `None` where the mail has no such fingerprint.
    key: Option<Key>,
    record: Option<MailRead<'a>>,
    /// It is another than the one that was found.
    is_changed: bool,
}

impl<'a> Kept<'a> {
    /// The mail was refused once more.
    fn refuse(&mut self, refusal: &MailRead<'a>) {
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

    /// It was refused, and not seen since.
    fn waiting(&self) -> Option<&MailRead<'a>> {
        self.record.as_ref().filter(|mail| mail.settled.is_none())
    }
}

impl<'a> Mail<'a> {
    /// What is known of the mail that is being sent.
    pub(crate) fn of(case: &Case<'a>) -> Self {
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

    /// Whether mail of this sender was refused and not seen since. What it was cannot be told before the message is there.
    pub(crate) fn is_perhaps_waiting(&self) -> bool {
        self.inferred.waiting().is_some()
    }

    /// Whether its failure was counted before (A6): it was refused, whatever became of it since, by its exact fingerprint; or one of its
    /// sender was at DATA, which is this one as far as can be told, and the next is another.
    pub(crate) fn was_counted(&self) -> bool {
        self.exact.record.is_some() || self.exact.key.is_some() && self.inferred_refusal().is_some()
    }

    /// The refusal that this mail's next refusal or arrival belongs to.
    pub(crate) fn link(&self, now: u64) -> Option<Link> {
        let (match_kind, mail) = self.refusal()?;
        let seconds = u32::try_from(now.saturating_sub(mail.first_refusal)).unwrap_or(u32::MAX);
        Some(Link { match_kind, network: network_key(mail.network), seconds })
    }

    /// The mail as it was refused and not seen since.
    fn refusal(&self) -> Option<(MatchKind, &MailRead<'a>)> {
        match &self.exact.record {
            // One that was seen before, by other recipients, is not another mail of its sender.
            Some(_) => Some((MatchKind::Exact, self.exact.waiting()?)),
            None => Some((MatchKind::Inferred, self.inferred_refusal()?)),
        }
    }

    /// A refused mail that this one may be, by sender and EHLO name: senders write many mails, so that one whose Message-ID is known is
    /// another, and so is one that had none where this one has.
    fn inferred_refusal(&self) -> Option<&MailRead<'a>> {
        let may_be = |message_id| match message_id {
            MessageId::Known => false,
            MessageId::Absent => self.exact.key.is_none(),
            MessageId::NotYet => true,
        };
        self.inferred.waiting().filter(|mail| may_be(mail.message_id))
    }

    /// The mail is refused once more: its record under the exact fingerprint, if it has one, and all that is to be stored. It waits
    /// in the network's record from now on. `waited` is how it did in another network's.
    pub(crate) fn refuse(
        &mut self,
        case: &Case<'a>,
        refused_for: RefusedFor,
        network: Network,
        waited: Option<Waiting>,
        record: &mut NetworkRecord,
    ) -> Option<&MailRead<'a>> {
        let now = case.connection.now;
        let acknowledged = case.connection.acknowledged;
        let lacked = match refused_for {
            RefusedFor::Unauthenticated => Cow::Owned(lacking::listed(&lacking::failed(case))),
            RefusedFor::Distrusted => Cow::Borrowed("distrusted domain"),
        };
        let sender = case.envelope.map_or("", |envelope| &envelope.mail_from);
        let ehlo_name = case.connection.ehlo_name.as_deref().unwrap_or_default();
        let message_id = match (self.exact.key, case.connection.stage) {
            (Some(_), _) => MessageId::Known,
            (None, Stage::EndOfData) => MessageId::Absent,
            (None, _) => MessageId::NotYet,
        };
        let refusal = MailRecord {
            network,
            first_refusal: now,
            last_refusal: now,
            refusals: 1,
            acknowledged,
            message_id,
            refused_for,
            lacked,
            ehlo_name: shortened(ehlo_name, MailRecord::MAX_NAME).into(),
            sender_domain: shortened(sender.rsplit_once('@').map_or("", |(_, domain)| domain), MailRecord::MAX_NAME).into(),
            settled: None,
        };
        let refused = self.refusal();
        let is_inferred = refused.is_some_and(|(match_kind, _)| match_kind == MatchKind::Inferred);
        // It waits under its sender's fingerprint; from now on, under its own.
        let waits_so_far = is_inferred && self.exact.key.is_some();
        let waited = waited.or_else(|| record.remove_waiting(None, self.inferred.tag().filter(|_| waits_so_far)));
        // What A37 asks is how long it was not seen after a session with the verb.
        let since = match refused {
            Some((_, before)) if acknowledged && before.acknowledged => waited.map_or(before.last_refusal, |waited| waited.since),
            Some((_, before)) if !acknowledged => before.first_refusal,
            _ => now,
        };
        // Another mail of the sender that can only be known by this record keeps it.
        let other_waits = !is_inferred && self.inferred.waiting().is_some_and(|mail| mail.message_id != MessageId::Known);
        self.exact.refuse(&refusal);
        if !other_waits {
            self.inferred.refuse(&refusal);
        }
        if self.exact.key.or(self.inferred.key).is_some() {
            let (exact, inferred) = (self.exact.tag().unwrap_or(0), self.inferred.tag().unwrap_or(0));
            record.add_waiting(Waiting { exact, inferred, since: since.min(now), acknowledged }, now);
        }
        self.exact.record.as_ref()
    }

    /// The mail was seen: its records say so, and it waits no longer.
    pub(crate) fn settle(&mut self, by: SettledBy, now: u64, record: &mut NetworkRecord) {
        let settled = Settled { at: now, by };
        let is_same = self.inferred_is_same();
        self.exact.settle(settled);
        if is_same {
            self.inferred.settle(settled);
        }
        record.remove_waiting(self.exact.tag(), self.inferred.tag().filter(|_| is_same));
    }

    /// Whether the inferred record is about this mail, of which some refusal is known: another of the same sender may still wait.
    fn inferred_is_same(&self) -> bool {
        match (&self.exact.record, &self.inferred.record) {
            (Some(exact), Some(inferred)) => {
                inferred.message_id == MessageId::Known && inferred.last_refusal <= exact.last_refusal
            }
            (Some(_), None) => false,
            // It is what is known.
            (None, _) => true,
        }
    }

    /// The record of the network that the mail was refused from, if that is another than `network`: the mail waits there no longer. And how it
    /// did. Asked before the mail is refused once more, or seen.
    pub(crate) fn moved(&self, case: &Case<'_>, network: Network) -> Option<(RecordUpdate, Waiting)> {
        let (_, mail) = self.refusal().filter(|(_, mail)| mail.network != network)?;
        let Found::Record(mut record) = record::find::<NetworkRecord>(&case.connection.records, network_key(mail.network)) else {
            return None;
        };
        let inferred = self.inferred.tag().filter(|_| self.inferred_is_same());
        let waited = record.remove_waiting(self.exact.tag(), inferred)?;
        Some((record.update(mail.network, &case.policy.penalty, case.connection.now), waited))
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

/// A mail arrived over IPv4: the refusal that sent it here, and the records that give its network credit (A33).
pub(crate) fn arrived(case: &Case<'_>, trail: &mut Trail) -> (Option<Link>, Vec<RecordUpdate>) {
    let now = case.connection.now;
    let mut mail = Mail::of(case);
    let Some(link) = mail.link(now) else { return (None, Vec::new()) };
    trail.say(format_args!("refused {} s ago from {}/{}", link.seconds, link.network.address, link.network.prefix_length));
    let credit = mail.moved(case, case.network());
    mail.settle(SettledBy::Ipv4, now, &mut NetworkRecord::default());
    let mut updates = Vec::new();
    mail.updates(now, &mut updates);
    updates.extend(credit.map(|(update, _)| update));
    (Some(link), updates)
}

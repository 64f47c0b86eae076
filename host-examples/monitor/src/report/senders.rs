//! Mails that are known by their sender only: refused before their Message-ID was there, or without one.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::MailRecord;

use super::mails::{Brief, refusals_known};

/// So many refusals of mails with a fingerprint of their own are told apart: about 5 MB.
const MOST_REFUSALS: usize = 400_000;
/// So many records under the fingerprint of a sender are kept until it is known whether they are of other mails: about 8 MB.
const MOST_PENDING: usize = 100_000;

/// Finds the records under the fingerprint of a sender that no mail with a fingerprint of its own explains, whatever the order in which
/// both come. The relation is that of [`is_same_mail`](super::is_same_mail).
#[derive(Default)]
pub(super) struct Senders {
    state: RandomState,
    /// Of mails with a fingerprint of their own.
    refusals: HashSet<u64>,
    pending: Vec<Pending>,
    /// There are more refusals, or more pending records, than are kept.
    refusals_full: bool,
    pending_full: bool,
}

struct Pending {
    id: u64,
    network: Network,
    brief: Brief,
}

/// What became of the pending records.
pub(super) struct Found {
    /// Each is a mail that has no fingerprint of its own.
    pub(super) alone: Vec<(Network, Brief)>,
    /// Nobody knows.
    pub(super) unknown: Vec<(Network, Brief)>,
}

impl Senders {
    /// A mail has a fingerprint of its own.
    pub(super) fn explains(&mut self, exact: &MailRecord) {
        for time in refusals_known(exact) {
            let id = self.id(exact, time);
            if self.refusals.len() < MOST_REFUSALS {
                self.refusals.insert(id);
            } else {
                self.refusals_full |= !self.refusals.contains(&id);
            }
        }
    }

    /// A record under the fingerprint of a sender; `false` where there is no room for it.
    pub(super) fn add(&mut self, inferred: &MailRecord, brief: Brief) -> bool {
        let id = self.id_of(inferred);
        if self.refusals.contains(&id) {
            return true;
        }
        if self.pending.len() >= MOST_PENDING && !self.pending_full {
            self.pending.retain(|pending| !self.refusals.contains(&pending.id));
            // Half at least has to be free, or each record would look through all of them.
            self.pending_full = self.pending.len() > MOST_PENDING / 2;
        }
        if self.pending_full {
            return false;
        }
        self.pending.push(Pending { id, network: inferred.network, brief });
        true
    }

    /// What [`Senders::is_alone`] asks about.
    pub(super) fn id_of(&self, inferred: &MailRecord) -> u64 {
        self.id(inferred, inferred.last_refusal)
    }

    /// Whether no mail explains the record; `None` where that is not known. To be asked when all have been added.
    pub(super) fn is_alone(&self, id: u64) -> Option<bool> {
        let explained = self.refusals.contains(&id);
        (explained || !self.refusals_full).then_some(!explained)
    }

    /// To be asked when all have been added.
    pub(super) fn take(&mut self) -> Found {
        let mut found = Found { alone: Vec::new(), unknown: Vec::new() };
        for Pending { id, network, brief } in std::mem::take(&mut self.pending) {
            match self.is_alone(id) {
                Some(true) => found.alone.push((network, brief)),
                Some(false) => {}
                None => found.unknown.push((network, brief)),
            }
        }
        found
    }

    /// Keyed anew for each report: nobody can choose names so that two of them are one.
    fn id(&self, mail: &MailRecord, time: u64) -> u64 {
        self.state.hash_one((mail.network, &mail.sender_domain, time))
    }
}

#[cfg(test)]
mod tests {
    use super::super::is_same_mail;
    use super::super::mails::tests::{NOW, mail};
    use super::*;

    fn add(senders: &mut Senders, inferred: &MailRecord) -> bool {
        senders.add(inferred, Brief::of(inferred, false, NOW))
    }

    #[test]
    fn is_what_is_same_mail_says_in_both_orders() {
        let times = [(300, 100), (300, 300), (100, 100), (200, 100)];
        for exact in times {
            for inferred in times {
                let (exact, inferred) = (mail(2, exact.0, exact.1), mail(2, inferred.0, inferred.1));
                let alone = usize::from(!is_same_mail(&exact, &inferred));
                let mut senders = Senders::default();
                assert!(add(&mut senders, &inferred));
                senders.explains(&exact);
                assert_eq!(senders.take().alone.len(), alone, "{exact:?} {inferred:?}");
                let mut senders = Senders::default();
                senders.explains(&exact);
                assert!(add(&mut senders, &inferred));
                assert_eq!(senders.take().alone.len(), alone, "{exact:?} {inferred:?}");
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        let named = |n: usize| MailRecord { sender_domain: format!("{n}.example"), ..mail(1, 100, 100) };
        let mut senders = Senders::default();
        for n in 0..MOST_PENDING {
            assert!(add(&mut senders, &named(n)));
            senders.explains(&named(n));
        }
        // What has been explained makes room.
        for n in 0..MOST_PENDING {
            assert!(add(&mut senders, &named(MOST_PENDING + n)));
        }
        assert!(!add(&mut senders, &named(2 * MOST_PENDING)), "there is none left");
        assert!(add(&mut senders, &named(0)), "what is explained needs none");
        assert_eq!(senders.pending.len(), MOST_PENDING);
        for n in 0..MOST_REFUSALS + 10 {
            senders.explains(&named(n + 10 * MOST_PENDING));
        }
        assert_eq!(senders.refusals.len(), MOST_REFUSALS);
        let found = senders.take();
        assert_eq!((found.alone.len(), found.unknown.len()), (0, MOST_PENDING), "who explains them may not be known");
    }
}

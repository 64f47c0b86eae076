//! What a refusal leads to: its record (A33), letting its network in (A34), and its end.

use super::Judge;
use crate::contract::{KeyKind, Note, Reason, Verdict};
use crate::no_fallback::{self, Admission};
use crate::policy::NoFallbackAction;
use crate::record::{BudgetRecord, RefusedFor, SettledBy, budget_key};
use crate::refusal::Mail;
use crate::reply;

impl<'a> Judge<'a, '_> {
    /// Whether the network is let in with such a mail, and the record of its /48. An operator's word is about all of its mail, the policy's
    /// about unauthenticated mail only: whose domain is distrusted has an operator's word against it.
    pub(super) fn admission(&mut self, refused_for: RefusedFor) -> (Admission, BudgetRecord) {
        let case = self.case;
        let budget: BudgetRecord = self.find(budget_key(case.connection.client));
        let by_operator = self.record.let_in.is_some_and(|let_in| let_in.by_operator);
        let admission = if refused_for == RefusedFor::Unauthenticated || by_operator {
            no_fallback::admission(&case.policy.no_fallback, &self.record, &budget, case.connection.now)
        } else {
            Admission::None
        };
        (admission, budget)
    }

    /// Takes the mail from what its network may send while it is let in (A34); nothing is taken where that is only observed (A38).
    pub(super) fn is_let_in(&mut self, refused_for: RefusedFor) -> bool {
        let (admission, mut budget) = self.admission(refused_for);
        match admission {
            Admission::None => return false,
            Admission::UsedUp => {
                self.trail.say(format_args!("{} is let in, but has used up what it may send", self.network));
                self.notes.push(Note::LetInUsedUp);
                return false;
            }
            Admission::Open => self.trail.say(format_args!("{} is let in", self.network)),
        }
        if !self.observing {
            let before = budget;
            no_fallback::take(&self.case.policy.no_fallback, &mut self.record, &mut budget, self.case.connection.now);
            self.budget = (budget != before).then_some(budget);
        }
        true
    }

    /// Keeps the refusal under the mail's fingerprints (A33), unless it is only observed (A38). Whether this mail shows that its client does
    /// not fall back (A34).
    pub(super) fn keep_refusal(&mut self, refused_for: RefusedFor) -> bool {
        if self.observing {
            return false;
        }
        let (case, network) = (self.case, self.network);
        let mail = self.mail.get_or_insert_with(|| Mail::of(case));
        self.linked = mail.link(case.connection.now);
        let (moved, waited) = mail.moved(case, network).unzip();
        let exact = mail.refuse(case, refused_for, network, waited, &mut self.record);
        self.moved = moved;
        exact.is_some_and(|exact| no_fallback::is_reached(&case.policy.no_fallback, exact))
    }

    /// What the policy says about a client that does not fall back; nothing where the refusal stands.
    pub(super) fn never_falls_back(&mut self) -> Option<(Verdict, Reason)> {
        let case = self.case;
        self.trail.say(format_args!("this mail was refused so often that its client does not fall back"));
        match case.policy.no_fallback.action {
            NoFallbackAction::Alert => self.notes.push(Note::NeverFallsBack),
            NoFallbackAction::Reject if !case.connection.ipv4_arrivals_visible => {
                self.notes.push(Note::Ipv4ArrivalsNotVisible);
            }
            NoFallbackAction::Reject => {
                self.settle(SettledBy::Rejected);
                return Some((Verdict::Refuse(reply::never_falls_back(case, self.network)), Reason::NeverFallsBack));
            }
            NoFallbackAction::LetIn => {
                let now = case.connection.now;
                // One that was let in and has used that up is not let in anew.
                if self.record.let_in.is_some_and(|let_in| let_in.in_force(now)) {
                    return None;
                }
                let before = self.record.let_in;
                no_fallback::begin(&case.policy.no_fallback, &mut self.record, now);
                if !self.is_let_in(RefusedFor::Unauthenticated) {
                    self.record.let_in = before;
                    return None;
                }
                self.notes.push(Note::LetInBegins);
                self.settle(SettledBy::LetIn);
                return Some((Verdict::Accept, Reason::LetIn));
            }
        }
        None
    }

    /// The mail is accepted: if it was refused before, it waits no longer.
    pub(super) fn seen(&mut self, by: SettledBy) {
        let (case, network) = (self.case, self.network);
        // Most mail was never refused, and its fingerprints cost more than all else.
        let is_mail = |kind| matches!(kind, KeyKind::Exact | KeyKind::Inferred);
        if !case.connection.records.iter().any(|record| is_mail(record.key.kind)) {
            return;
        }
        if let Some(link) = self.mail().link(case.connection.now) {
            self.linked = Some(link);
            self.moved = self.mail().moved(case, network).map(|(update, _)| update);
            self.settle(by);
        }
    }

    fn settle(&mut self, by: SettledBy) {
        let case = self.case;
        self.mail.get_or_insert_with(|| Mail::of(case)).settle(by, case.connection.now, &mut self.record);
    }

    /// What is known of the mail.
    pub(super) fn mail(&mut self) -> &mut Mail<'a> {
        let case = self.case;
        self.mail.get_or_insert_with(|| Mail::of(case))
    }
}

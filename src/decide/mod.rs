//! The way of a message through the policy: the order in which the rules are asked.

mod refused;

use crate::case::Case;
use crate::contract::{Check, Decision, Key, Link, Mode, Note, Reason, RecordUpdate, Stage, Verdict};
use crate::evidence::Evidence;
use crate::exemption::{self, Exemption};
use crate::explain::Trail;
use crate::lacking;
use crate::network::Network;
use crate::no_fallback::{self, Admission};
use crate::penalty::{self, AtGreeting, Capability, GreetingPass};
use crate::policy::{self, DecideAt};
use crate::record::{
    self, AddressRecord, BudgetRecord, Codec, Found, NetworkRecord, RefusedFor, SettledBy, address_key, budget_key, network_key,
};
use crate::refusal::{self, Mail};
use crate::reply;
use crate::requirement::{self, Outcome, Passes};
use crate::scope;
use crate::temporary;

/// How long an acknowledgement is taken as noted: a session a day is enough for the 30 days of A5.
const CAPABILITY_NOTED_FOR: u64 = 24 * 3600;

/// Decides, and leaves the path in `trail`.
pub(crate) fn decide(case: &Case<'_>, trail: &mut Trail) -> Decision {
    let connection = case.connection;
    trail.say(format_args!("client {}", connection.client));
    if let Some(reason) = scope::outside(case.policy, connection) {
        trail.say(format_args!("nothing to ask of this connection: {}", reason.as_str()));
        // Whether a network is in the roll-out is no matter where nothing can be refused.
        let enforced = case.policy.mode == Mode::Enforce;
        let mut ruling = Ruling::new(Verdict::Accept, reason);
        // IPv4 goes on, since its arrivals are of interest at the end; the others need not be asked about again.
        if reason == Reason::Ipv4 {
            ruling.verdict = case.passing();
            if refusal::may_arrive(connection) {
                (ruling.linked, ruling.records) = refusal::arrived(case, trail);
            }
        }
        return ruling.into_decision(case, enforced);
    }
    let network = case.network();
    let enforced = case.is_enforced(network);
    let mut ruling = Judge::new(case, network, !enforced, trail).rule();
    if !case.is_rolled_out(network) {
        trail.say(format_args!("{network} is not in the roll-out of {} %", case.policy.rollout_percent));
        ruling.notes.push(Note::NotRolledOut);
    }
    ruling.into_decision(case, enforced)
}

/// What enforce mode answers.
struct Ruling {
    verdict: Verdict,
    reason: Reason,
    linked: Option<Link>,
    notes: Vec<Note>,
    records: Vec<RecordUpdate>,
}

impl Ruling {
    fn new(verdict: Verdict, reason: Reason) -> Self {
        Ruling { verdict, reason, linked: None, notes: Vec::new(), records: Vec::new() }
    }

    fn into_decision(self, case: &Case<'_>, enforced: bool) -> Decision {
        let (verdict, would) = if enforced { (self.verdict, None) } else { (case.passing(), Some(self.verdict)) };
        Decision {
            verdict,
            reason: self.reason,
            would,
            authenticated_domains: case.authenticated_domains(),
            linked: self.linked,
            notes: self.notes,
            records: self.records,
        }
    }
}

/// Judges a connection or a message that is in scope.
struct Judge<'a, 't> {
    case: &'a Case<'a>,
    network: Network,
    observing: bool,
    trail: &'t mut Trail,
    linked: Option<Link>,
    notes: Vec<Note>,
    /// The network's record as it will be, and as it was found.
    record: NetworkRecord,
    found: NetworkRecord,
    /// The address's record, once its message is judged.
    address: Option<AddressRecord>,
    /// The record of the /48, once something is taken from it.
    budget: Option<BudgetRecord>,
    /// The mail, once it is looked at.
    mail: Option<Mail<'a>>,
    /// The record of another network, where the mail does not wait any more.
    moved: Option<RecordUpdate>,
}

impl<'a, 't> Judge<'a, 't> {
    fn new(case: &'a Case<'a>, network: Network, observing: bool, trail: &'t mut Trail) -> Self {
        let mut notes = Vec::new();
        let found = find(case, network_key(network), trail, &mut notes);
        Judge {
            case,
            network,
            observing,
            trail,
            linked: None,
            notes,
            record: found,
            found,
            address: None,
            budget: None,
            mail: None,
            moved: None,
        }
    }

    fn rule(mut self) -> Ruling {
        let (verdict, reason) = match self.case.connection.stage {
            Stage::Greeting | Stage::Ehlo => self.at_greeting(),
            Stage::Mail | Stage::Rcpt => self.goes_on(),
            Stage::Data if self.case.policy.decide_at == DecideAt::EndOfData => self.goes_on(),
            Stage::Data | Stage::EndOfData => self.message(),
        };
        if self.case.is_end_of_data() && (self.observing || verdict == Verdict::Accept) {
            self.seen(SettledBy::Ipv6);
        }
        if self.mail.as_ref().is_some_and(|mail| mail.is_malformed) {
            note_malformed(&mut self.notes);
        }
        let records = self.records();
        Ruling { verdict, reason, linked: self.linked, notes: self.notes, records }
    }

    /// What has changed.
    fn records(&mut self) -> Vec<RecordUpdate> {
        let (connection, policy) = (self.case.connection, &self.case.policy.penalty);
        let (client, now) = (connection.client, connection.now);
        let mut records = Vec::new();
        records.extend(self.address.map(|address| address.update(client, policy, now)));
        if self.record != self.found {
            records.push(self.record.update(self.network, policy, now));
        }
        records.extend(self.budget.map(|budget| budget.update(client, now)));
        if let Some(mail) = &self.mail {
            mail.updates(now, &mut records);
        }
        records.extend(self.moved.take());
        records
    }

    /// Nothing is decided at this stage.
    fn goes_on(&mut self) -> (Verdict, Reason) {
        self.note_capability();
        (Verdict::Continue, Reason::Undecided)
    }

    /// A penalty in force refuses before anything is known about the mail (P6, P7, P12).
    fn at_greeting(&mut self) -> (Verdict, Reason) {
        let case = self.case;
        if let Exemption::Exempt(reason) = exemption::of_name(case) {
            self.trail.say(format_args!("the client's confirmed name is exempt"));
            return (Verdict::Continue, reason);
        }
        // Of its records, `keys` asks for none.
        if !case.policy.penalty.at_greeting {
            self.trail.say(format_args!("the policy has no penalty at the greeting"));
            return (Verdict::Continue, Reason::Undecided);
        }
        let now = case.connection.now;
        match no_fallback::at_greeting(&case.policy.no_fallback, &self.record, now) {
            Admission::Open => {
                self.trail.say(format_args!("{} is let in", self.network));
                return (Verdict::Continue, Reason::LetIn);
            }
            Admission::UsedUp => self.notes.push(Note::LetInUsedUp),
            Admission::None => {}
        }
        let address: AddressRecord = self.find(address_key(case.connection.client));
        let penalty = &case.policy.penalty;
        match penalty::at_greeting(penalty, case.key, case.connection, &self.record, address.evidence, self.observing) {
            AtGreeting::NoPenalty => {
                self.trail.say(format_args!("no penalty of {} is in force", self.network));
                (Verdict::Continue, Reason::Undecided)
            }
            AtGreeting::Passes(pass) => {
                self.trail.say(format_args!(
                    "{} has a penalty, which this connection passes: {}",
                    self.network,
                    pass.note().as_str()
                ));
                self.notes.push(pass.note());
                // At its EHLO it is the same probe.
                let nonce = Some(case.connection.nonce);
                let is_same = case.connection.stage == Stage::Ehlo && self.record.probe == nonce;
                if pass == GreetingPass::DueProbe && !is_same {
                    (self.record.probed_at, self.record.probe) = (Some(now), nonce);
                }
                (Verdict::Continue, Reason::Undecided)
            }
            AtGreeting::Refuse => {
                self.trail.say(format_args!("the penalty of {} is in force", self.network));
                (Verdict::Refuse(reply::penalty(case, self.network)), Reason::Penalty)
            }
        }
    }

    /// The requirement (P10). At DATA only what can no longer change is answered (A13).
    fn message(&mut self) -> (Verdict, Reason) {
        let case = self.case;
        let is_end = case.is_end_of_data();
        let exemption = exemption::of_message(case);
        if let Exemption::Exempt(reason) = exemption {
            self.trail.say(format_args!("the message is exempt: {}", reason.as_str()));
            self.note_capability();
            return (case.passing(), reason);
        }
        let outcome = requirement::evaluate(case, Passes::Trusted);
        if self.trail.is_on() {
            let names = lacking::names(&case.policy.require);
            self.trail.say(format_args!("the requirement ({names}) is {}", outcome.as_str()));
        }
        match outcome {
            Outcome::Met => {
                if is_end {
                    self.judged(Some(true));
                }
                (case.passing(), if is_end { Reason::Authenticated } else { Reason::Undecided })
            }
            Outcome::Unmet if exemption == Exemption::None => self.unmet(),
            Outcome::Unmet | Outcome::Unknown if !is_end => self.goes_on(),
            Outcome::Unmet | Outcome::Unknown => self.not_known(),
        }
    }

    /// The requirement cannot be met.
    fn unmet(&mut self) -> (Verdict, Reason) {
        let case = self.case;
        if case.is_end_of_data() && case.has_no_evidence() && policy::checks(case.policy) != [Check::Tls] {
            self.trail.say(format_args!("the host gave no results"));
            return (Verdict::Accept, Reason::NoEvidence);
        }
        // Distrust decided also where the rest is not known: that is no failure of authentication.
        let (refused_for, reason) = if requirement::evaluate(case, Passes::All) == Outcome::Unmet {
            (RefusedFor::Unauthenticated, Reason::Unauthenticated)
        } else {
            self.trail.say(format_args!("it is met by distrusted domains only"));
            (RefusedFor::Distrusted, Reason::Distrusted)
        };
        if !case.is_end_of_data() && !self.is_answered_at_data(refused_for) {
            return self.goes_on();
        }
        let refusal = match refused_for {
            RefusedFor::Unauthenticated => reply::unauthenticated(case, self.network),
            RefusedFor::Distrusted => reply::distrusted(case, self.network),
        };
        let refusal = (Verdict::Refuse(refusal), reason);
        if !self.is_judged_here() {
            return refusal;
        }
        // Distrust is neither a pass nor a failure of authentication (A30). Bounces are often unsigned, and say nothing about the mail of
        // their network; a mail that was refused is no new evidence (A6).
        let is_evidence = reason == Reason::Unauthenticated && !case.is_null_sender() && !self.mail().was_counted();
        self.judged(is_evidence.then_some(false));
        if self.is_let_in(refused_for) {
            self.seen(SettledBy::LetIn);
            return (Verdict::Accept, Reason::LetIn);
        }
        if self.keep_refusal(refused_for)
            && reason == Reason::Unauthenticated
            && let Some(other) = self.never_falls_back()
        {
            return other;
        }
        refusal
    }

    /// In observe mode the mail goes on to the end of data, and is judged there.
    fn is_judged_here(&self) -> bool {
        !self.observing || self.case.is_end_of_data()
    }

    /// At DATA, mail that may be let in, or has to be recognised by its Message-ID, is heard to its end (A34).
    fn is_answered_at_data(&mut self, refused_for: RefusedFor) -> bool {
        if self.admission(refused_for).0 == Admission::Open {
            self.trail.say(format_args!("it is heard to its end: its network is let in"));
            return false;
        }
        // Bounces have nothing else to be recognised by.
        if refused_for == RefusedFor::Unauthenticated && (self.case.is_null_sender() || self.mail().is_perhaps_waiting()) {
            self.trail.say(format_args!("it is heard to its end: it may be a mail that was refused before"));
            return false;
        }
        true
    }

    /// A result that decides is missing or temporary (A27).
    fn not_known(&mut self) -> (Verdict, Reason) {
        let case = self.case;
        if case.has_no_evidence() {
            self.trail.say(format_args!("the host gave no results"));
            return (Verdict::Accept, Reason::NoEvidence);
        }
        let connection = case.connection;
        let mut budget: BudgetRecord = self.find(budget_key(connection.client));
        if !temporary::take(&case.policy.temporary_errors, &mut self.record, &mut budget, connection.now) {
            self.trail.say(format_args!("the budget for temporary errors is used up"));
            return (Verdict::Refuse(reply::temporary_error(case, self.network)), Reason::TemporaryErrorBudget);
        }
        self.trail.say(format_args!("a message from the budget for temporary errors"));
        self.budget = Some(budget);
        note_capable(&mut self.record, case);
        (Verdict::Accept, Reason::TemporaryError)
    }

    /// A message was judged: its session shows what the network is capable of, and its outcome, if any, is evidence.
    fn judged(&mut self, passed: Option<bool>) {
        let case = self.case;
        let (connection, policy) = (case.connection, &case.policy.penalty);
        let now = connection.now;
        penalty::correct_capability(&mut self.record, now);
        if !self.observing && no_fallback::note_not_believed(&mut self.record, connection.ipv4_arrivals_visible, now) {
            self.trail.say(format_args!("{} issues the verb, but does not fall back", self.network));
            self.notes.push(Note::VerbNotBelieved);
        }
        let believed = !no_fallback::is_not_believed(&self.record, connection.ipv4_arrivals_visible, now);
        if connection.acknowledged {
            if believed {
                self.record.capable_at = Some(now);
            }
        } else if connection.keyword_shown {
            self.record.incapable_at = Some(now);
        }
        if let Some(passed) = passed {
            let mut address: AddressRecord = self.find(address_key(connection.client));
            let evidence: &mut Evidence = &mut address.evidence;
            *evidence = evidence.decayed(now, policy.half_life).with(passed);
            self.address = Some(address);
            let note = penalty::judged(policy, case.key, connection, &mut self.record, passed, self.observing);
            let evidence = self.record.evidence;
            let (passed, failed) = (evidence.passed >> 10, evidence.failed >> 10);
            let effect = note.as_ref().map_or("no change of penalty", Note::as_str);
            self.trail.say(format_args!("{} now has about {passed} passes and {failed} failures: {effect}", self.network));
            self.notes.extend(note);
        }
    }

    /// Before a message is judged, an acknowledgement is all that a session shows (A5).
    fn note_capability(&mut self) {
        if !self.case.connection.acknowledged {
            return;
        }
        if note_capable(&mut self.record, self.case) {
            self.trail.say(format_args!("{} is capable of the extension", self.network));
        } else {
            self.record = self.found;
        }
    }

    /// The record, or a new one where there is none that can be read.
    fn find<R: Codec<'a> + Default>(&mut self, key: Key) -> R {
        find(self.case, key, self.trail, &mut self.notes)
    }
}

/// The record, or a new one where there is none that can be read.
fn find<'a, R: Codec<'a> + Default>(case: &'a Case<'a>, key: Key, trail: &mut Trail, notes: &mut Vec<Note>) -> R {
    match record::find(&case.connection.records, key) {
        Found::Record(record) => record,
        Found::Absent => R::default(),
        Found::Malformed => {
            trail.say(format_args!("a record of {}/{} cannot be read", key.address, key.prefix_length));
            note_malformed(notes);
            R::default()
        }
    }
}

fn note_malformed(notes: &mut Vec<Note>) {
    if !notes.contains(&Note::MalformedRecord) {
        notes.push(Note::MalformedRecord);
    }
}

/// Notes an acknowledgement, unless that was done within a day; whether the record changed.
fn note_capable(record: &mut NetworkRecord, case: &Case<'_>) -> bool {
    let now = case.connection.now;
    penalty::correct_capability(record, now);
    let noted = penalty::capability(record, now) == Capability::Capable
        && record.capable_at.is_some_and(|time| now.saturating_sub(time) < CAPABILITY_NOTED_FOR);
    let believed = !no_fallback::is_not_believed(record, case.connection.ipv4_arrivals_visible, now);
    if !case.connection.acknowledged || !believed || noted {
        return false;
    }
    record.capable_at = Some(now);
    true
}

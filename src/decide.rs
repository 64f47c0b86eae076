//! The way of a message through the policy: the order in which the rules are asked.

use crate::case::Case;
use crate::contract::{Check, Decision, Mode, Note, Reason, RecordUpdate, Stage, Verdict};
use crate::evidence::Evidence;
use crate::exemption::{self, Exemption};
use crate::explain::Trail;
use crate::lacking;
use crate::network::Network;
use crate::penalty::{self, AtGreeting, Capability};
use crate::policy::{self, DecideAt};
use crate::record::{self, AddressRecord, BudgetRecord, Found, NetworkRecord, Record, address_key, budget_key, network_key};
use crate::reply;
use crate::requirement::{self, Outcome, Passes};
use crate::scope;
use crate::temporary;

/// How long an acknowledgement is taken as noted: a session a day is enough for the 30 days of A5.
const CAPABILITY_NOTED_FOR: u64 = 24 * 3600;

/// Decides, and leaves the path in `trail`.
pub(crate) fn decide(case: &Case<'_>, trail: &mut Trail) -> Decision {
    let connection = case.connection;
    trail.say(|| format!("client {}", connection.client));
    if let Some(reason) = scope::outside(case.policy, connection) {
        trail.say(|| format!("nothing to ask of this connection: {}", reason.as_str()));
        // IPv4 goes on, since its arrivals are of interest at the end; the others need not be asked about again.
        let verdict = if reason == Reason::Ipv4 { case.passing() } else { Verdict::Accept };
        // Whether a network is in the roll-out is no matter where nothing can be refused.
        let enforced = case.policy.mode == Mode::Enforce;
        return Ruling::new(verdict, reason).into_decision(case, enforced);
    }
    let network = case.network();
    let enforced = case.is_enforced(network);
    let mut ruling = Judge { case, network, observing: !enforced, trail, notes: Vec::new(), records: Vec::new() }.rule();
    if !case.is_rolled_out(network) {
        trail.say(|| format!("{network} is not in the roll-out of {} %", case.policy.rollout_percent));
        ruling.notes.push(Note::NotRolledOut);
    }
    ruling.into_decision(case, enforced)
}

/// What enforce mode answers.
struct Ruling {
    verdict: Verdict,
    reason: Reason,
    notes: Vec<Note>,
    records: Vec<RecordUpdate>,
}

impl Ruling {
    fn new(verdict: Verdict, reason: Reason) -> Self {
        Ruling { verdict, reason, notes: Vec::new(), records: Vec::new() }
    }

    fn into_decision(self, case: &Case<'_>, enforced: bool) -> Decision {
        let (verdict, would) = if enforced { (self.verdict, None) } else { (case.passing(), Some(self.verdict)) };
        Decision {
            verdict,
            reason: self.reason,
            would,
            authenticated_domains: case.authenticated_domains(),
            linked: None,
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
    notes: Vec<Note>,
    records: Vec<RecordUpdate>,
}

impl Judge<'_, '_> {
    fn rule(mut self) -> Ruling {
        let (verdict, reason) = match self.case.connection.stage {
            Stage::Greeting | Stage::Ehlo => self.at_greeting(),
            Stage::Mail | Stage::Rcpt => {
                self.note_capability();
                (Verdict::Continue, Reason::Undecided)
            }
            Stage::Data if self.case.policy.decide_at == DecideAt::EndOfData => {
                self.note_capability();
                (Verdict::Continue, Reason::Undecided)
            }
            Stage::Data | Stage::EndOfData => self.message(),
        };
        Ruling { verdict, reason, notes: self.notes, records: self.records }
    }

    /// A penalty in force refuses before anything is known about the mail (P6, P7, P12).
    fn at_greeting(&mut self) -> (Verdict, Reason) {
        let case = self.case;
        if let Exemption::Exempt(reason) = exemption::of_name(case) {
            self.trail.say(|| "the client's confirmed name is exempt".into());
            return (Verdict::Continue, reason);
        }
        let record: NetworkRecord = self.find(network_key(self.network));
        let address: AddressRecord = self.find(address_key(case.connection.client));
        let penalty = &case.policy.penalty;
        match penalty::at_greeting(penalty, case.key, case.connection, &record, address.evidence, self.observing) {
            AtGreeting::NoPenalty => {
                self.trail.say(|| format!("no penalty of {} is in force", self.network));
                (Verdict::Continue, Reason::Undecided)
            }
            AtGreeting::Passes(pass) => {
                self.trail
                    .say(|| format!("{} has a penalty, which this connection passes: {}", self.network, pass.note().as_str()));
                self.notes.push(pass.note());
                (Verdict::Continue, Reason::Undecided)
            }
            AtGreeting::Refuse => {
                self.trail.say(|| format!("the penalty of {} is in force", self.network));
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
            self.trail.say(|| format!("the message is exempt: {}", reason.as_str()));
            self.note_capability();
            return (case.passing(), reason);
        }
        let outcome = requirement::evaluate(case, Passes::Trusted);
        self.trail.say(|| format!("the requirement ({}) is {}", lacking::names(&case.policy.require), outcome.as_str()));
        match outcome {
            Outcome::Met => {
                if is_end {
                    self.judged(Some(true));
                }
                (case.passing(), if is_end { Reason::Authenticated } else { Reason::Undecided })
            }
            Outcome::Unmet if exemption == Exemption::None => self.refused(),
            Outcome::Unmet | Outcome::Unknown if !is_end => {
                self.note_capability();
                (Verdict::Continue, Reason::Undecided)
            }
            Outcome::Unmet | Outcome::Unknown => self.not_known(),
        }
    }

    fn refused(&mut self) -> (Verdict, Reason) {
        let case = self.case;
        // Distrust decided also where the rest is not known: that is no failure of authentication.
        let is_distrusted = requirement::evaluate(case, Passes::All) != Outcome::Unmet;
        // In observe mode the mail goes on to the end of data, and is judged there.
        let goes_on = self.observing && !case.is_end_of_data();
        if case.is_end_of_data() && case.has_no_evidence() && policy::checks(case.policy) != [Check::Tls] {
            self.trail.say(|| "the host gave no results".into());
            return (Verdict::Accept, Reason::NoEvidence);
        }
        if is_distrusted {
            // Neither a pass nor a failure of authentication (A6, A30).
            self.trail.say(|| "it is met by distrusted domains only".into());
            if !goes_on {
                self.judged(None);
            }
            return (Verdict::Refuse(reply::distrusted(case, self.network)), Reason::Distrusted);
        }
        if !goes_on {
            // Bounces are often unsigned, and say nothing about the mail of their network (A6).
            self.judged(if case.is_null_sender() { None } else { Some(false) });
        }
        (Verdict::Refuse(reply::unauthenticated(case, self.network)), Reason::Unauthenticated)
    }

    /// A result that decides is missing or temporary (A27).
    fn not_known(&mut self) -> (Verdict, Reason) {
        let case = self.case;
        if case.has_no_evidence() {
            self.trail.say(|| "the host gave no results".into());
            return (Verdict::Accept, Reason::NoEvidence);
        }
        let connection = case.connection;
        let mut network: NetworkRecord = self.find(network_key(self.network));
        let mut budget: BudgetRecord = self.find(budget_key(connection.client));
        if !temporary::take(&case.policy.temporary_errors, &mut network, &mut budget, connection.now) {
            self.trail.say(|| "the budget for temporary errors is used up".into());
            return (Verdict::Refuse(reply::temporary_error(case, self.network)), Reason::TemporaryErrorBudget);
        }
        self.trail.say(|| "a message from the budget for temporary errors".into());
        note_capable(&mut network, case);
        self.records.push(network.update(self.network, &case.policy.penalty, connection.now));
        self.records.push(budget.update(connection.client, connection.now));
        (Verdict::Accept, Reason::TemporaryError)
    }

    /// A message was judged: its session shows what the network is capable of, and its outcome, if any, is evidence.
    fn judged(&mut self, passed: Option<bool>) {
        let case = self.case;
        let (connection, policy) = (case.connection, &case.policy.penalty);
        let mut record: NetworkRecord = self.find(network_key(self.network));
        let before = record;
        penalty::correct_capability(&mut record, connection.now);
        if connection.acknowledged {
            record.capable_at = Some(connection.now);
        } else if connection.keyword_shown {
            record.incapable_at = Some(connection.now);
        }
        if let Some(passed) = passed {
            let mut address: AddressRecord = self.find(address_key(connection.client));
            let evidence: &mut Evidence = &mut address.evidence;
            *evidence = evidence.decayed(connection.now, policy.half_life).with(passed);
            self.records.push(address.update(connection.client, policy, connection.now));
            let note = penalty::judged(policy, case.key, connection, &mut record, passed, self.observing);
            self.trail.say(|| {
                let (passed, failed) = (record.evidence.passed >> 10, record.evidence.failed >> 10);
                let effect = note.as_ref().map_or("no change of penalty", Note::as_str);
                format!("{} now has about {passed} passes and {failed} failures: {effect}", self.network)
            });
            self.notes.extend(note);
        }
        if record != before {
            self.records.push(record.update(self.network, policy, connection.now));
        }
    }

    /// Before a message is judged, an acknowledgement is all that a session shows (A5).
    fn note_capability(&mut self) {
        let case = self.case;
        if !case.connection.acknowledged {
            return;
        }
        let mut record: NetworkRecord = self.find(network_key(self.network));
        if note_capable(&mut record, case) {
            self.trail.say(|| format!("{} is capable of the extension", self.network));
            self.records.push(record.update(self.network, &case.policy.penalty, case.connection.now));
        }
    }

    /// The record, or a new one where there is none that can be read.
    fn find<R: Record>(&mut self, key: crate::contract::Key) -> R {
        match record::find(&self.case.connection.records, key) {
            Found::Record(record) => record,
            Found::Absent => R::default(),
            Found::Malformed => {
                self.trail.say(|| format!("a record of {}/{} cannot be read", key.address, key.prefix_length));
                if !self.notes.contains(&Note::MalformedRecord) {
                    self.notes.push(Note::MalformedRecord);
                }
                R::default()
            }
        }
    }
}

/// Notes an acknowledgement, unless that was done within a day; whether the record changed.
fn note_capable(record: &mut NetworkRecord, case: &Case<'_>) -> bool {
    let now = case.connection.now;
    penalty::correct_capability(record, now);
    let noted = penalty::capability(record, now) == Capability::Capable
        && record.capable_at.is_some_and(|time| now.saturating_sub(time) < CAPABILITY_NOTED_FOR);
    if !case.connection.acknowledged || noted {
        return false;
    }
    record.capable_at = Some(now);
    true
}

//! A host that asks for decisions, by octets: its policy, its clients, their mail, and what becomes of its records.

mod input;

use std::collections::BTreeMap;

use super::octets::Octets;
use super::sound;
use crate::contract::{
    AuthResults, Connection, Decision, Envelope, Key, KeyKind, Message, Mode, Note, Reason, RecordUpdate, Stage, StoredRecord,
    Verdict,
};
use crate::module::Module;
use crate::network::Network;
use crate::record;

/// More sessions say nothing new.
const MAX_SESSIONS: usize = 16;

/// One call of `decide`, with what was answered.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The policy that is in force.
    pub policy: &'a str,
    /// And its secret.
    pub secret: &'a [u8],
    /// The session so far, with the records that were found.
    pub connection: &'a Connection,
    /// Absent before MAIL.
    pub envelope: Option<&'a Envelope>,
    /// Absent before the end of data.
    pub message: Option<&'a Message>,
    /// Absent until something is known.
    pub auth_results: Option<&'a AuthResults>,
    /// What `keys` answered, with these records.
    pub keys: &'a [Key],
    /// What `decide` answered.
    pub decision: &'a Decision,
    /// What `explain` answered, where it was asked.
    pub told: Option<&'a str>,
}

/// Reads the octets as a policy and the sessions of several clients, in which each answer's records are kept, or damaged, or changed by an operator, and found again:
///
/// - each decision is sound (`sound::check`), the same when it is asked for again, and its words end with it;
/// - the records that were looked up are all that it needs: records of others change nothing, nor does their order;
/// - in observe mode nothing is refused, and without a policy nothing is decided;
/// - records of this module are read again.
///
/// `seen` is shown each call, so that another face of the module can be asked the same. Words take longer than all else: `saving`, half of the
/// sessions go without.
pub fn check_decide(octets: &[u8], saving: bool, mut seen: impl FnMut(&Asked<'_>)) {
    let mut octets = Octets(octets);
    let policy = input::policy(&mut octets);
    let secret: &[u8] = if octets.flag() { b"0123456789abcdef" } else { b"" };
    let mut module = Module::new();
    let summary = module.configure(&policy, secret).unwrap_or_else(|errors| panic!("{policy}: {}", errors[0]));
    let observes = summary.mode == Mode::Observe;
    let mut host = Host { module, policy, secret, saving, observes, store: BTreeMap::new(), now: 1_700_000_000 };
    for _ in 0..MAX_SESSIONS {
        if octets.is_empty() {
            break;
        }
        host.session(&mut octets, &mut seen);
    }
}

struct Host<'a> {
    module: Module,
    policy: String,
    secret: &'a [u8],
    saving: bool,
    observes: bool,
    /// The values of records, and when they expire.
    store: BTreeMap<Key, (u64, Vec<u8>)>,
    now: u64,
}

impl Host<'_> {
    /// One client, whose session goes through some of its stages.
    fn session(&mut self, octets: &mut Octets<'_>, seen: &mut impl FnMut(&Asked<'_>)) {
        self.now = input::later(octets, self.now);
        let mut connection = input::connection(octets, self.now);
        let (envelope, message) = (input::envelope(octets), input::message(octets));
        let auth_results = input::auth_results(octets);
        let stages = octets.octet();
        let all = [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData];
        for (bit, stage) in all.into_iter().enumerate().filter(|(bit, _)| stages >> bit & 1 == 0) {
            connection.stage = stage;
            // Results that a host has before the end, and an envelope that it does not have in time, are for it to say.
            let odd = stages >> 6 & 1 == 1 && bit % 2 == 0;
            let envelope = envelope.as_ref().filter(|_| odd || stage >= Stage::Mail);
            let message = message.as_ref().filter(|_| odd || stage == Stage::EndOfData);
            let auth_results = auth_results.as_ref().filter(|_| odd || stage >= Stage::Data);
            let keys = self.look_up(&mut connection, envelope, message);
            let decision = self.ask(&connection, envelope, message, auth_results, &keys);
            let is_told = !self.saving || stages >> 7 == 0;
            let told = is_told.then(|| self.module.explain(&connection, envelope, message, auth_results));
            if let Some(told) = &told {
                let last = told.lines().last().unwrap_or_default();
                assert!(last.starts_with("= ") && last.ends_with(&format!("({})", decision.reason.as_str())), "{told}");
            }
            seen(&Asked {
                policy: &self.policy,
                secret: self.secret,
                connection: &connection,
                envelope,
                message,
                auth_results,
                keys: &keys,
                decision: &decision,
                told: told.as_deref(),
            });
            self.store(&decision.records);
            if matches!(decision.verdict, Verdict::Refuse(reply) if reply.close) {
                break;
            }
        }
        self.damage(octets);
    }

    /// Two rounds of `keys`, as a host makes them. What `keys` says with the records that were found.
    fn look_up(&self, connection: &mut Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        connection.records.clear();
        for _ in 0..2 {
            let keys = self.module.keys(connection, envelope, message);
            let found_before = connection.records.len();
            for &key in &keys {
                let found = self.store.get(&key).filter(|(expires, _)| *expires > self.now);
                if let Some((_, value)) = found.filter(|_| connection.records.iter().all(|record| record.key != key)) {
                    connection.records.push(StoredRecord { key, value: value.clone() });
                }
            }
            if connection.records.len() == found_before {
                return keys;
            }
        }
        self.module.keys(connection, envelope, message)
    }

    fn ask(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
        keys: &[Key],
    ) -> Decision {
        let decision = self.module.decide(connection, envelope, message, auth_results);
        sound::check(connection, message, keys, &decision);
        assert!(!self.observes || !matches!(decision.verdict, Verdict::Refuse(_)), "A38: {decision:?}");
        assert!(!self.observes || decision.would.is_some(), "A38: {decision:?}");

        let mut other = connection.clone();
        other.records.reverse();
        other.records.extend(self.of_others(keys));
        // One that cannot be read is noted, wanted or not.
        let without_note = |mut decision: Decision| {
            decision.notes.retain(|note| *note != Note::MalformedRecord);
            decision
        };
        let with_others = self.module.decide(&other, envelope, message, auth_results);
        assert_eq!(without_note(with_others), without_note(decision.clone()), "with records of others");

        let nothing = Module::new().decide(connection, envelope, message, auth_results);
        assert_eq!((nothing.reason, nothing.records.len()), (Reason::NoPolicy, 0));
        decision
    }

    /// A few records that were not asked for.
    fn of_others(&self, keys: &[Key]) -> Vec<StoredRecord> {
        let others = self.store.iter().filter(|(key, _)| !keys.contains(key));
        others.take(3).map(|(key, (_, value))| StoredRecord { key: *key, value: value.clone() }).collect()
    }

    fn store(&mut self, updates: &[RecordUpdate]) {
        for update in updates {
            let expires = self.now.saturating_add(update.expires_in.into());
            self.store.insert(update.key, (expires, update.value.clone()));
        }
    }

    /// What an operator may do: lets in a network that has a record, or ends that.
    fn exempt(&mut self, which: u8, seconds: u32) {
        let networks = self.store.iter().filter(|(key, _)| key.kind == KeyKind::Network);
        let Some((key, (_, value))) = networks.cycle().nth(which.into()) else { return };
        let network = Network::of(key.address, key.prefix_length);
        let update = record::exempt(network, Some(value), self.now, seconds).expect("a network over IPv6");
        let record = StoredRecord { key: update.key, value: update.value.clone() };
        assert!(record::Record::read(&record).is_some(), "an operator's word cannot be read: {record:?}");
        self.store(&[update]);
    }

    /// What a disk, another version or another host may do to a record.
    fn damage(&mut self, octets: &mut Octets<'_>) {
        let (how, which, place, octet) = (octets.octet(), octets.octet(), octets.octet(), octets.octet());
        if (184..192).contains(&how) {
            self.exempt(which, u32::from(octet) * 60);
        }
        if how < 192 || self.store.is_empty() {
            return;
        }
        let which = usize::from(which) % self.store.len();
        let Some((_, (expires, value))) = self.store.iter_mut().nth(which) else { return };
        let place = usize::from(place) % value.len().max(1);
        match how % 8 {
            // An earlier damage took all of it.
            4.. if value.is_empty() => value.push(octet),
            0 => value.truncate(place),
            1 => value.insert(place, octet),
            2 => *value = octets.some().to_vec(),
            3 => *expires = u64::MAX,
            // A number in it grows or shrinks.
            4 | 5 => value[place] = value[place].wrapping_add(octet),
            _ => value[place] = octet,
        }
    }
}

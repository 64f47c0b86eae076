//! The receiver: it asks the policy module at each stage of a session, as a host does, and keeps its records.

use std::collections::HashMap;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResults, Connection, Decision, Envelope, Key, Listener, Message, Note, Reason, Stage, StoredRecord, Tls, Verdict,
};

use super::mail::Mail;
use crate::{Face, SECRET};

/// The hosts of one domain, of both families, with one store.
pub(super) struct Receiver<'f> {
    face: &'f mut dyn Face,
    /// The octets, and the first second in which they mean nothing.
    records: HashMap<Key, (u64, Vec<u8>)>,
    /// All decisions in their order, where they are wanted.
    log: Option<&'f mut Vec<Decision>>,
}

/// Who connects.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) address: Address,
    pub(super) ehlo_name: String,
    /// It issues the verb where the keyword is shown.
    pub(super) verb: bool,
}

/// What became of a session with one mail.
#[derive(Debug)]
pub(super) struct Session {
    /// The stage that it reached.
    pub(super) stage: Stage,
    /// The reply code, where the policy refused.
    pub(super) refused: Option<u16>,
    /// The reason of the last decision.
    pub(super) reason: Reason,
    pub(super) notes: Vec<Note>,
}

impl<'f> Receiver<'f> {
    /// A receiver without records. A policy that cannot be read panics.
    pub(super) fn new(face: &'f mut dyn Face, policy_json: &str, log: Option<&'f mut Vec<Decision>>) -> Self {
        face.configure(policy_json, SECRET).unwrap_or_else(|errors| panic!("{policy_json} is no policy: {errors:?}"));
        Receiver { face, records: HashMap::new(), log }
    }

    /// A session that sends one mail. All of it happens at `now`.
    pub(super) fn session(&mut self, now: u64, client: &Client, nonce: u32, mail: &Mail) -> Session {
        let is_ipv6 = !client.address.is_ipv4();
        let mut connection = Connection {
            stage: Stage::Greeting,
            client: client.address,
            listener: Listener::Mx,
            ehlo_name: None,
            tls: Tls::None,
            authenticated: false,
            // Announced over IPv6 only (A23).
            listener_offers: is_ipv6,
            keyword_shown: false,
            acknowledged: false,
            reachable_over_ipv4: true,
            ipv4_arrivals_visible: true,
            now,
            nonce,
            records: Vec::new(),
        };
        let mut session = Session { stage: Stage::Greeting, refused: None, reason: Reason::Undecided, notes: Vec::new() };
        let mut envelope = None;
        for stage in [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData] {
            connection.stage = stage;
            match stage {
                Stage::Ehlo => {
                    connection.ehlo_name = Some(client.ehlo_name.clone());
                    connection.keyword_shown = is_ipv6;
                }
                Stage::Mail => {
                    connection.acknowledged = client.verb && connection.keyword_shown;
                    envelope = Some(Envelope { recipients: Vec::new(), ..mail.envelope.clone() });
                }
                Stage::Rcpt => envelope = Some(mail.envelope.clone()),
                _ => {}
            }
            let is_end = stage == Stage::EndOfData;
            let message = is_end.then_some(&mail.message);
            let results = is_end.then(|| mail.auth_results(now));
            let decision = self.ask(&mut connection, envelope.as_ref(), message, results.as_ref());
            session.stage = stage;
            session.reason = decision.reason;
            session.notes.extend(decision.notes.iter().cloned());
            if let Some(log) = &mut self.log {
                log.push(decision.clone());
            }
            match decision.verdict {
                Verdict::Continue => {}
                Verdict::Accept => break,
                Verdict::Refuse(reply) => {
                    session.refused = Some(reply.code);
                    break;
                }
            }
        }
        session
    }

    /// Looks up what the module asks for, in two rounds at most; decides; stores.
    fn ask(
        &mut self,
        connection: &mut Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decision {
        connection.records.clear();
        let mut asked: Vec<Key> = Vec::new();
        for _ in 0..2 {
            let found_before = connection.records.len();
            for key in self.face.keys(connection, envelope, message) {
                if asked.contains(&key) {
                    continue;
                }
                asked.push(key);
                if let Some((expires, value)) = self.records.get(&key)
                    && *expires > connection.now
                {
                    connection.records.push(StoredRecord { key, value: value.clone() });
                }
            }
            // With the same records it would name the same keys.
            if connection.records.len() == found_before {
                break;
            }
        }
        let decision = self.face.decide(connection, envelope, message, auth_results);
        for record in &decision.records {
            self.records.insert(record.key, (connection.now + u64::from(record.expires_in), record.value.clone()));
        }
        decision
    }
}

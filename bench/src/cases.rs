//! The calls that are measured: with full records, as for a network that the host knows well.

use std::hint::black_box;

use smtp_fallback_embed::Pool;
use smtp_fallback_policy::Module;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResult, AuthResults, Connection, Dkim, Envelope, Key, Message, Reason, RecordUpdate, Spf, Stage, StoredRecord, Tls,
};

/// One call of `keys` and `decide`.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Without records: as the host asks for the keys.
    asking: Connection,
    /// With the records that are kept under them.
    connection: Connection,
    envelope: Option<Envelope>,
    message: Option<Message>,
    auth_results: Option<AuthResults>,
}

impl Case {
    /// The greeting, an accepted and a refused message, of a mail that was refused before, and an accepted one that was not.
    pub(crate) fn all(native: &Module) -> [Case; 4] {
        let greeting = Case { name: "keys + decide, greeting", ..Case::greeting() };
        let accept = Case { name: "keys + decide, accept", ..message(AuthResult::Pass) };
        let mut first = Case { name: "keys + decide, accept at once", ..message(AuthResult::Pass) };
        if let Some(envelope) = &mut first.envelope {
            envelope.mail_from = "carol@example.net".into();
        }
        let refusal = Case { name: "keys + decide, refusal", ..message(AuthResult::None) };
        let mut cases = [accept, refusal];
        // What many messages leave behind, judged one after the other.
        let mut records: Vec<StoredRecord> = Vec::new();
        for n in 0..20 {
            let case = &mut cases[n % 2];
            case.connection.records.clone_from(&records);
            let decision = case.decide(native);
            assert_eq!(decision.reason, if n % 2 == 0 { Reason::Authenticated } else { Reason::Unauthenticated });
            for update in decision.records {
                records.retain(|record| record.key != update.key);
                records.push(StoredRecord { key: update.key, value: update.value });
            }
        }
        let [accept, refusal] = cases;
        let mut all = [greeting, accept, refusal, first];
        for case in &mut all {
            let keys = native.keys(&case.asking, case.envelope.as_ref(), case.message.as_ref());
            case.connection.records = records.iter().filter(|record| keys.contains(&record.key)).cloned().collect();
        }
        all
    }

    /// A client that has just connected.
    pub(crate) fn greeting() -> Case {
        Case {
            name: "a greeting",
            asking: connection(Stage::Greeting),
            connection: connection(Stage::Greeting),
            envelope: None,
            message: None,
            auth_results: None,
        }
    }

    /// A message that SPF and DKIM vouch for.
    pub(crate) fn acceptance() -> Case {
        Case { name: "an accepted mail", ..message(AuthResult::Pass) }
    }

    /// A message without authentication.
    pub(crate) fn refusal() -> Case {
        Case { name: "a refused mail", ..message(AuthResult::None) }
    }

    /// What was asked, with another client, time and Message-ID, so that it is another mail.
    pub(crate) fn of_another_client(&mut self, client: Address, n: u64, now: u64) -> &Connection {
        for connection in [&mut self.asking, &mut self.connection] {
            connection.client = client;
            connection.now = now;
            connection.records.clear();
        }
        if let Some(message) = &mut self.message {
            message.message_id = Some(format!("<{n}@example.net>"));
        }
        &self.connection
    }

    /// The arguments of `keys` and of `decide`, in the mapping of the vectors.
    pub(crate) fn arguments(&self) -> Result<[serde_json::Value; 2], serde_json::Error> {
        let Case { name: _, asking, connection, envelope, message, auth_results } = self;
        let all = |connection| {
            Ok(serde_json::json!({
                "connection": serde_json::to_value(connection)?,
                "envelope": serde_json::to_value(envelope)?,
                "message": serde_json::to_value(message)?,
                "auth-results": serde_json::to_value(auth_results)?,
            }))
        };
        Ok([all(asking)?, all(connection)?])
    }

    /// The keys of the records that the component wants.
    pub(crate) fn keys_in(&self, pool: &Pool) -> Vec<Key> {
        pool.keys(&self.asking, self.envelope.as_ref(), self.message.as_ref())
    }

    /// The component's decision with these records, and the records again.
    pub(crate) fn decide_with(&mut self, pool: &Pool, records: Vec<StoredRecord>) -> (Vec<RecordUpdate>, &[StoredRecord]) {
        self.connection.records = records;
        let Case { connection, envelope, message, auth_results, .. } = self;
        let decision = pool.decide(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref()).decision;
        (decision.records, &connection.records)
    }

    pub(crate) fn decide_natively(&self, module: &Module) {
        black_box(module.keys(&self.asking, self.envelope.as_ref(), self.message.as_ref()));
        black_box(self.decide(module));
    }

    pub(crate) fn decide_in(&self, pool: &Pool) {
        let Case { asking, connection, envelope, message, auth_results, .. } = self;
        black_box(pool.keys(asking, envelope.as_ref(), message.as_ref()));
        black_box(pool.decide(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref()));
    }

    fn decide(&self, module: &Module) -> smtp_fallback_policy::contract::Decision {
        module.decide(&self.connection, self.envelope.as_ref(), self.message.as_ref(), self.auth_results.as_ref())
    }
}

fn connection(stage: Stage) -> Connection {
    Connection {
        ehlo_name: (stage > Stage::Greeting).then(|| "mail.example.net".into()),
        tls: if stage > Stage::Greeting { Tls::Encrypted } else { Tls::None },
        listener_offers: true,
        keyword_shown: stage > Stage::Greeting,
        ipv4_arrivals_visible: true,
        now: 1_700_000_000,
        nonce: 7,
        ..Connection::new(stage, smtp_fallback_policy::address::Address::from_words([0x2001_0db8, 1, 0, 0x25]))
    }
}

fn message(result: AuthResult) -> Case {
    let domain = || "example.net".to_owned();
    Case {
        name: "",
        asking: connection(Stage::EndOfData),
        connection: connection(Stage::EndOfData),
        envelope: Some(Envelope { mail_from: "alice@example.net".into(), recipients: vec!["bob@example.org".into()] }),
        message: Some(Message {
            message_id: Some("<20231114221320.1@example.net>".into()),
            date: Some("Tue, 14 Nov 2023 22:13:20 +0000".into()),
            from_domain: Some(domain()),
            size: 20_000,
        }),
        auth_results: Some(AuthResults {
            spf_mail_from: Some(Spf { result, domain: domain() }),
            spf_helo: Some(Spf { result: AuthResult::None, domain: "mail.example.net".into() }),
            dkim: Some(if result == AuthResult::Pass {
                vec![Dkim { result, domain: domain(), selector: "s1".into(), testing: false }]
            } else {
                Vec::new()
            }),
            ..AuthResults::default()
        }),
    }
}

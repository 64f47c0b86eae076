//! Every call of `decide` that the vectors make, with what the module answers: what `bench peers` holds its peers against, before it
//! measures any of them.

use serde::Serialize;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResults, Connection, Decision, Description, Envelope, Key, Message, PolicyError, StoredRecord, Summary,
};
use smtp_fallback_tests::{Face, Native, run, vectors};

/// One call, in the mapping of the vectors.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Call {
    file: String,
    policy_json: Option<String>,
    secret: String,
    connection: Connection,
    envelope: Option<Envelope>,
    message: Option<Message>,
    auth_results: Option<AuthResults>,
    decision: Decision,
}

/// Prints them as a list.
pub(crate) fn print() -> Result<(), Box<dyn std::error::Error>> {
    let mut calls = Vec::new();
    for vector in vectors() {
        let mut recorder = Recorder { file: vector.file.clone(), ..Recorder::default() };
        run(&mut recorder, &vector).map_err(|failure| failure.to_string())?;
        calls.append(&mut recorder.calls);
    }
    println!("{}", serde_json::to_string(&calls)?);
    Ok(())
}

/// The module as a library, and what it was asked.
#[derive(Default)]
struct Recorder {
    native: Native,
    file: String,
    policy_json: Option<String>,
    secret: String,
    calls: Vec<Call>,
}

impl Face for Recorder {
    fn configure(&mut self, policy_json: &str, secret: &[u8]) -> Result<Summary, Vec<PolicyError>> {
        let summary = self.native.configure(policy_json, secret)?;
        self.policy_json = Some(policy_json.to_owned());
        // As it stands in the vectors: a text.
        self.secret = String::from_utf8_lossy(secret).into_owned();
        Ok(summary)
    }

    fn schema(&mut self) -> String {
        self.native.schema()
    }

    fn describe(&mut self) -> Description {
        self.native.describe()
    }

    fn keys(&mut self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        self.native.keys(connection, envelope, message)
    }

    fn decide(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decision {
        let decision = self.native.decide(connection, envelope, message, auth_results);
        self.calls.push(Call {
            file: self.file.clone(),
            policy_json: self.policy_json.clone(),
            secret: self.secret.clone(),
            connection: connection.clone(),
            envelope: envelope.cloned(),
            message: message.cloned(),
            auth_results: auth_results.cloned(),
            decision: decision.clone(),
        });
        decision
    }

    fn explain(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> String {
        self.native.explain(connection, envelope, message, auth_results)
    }

    fn parse_address(&mut self, text: &str) -> Result<Address, String> {
        self.native.parse_address(text)
    }

    fn inspect(&mut self, record: &StoredRecord) -> Result<String, String> {
        self.native.inspect(record)
    }

    fn parse_authentication_results(&mut self, headers: &[String], trusted_ids: &[String]) -> AuthResults {
        self.native.parse_authentication_results(headers, trusted_ids)
    }
}

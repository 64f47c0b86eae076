//! Runs a vector on a face of the module.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use smtp_fallback_policy::contract::{AuthResults, Connection, Decision, Envelope, Key, KeyKind, Message, StoredRecord};

use crate::{Call, Face, SECRET, Step, Vector};

/// A step whose outcome was another one than expected.
#[derive(Debug)]
pub struct Failure {
    file: String,
    step: usize,
    found: Value,
    expected: Value,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { file, step, found, expected } = self;
        write!(f, "{file}, step {step}:\n  found    {found}\n  expected {expected}")
    }
}

/// Runs all steps; stops at the first failure. A vector that is not in the format panics.
pub fn run(face: &mut dyn Face, vector: &Vector) -> Result<(), Failure> {
    if let Some(policy) = &vector.policy {
        let secret = vector.secret.as_ref().map_or(SECRET, |secret| secret.as_bytes());
        let configured = face.configure(&policy.to_string(), secret);
        configured.unwrap_or_else(|errors| panic!("{}: its policy is no policy: {errors:?}", vector.file));
    }
    let mut kept = Kept::default();
    let mut calls = 0;
    for (index, step) in vector.steps.iter().enumerate() {
        for _ in 0..step.times {
            calls += 1;
            let mut input = merged(&vector.given, &step.input);
            number_message(&mut input, calls);
            let found = without_nulls(call(face, step, input, &mut kept, &vector.file));
            let expected = without_nulls(step.expect.clone());
            if found != expected {
                return Err(Failure { file: vector.file.clone(), step: index + 1, found, expected });
            }
        }
    }
    Ok(())
}

/// The records that earlier steps returned, with the time when each expires.
#[derive(Debug, Default)]
struct Kept(BTreeMap<Key, (u64, Vec<u8>)>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Case {
    connection: Connection,
    envelope: Option<Envelope>,
    message: Option<Message>,
    auth_results: Option<AuthResults>,
}

fn call(face: &mut dyn Face, step: &Step, mut input: Value, kept: &mut Kept, file: &str) -> Value {
    match step.call {
        Call::Configure => {
            let policy_json = text(&input, "policy-json");
            let secret = input.get("secret").and_then(Value::as_str).map_or(SECRET, str::as_bytes);
            outcome(face.configure(&policy_json, secret))
        }
        Call::Describe => {
            let mut description = to_value(face.describe());
            // The defaults are JSON in a string: compared as values.
            if let Some(defaults) = description.get_mut("defaults") {
                *defaults = defaults.as_str().and_then(|text| serde_json::from_str(text).ok()).expect("the defaults are JSON");
            }
            description
        }
        Call::Keys => {
            // A face takes auth-results only with `decide`.
            let case: Case = case(input, file);
            to_value(face.keys(&case.connection, case.envelope.as_ref(), case.message.as_ref()))
        }
        Call::Decide | Call::Explain => {
            let mut case: Case = case(input, file);
            kept.look_up(face, &mut case);
            let Case { connection, envelope, message, auth_results } = case;
            if step.call == Call::Explain {
                let told = face.explain(&connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref());
                let wanted = step.expect.as_array().expect("`explain` expects a list of texts");
                return wanted.iter().filter(|text| text.as_str().is_some_and(|text| told.contains(text))).cloned().collect();
            }
            let decision = face.decide(&connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref());
            kept.store(&decision, connection.now);
            compared(decision)
        }
        Call::ParseAddress => outcome(face.parse_address(&text(&input, "text"))),
        Call::Inspect => {
            let key = match input.get("kind").map(|kind| parsed(kind.clone(), "kind", file)) {
                Some(kind) => kept.only(kind, file),
                None => field(&mut input, "key", file),
            };
            let value = input.get_mut("value").map(Value::take).map(|value| parsed(value, "value", file));
            let value: Vec<u8> =
                value.unwrap_or_else(|| kept.0.get(&key).unwrap_or_else(|| panic!("{file}: no record {key:?}")).1.clone());
            match face.inspect(&StoredRecord { key, value }) {
                Ok(json) => json!({ "ok": serde_json::from_str::<Value>(&json).expect("`inspect` gives JSON") }),
                Err(error) => json!({ "err": error }),
            }
        }
        Call::ParseAuthenticationResults => {
            let headers: Vec<String> = field(&mut input, "headers", file);
            let trusted_ids: Vec<String> = field(&mut input, "trusted-ids", file);
            to_value(face.parse_authentication_results(&headers, &trusted_ids))
        }
    }
}

impl Kept {
    /// Hands over the records that the module asks for, in two rounds at most, as a host does.
    fn look_up(&self, face: &mut dyn Face, case: &mut Case) {
        let given = case.connection.records.clone();
        let mut asked: Vec<Key> = Vec::new();
        for _ in 0..2 {
            let keys = face.keys(&case.connection, case.envelope.as_ref(), case.message.as_ref());
            let new: Vec<Key> = keys.into_iter().filter(|key| !asked.contains(key)).collect();
            if new.is_empty() {
                break;
            }
            for key in new {
                asked.push(key);
                let kept = self.0.get(&key).filter(|(expires, _)| *expires > case.connection.now);
                if let Some((_, value)) = kept.filter(|_| !given.iter().any(|record| record.key == key)) {
                    case.connection.records.push(StoredRecord { key, value: value.clone() });
                }
            }
        }
    }

    /// The key of this kind, where there is one.
    fn only(&self, kind: KeyKind, file: &str) -> Key {
        let mut keys = self.0.keys().filter(|key| key.kind == kind);
        let key = keys.next().unwrap_or_else(|| panic!("{file}: no record of kind {kind:?}"));
        assert!(keys.next().is_none(), "{file}: more than one record of kind {kind:?}");
        *key
    }

    fn store(&mut self, decision: &Decision, now: u64) {
        for record in &decision.records {
            self.0.insert(record.key, (now + u64::from(record.expires_in), record.value.clone()));
        }
    }
}

/// The decision as it is compared: a record by its key alone, that of a mail by its kind.
fn compared(decision: Decision) -> Value {
    let keys = decision.records.iter().map(|record| match record.key.kind {
        KeyKind::Exact | KeyKind::Inferred => json!({ "kind": record.key.kind }),
        _ => to_value(record.key),
    });
    let keys = Value::Array(keys.collect());
    let mut value = to_value(decision);
    value["records"] = keys;
    value
}

/// Puts the number of the call in for `{n}` in the Message-ID, so that each call is about another mail.
fn number_message(input: &mut Value, call: u32) {
    if let Some(message_id) = input.pointer_mut("/message/message-id")
        && let Some(text) = message_id.as_str()
    {
        *message_id = text.replace("{n}", &call.to_string()).into();
    }
}

fn outcome(result: Result<impl serde::Serialize, impl serde::Serialize>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "err": error }),
    }
}

/// The input of a step over that of the vector, record by record, field by field.
fn merged(given: &Value, input: &Value) -> Value {
    let mut merged = given.as_object().cloned().unwrap_or_default();
    for (name, value) in input.as_object().unwrap_or(&Map::new()) {
        match (merged.get_mut(name).and_then(Value::as_object_mut), value.as_object()) {
            (Some(record), Some(fields)) => record.extend(fields.clone()),
            _ => {
                merged.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(merged)
}

/// Absent is null or missing.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, without_nulls(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

fn case(input: Value, file: &str) -> Case {
    parsed(input, "the input", file)
}

fn field<T: DeserializeOwned>(input: &mut Value, name: &str, file: &str) -> T {
    parsed(input.get_mut(name).map(Value::take).unwrap_or_default(), name, file)
}

fn parsed<T: DeserializeOwned>(value: Value, name: &str, file: &str) -> T {
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{file}: {name}: {error}"))
}

fn text(input: &Value, name: &str) -> String {
    input.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("`{name}` is a text")).to_owned()
}

fn to_value(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("the types of the contract have a JSON form")
}

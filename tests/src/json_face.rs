//! The face over whatever answers by JSON, as `smtp-fallback-json` states it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResults, Connection, Decision, Description, Envelope, Key, Message, PolicyError, StoredRecord, Summary,
};

use crate::Face;

/// A way to call the module by JSON.
pub trait ByJson {
    /// Calls a function with its arguments; the result as JSON, or why there is none.
    fn call(&mut self, function: &str, arguments: &str) -> Result<String, String>;
}

/// The face over it. A call without an answer panics: the contract's functions always have one.
#[derive(Debug)]
pub struct JsonFace<T>(pub T);

impl<T: ByJson> JsonFace<T> {
    fn ask<A: DeserializeOwned>(&mut self, function: &str, arguments: &impl Serialize) -> A {
        let arguments = serde_json::to_string(arguments).expect("the types of the contract have a JSON form");
        let answer = self.0.call(function, &arguments).unwrap_or_else(|error| panic!("{function}: {error}\n{arguments}"));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("the answer of {function}: {error}\n{answer}"))
    }

    /// For functions whose result is `{"ok": …}` or `{"err": …}`.
    fn ask_for_result<A: DeserializeOwned, E: DeserializeOwned>(
        &mut self,
        function: &str,
        arguments: &impl Serialize,
    ) -> Result<A, E> {
        let answer: Value = self.ask(function, arguments);
        let read = |value: &Value| format!("the result of {function}: {value}");
        match answer.as_object().map(|fields| fields.iter().collect::<Vec<_>>()).as_deref() {
            Some([(name, value)]) if *name == "ok" => Ok(A::deserialize(*value).unwrap_or_else(|_| panic!("{}", read(value)))),
            Some([(name, value)]) if *name == "err" => Err(E::deserialize(*value).unwrap_or_else(|_| panic!("{}", read(value)))),
            _ => panic!("{}", read(&answer)),
        }
    }
}

/// The arguments of `keys`, `decide` and `explain`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Case<'a> {
    connection: &'a Connection,
    envelope: Option<&'a Envelope>,
    message: Option<&'a Message>,
    auth_results: Option<&'a AuthResults>,
}

impl<T: ByJson> Face for JsonFace<T> {
    fn configure(&mut self, policy_json: &str, secret: &[u8]) -> Result<Summary, Vec<PolicyError>> {
        self.ask_for_result("configure", &json!({ "policy-json": policy_json, "secret": secret }))
    }

    fn schema(&mut self) -> String {
        self.ask("schema", &json!({}))
    }

    fn describe(&mut self) -> Description {
        self.ask("describe", &json!({}))
    }

    fn keys(&mut self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        self.ask("keys", &Case { connection, envelope, message, auth_results: None })
    }

    fn decide(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decision {
        self.ask("decide", &Case { connection, envelope, message, auth_results })
    }

    fn explain(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> String {
        self.ask("explain", &Case { connection, envelope, message, auth_results })
    }

    fn parse_address(&mut self, text: &str) -> Result<Address, String> {
        self.ask_for_result("parse-address", &json!({ "text": text }))
    }

    fn inspect(&mut self, record: &StoredRecord) -> Result<String, String> {
        self.ask_for_result("inspect", record)
    }

    fn parse_authentication_results(&mut self, headers: &[String], trusted_ids: &[String]) -> AuthResults {
        self.ask("parse-authentication-results", &json!({ "headers": headers, "trusted-ids": trusted_ids }))
    }
}

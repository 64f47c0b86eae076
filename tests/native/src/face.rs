//! The ways to call the module, behind one trait.

use smtp_fallback_policy::contract::{
    AuthResults, Connection, Decision, Description, Envelope, Key, Message, PolicyError, StoredRecord, Summary,
};
use smtp_fallback_policy::{Module, address::Address};

/// The functions of the contract.
pub trait Face {
    /// `configure`
    fn configure(&mut self, policy_json: &str, secret: &[u8]) -> Result<Summary, Vec<PolicyError>>;
    /// `schema`
    fn schema(&mut self) -> String;
    /// `describe`
    fn describe(&mut self) -> Description;
    /// `keys`
    fn keys(&mut self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key>;
    /// `decide`
    fn decide(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decision;
    /// `explain`
    fn explain(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> String;
    /// `parse-address`
    fn parse_address(&mut self, text: &str) -> Result<Address, String>;
    /// `inspect`
    fn inspect(&mut self, record: &StoredRecord) -> Result<String, String>;
    /// `parse-authentication-results`
    fn parse_authentication_results(&mut self, headers: &[String], trusted_ids: &[String]) -> AuthResults;
}

/// The module as a Rust library.
#[derive(Debug, Default)]
pub struct Native(Module);

impl Face for Native {
    fn configure(&mut self, policy_json: &str, secret: &[u8]) -> Result<Summary, Vec<PolicyError>> {
        self.0.configure(policy_json, secret)
    }

    fn schema(&mut self) -> String {
        smtp_fallback_policy::schema().into()
    }

    fn describe(&mut self) -> Description {
        smtp_fallback_policy::describe()
    }

    fn keys(&mut self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        self.0.keys(connection, envelope, message)
    }

    fn decide(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decision {
        self.0.decide(connection, envelope, message, auth_results)
    }

    fn explain(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> String {
        self.0.explain(connection, envelope, message, auth_results)
    }

    fn parse_address(&mut self, text: &str) -> Result<Address, String> {
        smtp_fallback_policy::parse_address(text)
    }

    fn inspect(&mut self, record: &StoredRecord) -> Result<String, String> {
        smtp_fallback_policy::inspect(record)
    }

    fn parse_authentication_results(&mut self, headers: &[String], trusted_ids: &[String]) -> AuthResults {
        smtp_fallback_policy::parse_authentication_results(headers, trusted_ids)
    }
}

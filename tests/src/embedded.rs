//! The face of the shipped component.

use std::path::Path;
use std::time::Duration;

use smtp_fallback_embed::{Component, ConfigureError, Limits, Pool};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResults, Connection, Decision, Description, Envelope, Key, Message, PolicyError, StoredRecord, Summary,
};

use crate::Face;

/// The shipped component under wasmtime, through the host library.
#[derive(Debug)]
pub struct Embedded {
    component: Component,
    pool: Pool,
}

impl Embedded {
    /// An instance of this component without a policy.
    pub fn new(component: &Component) -> Self {
        Embedded { component: component.clone(), pool: Pool::without_policy(component, b"") }
    }

    /// The shipped component, compiled.
    pub fn component() -> Component {
        Embedded::component_in(&crate::component_path())
    }

    /// The component in this file, compiled.
    pub fn component_in(path: &Path) -> Component {
        // The time limit is one of real time: here it is not what is tested, on a machine that may be busy.
        let limits = Limits { deadline: Duration::from_secs(10), ..Limits::default() };
        Component::from_file(path, &limits).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

const NEVER: &str = "the component neither traps nor runs out of time or memory";

impl Face for Embedded {
    fn configure(&mut self, policy_json: &str, secret: &[u8]) -> Result<Summary, Vec<PolicyError>> {
        // A pool has one secret for its life, so each configuration of a vector makes a new one.
        match Pool::configure(&self.component, policy_json, secret) {
            Ok((pool, summary)) => {
                self.pool = pool;
                Ok(summary)
            }
            Err(ConfigureError::Policy(errors)) => Err(errors),
            Err(error) => panic!("{NEVER}: {error}"),
        }
    }

    fn schema(&mut self) -> String {
        self.pool.schema().expect(NEVER)
    }

    fn describe(&mut self) -> Description {
        self.pool.describe().expect(NEVER)
    }

    fn keys(&mut self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        self.pool.keys(connection, envelope, message)
    }

    fn decide(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decision {
        let decided = self.pool.decide(connection, envelope, message, auth_results);
        assert!(decided.failure.is_none(), "{NEVER}: {:?}", decided.failure);
        decided.decision
    }

    fn explain(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> String {
        self.pool.explain(connection, envelope, message, auth_results).expect(NEVER)
    }

    fn parse_address(&mut self, text: &str) -> Result<Address, String> {
        self.pool.parse_address(text).expect(NEVER)
    }

    fn inspect(&mut self, record: &StoredRecord) -> Result<String, String> {
        self.pool.inspect(record).expect(NEVER)
    }

    fn parse_authentication_results(&mut self, headers: &[String], trusted_ids: &[String]) -> AuthResults {
        self.pool.parse_authentication_results(headers, trusted_ids).expect(NEVER)
    }
}

//! The module's functions, as the contract names them: one [`Module`] is one instance.

use crate::address::{Address, AddressError};
use crate::case::Case;
use crate::contract::{
    AuthResults, CONTRACT_VERSION, Connection, Decision, Description, Envelope, KEYWORD, Key, Message, PolicyError,
    PolicyWarning, StoredRecord, Summary,
};
use crate::explain::Trail;
use crate::hash::HashKey;
use crate::policy::{self, Policy};
use crate::{decide, keys, record};

/// An instance of the module. It remembers one thing: the policy of the last successful [`Module::configure`].
#[derive(Debug, Default)]
pub struct Module {
    configured: Option<Configured>,
}

#[derive(Debug)]
struct Configured {
    policy: Policy,
    key: HashKey,
}

impl Module {
    /// An instance without a policy.
    pub const fn new() -> Self {
        Module { configured: None }
    }

    /// Reads the policy, checks it and makes it this instance's own. On failure the policy before stays in force, and all errors
    /// of the text come back at once. The secret keys the hashes (A33, A35); an empty one is allowed, with a warning.
    // Like all that is not called for each message, it is kept out of its callers: in the component, size counts there.
    #[inline(never)]
    pub fn configure(&mut self, policy_json: &str, secret: &[u8]) -> Result<Summary, Vec<PolicyError>> {
        let (policy, mut warnings) = policy::parse(policy_json)?;
        if secret.is_empty() {
            let message = "the host gave no secret: refused mail is not recognised when it comes again or over IPv4, so clients that never \
                           fall back are not let in, and whoever knows this module can tell which connections are probes";
            warnings.push(PolicyWarning { pointer: String::new(), message: message.into() });
        }
        let summary = Summary { mode: policy.mode, checks: policy::checks(&policy), warnings };
        self.configured = Some(Configured { policy, key: HashKey::new(secret) });
        Ok(summary)
    }

    /// The keys whose records [`Module::decide`] will want. None without a policy.
    pub fn keys(&self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        let Some(Configured { policy, key }) = &self.configured else { return Vec::new() };
        keys::keys(&Case { policy, key: *key, connection, envelope, message, auth_results: None })
    }

    /// Decides. Never fails: without a policy the verdict is `Continue`, at the end of data `Accept`, with reason `NoPolicy`.
    pub fn decide(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decision {
        self.decide_with(connection, envelope, message, auth_results, &mut Trail::off())
    }

    /// The decision in words, with the path that led to it.
    #[inline(never)]
    pub fn explain(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> String {
        let mut trail = Trail::on();
        let decision = self.decide_with(connection, envelope, message, auth_results, &mut trail);
        trail.tell(&decision)
    }

    fn decide_with(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
        trail: &mut Trail,
    ) -> Decision {
        match &self.configured {
            Some(Configured { policy, key }) => {
                decide::decide(&Case { policy, key: *key, connection, envelope, message, auth_results }, trail)
            }
            None => {
                trail.say(format_args!("no policy is configured"));
                Decision::without_policy(connection.stage)
            }
        }
    }
}

/// The JSON Schema (draft 2020-12) of the policy.
pub fn schema() -> &'static str {
    policy::schema()
}

/// What this module is.
#[inline(never)]
pub fn describe() -> Description {
    Description { contract: CONTRACT_VERSION.into(), keyword: KEYWORD.into(), defaults: policy::defaults().into() }
}

/// Reads an address as MTAs write it: with brackets, with a zone id, with Sendmail's `IPv6:` prefix. The error says what was
/// expected.
#[inline(never)]
pub fn parse_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: AddressError| error.to_string())
}

/// A record for people and reports, as a JSON object of a published, stable shape; an error for bytes that are no record.
#[inline(never)]
pub fn inspect(record: &StoredRecord) -> Result<String, String> {
    record::inspect(record)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_is_that_of_the_policy() {
        assert_eq!(super::schema(), crate::policy::schema());
    }
}

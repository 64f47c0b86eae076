//! What a peer is asked, and the settings of its policy.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{AuthResults, Connection, Decision, Envelope, Message, Mode, Stage};
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::policy::{self, Exempt, Penalty, Policy, Texts};
use smtp_fallback_policy::record::{MESSAGE, Record};

use crate::Failed;

/// The arguments of one call, in the mapping of the vectors.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Arguments {
    pub(crate) connection: Connection,
    pub(crate) envelope: Option<Envelope>,
    pub(crate) message: Option<Message>,
    pub(crate) auth_results: Option<AuthResults>,
}

/// One call of `decide`, and what the module answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Call {
    pub(crate) file: String,
    pub(crate) policy_json: Option<String>,
    pub(crate) secret: String,
    #[serde(flatten)]
    pub(crate) arguments: Arguments,
    pub(crate) decision: Decision,
}

/// What a peer's host knows when it asks: the contract's types, but in place of records what a peer's own host would remember, read already.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) connection: Connection,
    pub(crate) envelope: Option<Envelope>,
    pub(crate) auth_results: Option<AuthResults>,
    /// The client and its network as text, since a host has them so when it asks a second time.
    pub(crate) client: String,
    pub(crate) prefix: String,
    pub(crate) facts: Facts,
}

/// What is remembered of the client and its networks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Facts {
    pub(crate) penalty: Option<Penalised>,
    pub(crate) capable_at: Option<u64>,
    pub(crate) incapable_at: Option<u64>,
    /// Messages of the address, as they were counted last.
    pub(crate) passed: f64,
    pub(crate) failed: f64,
    /// Messages that passed on a temporary error, of the network and of its /48.
    pub(crate) temporary: Option<Counted>,
    pub(crate) temporary_48: Option<Counted>,
}

/// A penalty of the network. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Penalised {
    pub(crate) refuse_until: u64,
    pub(crate) last_failure: u64,
    pub(crate) simulated: bool,
}

/// So many since then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Counted {
    pub(crate) since: u64,
    pub(crate) count: u32,
}

impl Input {
    /// The same question. `None` where a record says what no peer was given.
    pub(crate) fn of(arguments: &Arguments) -> Option<Input> {
        let Arguments { connection, envelope, message: _, auth_results } = arguments;
        let client = connection.client;
        let network = Network::of(client, 64);
        Some(Input {
            facts: Facts::of(connection, network)?,
            client: client.to_string(),
            prefix: network.to_string(),
            connection: Connection { records: Vec::new(), ..connection.clone() },
            envelope: envelope.clone(),
            auth_results: auth_results.clone(),
        })
    }
}

impl Facts {
    fn of(connection: &Connection, network: Network) -> Option<Facts> {
        let mut facts = Facts::default();
        let counted = |window: smtp_fallback_policy::record::Window| Counted { since: window.since, count: window.count };
        for stored in &connection.records {
            // Of another network than the client's: the mail came from there before.
            let is_own = Network::of(connection.client, stored.key.prefix_length).prefix() == stored.key.address;
            match Record::read(stored) {
                Some(Record::Network(record)) if is_own && stored.key.prefix_length == network.length() => {
                    if record.let_in.is_some() || record.not_believed_until.is_some() {
                        return None;
                    }
                    facts.penalty = record.penalty.map(|penalty| Penalised {
                        refuse_until: penalty.refuse_until,
                        last_failure: penalty.last_failure,
                        simulated: penalty.simulated,
                    });
                    (facts.capable_at, facts.incapable_at) = (record.capable_at, record.incapable_at);
                    facts.temporary = record.temporary.map(counted);
                }
                Some(Record::Address(record)) if is_own => {
                    // Peers do not fade evidence.
                    if connection.stage != Stage::EndOfData && record.evidence.at != connection.now {
                        return None;
                    }
                    let messages = |count: u32| f64::from(count) / f64::from(MESSAGE);
                    (facts.passed, facts.failed) = (messages(record.evidence.passed), messages(record.evidence.failed));
                }
                Some(Record::Budget(record)) if is_own => facts.temporary_48 = record.temporary.map(counted),
                _ => {}
            }
        }
        Some(facts)
    }
}

/// What a policy that was written by hand reads from its configuration; the rest stands in the policy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) url: Option<String>,
    pub(crate) exempt_domains: Vec<String>,
    pub(crate) exempt_recipients: Vec<String>,
    /// One exempt recipient suffices.
    pub(crate) any_recipient: bool,
    pub(crate) greeting_code: u16,
    pub(crate) later_code: u16,
    pub(crate) temporary_per_network: u32,
    pub(crate) temporary_per_48: u32,
    /// By name, for the host's function `within`, and as text.
    #[serde(skip)]
    pub(crate) networks: Networks,
    pub(crate) ipv4: Vec<String>,
    pub(crate) exempt_networks: Vec<String>,
}

impl Settings {
    /// The settings of this policy; `None` where it has others than the peers have.
    pub(crate) fn of(policy_json: &str) -> Result<Option<Settings>, Failed> {
        let (policy, _) = policy::parse(policy_json).map_err(|errors| format!("{errors:?}"))?;
        if !is_within(&policy) {
            return Ok(None);
        }
        let Policy { mode, exempt, codes, url, temporary_errors, .. } = policy;
        let networks = Networks::new(&exempt)?;
        let texts = |name| networks.0.get(name).into_iter().flatten().map(Network::to_string).collect();
        Ok(Some(Settings {
            mode,
            url,
            exempt_domains: exempt.domains.entries().to_vec(),
            exempt_recipients: exempt.recipients.entries().to_vec(),
            any_recipient: exempt.any_recipient,
            greeting_code: codes.greeting,
            later_code: codes.later,
            temporary_per_network: temporary_errors.per_network,
            temporary_per_48: temporary_errors.per_48,
            ipv4: texts("ipv4"),
            exempt_networks: texts("exempt"),
            networks,
        }))
    }
}

/// Whether the policy says nothing beyond the peers' settings. What only changes records they need not know.
fn is_within(policy: &Policy) -> bool {
    let default = Policy::default();
    *policy
        == Policy {
            mode: policy.mode,
            exempt: Exempt { names: default.exempt.names, ..policy.exempt.clone() },
            codes: policy.codes,
            temporary_errors: policy.temporary_errors,
            url: policy.url.clone(),
            texts: Texts::standard(policy.url.as_deref()),
            penalty: Penalty {
                at_greeting: default.penalty.at_greeting,
                maximum: default.penalty.maximum,
                ..policy.penalty.clone()
            },
            no_fallback: policy.no_fallback,
            ..Policy::default()
        }
}

/// The networks that `within` knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks(HashMap<&'static str, Vec<Network>>);

impl Networks {
    fn new(exempt: &Exempt) -> Result<Networks, Failed> {
        let parse = |text: &str| Network::parse(text).map_err(|error| format!("{text}: {error:?}"));
        let mut all = exempt.networks.clone();
        if exempt.local_networks {
            all.extend([parse("::1")?, parse("fe80::/10")?, parse("fc00::/7")?]);
        }
        let ipv4 = vec![parse("0.0.0.0/0")?, parse("64:ff9b::/96")?];
        Ok(Networks(HashMap::from([("ipv4", ipv4), ("exempt", all)])))
    }

    /// The host's function for Lua and CEL.
    pub(crate) fn within(&self, client: &str, list: &str) -> bool {
        let Ok(address) = client.parse::<Address>() else { return false };
        self.0.get(list).is_some_and(|networks| networks.iter().any(|network| network.contains(address)))
    }
}

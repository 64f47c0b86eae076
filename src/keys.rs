//! Which records a decision wants.

use crate::contract::{Connection, Key, Stage};
use crate::policy::{DecideAt, Policy};
use crate::record::{address_key, budget_key, network_key};
use crate::scope;

/// The keys whose records `decide` reads at this stage: none where the connection is out of scope.
pub(crate) fn keys(policy: &Policy, connection: &Connection) -> Vec<Key> {
    if scope::outside(policy, connection).is_some() {
        return Vec::new();
    }
    let client = connection.client;
    let network = network_key(policy.network.network_of(client));
    match connection.stage {
        Stage::Greeting | Stage::Ehlo if policy.penalty.at_greeting => vec![network, address_key(client)],
        Stage::Greeting | Stage::Ehlo => Vec::new(),
        // To note that the network is capable of the extension (A5).
        Stage::Mail | Stage::Rcpt if connection.acknowledged => vec![network],
        Stage::Mail | Stage::Rcpt => Vec::new(),
        Stage::Data if policy.decide_at == DecideAt::Earliest => vec![network, address_key(client)],
        Stage::Data if connection.acknowledged => vec![network],
        Stage::Data => Vec::new(),
        Stage::EndOfData => vec![network, address_key(client), budget_key(client)],
    }
}

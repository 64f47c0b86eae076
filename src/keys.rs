//! Which records a decision wants.

use crate::case::Case;
use crate::contract::{Key, Reason, Stage};
use crate::fingerprint::Fingerprints;
use crate::policy::DecideAt;
use crate::record::{self, Found, MailRead, address_key, budget_key, network_key};
use crate::{refusal, scope};

/// The keys whose records `decide` reads at this stage: none where the connection is out of scope.
pub(crate) fn keys(case: &Case<'_>) -> Vec<Key> {
    let connection = case.connection;
    match scope::outside(case.policy, connection) {
        None => {}
        Some(Reason::Ipv4) if refusal::may_arrive(connection) => return of_arrival(case),
        Some(_) => return Vec::new(),
    }
    let client = connection.client;
    let network = network_key(case.network());
    match connection.stage {
        Stage::Greeting | Stage::Ehlo if case.policy.penalty.at_greeting => vec![network, address_key(client)],
        Stage::Greeting | Stage::Ehlo => Vec::new(),
        // To note that the network is capable of the extension (A5).
        Stage::Mail | Stage::Rcpt if connection.acknowledged => vec![network],
        Stage::Mail | Stage::Rcpt => Vec::new(),
        Stage::Data if case.policy.decide_at == DecideAt::Earliest => of_message(case),
        Stage::Data if connection.acknowledged => vec![network],
        Stage::Data => Vec::new(),
        Stage::EndOfData => of_message(case),
    }
}

/// Where a message is judged.
fn of_message(case: &Case<'_>) -> Vec<Key> {
    let client = case.connection.client;
    let mut keys = Vec::with_capacity(5);
    keys.extend([network_key(case.network()), address_key(client), budget_key(client)]);
    add_mail(case, &mut keys);
    keys
}

/// Over IPv4: whether the mail was refused.
fn of_arrival(case: &Case<'_>) -> Vec<Key> {
    let mut keys = Vec::new();
    add_mail(case, &mut keys);
    keys
}

/// The mail's keys, and once it is known that it was refused, that of the network that it was refused from.
fn add_mail(case: &Case<'_>, keys: &mut Vec<Key>) {
    for key in fingerprints(case).keys() {
        keys.push(key);
        if let Found::Record(mail) = record::find::<MailRead>(&case.connection.records, key) {
            let network = network_key(mail.network);
            if !keys.contains(&network) {
                keys.push(network);
            }
        }
    }
}

fn fingerprints(case: &Case<'_>) -> Fingerprints {
    Fingerprints::of(case.key, case.connection, case.envelope, case.message)
}

//! What it costs to lose a record, for records whose store did not keep that.

use smtp_fallback_policy::contract::StoredRecord;
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::{Evidence, MESSAGE, Record, Window, exempt};

/// What the policy's own letting-in weighs: as much as a thousand messages.
const LET_IN: u32 = 1000;
/// So many refusals of a mail weigh more than fewer.
const MOST_REFUSALS: u32 = 100;

/// The weight that the module gives such a record; 0 for octets that are none.
pub(crate) fn weight_of(record: &StoredRecord) -> u32 {
    match Record::read(record) {
        None => 0,
        Some(Record::Address(address)) => messages(address.evidence),
        Some(Record::Network(network)) => {
            // The module's own word for it: `exempt` weighs the whole record, with an operator's exemption or without one.
            let by_operator = network.let_in.is_some_and(|let_in| let_in.by_operator);
            let of = Network::of(record.key.address, record.key.prefix_length);
            let weight = exempt(of, Some(&record.value), 0, by_operator.into()).map_or(0, |update| update.weight);
            weight.saturating_add(if network.let_in.is_some() && !by_operator { LET_IN } else { 0 })
        }
        Some(Record::Budget(budget)) => count(budget.temporary).saturating_add(count(budget.let_in)),
        Some(Record::Mail(mail)) if mail.settled.is_some() => 0,
        Some(Record::Mail(mail)) => mail.refusals.min(MOST_REFUSALS),
    }
}

fn messages(evidence: Evidence) -> u32 {
    (evidence.passed / MESSAGE).saturating_add(evidence.failed / MESSAGE)
}

fn count(window: Option<Window>) -> u32 {
    window.map_or(0, |window| window.count)
}

//! Records for people and reports, as JSON. The shape is published and stable: fields may be added, none changes.
//!
//! ```json
//! {"kind": "network", "network": "2001:db8::/64",
//!  "evidence": {"passed": 1.50, "failed": 9.25, "at": 1700000000},
//!  "penalty": {"refuse-until": 1700000900, "doublings": 0, "last-failure": 1700000000, "simulated": false},
//!  "capable-at": null, "incapable-at": 1700000000,
//!  "temporary-errors": {"since": 1700000000, "count": 3}}
//! ```
//!
//! Counts are in messages, as they were worth at `at`; times are seconds since 1970. An `address` record has `evidence`, a
//! `budget` record `temporary-errors`.

use std::fmt::Write as _;

use super::{AddressRecord, BudgetRecord, NetworkRecord, Record, Window};
use crate::contract::{KeyKind, StoredRecord};
use crate::evidence::{Evidence, MESSAGE};
use crate::network::Network;

/// The record as a JSON object; the error says what it is instead.
pub(crate) fn inspect(record: &StoredRecord) -> Result<String, String> {
    let network = Network::of(record.key.address, record.key.prefix_length);
    match record.key.kind {
        KeyKind::Address => decode(record, "address").map(|address: AddressRecord| {
            format!(r#"{{"kind":"address","network":"{network}","evidence":{}}}"#, evidence(address.evidence))
        }),
        KeyKind::Network => decode(record, "network").map(|found| network_record(network, &found)),
        KeyKind::Budget => decode(record, "budget").map(|budget: BudgetRecord| {
            format!(r#"{{"kind":"budget","network":"{network}","temporary-errors":{}}}"#, window(budget.temporary))
        }),
        KeyKind::Exact | KeyKind::Inferred => Err("this version of the module keeps no records of mails".into()),
    }
}

fn decode<R: Record>(record: &StoredRecord, kind: &str) -> Result<R, String> {
    R::decode(&record.value)
        .ok_or_else(|| format!("{} octets that are no {kind} record of this version; it counts as absent", record.value.len()))
}

fn network_record(network: Network, record: &NetworkRecord) -> String {
    let mut json = format!(r#"{{"kind":"network","network":"{network}","evidence":{},"penalty":"#, evidence(record.evidence));
    match record.penalty {
        None => json.push_str("null"),
        Some(penalty) => write!(
            json,
            r#"{{"refuse-until":{},"doublings":{},"last-failure":{},"simulated":{}}}"#,
            penalty.refuse_until, penalty.doublings, penalty.last_failure, penalty.simulated
        )
        .expect("writing to a String does not fail"),
    }
    write!(
        json,
        r#","capable-at":{},"incapable-at":{},"temporary-errors":{}}}"#,
        time(record.capable_at),
        time(record.incapable_at),
        window(record.temporary)
    )
    .expect("writing to a String does not fail");
    json
}

fn evidence(evidence: Evidence) -> String {
    if evidence.passed == 0 && evidence.failed == 0 {
        return "null".into();
    }
    format!(r#"{{"passed":{},"failed":{},"at":{}}}"#, messages(evidence.passed), messages(evidence.failed), evidence.at)
}

/// A count in messages, to the nearest hundredth.
fn messages(count: u32) -> String {
    let hundredths = (u64::from(count) * 100 + u64::from(MESSAGE) / 2) / u64::from(MESSAGE);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn time(time: Option<u64>) -> String {
    time.map_or_else(|| "null".into(), |time| time.to_string())
}

fn window(window: Option<Window>) -> String {
    window.map_or_else(|| "null".into(), |Window { since, count }| format!(r#"{{"since":{since},"count":{count}}}"#))
}

//! Records for people and reports, as JSON. The shape is published and stable: fields may be added, none changes.
//!
//! ```json
//! {"kind": "network", "network": "2001:db8::/64",
//!  "evidence": {"passed": 1.50, "failed": 9.25, "at": 1700000000},
//!  "penalty": {"refuse-until": 1700000900, "doublings": 0, "last-failure": 1700000000, "simulated": false},
//!  "capable-at": null, "incapable-at": 1700000000,
//!  "temporary-errors": {"since": 1700000000, "count": 3},
//!  "let-in": {"since": 1700000000, "until": 1700604800, "by-operator": false, "failing": {"since": 1700000000, "count": 7}},
//!  "waiting": [{"since": 1700000000, "acknowledged": false}],
//!  "not-believed-until": null, "probed-at": 1700000300}
//!
//! {"kind": "exact", "network": "2001:db8::/64", "ehlo-name": "mail.example.net", "sender-domain": "example.net",
//!  "refused-for": "unauthenticated", "lacked": "SPF=none, DKIM=none", "first-refusal": 1700000000, "last-refusal": 1700000600,
//!  "refusals": 2, "acknowledged": false, "message-id": "known",
//!  "settled": {"at": 1700000700, "by": "ipv4"}}
//! ```
//!
//! Counts are in messages, as they were worth at `at`; times are seconds since 1970. An `address` record has `evidence`, a
//! `budget` record `temporary-errors` and `let-in`; an `inferred` record has the fields of an `exact` one. `message-id` is "known", "absent" or
//! "not-yet" (refused at DATA). `ehlo-name` and `sender-domain` are what a client said, and may be anything.

use std::fmt::Write as _;

use super::{MailRead, NetworkRecord, Record, RecordRead, Window};
use crate::contract::{KeyKind, StoredRecord};
use crate::evidence::{Evidence, MESSAGE};
use crate::network::Network;

/// The record as a JSON object; the error says what it is instead.
pub(crate) fn inspect(record: &StoredRecord) -> Result<String, String> {
    let kind = match record.key.kind {
        KeyKind::Address => "address",
        KeyKind::Network => "network",
        KeyKind::Budget => "budget",
        KeyKind::Exact => "exact",
        KeyKind::Inferred => "inferred",
    };
    let network = Network::of(record.key.address, record.key.prefix_length);
    let Some(read) = RecordRead::of(record) else {
        let octets = record.value.len();
        return Err(format!("{octets} octets that are no {kind} record of this version; it counts as absent"));
    };
    let mut json = Json(format!(r#"{{"kind":"{kind}""#));
    match read {
        Record::Address(record) => json.network(network).evidence(record.evidence),
        Record::Network(record) => json.network(network).network_record(&record),
        Record::Budget(record) => {
            json.network(network).window("temporary-errors", record.temporary).window("let-in", record.let_in)
        }
        Record::Mail(record) => json.network(record.network).mail(&record),
    };
    json.0.push('}');
    Ok(json.0)
}

/// An object that fields are added to.
struct Json(String);

impl Json {
    fn network_record(&mut self, record: &NetworkRecord) -> &mut Self {
        self.evidence(record.evidence);
        match record.penalty {
            None => self.field("penalty", "null"),
            Some(penalty) => self.field(
                "penalty",
                format_args!(
                    r#"{{"refuse-until":{},"doublings":{},"last-failure":{},"simulated":{}}}"#,
                    penalty.refuse_until, penalty.doublings, penalty.last_failure, penalty.simulated
                ),
            ),
        };
        self.time("capable-at", record.capable_at).time("incapable-at", record.incapable_at);
        self.window("temporary-errors", record.temporary);
        match record.let_in {
            None => self.field("let-in", "null"),
            Some(let_in) => self.field(
                "let-in",
                format_args!(
                    r#"{{"since":{},"until":{},"by-operator":{},"failing":{}}}"#,
                    let_in.since,
                    let_in.until,
                    let_in.by_operator,
                    window(let_in.failing)
                ),
            ),
        };
        let mut waiting = String::from("[");
        for each in record.waiting.iter().flatten() {
            let comma = if waiting.len() > 1 { "," } else { "" };
            let written = write!(waiting, r#"{comma}{{"since":{},"acknowledged":{}}}"#, each.since, each.acknowledged);
            written.expect("writing to a String does not fail");
        }
        waiting.push(']');
        self.field("waiting", waiting);
        self.time("not-believed-until", record.not_believed_until).time("probed-at", record.probed_at)
    }

    fn mail(&mut self, record: &MailRead<'_>) -> &mut Self {
        self.field("ehlo-name", string(&record.ehlo_name)).field("sender-domain", string(&record.sender_domain));
        self.field("refused-for", string(record.refused_for.as_str())).field("lacked", string(&record.lacked));
        self.field("first-refusal", record.first_refusal).field("last-refusal", record.last_refusal);
        self.field("refusals", record.refusals).field("acknowledged", record.acknowledged);
        self.field("message-id", string(record.message_id.as_str()));
        match record.settled {
            None => self.field("settled", "null"),
            Some(settled) => self.field("settled", format_args!(r#"{{"at":{},"by":"{}"}}"#, settled.at, settled.by.as_str())),
        }
    }

    fn network(&mut self, network: Network) -> &mut Self {
        self.field("network", format_args!(r#""{network}""#))
    }

    fn evidence(&mut self, evidence: Evidence) -> &mut Self {
        if evidence.passed == 0 && evidence.failed == 0 {
            return self.field("evidence", "null");
        }
        let (passed, failed) = (messages(evidence.passed), messages(evidence.failed));
        self.field("evidence", format_args!(r#"{{"passed":{passed},"failed":{failed},"at":{}}}"#, evidence.at))
    }

    fn time(&mut self, name: &str, time: Option<u64>) -> &mut Self {
        match time {
            None => self.field(name, "null"),
            Some(time) => self.field(name, time),
        }
    }

    fn window(&mut self, name: &str, found: Option<Window>) -> &mut Self {
        self.field(name, window(found))
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        // One place that formats, for the size of the component.
        fn write(json: &mut String, name: &str, value: &dyn std::fmt::Display) {
            write!(json, r#","{name}":{value}"#).expect("writing to a String does not fail");
        }
        write(&mut self.0, name, &value);
        self
    }
}

/// A count in messages, to the nearest hundredth.
fn messages(count: u32) -> String {
    let hundredths = (u64::from(count) * 100 + u64::from(MESSAGE) / 2) / u64::from(MESSAGE);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn window(window: Option<Window>) -> String {
    window.map_or_else(|| "null".into(), |Window { since, count }| format!(r#"{{"since":{since},"count":{count}}}"#))
}

/// A JSON string (RFC 8259 §7).
fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                write!(json, "\\u{:04x}", u32::from(c)).expect("writing to a String does not fail");
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_words_are_a_json_string() {
        for text in ["mail.example", "a\"b", "\\", "\r\n\0\u{7f}", "\u{2028}grüße", ""] {
            assert_eq!(serde_json::from_str::<String>(&string(text)).expect("JSON"), text);
        }
        assert_eq!(string("a\n b\u{1f}"), r#""a\u000a b\u001f""#);
    }
}

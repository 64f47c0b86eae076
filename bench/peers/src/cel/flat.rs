//! What the host knows, as one record with the names that the expressions use.

use std::collections::HashMap;

use cel::common::value::Val;
use cel::objects::Key;
use cel::{Value, to_value};
use serde::Serialize;
use smtp_fallback_policy::contract::{AuthResult, Connection, Dkim, Envelope, Listener, Stage};

use crate::Failed;
use crate::input::{Counted, Facts, Input};

#[derive(Serialize)]
struct Flat<'a> {
    stage: Stage,
    client: &'a str,
    prefix: &'a str,
    listener: Listener,
    authenticated: bool,
    reachable_over_ipv4: bool,
    listener_offers: bool,
    acknowledged: bool,
    now: i64,
    mail_from: Option<&'a str>,
    recipients: &'a [String],
    has_results: bool,
    spf_mail_from: Option<AuthResult>,
    spf_mail_from_domain: Option<&'a str>,
    spf_helo: Option<AuthResult>,
    spf_helo_domain: Option<&'a str>,
    dkim: Option<&'a [Dkim]>,
    dmarc: Option<AuthResult>,
    dmarc_domain: Option<&'a str>,
    refuse_until: Option<i64>,
    last_failure: Option<i64>,
    penalty_simulated: Option<bool>,
    capable_at: Option<i64>,
    incapable_at: Option<i64>,
    passed: f64,
    failed: f64,
    temporary_since: Option<i64>,
    temporary_count: Option<i64>,
    temporary_48_since: Option<i64>,
    temporary_48_count: Option<i64>,
}

/// All of it converted.
pub(super) fn converted(input: &Input) -> Result<HashMap<String, Box<dyn Val>>, Failed> {
    let Value::Map(map) = to_value(Flat::of(input)).map_err(|error| format!("{error:?}"))? else {
        return Err("a record is a map".into());
    };
    let named = |(key, value): (&Key, &Value)| match key {
        Key::String(name) => Some((name.as_str().to_owned(), value.clone().try_into().ok()?)),
        _ => None,
    };
    Ok(map.map.iter().filter_map(named).collect())
}

impl<'a> Flat<'a> {
    fn of(input: &'a Input) -> Self {
        let Input { connection, envelope, auth_results, client, prefix, facts } = input;
        let Connection { stage, listener, authenticated, reachable_over_ipv4, listener_offers, acknowledged, now, .. } =
            connection;
        let Facts { penalty, capable_at, incapable_at, passed, failed, temporary, temporary_48 } = facts;
        let results = auth_results.as_ref();
        let mail_from = results.and_then(|results| results.spf_mail_from.as_ref());
        let helo = results.and_then(|results| results.spf_helo.as_ref());
        let dmarc = results.and_then(|results| results.dmarc.as_ref());
        let counted = |counted: &Option<Counted>| (counted.map(|each| signed(each.since)), counted.map(|each| each.count.into()));
        let (temporary_since, temporary_count) = counted(temporary);
        let (temporary_48_since, temporary_48_count) = counted(temporary_48);
        Flat {
            stage: *stage,
            client,
            prefix,
            listener: *listener,
            authenticated: *authenticated,
            reachable_over_ipv4: *reachable_over_ipv4,
            listener_offers: *listener_offers,
            acknowledged: *acknowledged,
            now: signed(*now),
            mail_from: envelope.as_ref().map(|envelope| envelope.mail_from.as_str()),
            recipients: envelope.as_ref().map_or(&[], |envelope: &Envelope| &envelope.recipients),
            has_results: results.is_some_and(|results| !results.is_empty()),
            spf_mail_from: mail_from.map(|spf| spf.result),
            spf_mail_from_domain: mail_from.map(|spf| spf.domain.as_str()),
            spf_helo: helo.map(|spf| spf.result),
            spf_helo_domain: helo.map(|spf| spf.domain.as_str()),
            dkim: results.and_then(|results| results.dkim.as_deref()),
            dmarc: dmarc.map(|dmarc| dmarc.result),
            dmarc_domain: dmarc.map(|dmarc| dmarc.domain.as_str()),
            refuse_until: penalty.map(|penalty| signed(penalty.refuse_until)),
            last_failure: penalty.map(|penalty| signed(penalty.last_failure)),
            penalty_simulated: penalty.map(|penalty| penalty.simulated),
            capable_at: capable_at.map(signed),
            incapable_at: incapable_at.map(signed),
            passed: *passed,
            failed: *failed,
            temporary_since,
            temporary_count,
            temporary_48_since,
            temporary_48_count,
        }
    }
}

/// CEL does not reckon with signed and unsigned numbers together.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

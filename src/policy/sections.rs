//! The policy's sections, one function each.

use super::entries::{self, DomainEntries};
use super::json::{self, Kind};
use super::order::sort;
use super::print;
use super::read::{Fields, Reader, Value};
use super::requirement;
use super::{
    Codes, Confidence, DecideAt, DomainList, EnhancedCodes, Exempt, NetworkPrefixes, NoFallback, NoFallbackAction, Penalty,
    Policy, TemporaryErrors, Texts,
};
use crate::contract::Mode;

/// The fields of the whole policy.
pub(super) const POLICY: &[&str] = &[
    "$schema",
    "mode",
    "rollout_percent",
    "require",
    "trusted_sealers",
    "decide_at",
    "network",
    "exempt",
    "reputation",
    "penalty",
    "no_fallback",
    "temporary_errors",
    "codes",
    "enhanced_codes",
    "url",
    "texts",
];
/// The fields of `network`.
pub(super) const NETWORK: &[&str] = &["prefix", "overrides"];
/// The fields of `exempt`.
pub(super) const EXEMPT: &[&str] = &["local_networks", "networks", "names", "domains", "recipients", "recipients_match"];
/// The fields of `reputation`.
pub(super) const REPUTATION: &[&str] = &["distrust"];
/// The fields of `penalty`.
pub(super) const PENALTY: &[&str] =
    &["at_greeting", "confidence", "half_life", "first", "maximum", "jitter_percent", "probe_one_in"];
/// The fields of `no_fallback`.
pub(super) const NO_FALLBACK: &[&str] = &["action", "refusals", "over", "let_in_for", "let_in_per_day", "let_in_per_day_48"];
/// The words of `no_fallback.action`.
pub(super) const NO_FALLBACK_ACTIONS: &[&str] = &["let_in", "alert", "reject"];
/// The fields of `temporary_errors`.
pub(super) const TEMPORARY_ERRORS: &[&str] = &["per_network", "per_48"];
/// The fields of `codes`.
pub(super) const CODES: &[&str] = &["greeting", "later"];
/// The fields of `enhanced_codes`.
pub(super) const ENHANCED_CODES: &[&str] = &["unauthenticated", "distrusted", "penalty"];
/// The fields of `texts`.
pub(super) const TEXTS: &[&str] = &["unauthenticated", "distrusted", "penalty", "temporary_error", "never_falls_back"];
/// The words of `mode`.
pub(super) const MODES: &[&str] = &["enforce", "observe"];
/// The words of `decide_at`.
pub(super) const DECIDE_AT: &[&str] = &["end-of-data", "earliest"];
/// The words of `exempt.recipients_match`.
pub(super) const RECIPIENTS_MATCH: &[&str] = &["all", "any"];

const DAY: u32 = 24 * 3600;
const MILLION: u32 = 1_000_000;

/// Reads the whole policy. What is wrong or left out has its default; the reader knows the errors.
pub(super) fn policy<'a>(reader: &mut Reader<'a>, whole: Value<'a>) -> Policy {
    let mut policy = Policy::default();
    let Some(fields) = reader.fields(whole, POLICY) else { return policy };
    if let Some(value) = fields.get("$schema") {
        reader.string(value, "the address of a JSON Schema");
    }
    if let Some(value) = fields.get("mode") {
        policy.mode = if reader.word(value, MODES) == Some(1) { Mode::Observe } else { Mode::Enforce };
    }
    number(reader, &fields, "rollout_percent", 0..=100, &mut |number| policy.rollout_percent = number as u8);
    requirement_and_sealers(reader, &fields, &mut policy);
    if let Some(value) = fields.get("decide_at") {
        policy.decide_at = if reader.word(value, DECIDE_AT) == Some(1) { DecideAt::Earliest } else { DecideAt::EndOfData };
    }
    if let Some(value) = fields.get("network") {
        network(reader, value, &mut policy.network);
    }
    let exempt = fields.get("exempt").map(|value| exempt(reader, value, &mut policy.exempt)).unwrap_or_default();
    if let Some(value) = fields.get("reputation") {
        policy.distrust = reputation(reader, value, exempt);
    }
    if let Some(value) = fields.get("penalty") {
        penalty(reader, value, &mut policy.penalty);
    }
    if let Some(value) = fields.get("no_fallback") {
        no_fallback(reader, value, &mut policy.no_fallback);
    }
    if let Some(value) = fields.get("temporary_errors") {
        temporary_errors(reader, value, &mut policy.temporary_errors);
    }
    if let Some(value) = fields.get("codes") {
        codes(reader, value, &mut policy.codes);
    }
    if let Some(value) = fields.get("enhanced_codes") {
        enhanced_codes(reader, value, &mut policy.enhanced_codes);
    }
    policy.url = fields.get("url").and_then(|value| url(reader, value));
    policy.texts = Texts::standard(policy.url.as_deref());
    if let Some(value) = fields.get("texts") {
        // Where the URL is wrong, that is the error, and not that a text names it.
        let url = policy.url.as_deref().or_else(|| fields.get("url").map(|_| ""));
        texts(reader, value, url, &mut policy.texts);
    }
    policy
}

/// Reads a number, if the field is there.
fn number<'a>(
    reader: &mut Reader<'a>,
    fields: &Fields<'a>,
    name: &str,
    range: std::ops::RangeInclusive<u32>,
    set: &mut dyn FnMut(u32),
) {
    if let Some(value) = fields.get(name)
        && let Some(number) = reader.number(value, *range.start(), *range.end())
    {
        set(number);
    }
}

/// `require` and `trusted_sealers`: the ARC that is required needs sealers who are trusted (A28).
fn requirement_and_sealers<'a>(reader: &mut Reader<'a>, fields: &Fields<'a>, policy: &mut Policy) {
    let arc = match fields.get("require") {
        Some(value) => {
            let (requirement, arc) = requirement::read(reader, value);
            policy.require = requirement.unwrap_or_else(|| Policy::default().require);
            arc
        }
        None => None,
    };
    let mut nobody = None;
    match fields.get("trusted_sealers") {
        Some(value) => {
            let entries = entries::domains(reader, value, 0);
            // An empty list that is right, and not one of which every entry is wrong.
            if entries.as_ref().is_some_and(|entries| entries.is_empty()) && json::items(value.raw, 0, &mut |_| {}) == 0 {
                nobody = Some(value);
            }
            policy.trusted_sealers = list(entries.unwrap_or_default());
        }
        None => nobody = arc,
    }
    if let (Some(arc), Some(sealers)) = (arc, nobody) {
        let later = reader.later(arc, sealers);
        let advice = "arc counts from trusted sealers only: list them in trusted_sealers, or do not require arc";
        let expected = if json::kind(later.raw) == Kind::List {
            "a list of at least one sealer, as require names arc"
        } else {
            "a check that can pass: trusted_sealers is empty"
        };
        reader.error(later, expected, advice);
    }
}

/// The list that these entries make.
fn list(entries: DomainEntries<'_>) -> DomainList {
    DomainList::new(entries.into_iter().map(|(domain, _)| domain).collect())
}

/// `network` (P13).
fn network<'a>(reader: &mut Reader<'a>, value: Value<'a>, network: &mut NetworkPrefixes) {
    let Some(fields) = reader.fields(value, NETWORK) else { return };
    number(reader, &fields, "prefix", 16..=128, &mut |number| network.default = number as u8);
    if let Some(value) = fields.get("overrides") {
        network.overrides = entries::overrides(reader, value);
    }
}

/// `exempt` (A29). Returns the exempt domains with their places.
fn exempt<'a>(reader: &mut Reader<'a>, value: Value<'a>, exempt: &mut Exempt) -> DomainEntries<'a> {
    let Some(fields) = reader.fields(value, EXEMPT) else { return Vec::new() };
    if let Some(value) = fields.get("local_networks") {
        exempt.local_networks = reader.boolean(value).unwrap_or(true);
    }
    if let Some(value) = fields.get("networks") {
        exempt.networks = entries::networks(reader, value);
    }
    if let Some(value) = fields.get("names") {
        exempt.names = list(entries::domains(reader, value, 0).unwrap_or_default());
    }
    if let Some(value) = fields.get("recipients") {
        exempt.recipients = entries::recipients(reader, value);
    }
    if let Some(value) = fields.get("recipients_match") {
        exempt.any_recipient = reader.word(value, RECIPIENTS_MATCH) == Some(1);
    }
    let domains = fields.get("domains").and_then(|value| entries::domains(reader, value, 0)).unwrap_or_default();
    exempt.domains = list(domains.clone());
    domains
}

/// `reputation` (A30); a domain cannot be both exempt and distrusted.
fn reputation<'a>(reader: &mut Reader<'a>, value: Value<'a>, mut exempt: DomainEntries<'a>) -> DomainList {
    let Some(fields) = reader.fields(value, REPUTATION) else { return DomainList::default() };
    let Some(value) = fields.get("distrust") else { return DomainList::default() };
    let distrust = entries::domains(reader, value, 0).unwrap_or_default();
    sort(&mut exempt, |(one, _), (other, _)| one.cmp(other));
    for (domain, value) in &distrust {
        if let Ok(at) = exempt.binary_search_by(|(exempt, _)| exempt.cmp(domain)) {
            let later = reader.later(*value, exempt[at].1);
            let expected = "a domain that is not both in exempt.domains and in reputation.distrust";
            reader.error(later, expected, "remove it from one of the two lists");
        }
    }
    list(distrust)
}

/// `penalty` (A6, A7).
fn penalty<'a>(reader: &mut Reader<'a>, value: Value<'a>, penalty: &mut Penalty) {
    let Some(fields) = reader.fields(value, PENALTY) else { return };
    if let Some(value) = fields.get("at_greeting") {
        penalty.at_greeting = reader.boolean(value).unwrap_or(true);
    }
    if let Some(value) = fields.get("confidence") {
        penalty.confidence = confidence(reader, value).unwrap_or(penalty.confidence);
    }
    if let Some(value) = fields.get("half_life") {
        let seconds = reader.duration(value, 3600, 30 * DAY, "a duration from \"1h\" to \"30d\"");
        penalty.half_life = seconds.unwrap_or(penalty.half_life);
    }
    let mut right = true;
    let mut time = |name: &str, default: u32| match fields.get(name) {
        None => default,
        Some(value) => {
            let seconds = reader.duration(value, 1, 7 * DAY, "a duration from \"1s\" to \"7d\"");
            right &= seconds.is_some();
            seconds.unwrap_or(default)
        }
    };
    penalty.first = time("first", penalty.first);
    penalty.maximum = time("maximum", penalty.maximum);
    if right && penalty.first > penalty.maximum {
        first_over_maximum(reader, &fields, penalty);
    }
    number(reader, &fields, "jitter_percent", 0..=20, &mut |number| penalty.jitter_percent = number as u8);
    number(reader, &fields, "probe_one_in", 0..=MILLION, &mut |number| penalty.probe_one_in = number);
}

/// `first` is longer than `maximum`, and one of them at least was written: the later one is the error.
fn first_over_maximum<'a>(reader: &mut Reader<'a>, fields: &Fields<'a>, penalty: &Penalty) {
    let default = |field: Option<Value<'a>>| if field.is_none() { ", its default" } else { "" };
    let (first, maximum) = (fields.get("first"), fields.get("maximum"));
    match (first, maximum) {
        (Some(value), other) if other.is_none_or(|other| reader.offset(value) > reader.offset(other)) => {
            let limit = print::duration(penalty.maximum);
            let expected = format!("a first penalty of at most penalty.maximum ({limit}{})", default(maximum));
            reader.error(value, expected, "lower first, or raise maximum");
        }
        (_, Some(value)) => {
            let limit = print::duration(penalty.first);
            let expected = format!("a maximum of at least penalty.first ({limit}{})", default(first));
            reader.error(value, expected, "raise maximum, or lower first");
        }
        // The defaults do not contradict each other.
        _ => {}
    }
}

/// One of four decimals, compared as text: no rounding.
fn confidence<'a>(reader: &mut Reader<'a>, value: Value<'a>) -> Option<Confidence> {
    let digits = if value.raw.contains('.') { value.raw.trim_end_matches('0') } else { value.raw };
    let confidence = match digits {
        "0.9" => Some(Confidence::P90),
        "0.95" => Some(Confidence::P95),
        "0.99" => Some(Confidence::P99),
        "0.999" => Some(Confidence::P999),
        _ => None,
    };
    if confidence.is_none() {
        let expected = "one of the numbers 0.90, 0.95, 0.99 and 0.999";
        match json::kind(value.raw) {
            Kind::Number => reader.error(value, expected, "only these four are known; 0.99 is the default"),
            _ => reader.wrong_kind(value, expected, Kind::Number),
        }
    }
    confidence
}

/// `no_fallback` (A34).
fn no_fallback<'a>(reader: &mut Reader<'a>, value: Value<'a>, settings: &mut NoFallback) {
    let Some(fields) = reader.fields(value, NO_FALLBACK) else { return };
    if let Some(value) = fields.get("action") {
        settings.action = match reader.word(value, NO_FALLBACK_ACTIONS) {
            Some(1) => NoFallbackAction::Alert,
            Some(2) => NoFallbackAction::Reject,
            _ => NoFallbackAction::LetIn,
        };
    }
    // Once is no pattern: a client that falls back is refused once, too.
    number(reader, &fields, "refusals", 2..=100, &mut |number| settings.refusals = number);
    if let Some(value) = fields.get("over") {
        let seconds = reader.duration(value, 1, 5 * DAY, "a duration from \"1s\" to \"5d\"");
        settings.over = seconds.unwrap_or(settings.over);
    }
    if let Some(value) = fields.get("let_in_for") {
        let seconds = reader.duration(value, 60, 30 * DAY, "a duration from \"1m\" to \"30d\"");
        settings.let_in_for = seconds.unwrap_or(settings.let_in_for);
    }
    number(reader, &fields, "let_in_per_day", 0..=MILLION, &mut |number| settings.let_in_per_day = number);
    number(reader, &fields, "let_in_per_day_48", 0..=MILLION, &mut |number| settings.let_in_per_day_48 = number);
}

/// `temporary_errors` (A27).
fn temporary_errors<'a>(reader: &mut Reader<'a>, value: Value<'a>, errors: &mut TemporaryErrors) {
    let Some(fields) = reader.fields(value, TEMPORARY_ERRORS) else { return };
    number(reader, &fields, "per_network", 0..=MILLION, &mut |number| errors.per_network = number);
    number(reader, &fields, "per_48", 0..=MILLION, &mut |number| errors.per_48 = number);
}

/// `codes` (A3, A32).
fn codes<'a>(reader: &mut Reader<'a>, value: Value<'a>, codes: &mut Codes) {
    let Some(fields) = reader.fields(value, CODES) else { return };
    let mut code = |name: &str, default: u16| match fields.get(name) {
        None => default,
        Some(value) if value.raw == "451" => 451,
        Some(value) if value.raw == "421" => 421,
        Some(value) => {
            let expected = "451 or 421";
            match json::kind(value.raw) {
                Kind::Number => reader.error(value, expected, "only these two are possible (P4, A3, A32)"),
                _ => reader.wrong_kind(value, expected, Kind::Number),
            }
            default
        }
    };
    codes.greeting = code("greeting", codes.greeting);
    codes.later = code("later", codes.later);
}

/// `enhanced_codes` (A25).
fn enhanced_codes<'a>(reader: &mut Reader<'a>, value: Value<'a>, codes: &mut EnhancedCodes) {
    let Some(fields) = reader.fields(value, ENHANCED_CODES) else { return };
    for (name, code) in ENHANCED_CODES.iter().zip([&mut codes.unauthenticated, &mut codes.distrusted, &mut codes.penalty]) {
        if let Some(value) = fields.get(name) {
            let expected = "an enhanced status code \"4.subject.detail\"";
            let Some(text) = reader.string(value, expected) else { continue };
            if is_enhanced_code(&text) {
                *code = text.into_owned();
            } else if text.starts_with("5.") || text.starts_with("2.") {
                reader.error(value, expected, "the class has to be 4, as the reply codes are 4yz (RFC 3463 §2)");
            } else {
                reader.error(
                    value,
                    expected,
                    "write three numbers of up to 3 digits, without leading zeros, such as \"4.4.8\" or \"4.7.26\"",
                );
            }
        }
    }
}

/// RFC 3463 §2: "4" "." 1*3digit "." 1*3digit, without leading zeros.
fn is_enhanced_code(text: &str) -> bool {
    let number = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    text.strip_prefix("4.")
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(subject, detail)| number(subject) && number(detail))
}

/// `url` (P14).
fn url<'a>(reader: &mut Reader<'a>, value: Value<'a>) -> Option<String> {
    let expected = "a URL of at most 255 octets that begins with https:// or http://";
    let text = reader.string(value, expected)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let advice = if rest.is_none_or(str::is_empty) {
        "write it in full, such as \"https://example.org/mail-policy\""
    } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
        "write spaces and other characters than printable ASCII percent-encoded, such as %20"
    } else if text.contains(['{', '}']) {
        "write braces percent-encoded: %7B and %7D"
    } else if text.len() > 255 {
        "choose a shorter URL: it has to fit a reply line"
    } else {
        return Some(text.into_owned());
    };
    reader.error(value, expected, advice);
    None
}

/// `texts` (P14).
fn texts<'a>(reader: &mut Reader<'a>, value: Value<'a>, url: Option<&str>, texts: &mut Texts) {
    let Some(fields) = reader.fields(value, TEXTS) else { return };
    let slots = [
        &mut texts.unauthenticated,
        &mut texts.distrusted,
        &mut texts.penalty,
        &mut texts.temporary_error,
        &mut texts.never_falls_back,
    ];
    for (name, lines) in TEXTS.iter().zip(slots) {
        if let Some(value) = fields.get(name)
            && let Some(read) = entries::lines(reader, value, url)
        {
            *lines = read;
        }
    }
}

//! What a host may have and say, by octets.

use super::super::octets::Octets;
use crate::address::Address;
use crate::contract::{
    Arc, AuthResult, AuthResults, Connection, Dkim, Dmarc, Envelope, Iprev, Listener, Message, Spf, Stage, Tls,
};

/// A setting in each of its forms; the first is that of the defaults.
const SETTINGS: [&[&str]; 16] = [
    &["", r#""mode": "observe""#],
    &["", r#""rollout_percent": 50"#, r#""rollout_percent": 0"#],
    &[
        "",
        r#""require": "spf""#,
        r#""require": {"all": ["spf", "dkim"]}"#,
        r#""require": {"any": ["dmarc", "tls", {"none": ["fcrdns"]}]}"#,
        r#""require": {"any": ["spf", {"domains": ["a.example", ".b.example"]}]}"#,
        r#""require": "tls""#,
        r#""require": {"any": ["spf", "dkim", "arc"]}, "trusted_sealers": ["a.example"]"#,
        r#""require": {"all": ["fcrdns", {"any": ["dmarc", "dkim"]}]}"#,
    ],
    &["", r#""decide_at": "earliest""#],
    &[
        "",
        r#""network": {"prefix": 48}"#,
        r#""network": {"prefix": 128, "overrides": [{"network": "2001:db8:1::/48", "prefix": 56}]}"#,
        r#""network": {"prefix": 16}"#,
    ],
    &[
        "",
        r#""exempt": {"names": ["a.example"], "domains": ["c.example"], "recipients": ["a@a.example", "postmaster"]}"#,
        r#""exempt": {"recipients_match": "any", "local_networks": false, "networks": ["2001:db8:2::/48"]}"#,
    ],
    &["", r#""reputation": {"distrust": ["a.example", ".b.example"]}"#],
    &[
        "",
        r#""penalty": {"confidence": 0.90, "jitter_percent": 0, "probe_one_in": 0}"#,
        r#""penalty": {"at_greeting": false}"#,
        r#""penalty": {"confidence": 0.999, "first": "1m", "maximum": "7d", "half_life": "1h", "probe_one_in": 2}"#,
    ],
    &[
        "",
        r#""no_fallback": {"action": "reject", "refusals": 2, "over": "1m"}"#,
        r#""no_fallback": {"action": "alert"}"#,
        r#""no_fallback": {"refusals": 2, "over": "1m", "let_in_for": "1h", "let_in_per_day": 1, "let_in_per_day_48": 2}"#,
    ],
    &["", r#""temporary_errors": {"per_network": 1, "per_48": 2}"#, r#""temporary_errors": {"per_network": 0, "per_48": 0}"#],
    &["", r#""codes": {"greeting": 421, "later": 451}"#],
    &["", r#""enhanced_codes": {"unauthenticated": "4.7.26", "distrusted": "4.7.1", "penalty": "4.999.999"}"#],
    &["", r#""url": "https://a.example/ipv6""#],
    &[
        "",
        r#""texts": {"unauthenticated": ["{failed} {failed} {client} {prefix}", "{client}"], "penalty": ["{prefix}{prefix}"]}"#,
    ],
    &[
        "",
        r#""texts": {"never_falls_back": ["{failed}{failed}{failed}"], "temporary_error": ["{failed} of {client} in {prefix}"]}"#,
    ],
    &["", r#""$schema": "x""#],
];

/// A valid policy.
pub(super) fn policy(octets: &mut Octets<'_>) -> String {
    let chosen: Vec<&str> = SETTINGS.iter().map(|forms| octets.of(forms)).filter(|setting| !setting.is_empty()).collect();
    // Two of them set the texts, and one field may stand once.
    let texts = chosen.iter().filter(|setting| setting.contains("texts")).count();
    let chosen: Vec<&str> = chosen.into_iter().filter(|setting| texts < 2 || !setting.contains("never_falls_back\":")).collect();
    format!("{{{}}}", chosen.join(", "))
}

/// A later time: as a rule a little, sometimes any.
pub(super) fn later(octets: &mut Octets<'_>, now: u64) -> u64 {
    let (unit, count) = (octets.octet(), u64::from(octets.octet()));
    match unit {
        0..=99 => now.saturating_add(count),
        100..=159 => now.saturating_add(count * 60),
        160..=229 => now.saturating_add(count * 3600),
        230..=239 => now.saturating_sub(count * 60),
        240..=247 => u64::from(octets.number()),
        248..=251 => u64::MAX - count,
        _ => now,
    }
}

pub(super) fn connection(octets: &mut Octets<'_>, now: u64) -> Connection {
    let mut connection = Connection::new(Stage::Greeting, client(octets));
    let flags = octets.octet();
    connection.listener_offers = flags & 1 == 0;
    connection.keyword_shown = flags & 2 == 0;
    connection.acknowledged = flags & 4 != 0;
    connection.ipv4_arrivals_visible = flags & 8 == 0;
    connection.authenticated = flags & 0x70 == 0x70;
    connection.reachable_over_ipv4 = flags & 0xb0 != 0xb0;
    connection.listener = match flags >> 4 {
        0b1101 => Listener::Submission,
        0b1110 => Listener::Lmtp,
        _ => Listener::Mx,
    };
    connection.tls = match octets.octet() {
        0..=199 => Tls::None,
        200..=219 => Tls::Encrypted,
        _ => Tls::Verified(vec![domain(octets)]),
    };
    connection.ehlo_name = (octets.octet() < 240).then(|| domain(octets));
    (connection.now, connection.nonce) = (now, u32::from(octets.octet()));
    connection
}

/// Mostly one of few networks, so that its records are met again.
fn client(octets: &mut Octets<'_>) -> Address {
    let (which, host) = (octets.octet(), u32::from(octets.octet() % 4));
    match which {
        0..=119 => Address::from_words([0x2001_0db8, 0x0001_0002, 0, host]),
        120..=159 => Address::from_words([0x2001_0db8, 0x0001_0003, host, 1]),
        160..=179 => Address::from_words([0x2001_0db8, 0x0002_0000, 0, host]),
        // The same mail over IPv4.
        180..=219 => Address::from_words([0, 0, 0xffff, 0xc000_0200 + host]),
        220..=225 => Address::from_words([0x0064_ff9b, 0, 0, 0xc000_0200 + host]),
        226..=230 => Address::from_words([0, 0, 0, host]),
        231..=235 => Address::from_words([0xfe80_0000, 0, 0, host]),
        _ => octets.address(),
    }
}

/// A domain, mostly one that a policy names.
fn domain(octets: &mut Octets<'_>) -> String {
    match octets.octet() {
        0..=79 => "a.example".into(),
        80..=119 => "mail.b.example".into(),
        120..=159 => "c.example".into(),
        160..=199 => "d.example".into(),
        200..=209 => String::new(),
        210..=219 => "A.Example.".into(),
        _ => octets.text(),
    }
}

pub(super) fn envelope(octets: &mut Octets<'_>) -> Option<Envelope> {
    let mail_from = match octets.octet() {
        0..=99 => "smith@a.example".into(),
        100..=119 => "prvs=0123456789=smith@a.example".into(),
        120..=129 => "SRS0=abcd=ab=b.example=smith@c.example".into(),
        130..=139 => "SRS1=abcd=b.example==abcd=ab=d.example=smith@c.example".into(),
        140..=159 => "list-bounces+42-jones=d.example@c.example".into(),
        160..=199 => String::new(),
        200..=229 => ["smith@", &domain(octets)].concat(),
        230..=239 => return None,
        _ => octets.text(),
    };
    let mut recipients = Vec::new();
    for _ in 0..octets.octet() % 4 {
        recipients.push(match octets.octet() {
            0..=99 => "jones@a.example".into(),
            100..=159 => "Postmaster@a.example".into(),
            160..=199 => "a@a.example".into(),
            200..=209 => "abuse".into(),
            _ => octets.text(),
        });
    }
    Some(Envelope { mail_from, recipients })
}

pub(super) fn message(octets: &mut Octets<'_>) -> Option<Message> {
    let message_id = match octets.octet() {
        number @ 0..=199 => Some(format!("<{}@a.example>", number % 4)),
        200..=229 => None,
        230..=239 => return None,
        _ => Some(octets.text()),
    };
    let date = (octets.octet() < 200).then(|| "Thu, 1 Jan 2026 00:00:00 +0000".to_owned());
    let from_domain = (octets.octet() < 200).then(|| domain(octets));
    Some(Message { message_id, date, from_domain, size: octets.octet().into() })
}

fn result(octets: &mut Octets<'_>) -> AuthResult {
    use AuthResult::{Fail, Neutral, None, Pass, Permerror, Policy, Softfail, Temperror};
    octets.of(&[None, Pass, Fail, Temperror, Softfail, Neutral, Policy, Permerror, Pass, Temperror])
}

pub(super) fn auth_results(octets: &mut Octets<'_>) -> Option<AuthResults> {
    let given = octets.octet();
    if given == 255 {
        return None;
    }
    let spf = |octets: &mut Octets<'_>| Spf { result: result(octets), domain: domain(octets) };
    // In the order of the fields, which is that of the octets.
    Some(AuthResults {
        spf_mail_from: (given & 1 == 0).then(|| spf(octets)),
        spf_helo: (given & 2 != 0).then(|| spf(octets)),
        dkim: (given & 4 == 0).then(|| (0..octets.octet() % 4).map(|_| signature(octets)).collect()),
        dmarc: (given & 8 != 0).then(|| Dmarc { result: result(octets), domain: domain(octets) }),
        arc: (given & 16 != 0).then(|| chain(octets)),
        iprev: (given & 32 != 0).then(|| Iprev { result: result(octets), name: octets.flag().then(|| domain(octets)) }),
    })
}

fn signature(octets: &mut Octets<'_>) -> Dkim {
    Dkim { result: result(octets), domain: domain(octets), selector: String::new(), testing: octets.octet() >= 224 }
}

fn chain(octets: &mut Octets<'_>) -> Arc {
    Arc { result: result(octets), sealers: (0..octets.octet() % 3).map(|_| domain(octets)).collect() }
}

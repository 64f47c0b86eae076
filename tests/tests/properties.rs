//! What holds for any input.

use proptest::prelude::*;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    Arc, AuthResult, AuthResults, Connection, Decision, Dkim, Dmarc, Envelope, Iprev, Key, KeyKind, Listener, Message, Reason,
    Spf, Stage, StoredRecord, Tls, Verdict,
};
use smtp_fallback_tests::{Embedded, Face, Native, SECRET};

const NOW: u64 = 1_700_000_000;
/// The same, as records have it.
const SECONDS: u32 = NOW as u32;
const CLIENT: Address = Address::from_words([0x2001_0db8, 0x0001_0002, 0, 0x25]);

/// One call of `decide`.
#[derive(Clone, Debug)]
struct Case {
    connection: Connection,
    envelope: Option<Envelope>,
    message: Option<Message>,
    auth_results: Option<AuthResults>,
}

impl Case {
    fn decide(&self, face: &mut dyn Face) -> Decision {
        face.decide(&self.connection, self.envelope.as_ref(), self.message.as_ref(), self.auth_results.as_ref())
    }
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        12 => Just(CLIENT),
        1 => any::<[u32; 4]>().prop_map(Address::from_words),
        1 => any::<u32>().prop_map(|v4| Address::from_words([0, 0, 0xffff, v4])),
        1 => any::<u32>().prop_map(|v4| Address::from_words([0x0064_ff9b, 0, 0, v4])),
        1 => prop::sample::select(vec![[0, 0, 0, 1], [0xfe80_0000, 0, 0, 1], [0x2002_c000, 0x0201_0000, 0, 1]]).prop_map(Address::from_words),
    ]
}

/// Octets of the length and shape of a record: mostly right, sometimes anything.
fn value(kind: u8) -> impl Strategy<Value = Vec<u8>> {
    let time = prop_oneof![2 => SECONDS - 200_000..SECONDS, 4 => SECONDS - 5000..SECONDS + 30_000, 1 => any::<u32>(), 1 => Just(u32::MAX)];
    let times = prop::array::uniform5(time);
    let counts = (0_u32..40 * 1024, 0_u32..40 * 1024, prop_oneof![0_u32..30, Just(u32::MAX)], 0_u8..8, any::<bool>());
    let sound =
        (times, counts, any::<[bool; 5]>()).prop_map(move |(times, (passed, failed, count, doublings, simulated), parts)| {
            let mut value = vec![1, kind];
            let mut part = |tag: u8, octets: &[&[u8]]| {
                if parts[usize::from(tag - 1)] {
                    let octets = octets.concat();
                    value.extend([tag, octets.len() as u8]);
                    value.extend(octets);
                }
            };
            let [at, until, last, capable, since] = times.map(u32::to_le_bytes);
            part(1, &[&passed.to_le_bytes(), &failed.to_le_bytes(), &at]);
            part(2, &[&until, &last, &[doublings, simulated.into()]]);
            part(3, &[&capable]);
            part(4, &[&at]);
            part(5, &[&since, &count.to_le_bytes()]);
            value
        });
    let sound = sound.boxed();
    // Cut short, or with one octet that is another.
    let damaged =
        (sound.clone(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(|(mut value, at, octet, cut)| {
            let at = at.index(value.len());
            if cut {
                value.truncate(at);
            } else {
                value[at] = octet;
            }
            value
        });
    prop_oneof![6 => sound, 1 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..100)]
}

fn record(kind: KeyKind) -> impl Strategy<Value = StoredRecord> {
    let (tag, length) = match kind {
        KeyKind::Address => (b'a', 128),
        KeyKind::Network => (b'n', 64),
        _ => (b'b', 48),
    };
    let key = Key { kind, address: CLIENT.masked(length), prefix_length: length };
    value(tag).prop_map(move |value| StoredRecord { key, value })
}

fn records() -> impl Strategy<Value = Vec<StoredRecord>> {
    (
        prop::option::weighted(0.8, record(KeyKind::Network)),
        prop::option::of(record(KeyKind::Address)),
        prop::option::of(record(KeyKind::Budget)),
    )
        .prop_map(|(network, address, budget)| [network, address, budget].into_iter().flatten().collect())
}

fn stage() -> impl Strategy<Value = Stage> {
    use Stage::{Data, Ehlo, EndOfData, Greeting, Mail, Rcpt};
    prop::sample::select(vec![Greeting, Greeting, Ehlo, Mail, Rcpt, Data, EndOfData, EndOfData, EndOfData])
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("example.net".to_owned()), Just(String::new()), "[a-z\r\n\0é%{}<>@.]{0,40}"]
}

fn connection() -> impl Strategy<Value = Connection> {
    let tls = prop_oneof![
        6 => Just(Tls::None),
        1 => Just(Tls::Encrypted),
        1 => prop::collection::vec(text(), 0..3).prop_map(Tls::Verified),
    ];
    let listener = prop_oneof![8 => Just(Listener::Mx), 1 => Just(Listener::Submission), 1 => Just(Listener::Lmtp)];
    let now = prop_oneof![6 => NOW..NOW + 2000, 3 => NOW - 1000..NOW + 100_000, 1 => prop_oneof![any::<u64>(), u64::MAX - 2..=u64::MAX]];
    let flags = any::<[bool; 7]>().prop_map(|[offers, shown, acknowledged, visible, a, b, c]| {
        // Most sessions are in scope.
        (offers, shown, acknowledged, visible, a && b && c, !(a && !b && c))
    });
    (stage(), address(), listener, prop::option::of(text()), tls, flags, now, any::<u32>(), records()).prop_map(
        |(
            stage,
            client,
            listener,
            ehlo_name,
            tls,
            (offers, shown, acknowledged, visible, authenticated, reachable),
            now,
            nonce,
            records,
        )| {
            Connection {
                stage,
                client,
                listener,
                ehlo_name,
                tls,
                authenticated,
                listener_offers: offers,
                keyword_shown: shown,
                acknowledged,
                reachable_over_ipv4: reachable,
                ipv4_arrivals_visible: visible,
                now,
                nonce,
                records,
            }
        },
    )
}

fn result() -> impl Strategy<Value = AuthResult> {
    use AuthResult::{Fail, Neutral, None, Pass, Permerror, Policy, Softfail, Temperror};
    prop::sample::select(vec![None, None, Pass, Pass, Fail, Softfail, Neutral, Policy, Temperror, Permerror])
}

fn auth_results() -> impl Strategy<Value = AuthResults> {
    let spf = || (result(), text()).prop_map(|(result, domain)| Spf { result, domain });
    let dkim = (result(), text(), any::<bool>()).prop_map(|(result, domain, testing)| Dkim {
        result,
        domain,
        selector: String::new(),
        testing,
    });
    (
        prop::option::of(spf()),
        prop::option::of(spf()),
        prop::option::of(prop::collection::vec(dkim, 0..3)),
        prop::option::of((result(), text()).prop_map(|(result, domain)| Dmarc { result, domain })),
        prop::option::of((result(), prop::collection::vec(text(), 0..3)).prop_map(|(result, sealers)| Arc { result, sealers })),
        prop::option::of((result(), prop::option::of(text())).prop_map(|(result, name)| Iprev { result, name })),
    )
        .prop_map(|(spf_mail_from, spf_helo, dkim, dmarc, arc, iprev)| AuthResults {
            spf_mail_from,
            spf_helo,
            dkim,
            dmarc,
            arc,
            iprev,
        })
}

fn case() -> impl Strategy<Value = Case> {
    let recipient = prop_oneof![Just("postmaster@example.org".to_owned()), Just("bob@example.org".to_owned()), text()];
    let envelope =
        (text(), prop::collection::vec(recipient, 0..3)).prop_map(|(mail_from, recipients)| Envelope { mail_from, recipients });
    let message = (prop::option::of(text()), prop::option::of(text()), any::<u32>())
        .prop_map(|(message_id, from_domain, size)| Message { message_id, date: None, from_domain, size });
    (connection(), prop::option::weighted(0.9, envelope), prop::option::of(message), prop::option::weighted(0.9, auth_results()))
        .prop_map(|(connection, envelope, message, auth_results)| Case { connection, envelope, message, auth_results })
}

/// Policies that differ in what they ask for and when.
fn policy() -> impl Strategy<Value = String> {
    let policies = [
        r#"{}"#,
        r#"{"decide_at": "earliest", "require": "spf"}"#,
        r#"{"require": {"all": ["spf", "dkim"]}, "network": {"prefix": 64}, "codes": {"later": 451, "greeting": 421}}"#,
        r#"{"require": {"any": ["dmarc", "tls", {"none": ["fcrdns"]}]}, "exempt": {"recipients_match": "any"}}"#,
        r#"{"require": {"domains": ["example.net"]}, "exempt": {"names": ["example.net"]}, "decide_at": "earliest"}"#,
        r#"{"require": {"any": ["spf", "dkim", "arc"]}, "trusted_sealers": ["example.net"], "url": "https://a.example/"}"#,
        r#"{"penalty": {"confidence": 0.9, "jitter_percent": 0, "probe_one_in": 2}, "temporary_errors": {"per_network": 1}}"#,
        r#"{"exempt": {"local_networks": false, "domains": [".example.net"]}, "rollout_percent": 50}"#,
    ];
    prop::sample::select(policies.map(str::to_owned).to_vec())
}

fn native(policy: &str) -> Native {
    let mut native = Native::default();
    native.configure(policy, SECRET).unwrap_or_else(|errors| panic!("{policy}: {errors:?}"));
    native
}

/// The same policy in observe mode.
fn observing(policy: &str) -> Native {
    native(&policy.replacen('{', r#"{"mode": "observe","#, 1).replace(",}", "}"))
}

/// The enforced part of a policy with a roll-out.
fn enforcing(policy: &str) -> Native {
    native(&policy.replace(r#""rollout_percent": 50"#, r#""rollout_percent": 100"#))
}

fn is_refusal(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refuse(_))
}

/// The records with every penalty marked as simulated, or none.
fn marked(mut case: Case, simulated: bool) -> Case {
    for record in &mut case.connection.records {
        let mut at = 2;
        while record.key.kind == KeyKind::Network && at + 1 < record.value.len() {
            let length = usize::from(record.value[at + 1]);
            if record.value[at] == 2 && length == 10 && at + 2 + length <= record.value.len() && record.value[at + 11] <= 1 {
                record.value[at + 11] = simulated.into();
            }
            at += 2 + length;
        }
    }
    case
}

/// The rule for replies that Postfix enforces since July 2026: each line a 4yz or 5yz code and an enhanced code of the same class.
fn is_sound_reply(verdict: &Verdict) -> Result<(), String> {
    let Verdict::Refuse(reply) = verdict else { return Ok(()) };
    let sound = [421, 451, 456].contains(&reply.code)
        && reply.enhanced_code.starts_with("4.")
        && !reply.lines.is_empty()
        && reply.lines.iter().all(|line| {
            let octets = format!("{}-{} {line}\r\n", reply.code, reply.enhanced_code).len();
            !line.is_empty() && octets <= 512 && line.bytes().all(|octet| (b' '..=b'~').contains(&octet))
        });
    if sound { Ok(()) } else { Err(format!("{reply:?}")) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_ipv4_client_is_never_refused(policy in policy(), mut case in case(), v4: u32, nat64: bool) {
        let prefix = if nat64 { [0x0064_ff9b, 0, 0, v4] } else { [0, 0, 0xffff, v4] };
        case.connection.client = Address::from_words(prefix);
        let decision = case.decide(&mut native(&policy));
        prop_assert!(!is_refusal(&decision.verdict) && decision.would.as_ref().is_none_or(|would| !is_refusal(would)));
        prop_assert!(decision.records.is_empty());
    }

    #[test]
    fn from_mail_on_a_met_requirement_is_never_refused(policy in policy(), mut case in case(), domain in text()) {
        if case.connection.stage < Stage::Mail {
            case.connection.stage = Stage::EndOfData;
        }
        // Meets any of the requirements above.
        case.connection.tls = Tls::Verified(vec![domain]);
        let pass = AuthResult::Pass;
        let example = || "example.net".to_owned();
        case.auth_results = Some(AuthResults {
            spf_mail_from: Some(Spf { result: pass, domain: example() }),
            spf_helo: Some(Spf { result: pass, domain: example() }),
            dkim: Some(vec![Dkim { result: pass, domain: example(), selector: String::new(), testing: false }]),
            dmarc: None,
            arc: None,
            iprev: None,
        });
        case.envelope.get_or_insert_with(|| Envelope { mail_from: String::new(), recipients: vec![] });
        let decision = case.decide(&mut enforcing(&policy));
        prop_assert!(!is_refusal(&decision.verdict), "{decision:?}");
    }

    #[test]
    fn observe_never_refuses_and_says_what_enforce_answers(policy in policy(), case in case()) {
        let observed = marked(case.clone(), true).decide(&mut observing(&policy));
        prop_assert!(!is_refusal(&observed.verdict), "{observed:?}");
        let enforced = marked(case, false).decide(&mut enforcing(&policy));
        prop_assert_eq!(observed.would, Some(enforced.verdict));
        prop_assert_eq!(observed.reason, enforced.reason);
    }

    #[test]
    fn every_reply_is_sound(policy in policy(), case in case()) {
        let decision = case.decide(&mut native(&policy));
        for verdict in [Some(&decision.verdict), decision.would.as_ref()].into_iter().flatten() {
            prop_assert_eq!(is_sound_reply(verdict), Ok(()));
            if let Verdict::Refuse(reply) = verdict {
                prop_assert!(reply.code != 456 || case.connection.acknowledged, "P8: {:?}", reply);
                prop_assert!(case.connection.stage > Stage::Ehlo || reply.close && reply.code != 456, "P4: {:?}", reply);
            }
        }
    }

    #[test]
    fn seven_hours_after_its_last_evidence_the_greeting_is_open(policy in policy(), mut case in case(), later in 0_u64..100_000) {
        // What the module itself wrote, from any record.
        case.connection.stage = Stage::EndOfData;
        case.connection.now = case.connection.now.min(u64::MAX - 200_000);
        let mut native = enforcing(&policy);
        let decision = case.decide(&mut native);
        for update in decision.records {
            let record = StoredRecord { key: update.key, value: update.value };
            case.connection.records.retain(|old| old.key != record.key);
            case.connection.records.push(record);
        }
        case.connection.stage = Stage::Greeting;
        case.connection.now += 25_920 + later; // 7.2 h
        if decision.reason == Reason::Authenticated || decision.reason == Reason::Unauthenticated {
            let decision = case.decide(&mut native);
            prop_assert!(!is_refusal(&decision.verdict), "{decision:?}");
        }
    }

    #[test]
    fn from_any_record_seven_hours_after_its_last_failure_the_greeting_is_open(policy in policy(), mut case in case(), later in 0_u64..100_000) {
        case.connection.stage = Stage::Greeting;
        let mut native = enforcing(&policy);
        for record in case.connection.records.clone() {
            let shown = native.inspect(&record).ok().and_then(|json| serde_json::from_str::<serde_json::Value>(&json).ok());
            let failure = shown.and_then(|shown| shown["penalty"]["last-failure"].as_u64());
            case.connection.now = failure.map_or(case.connection.now, |failure| failure.saturating_add(25_920 + later));
        }
        let decision = case.decide(&mut native);
        prop_assert!(!is_refusal(&decision.verdict), "{decision:?}");
    }

    #[test]
    fn no_record_makes_it_panic_or_refuse_for_longer_than_a_penalty(value in prop::collection::vec(any::<u8>(), 0..200), mut case in case(), kind in 0_usize..5) {
        let kinds = [KeyKind::Address, KeyKind::Network, KeyKind::Budget, KeyKind::Exact, KeyKind::Inferred];
        let key = Key { kind: kinds[kind], address: case.connection.client.masked(64), prefix_length: 64 };
        case.connection.records.push(StoredRecord { key, value: value.clone() });
        let mut native = native("{}");
        case.decide(&mut native);
        let _ = native.inspect(&StoredRecord { key, value });
    }
}

/// The same input gives the same octets, natively and in the component.
#[test]
fn native_and_component_agree() {
    let component = Embedded::component();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2048,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&(policy(), case()), |(policy, case)| {
        let mut native = native(&policy);
        let mut embedded = Embedded::new(&component);
        embedded.configure(&policy, SECRET).expect("the native module took it");
        let Case { connection, envelope, message, auth_results } = &case;
        let first = case.decide(&mut native);
        prop_assert_eq!(&first, &case.decide(&mut native), "the same input");
        prop_assert_eq!(&first, &case.decide(&mut embedded), "the component");
        let keys = native.keys(connection, envelope.as_ref(), message.as_ref());
        prop_assert_eq!(keys, embedded.keys(connection, envelope.as_ref(), message.as_ref()));
        let told = native.explain(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref());
        prop_assert_eq!(told, embedded.explain(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref()));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

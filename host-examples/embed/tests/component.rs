//! The shipped component under this host. Build it first: `cargo xtask component`.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::connection;
use smtp_fallback_embed::{Component, ConfigureError, FailureCounts, Limits, Pool};
use smtp_fallback_policy::contract::{
    Arc, AuthResult, AuthResults, CONTRACT_VERSION, Connection, Dkim, Dmarc, Envelope, Iprev, KEYWORD, Key, KeyKind, Message,
    Mode, Reason, Spf, Stage, StoredRecord, Tls, Verdict,
};
use smtp_fallback_policy::{Module, describe, inspect, parse_authentication_results, schema};

const SECRET: &[u8] = b"0123456789abcdef";

fn component() -> Component {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/smtp-fallback-policy.wasm");
    let path = std::env::var_os("SMTP_FALLBACK_COMPONENT").map_or(built, PathBuf::from);
    // Tests share few processors with compilers: a thread may not run for longer than the usual deadline.
    let limits = Limits { deadline: Duration::from_secs(5), ..Limits::default() };
    Component::from_file(&path, &limits).unwrap_or_else(|error| panic!("{error}"))
}

fn pool(policy: &str) -> Pool {
    Pool::configure(&component(), policy, SECRET).unwrap().0
}

fn native(policy: &str) -> Module {
    let mut module = Module::new();
    module.configure(policy, SECRET).unwrap();
    module
}

fn envelope() -> Envelope {
    Envelope { mail_from: "a@example".to_owned(), recipients: vec!["b@example.net".to_owned(), "c@example.net".to_owned()] }
}

fn message() -> Message {
    Message {
        message_id: Some("<1@example>".to_owned()),
        date: Some("Tue, 1 Sep 2026 12:00:00 +0000".to_owned()),
        from_domain: Some("example".to_owned()),
        size: 1000,
    }
}

/// Every field is filled in, and no method passes.
fn failed() -> AuthResults {
    let domain = || "example".to_owned();
    let spf = || Some(Spf { result: AuthResult::Softfail, domain: domain() });
    let dkim = |result, testing| Dkim { result, domain: domain(), selector: "s1".to_owned(), testing };
    AuthResults {
        spf_mail_from: spf(),
        spf_helo: spf(),
        dkim: Some(vec![dkim(AuthResult::Fail, false), dkim(AuthResult::Policy, true)]),
        dmarc: Some(Dmarc { result: AuthResult::Fail, domain: domain() }),
        arc: Some(Arc { result: AuthResult::Fail, sealers: vec![domain(), "forwarder.example".to_owned()] }),
        iprev: Some(Iprev { result: AuthResult::Pass, name: Some("mail.example".to_owned()) }),
    }
}

fn passed() -> AuthResults {
    AuthResults { spf_mail_from: Some(Spf { result: AuthResult::Pass, domain: "example".to_owned() }), ..failed() }
}

#[test]
fn it_is_this_contract() {
    let pool = Pool::without_policy(&component(), SECRET);
    let description = pool.describe().unwrap();
    assert_eq!((description.contract.as_str(), description.keyword.as_str()), (CONTRACT_VERSION, KEYWORD));
    assert_eq!(description, describe());
    assert_eq!(pool.schema().unwrap(), schema());
    let decided = pool.decide(&connection(Stage::Greeting, 1), None, None, None);
    assert_eq!((decided.failure, decided.decision.verdict), (None, Verdict::Continue));
    assert_eq!(decided.decision.reason, Reason::NoPolicy);
}

#[test]
fn it_takes_a_policy_and_refuses_another() {
    let (pool, summary) = Pool::configure(&component(), r#"{"mode": "enforce"}"#, SECRET).unwrap();
    assert_eq!(summary.mode, Mode::Enforce);
    let Err(ConfigureError::Policy(errors)) = pool.reconfigure(r#"{"mode": "enforced"}"#) else {
        panic!("the mode is misspelt");
    };
    let mut module = Module::new();
    assert_eq!(module.configure(r#"{"mode": "enforced"}"#, SECRET), Err(errors));
    assert_eq!(module.configure(r#"{"mode": "enforce"}"#, SECRET), Ok(summary));
}

#[test]
fn it_decides_as_the_module_does() {
    for policy in ["{}", r#"{"mode": "enforce"}"#] {
        let (pool, module) = (pool(policy), native(policy));
        for stage in [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData] {
            let envelope = (stage > Stage::Ehlo).then(envelope);
            let message = (stage > Stage::Data).then(message);
            for results in [None, Some(failed()), Some(passed())] {
                for (client, acknowledged) in [("2001:db8::1", false), ("2001:db8::1", true), ("192.0.2.1", false)] {
                    let connection = Connection {
                        client: client.parse().unwrap(),
                        acknowledged,
                        keyword_shown: acknowledged,
                        ..connection(stage, 1)
                    };
                    let (envelope, message, results) = (envelope.as_ref(), message.as_ref(), results.as_ref());
                    let decided = pool.decide(&connection, envelope, message, results);
                    assert_eq!(decided.failure, None);
                    assert_eq!(decided.decision, module.decide(&connection, envelope, message, results));
                    assert_eq!(pool.keys(&connection, envelope, message), module.keys(&connection, envelope, message));
                    let explained = pool.explain(&connection, envelope, message, results).unwrap();
                    assert_eq!(explained, module.explain(&connection, envelope, message, results));
                }
            }
        }
        assert_eq!(pool.failures(), FailureCounts::default());
    }
}

#[test]
fn records_that_come_back_are_read() {
    let pool = pool(r#"{"mode": "enforce"}"#);
    let module = native(r#"{"mode": "enforce"}"#);
    let mut connection = Connection { tls: Tls::None, ..connection(Stage::EndOfData, 1) };
    let (envelope, message, results) = (envelope(), message(), failed());
    let refused = pool.decide(&connection, Some(&envelope), Some(&message), Some(&results)).decision;
    assert!(matches!(refused.verdict, Verdict::Refuse(_)), "{refused:?}");
    assert!(!refused.records.is_empty());
    connection.records =
        refused.records.into_iter().map(|update| StoredRecord { key: update.key, value: update.value }).collect();
    for record in &connection.records {
        let shown = pool.inspect(record).unwrap();
        assert!(shown.is_ok(), "{shown:?}");
        assert_eq!(shown, inspect(record));
    }
    let again = pool.decide(&connection, Some(&envelope), Some(&message), Some(&results)).decision;
    assert_eq!(again, module.decide(&connection, Some(&envelope), Some(&message), Some(&results)));
    assert_eq!(pool.failures(), FailureCounts::default());
}

#[test]
fn its_helpers() {
    let pool = Pool::without_policy(&component(), SECRET);
    assert_eq!(pool.parse_address("[IPv6:2001:db8::1]").unwrap(), Ok("2001:db8::1".parse().unwrap()));
    assert!(pool.parse_address("example").unwrap().is_err());
    let key = Key { kind: KeyKind::Network, address: "2001:db8::".parse().unwrap(), prefix_length: 64 };
    assert!(pool.inspect(&StoredRecord { key, value: vec![255; 3] }).unwrap().is_err());
    let headers = ["mx.example; spf=pass smtp.mailfrom=a@example; dkim=fail header.d=example header.s=s1".to_owned()];
    let trusted = ["mx.example".to_owned()];
    let results = pool.parse_authentication_results(&headers, &trusted).unwrap();
    assert_eq!(results.spf_mail_from, Some(Spf { result: AuthResult::Pass, domain: "example".to_owned() }));
    assert_eq!(results, parse_authentication_results(&headers, &trusted));
}

#[test]
fn eight_threads_decide_the_same() {
    let pool = pool("{}");
    let decide = || pool.decide(&connection(Stage::EndOfData, 1), Some(&envelope()), Some(&message()), Some(&failed()));
    let expected = decide();
    assert_eq!(expected.failure, None);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(decide(), expected);
                }
            });
        }
    });
    assert_eq!(pool.failures(), FailureCounts::default());
}

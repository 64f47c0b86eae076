//! Questions beyond the vectors: every combination of results, under policies that use each of the peers' settings. The module as a library
//! answers them; it is held by vectors of its own.

use smtp_fallback_policy::Module;
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{AuthResult, AuthResults, Connection, Dkim, Dmarc, Envelope, Spf, Stage};

use crate::Failed;
use crate::input::{Arguments, Call};

const POLICIES: [&str; 3] = [
    r#"{"url": "https://www.example.org/ipv6"}"#,
    r#"{"mode": "observe", "exempt": {"domains": ["exempt.example", ".below.example"], "recipients": ["postmaster", "@example.com"], "recipients_match": "any"}}"#,
    r#"{"exempt": {"domains": ["exempt.example"], "networks": ["2001:db8:2::/48"]}, "codes": {"later": 451, "greeting": 421}, "temporary_errors": {"per_network": 0}}"#,
];

const SECRET: &str = "0123456789abcdef";

/// All of them.
pub(crate) fn calls() -> Result<Vec<Call>, Failed> {
    let mut calls = Vec::new();
    for policy_json in POLICIES {
        let mut module = Module::new();
        module.configure(policy_json, SECRET.as_bytes()).map_err(|errors| format!("{errors:?}"))?;
        for arguments in messages().into_iter().chain(stages()) {
            let Arguments { connection, envelope, message, auth_results } = &arguments;
            let decision = module.decide(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref());
            let (file, policy_json, secret) = ("(generated)".to_owned(), Some(policy_json.to_owned()), SECRET.to_owned());
            calls.push(Call { file, policy_json, secret, arguments, decision });
        }
    }
    Ok(calls)
}

fn connection(stage: Stage, acknowledged: bool) -> Connection {
    Connection {
        listener_offers: true,
        keyword_shown: true,
        acknowledged,
        now: 1_700_000_000,
        nonce: 7,
        ..Connection::new(stage, Address::from_words([0x2001_0db8, 1, 0, 0x25]))
    }
}

/// At the end of data, with each combination of results.
fn messages() -> Vec<Arguments> {
    use AuthResult::{Fail, None as Nothing, Pass, Permerror, Temperror};
    let spf = |result, domain: &str| Some(Spf { result, domain: domain.into() });
    let dkim = |result, domain: &str, testing| Dkim { result, domain: domain.into(), selector: "s1".into(), testing };
    let dmarc = |result, domain: &str| Some(Dmarc { result, domain: domain.into() });
    let mail_froms = [
        None,
        spf(Nothing, "example.net"),
        spf(Pass, "example.net"),
        spf(Pass, "A.below.Example."),
        spf(Temperror, "example.net"),
        spf(Permerror, "example.net"),
    ];
    let helos = [None, spf(Pass, "exempt.example"), spf(Fail, "mail.example.net"), spf(Temperror, "mail.example.net")];
    let signatures = [
        None,
        Some(vec![]),
        Some(vec![dkim(Fail, "example.net", false)]),
        Some(vec![dkim(Fail, "example.net", false), dkim(Pass, "Exempt.example", false)]),
        Some(vec![dkim(Pass, "exempt.example", true)]),
        Some(vec![dkim(Temperror, "example.net", true)]),
        Some(vec![dkim(Fail, "example.net", false), dkim(Temperror, "example.net", false)]),
    ];
    let dmarcs = [None, dmarc(Pass, "exempt.example"), dmarc(Pass, "below.example"), dmarc(Temperror, "example.net")];
    let mut all = Vec::new();
    for (spf_mail_from, spf_helo) in mail_froms.iter().flat_map(|from| helos.iter().map(move |helo| (from, helo))) {
        for (dkim, dmarc) in signatures.iter().flat_map(|dkim| dmarcs.iter().map(move |dmarc| (dkim, dmarc))) {
            for (mail_from, recipients) in
                [("alice@example.net", &["bob@example.org"][..]), ("", &["Postmaster@example.org", "bob@example.org"])]
            {
                all.push(Arguments {
                    connection: connection(Stage::EndOfData, mail_from.is_empty()),
                    envelope: Some(Envelope {
                        mail_from: mail_from.into(),
                        recipients: recipients.iter().map(|&recipient| recipient.into()).collect(),
                    }),
                    message: None,
                    auth_results: Some(AuthResults {
                        spf_mail_from: spf_mail_from.clone(),
                        spf_helo: spf_helo.clone(),
                        dkim: dkim.clone(),
                        dmarc: dmarc.clone(),
                        ..AuthResults::default()
                    }),
                });
            }
        }
    }
    all
}

/// At each stage, from several networks, for several recipients.
fn stages() -> Vec<Arguments> {
    let clients = ["2001:db8:1:2::25", "2001:db8:2:1::25", "2001:db8:3::1", "::1", "192.0.2.1", "64:ff9b::1", "64:ff9b:1::1"];
    let recipients = [vec![], vec!["postmaster"], vec!["Abuse@example.org", "x@example.com"], vec!["@", "a@b@example.com"]];
    let mut all = Vec::new();
    for stage in [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData] {
        for client in clients.iter().filter_map(|client| client.parse().ok()) {
            for recipients in &recipients {
                let recipients = recipients.iter().map(|&recipient| recipient.into()).collect();
                all.push(Arguments {
                    connection: Connection { client, ..connection(stage, false) },
                    envelope: (stage > Stage::Ehlo).then(|| Envelope { mail_from: "alice@example.net".into(), recipients }),
                    message: None,
                    auth_results: None,
                });
            }
        }
    }
    all
}

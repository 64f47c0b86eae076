//! The openspf test suite for RFC 7208: each of its tests runs through a real name server, with the identity that its authors' own
//! driver checks. Explanations are not compared: there are none here.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use crate::bench::{deadline, verifier};
use saphyr::{LoadableYamlNode, Yaml};
use smtp_fallback_demo::zone::{Kind, NameServer, Zone};
use smtp_fallback_verify::Session;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Where the result is another one, and why.
const DEVIATIONS: &[(&str, &str, &str)] = &[];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_openspf_suite_has_no_unknown_deviation() {
    let path = format!("{}/tests/data/spf/rfc7208-tests.yml", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let scenarios = Yaml::load_from_str(&text).unwrap();
    assert_eq!(scenarios.len(), 16);

    // Not all at once: a busy machine would make answers late.
    let turns = Arc::new(Semaphore::new(8));
    let mut tests = JoinSet::new();
    for scenario in &scenarios {
        let server = Arc::new(NameServer::start(zone(&scenario["zonedata"])).await.unwrap());
        let verifier = verifier(&server, deadline(5000));
        for (name, test) in scenario["tests"].as_mapping().unwrap() {
            let test = Test::read(name, test);
            let (server, verifier, turns) = (server.clone(), verifier.clone(), turns.clone());
            tests.spawn(async move {
                let _turn = turns.acquire().await.unwrap();
                let session = Session { client: test.host.parse().unwrap(), ehlo_name: &test.helo, mail_from: &test.mail_from };
                let results = verifier.verify_envelope(&session).await;
                let spf = if test.mail_from.is_empty() { results.spf_helo } else { results.spf_mail_from };
                drop(server);
                (test.name, test.expected, spf.unwrap().result.as_str())
            });
        }
    }
    let mut deviations = BTreeMap::new();
    let mut count = 0;
    while let Some(test) = tests.join_next().await {
        let (name, expected, result) = test.unwrap();
        count += 1;
        if !expected.iter().any(|expected| expected == result) {
            deviations.insert(name, format!("{result} instead of {}", expected.join(" or ")));
        }
    }
    assert_eq!(count, 203);
    let known: BTreeMap<_, _> = DEVIATIONS.iter().map(|(name, result, _)| ((*name).to_owned(), (*result).to_owned())).collect();
    assert_eq!(deviations, known, "left: what deviates; right: what is known to");
}

struct Test {
    name: String,
    host: String,
    helo: String,
    mail_from: String,
    /// Any of these.
    expected: Vec<String>,
}

impl Test {
    fn read(name: &Yaml<'_>, test: &Yaml<'_>) -> Test {
        let field = |key: &str| test.as_mapping_get(key).and_then(Yaml::as_str).unwrap_or_default().to_owned();
        Test {
            name: name.as_str().unwrap().to_owned(),
            host: field("host"),
            helo: field("helo"),
            mail_from: field("mailfrom"),
            expected: texts(&test["result"]),
        }
    }
}

/// As the suite's own driver reads it: SPF records stand for TXT records where a name has none of those; `TXT: NONE` keeps them
/// from doing so; TIMEOUT is the answer to every question that the name has no records for.
fn zone(zonedata: &Yaml<'_>) -> Zone {
    let mut zone = Zone::new();
    for (name, records) in zonedata.as_mapping().unwrap() {
        let name = name.as_str().unwrap();
        let mut spf = Vec::new();
        let mut has_txt = false;
        for record in records.as_sequence().unwrap() {
            if record.as_str() == Some("TIMEOUT") {
                zone.fail_the_rest(name);
                continue;
            }
            let (kind, value) = record.as_mapping().unwrap().iter().next().unwrap();
            let mut add = |kind, text: &str| zone.add(name, kind, text).unwrap();
            match kind.as_str().unwrap() {
                "SPF" => spf.push(texts(value).concat()),
                "TXT" => {
                    has_txt = true;
                    let text = texts(value).concat();
                    if text != "NONE" {
                        add(Kind::Txt, &text);
                    }
                }
                "A" => add(Kind::A, value.as_str().unwrap()),
                "AAAA" => add(Kind::Aaaa, value.as_str().unwrap()),
                "CNAME" => add(Kind::Cname, value.as_str().unwrap()),
                "PTR" => add(Kind::Ptr, value.as_str().unwrap()),
                "MX" => {
                    let (preference, host) = (value[0].as_integer().unwrap(), value[1].as_str().unwrap());
                    add(Kind::Mx, &format!("{preference} {host}"));
                }
                other => panic!("{name}: a record of type {other}"),
            }
        }
        if !has_txt {
            for text in spf {
                zone.add(name, Kind::Txt, &text).unwrap();
            }
        }
    }
    zone
}

fn texts(value: &Yaml<'_>) -> Vec<String> {
    match value.as_sequence() {
        Some(values) => values.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
        None => vec![value.as_str().unwrap().to_owned()],
    }
}

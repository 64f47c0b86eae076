//! ValiMail's test suite for ARC: the result of each of its messages, with its keys served by a real name server.

use std::collections::BTreeMap;
use std::fs;

use crate::bench::Bench;
use saphyr::{LoadableYamlNode, Yaml};

/// Where the result is another one, and why.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    (
        "ams_fields_c_na",
        "fail instead of pass",
        "without c=, RFC 6376 §3.5 says simple/simple; the suite's signature is relaxed/relaxed",
    ),
    ("ams_fields_h_empty", "fail instead of pass", "a signature that does not sign the From field is none (RFC 6376 §6.1.1)"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_arc_suite_has_no_unknown_deviation() {
    let path = format!("{}/tests/data/arc/arc-draft-validation-tests.yml", env!("CARGO_MANIFEST_DIR"));
    let text = with_names_of_their_own(&fs::read_to_string(path).unwrap());
    let mut deviations = BTreeMap::new();
    let mut count = 0;
    for scenario in &Yaml::load_from_str(&text).unwrap() {
        let records = scenario["txt-records"].as_mapping().unwrap();
        let records: Vec<_> = records.iter().map(|(name, text)| (name.as_str().unwrap(), text.as_str().unwrap())).collect();
        let bench = Bench::new(&records).await;
        for (name, test) in scenario["tests"].as_mapping().unwrap() {
            count += 1;
            let message = test["message"].as_str().unwrap().replace('\n', "\r\n");
            let result = bench.verify("::1", "", "", message.as_bytes()).await.arc.unwrap().result.as_str();
            // Three chains that say cv=fail themselves have no result there: it has to be this.
            let expected = match test["cv"].as_str().unwrap().trim() {
                "" => "fail".to_owned(),
                cv => cv.to_lowercase(),
            };
            if result != expected {
                deviations.insert(name.as_str().unwrap().to_owned(), format!("{result} instead of {expected}"));
            }
        }
    }
    assert_eq!(count, 175);
    let known: BTreeMap<_, _> = DEVIATIONS.iter().map(|(name, result, _)| ((*name).to_owned(), (*result).to_owned())).collect();
    assert_eq!(deviations, known, "left: what deviates; right: what is known to");
}

/// The suite uses some names twice, which its authors' own reader lets pass: it leaves the first out. Here both count.
fn with_names_of_their_own(text: &str) -> String {
    let mut seen = BTreeMap::new();
    let mut result = String::new();
    for line in text.lines() {
        let is_name = line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
        let times = if is_name { *seen.entry(line).and_modify(|times| *times += 1).or_insert(0) } else { 0 };
        match times {
            0 => result.push_str(line),
            _ => result.push_str(&format!("{}_{times}:", line.trim_end_matches(':'))),
        }
        result.push('\n');
    }
    result
}

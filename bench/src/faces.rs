//! What every runner in every language measures in the same way: pairs of one `keys` and one `decide`, for a mail that is accepted and for
//! one that is refused. Here for the module as a library and for the component under wasmtime; `cargo xtask bench faces` runs them all.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use smtp_fallback_json::Arguments;
use smtp_fallback_policy::Module;
use smtp_fallback_policy::contract::Verdict;

use crate::cases::Case;
use crate::{POLICY, SECRET, pool};

/// Pairs before the memory is looked at for the first time.
const WARM_UP: u32 = 1000;

/// The file that all runners read.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cases {
    policy_json: &'static str,
    secret: &'static str,
    cases: Vec<Pair>,
}

/// One mail: the arguments of both calls.
#[derive(Serialize)]
struct Pair {
    name: &'static str,
    keys: serde_json::Value,
    decide: serde_json::Value,
}

/// Prints the file.
pub(crate) fn print_cases() -> Result<(), Box<dyn std::error::Error>> {
    let mut native = Module::new();
    native.configure(POLICY, SECRET).map_err(|errors| format!("{errors:?}"))?;
    let [_, accept, refusal] = Case::all(&native);
    let pair = |name, case: &Case| {
        let [keys, decide] = case.arguments()?;
        Ok::<Pair, serde_json::Error>(Pair { name, keys, decide })
    };
    let cases = vec![pair("accept", &accept)?, pair("refusal", &refusal)?];
    println!("{}", serde_json::to_string(&Cases { policy_json: POLICY, secret: std::str::from_utf8(SECRET)?, cases })?);
    Ok(())
}

/// The file again.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Read {
    policy_json: String,
    secret: String,
    cases: Vec<ReadPair>,
}

#[derive(Deserialize)]
struct ReadPair {
    name: String,
    keys: Arguments,
    decide: Arguments,
}

/// `face native|component bench CASES COUNT`
pub(crate) fn run(component: &str, arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [face, word, file, count] = arguments else {
        return Err("usage: smtp-fallback-bench --component FILE face native|component bench CASES COUNT".into());
    };
    let (true, count) = (word == "bench", count.parse::<u32>()?) else {
        return Err(format!("found {word:?}, expected bench").into());
    };
    let Read { policy_json, secret, cases } = serde_json::from_str(&fs::read_to_string(file)?)?;
    if policy_json != POLICY || secret.as_bytes() != SECRET {
        return Err(format!("{file} is of another version of this program").into());
    }
    match face.as_str() {
        "native" => {
            let mut module = Module::new();
            module.configure(POLICY, SECRET).map_err(|errors| format!("{errors:?}"))?;
            measure(&cases, count, |keys, decide| {
                black_box(module.keys(&keys.connection, keys.envelope.as_ref(), keys.message.as_ref()));
                let Arguments { connection, envelope, message, auth_results } = decide;
                module.decide(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref()).verdict
            })
        }
        "component" => {
            let pool = pool(component)?;
            measure(&cases, count, |keys, decide| {
                black_box(pool.keys(&keys.connection, keys.envelope.as_ref(), keys.message.as_ref()));
                let Arguments { connection, envelope, message, auth_results } = decide;
                pool.decide(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref()).decision.verdict
            })
        }
        other => Err(format!("found {other:?}, expected native or component").into()),
    }
}

/// Measures, and prints what `cargo xtask bench faces` reads.
fn measure(
    cases: &[ReadPair],
    count: u32,
    mut pair: impl FnMut(&Arguments, &Arguments) -> Verdict,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut before = None;
    for ReadPair { name, keys, decide } in cases {
        let verdict = pair(keys, decide);
        if matches!(verdict, Verdict::Refuse(_)) != (name == "refusal") {
            return Err(format!("{name}: the verdict is {verdict:?}").into());
        }
        for _ in 0..WARM_UP {
            black_box(pair(keys, decide));
        }
        before = before.or(resident());
        let start = Instant::now();
        for _ in 0..count {
            black_box(pair(keys, decide));
        }
        println!("{name} {}", start.elapsed().as_nanos() / u128::from(count.max(1)));
    }
    println!("memory {} {}", before.unwrap_or(0), resident().unwrap_or(0));
    Ok(())
}

/// Resident memory of this process in KiB.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB").parse().ok()
}

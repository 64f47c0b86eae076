//! What every runner in every language measures in the same way: pairs of one `keys` and one `decide`, for a mail that is accepted and for
//! one that is refused. Here for the module as a library, for the component under wasmtime, and for the core module under two runtimes;
//! `cargo xtask bench faces` runs them all.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use smtp_fallback_json::Arguments;
use smtp_fallback_policy::contract::Verdict;

use smtp_fallback_tests::{ByJson, Host, Wasmi, Wasmtime};

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

/// What an instance of the core module may have, as an instance of the component.
const MEMORY: usize = 16 << 20;

/// Prints the file. Only the peers are asked about a greeting, too.
pub(crate) fn print_cases(with_greeting: bool) -> Result<(), Failed> {
    let native = crate::native()?;
    let [greeting, accept, refusal, _] = Case::all(&native);
    let pair = |name, case: &Case| {
        let [keys, decide] = case.arguments()?;
        Ok::<Pair, serde_json::Error>(Pair { name, keys, decide })
    };
    let mut cases = vec![pair("accept", &accept)?, pair("refusal", &refusal)?];
    if with_greeting {
        cases.push(pair("greeting", &greeting)?);
    }
    println!("{}", serde_json::to_string(&Cases { policy_json: POLICY, secret: std::str::from_utf8(SECRET)?, cases })?);
    Ok(())
}

/// The file again.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Read {
    policy_json: String,
    secret: String,
    cases: Vec<Mail<serde_json::Value>>,
}

/// One mail, with its arguments as a face takes them.
#[derive(Deserialize)]
struct Mail<T> {
    name: String,
    keys: T,
    decide: T,
}

impl<T> Mail<T> {
    fn into<U, E>(self, read: impl Fn(T) -> Result<U, E>) -> Result<Mail<U>, E> {
        let Mail { name, keys, decide } = self;
        Ok(Mail { name, keys: read(keys)?, decide: read(decide)? })
    }
}

type Failed = Box<dyn std::error::Error>;

/// `face native|component|module-wasmtime|module-wasmi bench CASES COUNT`
pub(crate) fn run(component: &str, arguments: &[String]) -> Result<(), Failed> {
    let [face, word, file, count] = arguments else {
        return Err("usage: smtp-fallback-bench --component FILE face FACE bench CASES COUNT".into());
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
            let module = crate::native()?;
            measure(&typed(cases)?, count, |keys, decide| {
                black_box(module.keys(&keys.connection, keys.envelope.as_ref(), keys.message.as_ref()));
                let Arguments { connection, envelope, message, auth_results } = decide;
                let decision = module.decide(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref());
                Ok(matches!(black_box(decision).verdict, Verdict::Refuse(_)))
            })
        }
        "component" => {
            let pool = pool(component)?;
            measure(&typed(cases)?, count, |keys, decide| {
                black_box(pool.keys(&keys.connection, keys.envelope.as_ref(), keys.message.as_ref()));
                let Arguments { connection, envelope, message, auth_results } = decide;
                let decided = pool.decide(connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref());
                Ok(matches!(black_box(decided).decision.verdict, Verdict::Refuse(_)))
            })
        }
        "module-wasmtime" => by_json(cases, count, Host::new(Wasmtime::shipped().instance(MEMORY)?)),
        "module-wasmi" => by_json(cases, count, Host::new(Wasmi::shipped().instance(MEMORY)?)),
        other => Err(format!("found {other:?}, expected native, component, module-wasmtime or module-wasmi").into()),
    }
}

fn typed(cases: Vec<Mail<serde_json::Value>>) -> Result<Vec<Mail<Arguments>>, serde_json::Error> {
    cases.into_iter().map(|case| case.into(serde_json::from_value)).collect()
}

/// As a host of the core module has them: texts in, texts out.
fn by_json(cases: Vec<Mail<serde_json::Value>>, count: u32, mut module: impl ByJson) -> Result<(), Failed> {
    let arguments = serde_json::json!({ "policy-json": POLICY, "secret": std::str::from_utf8(SECRET)? });
    module.call("configure", &arguments.to_string())?;
    let texts: Result<Vec<Mail<String>>, serde_json::Error> =
        cases.into_iter().map(|case| case.into(|value| serde_json::to_string(&value))).collect();
    measure(&texts?, count, |keys, decide| {
        black_box(module.call("keys", keys)?);
        Ok(black_box(module.call("decide", decide)?).contains(r#""verdict":{"refuse""#))
    })
}

/// Measures, and prints what `cargo xtask bench faces` reads. `pair` says whether the mail was refused.
fn measure<T>(mails: &[Mail<T>], count: u32, mut pair: impl FnMut(&T, &T) -> Result<bool, Failed>) -> Result<(), Failed> {
    let mut before = None;
    for Mail { name, keys, decide } in mails {
        if pair(keys, decide)? != (name == "refusal") {
            return Err(format!("{name}: another verdict").into());
        }
        for _ in 0..WARM_UP {
            pair(keys, decide)?;
        }
        before = before.or(resident());
        let start = Instant::now();
        for _ in 0..count {
            pair(keys, decide)?;
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

//! `cargo xtask bench`: what `keys` and `decide` cost at the greeting, for an accepted and for a refused message, natively and
//! through the shipped component, as multiples of an empty component call in the same run. `cargo xtask bench records`: what records
//! cost in the embedded store; `cargo xtask bench redis`: in a Redis that hosts share. `cargo xtask bench milter`: what a milter
//! costs beside a Postfix. `cargo xtask bench smtpd`: what smtpd costs, and Postfix and Haraka beside it.

mod calls;
mod cases;
mod empty;
mod faces;
mod inside;
mod measure;
mod milter;
mod redis;
mod smtpd;
mod start;
mod store;

use std::process::ExitCode;
use std::time::Duration;

use cases::Case;
use smtp_fallback_embed::{Component, Limits, Pool};
use smtp_fallback_policy::Module;

const POLICY: &str = r#"{"url": "https://www.example.org/ipv6"}"#;
const SECRET: &[u8] = b"0123456789abcdef";

/// What it can be asked to do instead of measuring decisions.
const WORDS: [&str; 9] =
    ["records", "redis", "milter", "smtpd", "cases [with-greeting]", "calls", "start", "face", "one WAY CASE CALLS"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, rest) = match &arguments[..] {
        [option, path, rest @ ..] if option == "--component" => (path, rest),
        _ => return Err(format!("usage: smtp-fallback-bench --component FILE [{}]", WORDS.join(" | ")).into()),
    };
    match rest {
        [] => measure_decisions(path),
        [word, way, case, calls] if word == "one" => one(path, way, case, calls),
        [word, rest @ ..] if word == "records" => store::run(path, rest),
        [word] if word == "redis" => redis::run(),
        [word, rest @ ..] if word == "milter" => milter::run(path, rest),
        [word, rest @ ..] if word == "smtpd" => smtpd::run(path, rest),
        [word] if word == "cases" => faces::print_cases(false),
        [word, with] if word == "cases" && with == "with-greeting" => faces::print_cases(true),
        [word] if word == "calls" => calls::print(),
        [word] if word == "start" => start::run(path),
        [word, rest @ ..] if word == "face" => faces::run(path, rest),
        words => {
            Err(format!("found {:?}, expected nothing for decisions, or one of {}", words.join(" "), WORDS.join(", ")).into())
        }
    }
}

fn native() -> Result<Module, Box<dyn std::error::Error>> {
    let mut native = Module::new();
    native.configure(POLICY, SECRET).map_err(|errors| format!("{errors:?}"))?;
    Ok(native)
}

fn pool(component: &str) -> Result<Pool, Box<dyn std::error::Error>> {
    let component = Component::from_file(component, &Limits::default())?;
    Ok(Pool::configure(&component, POLICY, SECRET)?.0)
}

/// One case only, so often: what a profiler looks at. Its functions are not inlined, so that they can be told to it.
fn one(component: &str, way: &str, case: &str, calls: &str) -> Result<(), Box<dyn std::error::Error>> {
    #[inline(never)]
    fn measured(calls: u32, mut call: impl FnMut()) {
        for _ in 0..calls {
            call();
        }
    }
    let native = native()?;
    let all = Case::all(&native);
    let known = || all.iter().map(|case| case.name).collect::<Vec<_>>().join("\", \"");
    let found = all.iter().find(|known| known.name.strip_prefix("keys + decide, ") == Some(case));
    let case = found.ok_or_else(|| format!("found {case:?}, expected what follows the comma of one of \"{}\"", known()))?;
    let calls = calls.parse()?;
    match way {
        "native" => measured(calls, || case.decide_natively(&native)),
        "component" => {
            // valgrind has no room for the address space of many.
            let limits = Limits { instances: 1, deadline: Duration::from_secs(10), ..Limits::default() };
            let (pool, _) = Pool::configure(&Component::from_file(component, &limits)?, POLICY, SECRET)?;
            measured(calls, || case.decide_in(&pool));
        }
        _ => return Err(format!("found {way:?}, expected native or component").into()),
    }
    Ok(())
}

fn measure_decisions(component: &str) -> Result<(), Box<dyn std::error::Error>> {
    let pool = pool(component)?;
    let native = native()?;
    let mut empty = empty::Empty::new()?;

    let cases = Case::all(&native);
    let mut rows = vec![measure::Row::new("an empty component call")];
    for case in &cases {
        rows.push(measure::Row::new(format!("{}, native", case.name)));
        rows.push(measure::Row::new(format!("{}, component", case.name)));
    }
    // Round by round, so that whatever else the machine does falls on all rows alike.
    for _ in 0..measure::ROUNDS {
        let mut rows = rows.iter_mut();
        let mut next = || rows.next().ok_or("a row for each measurement");
        next()?.measure(|| empty.call());
        for case in &cases {
            next()?.measure(|| case.decide_natively(&native));
            next()?.measure(|| case.decide_in(&pool));
        }
    }
    let failures = pool.failures();
    measure::print(&rows);
    println!("{failures:?}");
    Ok(())
}

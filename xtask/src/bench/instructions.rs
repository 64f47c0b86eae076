//! `cargo xtask bench instructions`: how many instructions a decision takes, and in which part, counted by valgrind: the same on a busy machine.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::needs::{self, Need, Needed};
use crate::place::Place;
use crate::{Failure, toolchain};

const NEEDS: [Needed; 1] = [(Need::Program("valgrind"), "valgrind")];

const WAYS: [&str; 2] = ["native", "component"];
const CASES: [&str; 4] = ["greeting", "accept at once", "accept", "refusal"];

/// Two runs, whose difference is free of what happens once, such as compiling the component.
const CALLS: [u32; 2] = [1000, 2000];

/// What is told apart.
const PARTS: [&str; 11] = [
    "the component's code",
    "fingerprints",
    "records",
    "reply texts",
    "rules",
    "embed",
    "wasmtime: arguments",
    "wasmtime: answers",
    "wasmtime: calls",
    "allocation",
    "copying",
];

/// Said before minutes of compiling, not after.
pub(super) fn check_needs() -> Result<(), Failure> {
    needs::check(&NEEDS)
}

/// Counts, by the program that was built, and prints a table for each way.
pub(super) fn run(place: &Place, bench: &Path) -> Result<(), Failure> {
    let folder = env::temp_dir().join(format!("smtp-fallback-instructions-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    let tables = WAYS.into_iter().try_for_each(|way| {
        let columns: Result<Vec<_>, Failure> = CASES.into_iter().map(|case| column(place, bench, &folder, way, case)).collect();
        print(way, &columns?);
        Ok(())
    });
    // What cannot be removed is in the folder for that.
    let _ = fs::remove_dir_all(&folder);
    tables
}

/// Instructions of one decision, by part.
fn column(place: &Place, bench: &Path, folder: &Path, way: &str, case: &str) -> Result<[f64; PARTS.len()], Failure> {
    let [before, after] = CALLS.map(|calls| {
        let file = folder.join(calls.to_string());
        let mut valgrind = Command::new("valgrind");
        valgrind.current_dir(&place.checkout).args(["--quiet", "--tool=callgrind"]);
        valgrind.arg(format!("--callgrind-out-file={}", file.display())).arg(bench).arg("--component").arg(place.component());
        toolchain::run(valgrind.args(["one", way, case, &calls.to_string()]))?;
        let text = fs::read_to_string(&file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        Ok::<_, Failure>(self_costs(&text))
    });
    // By part, not by function: those that are compiled at run time are called by their addresses, which differ.
    let (before, after) = (by_part(&before?), by_part(&after?));
    let calls = f64::from(CALLS[1] - CALLS[0]);
    // What does not happen at each decision is not exactly the same in both runs.
    Ok(std::array::from_fn(|n| (after[n].saturating_sub(before[n])) as f64 / calls))
}

fn by_part(costs: &HashMap<Function, u64>) -> [u64; PARTS.len()] {
    let mut parts = [0; PARTS.len()];
    for (function, cost) in costs {
        let place = PARTS.iter().position(|known| *known == part(function)).expect("each part is in the list");
        parts[place] += cost;
    }
    parts
}

/// A function in an object, such as a library, with the file that its code comes from: inlined code has that of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Function {
    object: String,
    file: String,
    name: String,
}

/// The instructions of each function without those that it calls, from callgrind's output (valgrind's manual, "Callgrind Format Specification").
fn self_costs(text: &str) -> HashMap<Function, u64> {
    // A name stands in full once for each number.
    let mut names: HashMap<(char, &str), &str> = HashMap::new();
    let mut costs: HashMap<Function, u64> = HashMap::new();
    let mut function = Function::default();
    let mut is_call = false;
    for line in text.lines() {
        if let Some((key, value)) = line.split_once("=(").filter(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase())) {
            let Some((number, name)) = value.split_once(')') else { continue };
            // Objects, functions, and files, which have three keys; a call's have a "c" before.
            let kind = key.trim_start_matches('c').chars().next().filter(|kind| "off".contains(*kind)).unwrap_or('?');
            let kind = if key.ends_with("fn") { 'n' } else { kind };
            let name = match name.trim_start() {
                "" => names.get(&(kind, number)).copied().unwrap_or("?"),
                name => {
                    names.insert((kind, number), name);
                    name
                }
            };
            match key {
                "ob" => function.object = name.to_owned(),
                "fl" | "fi" | "fe" => function.file = name.to_owned(),
                "fn" => function.name = name.to_owned(),
                _ => {}
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            // The line after a call is about all that happened in it.
            if !std::mem::take(&mut is_call)
                && let Some(cost) = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok())
            {
                *costs.entry(function.clone()).or_default() += cost;
            }
        }
    }
    costs
}

/// Which part a function belongs to.
fn part(function: &Function) -> &'static str {
    let Function { object, file, name } = function;
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word) || file.contains(word));
    if object.starts_with("???") {
        // Compiled at run time.
        "the component's code"
    } else if object.contains("libc") {
        if has(&["alloc", "free"]) { "allocation" } else { "copying" }
    } else if has(&["memory_copy"]) {
        "copying"
    } else if has(&["smtp_fallback_policy", "siphash", "smtp_fallback_bench::cases", "one::measured"]) && !has(&["embed"]) {
        if has(&["siphash", "fingerprint", "HashKey", "hash.rs"]) {
            "fingerprints"
        } else if has(&["record"]) {
            "records"
        } else if has(&["reply", "lacking", "text.rs", "Template"]) {
            "reply texts"
        } else {
            "rules"
        }
    } else if has(&["fmt", "net/"]) && !has(&["wasmtime", "embed"]) {
        "reply texts"
    } else if has(&["Lower", "lower", "options_memory", "realloc"]) {
        "wasmtime: arguments"
    } else if has(&["Lift", "lift", "WasmList", "WasmStr"]) {
        "wasmtime: answers"
    } else if has(&["embed"]) {
        "embed"
    } else if has(&["wasmtime"]) {
        "wasmtime: calls"
    } else {
        "rules"
    }
}

fn print(way: &str, columns: &[[f64; PARTS.len()]]) {
    let row = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        println!("{name:<26}{}", cells.map(|cell| format!("{cell:>16}")).collect::<String>());
    };
    row(&format!("{way}, instructions"), &mut CASES.iter().map(|case| (*case).to_owned()));
    for (n, part) in PARTS.iter().enumerate() {
        if columns.iter().any(|column| column[n] >= 1.0) {
            row(part, &mut columns.iter().map(|column| format!("{:.0}", column[n])));
        }
    }
    row("in all", &mut columns.iter().map(|column| format!("{:.0}", column.iter().sum::<f64>())));
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(object: &str, file: &str, name: &str) -> Function {
        Function { object: object.into(), file: file.into(), name: name.into() }
    }

    #[test]
    fn costs_are_those_of_a_function_alone() {
        let text = "positions: line\nevents: Ir\n\nob=(1) /bench\nfl=(1) a.rs\nfn=(1) first\n10 100\nfi=(2) b.rs\n+1 7\nfe=(1)\ncob=(2) /libc.so\n\
                    cfi=(3) malloc.c\ncfn=(2) malloc\ncalls=3 20\n* 3000\n12 5\n\nob=(2)\nfl=(3)\nfn=(2)\n20 900\n\nob=(1)\nfl=(1)\nfn=(1)\n9 1\n";
        let costs = self_costs(text);
        let cost = |object, file, name| costs.get(&function(object, file, name)).copied();
        assert_eq!(cost("/bench", "a.rs", "first"), Some(106), "without the 3000 of its call");
        assert_eq!(cost("/bench", "b.rs", "first"), Some(7), "inlined");
        assert_eq!(cost("/libc.so", "malloc.c", "malloc"), Some(900));
        assert_eq!(costs.len(), 3);
    }

    #[test]
    fn each_function_has_its_part() {
        for (object, file, name, expected) in [
            ("???", "???", "0x0000", "the component's code"),
            ("/libc.so.6", "malloc.c", "_int_free", "allocation"),
            ("/libc.so.6", "memmove.S", "__memcpy_avx", "copying"),
            ("/bench", "src/hash.rs", "smtp_fallback_policy::hash::HashKey::fingerprint", "fingerprints"),
            ("/bench", "siphasher/src/sip128.rs", "smtp_fallback_policy::decide", "fingerprints"),
            ("/bench", "src/record/codec.rs", "smtp_fallback_policy::decide::decide", "records"),
            ("/bench", "library/core/src/fmt/num.rs", "<&u16 as core::fmt::LowerHex>::fmt", "reply texts"),
            ("/bench", "src/decide/mod.rs", "smtp_fallback_policy::decide::decide", "rules"),
            ("/bench", "wasmtime/src/typed.rs", "<smtp_fallback_embed::Address as Lower>::lower", "wasmtime: arguments"),
            ("/bench", "wasmtime/src/typed.rs", "Lift::linear_lift_from_memory", "wasmtime: answers"),
            ("/bench", "wasmtime/src/traphandlers.rs", "wasmtime::catch_traps", "wasmtime: calls"),
            ("/bench", "host-examples/embed/src/pool.rs", "smtp_fallback_embed::pool::Pool::decide", "embed"),
        ] {
            assert_eq!(part(&function(object, file, name)), expected, "{name} in {file}");
            assert!(PARTS.contains(&expected));
        }
    }
}

//! `cargo xtask bench faces`: what a decision costs through each face, in each language, beside the native call.
//!
//! Every runner measures in the same way, in a process of its own: pairs of one `keys` and one `decide`, for a mail that is accepted and for
//! one that is refused, with the arguments in its own language's types. A runner is called with `bench CASES COUNT` behind its
//! own arguments, and prints `accept NANOSECONDS`, `refusal NANOSECONDS` (the mean of a pair) and `memory KIB KIB`, the resident memory after
//! the first thousand pairs and at the end.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::Place;
use crate::{Failure, toolchain};

/// How a runner is started.
#[derive(Debug)]
pub(crate) struct Runner {
    /// The row's name in the table.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// It takes a tenth of the pairs in the short form.
    pub(crate) slow: bool,
}

impl Runner {
    /// One that needs nothing of the environment.
    pub(crate) fn new(name: &'static str, program: impl Into<PathBuf>, arguments: &[&OsStr]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Runner { name, program: program.into(), arguments, environment: Vec::new(), slow: false }
    }
}

/// The module as a library, the component, and the core module, as the program `bench` measures them.
pub(crate) fn of_rust(place: &Place, bench: &Path) -> Vec<Runner> {
    let component = place.component();
    let rows = [
        ("Rust, the library itself", "native"),
        ("Rust, component (embed)", "component"),
        ("Rust, core module, wasmtime", "module-wasmtime"),
        ("Rust, core module, wasmi", "module-wasmi"),
    ];
    let runner = |(name, face): (&'static str, &str)| {
        let arguments = ["--component".as_ref(), component.as_os_str(), "face".as_ref(), face.as_ref()];
        let environment = vec![("SMTP_FALLBACK_MODULE", place.module().into())];
        Runner { environment, ..Runner::new(name, bench, &arguments) }
    };
    rows.into_iter().map(runner).collect()
}

/// The file of cases that all runners read; words after `cases` ask for more of them.
pub(crate) fn cases(place: &Place, bench: &Path, more: &[&str]) -> Result<String, Failure> {
    toolchain::output(Command::new(bench).arg("--component").arg(place.component()).arg("cases").args(more))
}

/// Pairs for each case, rounds; the best round counts, since whatever else the machine does only adds.
struct Size {
    pairs: u32,
    slow_pairs: u32,
    rounds: u32,
}

const SHORT: Size = Size { pairs: 10_000, slow_pairs: 1000, rounds: 3 };

/// A million calls: two cases, two calls in a pair. One round: it takes half an hour.
const WHOLE: Size = Size { pairs: 250_000, slow_pairs: 250_000, rounds: 1 };

/// What is measured, and what it is compared with.
pub(crate) struct Table {
    /// The kinds of decision, as the cases name them.
    pub(crate) kinds: &'static [&'static str],
    /// The runner that is the unit, and its short name.
    pub(crate) unit: usize,
    pub(crate) unit_name: &'static str,
}

/// What a runner printed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measured {
    /// Nanoseconds of each kind of decision.
    times: Vec<u64>,
    before: u64,
    after: u64,
}

/// Measures all and prints the table.
pub(crate) fn run(place: &Place, runners: &[Runner], cases: &str, table: &Table, whole: bool) -> Result<(), Failure> {
    let Table { kinds, unit, unit_name } = *table;
    let size = if whole { WHOLE } else { SHORT };
    let file = place.target.join("bench-cases.json");
    fs::write(&file, cases).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    let mut rows: Vec<Option<Measured>> = vec![None; runners.len()];
    for round in 1..=size.rounds {
        for (runner, best) in runners.iter().zip(&mut rows) {
            eprintln!("==> round {round}, {}", runner.name);
            let measured = measure(place, runner, kinds, &file, if runner.slow { size.slow_pairs } else { size.pairs })?;
            *best = Some(match best.take() {
                Some(best) => better(&best, measured),
                None => measured,
            });
        }
    }
    let rows: Vec<(&str, Measured)> = runners.iter().zip(rows).filter_map(|(runner, row)| Some((runner.name, row?))).collect();
    print!("{}", printed(&rows, kinds, unit, unit_name));
    let Size { pairs, slow_pairs, rounds } = size;
    println!(
        "A decision is one `keys` and one `decide`; {pairs} of each kind ({slow_pairs} of the slow), the best of {rounds} rounds. KiB: \
         resident memory at the end, and what it grew by since the first thousand."
    );
    Ok(())
}

fn better(one: &Measured, other: Measured) -> Measured {
    Measured { times: one.times.iter().zip(&other.times).map(|(one, other)| *one.min(other)).collect(), ..other }
}

fn measure(place: &Place, runner: &Runner, kinds: &[&str], cases: &Path, pairs: u32) -> Result<Measured, Failure> {
    let Runner { name, program, arguments, environment, slow: _ } = runner;
    let mut command = Command::new(program);
    command.current_dir(&place.checkout).args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    let printed = toolchain::output(command.arg("bench").arg(cases).arg(pairs.to_string()))?;
    read(&printed, kinds)
        .ok_or_else(|| format!("{name} printed {printed:?}, expected lines such as \"accept 1234\" and \"memory 1234 1234\""))
}

fn read(printed: &str, kinds: &[&str]) -> Option<Measured> {
    let lines = || printed.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    let time = |kind: &&str| lines().find_map(|words| (words.len() == 2 && words[0] == *kind).then(|| words[1].parse().ok())?);
    let times = kinds.iter().map(time).collect::<Option<Vec<u64>>>().filter(|times| times.iter().all(|&time| time > 0))?;
    let memory = lines().find(|words| words.len() == 3 && words[0] == "memory")?;
    let (before, after) = (memory[1].parse().ok()?, memory[2].parse().ok().filter(|&after| after > 0)?);
    Some(Measured { times, before, after })
}

fn printed(rows: &[(&str, Measured)], kinds: &[&str], unit: usize, unit_name: &str) -> String {
    let Some((_, unit)) = rows.get(unit) else { return String::new() };
    let wide = unit_name.len() + 2;
    let head = kinds.iter().map(|kind| format!(" {:>10} {:>wide$}", format!("{kind}/s"), format!("× {unit_name}")));
    let mut text = format!("{:<34}{} {:>9} {:>8}\n", "", head.collect::<String>(), "KiB", "growth");
    for (name, row) in rows {
        let times = row.times.iter().zip(&unit.times).map(|(&time, &unit)| {
            format!(" {:>10} {:>wide$}", 1_000_000_000 / time.max(1), format!("{:.1}", time as f64 / unit as f64))
        });
        let growth = row.after as i64 - row.before as i64;
        text += &format!("{name:<34}{} {:>9} {growth:>+8}\n", times.collect::<String>(), row.after);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[&str] = &["accept", "refusal"];

    #[test]
    fn a_runner_has_to_print_all_of_it() {
        let read = |text: &str| read(text, KINDS);
        assert_eq!(
            read("# warm\nrefusal 2000\naccept 1500\nmemory 9000 9100\n"),
            Some(Measured { times: vec![1500, 2000], before: 9000, after: 9100 })
        );
        assert_eq!(read("accept 1500\nmemory 9000 9100\n"), None);
        assert_eq!(read("accept 1500\nrefusal x\nmemory 9000 9100\n"), None);
        assert_eq!(read("accept 1500\nrefusal 0\nmemory 9000 9100\n"), None);
        assert_eq!(read("accept 1500\nrefusal 2000\n"), None);
        assert_eq!(read("accept 1500\nrefusal 2000\nmemory 9000 0\n"), None);
    }

    #[test]
    fn the_table_has_one_of_its_rows_as_the_unit() {
        let row = |accept, refusal, after| Measured { times: vec![accept, refusal], before: 1000, after };
        let rows = [("native", row(1000, 2000, 1000)), ("far", row(25_000, 30_000, 900))];
        let words = |unit| -> Vec<Vec<String>> {
            let table = printed(&rows, KINDS, unit, "native");
            table.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
        };
        assert_eq!(words(0)[0], ["native", "1000000", "1.0", "500000", "1.0", "1000", "+0"]);
        assert_eq!(words(0)[1], ["far", "40000", "25.0", "33333", "15.0", "900", "-100"]);
        assert_eq!(words(1)[1], ["far", "40000", "1.0", "33333", "1.0", "900", "-100"]);
        assert!(printed(&rows, KINDS, 2, "none").is_empty());
    }
}

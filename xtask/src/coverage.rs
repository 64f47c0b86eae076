//! `cargo xtask coverage`: which lines of the module its unit tests and the vectors run through. Only the module is compiled to be counted: cargo
//! calls this program in place of rustc for the packages of the workspace, and for two of them it adds an option.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component, toolchain};

/// Set for cargo, so that this program knows that it is called in place of rustc.
const WRAPPER: &str = "SMTP_FALLBACK_COVERAGE";

/// What is counted, and the test that only calls it, by the names that rustc has for them.
const MODULE: &str = "smtp_fallback_policy";
const VECTORS: &str = "native";

pub(crate) fn run(place: &Place) -> Result<(), Failure> {
    let (profdata, cov) = (tool(place, "llvm-profdata")?, tool(place, "llvm-cov")?);
    let folder = place.target.join("coverage");
    // Counts of another build would be added.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut steps = Steps::default();
    steps.step("component", || component::build(place))?;
    let programs = steps.step("build", || {
        // Alone it needs little. With the vectors' package all is built, so that nothing is compiled with other features.
        let unit_tests = build(place, &["--package", "smtp-fallback-policy", "--lib"], MODULE)?;
        Ok::<_, Failure>([unit_tests, build(place, &["--workspace", "--test", VECTORS], VECTORS)?])
    })?;
    steps.step("test", || {
        programs.iter().enumerate().try_for_each(|(number, program)| {
            let mut test = Command::new(program);
            test.current_dir(place.checkout.join(["", "tests"][number])).arg("--quiet");
            test.env("LLVM_PROFILE_FILE", folder.join(format!("{number}.profraw")));
            toolchain::run(&mut test)
        })
    })?;
    let merged = folder.join("merged.profdata");
    let raw = [0, 1].map(|number| folder.join(format!("{number}.profraw")));
    toolchain::run(Command::new(profdata).args(["merge", "--sparse", "-o"]).arg(&merged).args(raw))?;
    let mut export = Command::new(cov);
    export.args(["export", "--format=lcov", "--instr-profile"]).arg(&merged);
    export.arg(&programs[0]).arg("--object").arg(&programs[1]);
    print(&place.checkout.join("src"), &toolchain::output(&mut export)?)
}

/// When cargo calls this program in place of rustc: what rustc answered.
pub(crate) fn in_place_of_rustc() -> Option<ExitCode> {
    env::var_os(WRAPPER)?;
    let mut arguments = env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    let name = arguments.windows(2).find(|pair| pair[0] == "--crate-name").map(|pair| pair[1].clone());
    if name.is_some_and(|name| name == MODULE || name == VECTORS) {
        rustc.arg("-Cinstrument-coverage");
    }
    let status = rustc.args(&arguments).status();
    let code = status.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Some(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Builds a test; the program.
fn build(place: &Place, choice: &[&str], name: &str) -> Result<PathBuf, Failure> {
    let own = env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let mut cargo = toolchain::cargo(place, "test")?;
    cargo.args(choice).args(["--no-run", "--message-format=json-render-diagnostics"]);
    let messages = toolchain::output(cargo.env("RUSTC_WORKSPACE_WRAPPER", own).env(WRAPPER, "1"))?;
    let program = messages.lines().find_map(|line| {
        let of_target = line.contains(&format!("\"name\":\"{name}\"")) && line.contains("\"reason\":\"compiler-artifact\"");
        let (_, rest) = line.split_once("\"executable\":\"").filter(|_| of_target)?;
        Some(PathBuf::from(rest.split('"').next()?))
    });
    program.ok_or_else(|| format!("cargo built no test {name}; is it in the workspace?"))
}

/// A program of rustup's component llvm-tools.
fn tool(place: &Place, name: &str) -> Result<PathBuf, Failure> {
    let libraries = toolchain::output(toolchain::rustc(place).args(["--print", "target-libdir"]))?;
    let path = Path::new(libraries.trim_end()).with_file_name("bin").join(name).with_extension(env::consts::EXE_EXTENSION);
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing: run `rustup component add llvm-tools`, then try again", path.display()))
}

/// A table of the files below `source`, and their lines that nothing ran through.
fn print(source: &Path, lcov: &str) -> Result<(), Failure> {
    let mut table = Vec::new();
    for (path, lines) in read(lcov).into_iter().filter(|(path, _)| path.starts_with(source)) {
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.strip_prefix(source).unwrap_or(&path).to_string_lossy().into_owned();
        if name.ends_with("tests.rs") {
            continue;
        }
        let of_tests = lines_of_tests(&text);
        let lines: BTreeMap<usize, bool> =
            lines.into_iter().filter(|(line, _)| !of_tests.iter().any(|range| range.contains(line))).collect();
        table.push((name, lines));
    }
    if table.is_empty() {
        return Err(format!("nothing was counted below {}", source.display()));
    }
    let (mut all, mut covered) = (0, 0);
    println!("{:<40} {:>6} {:>8} {:>8}", "src/", "lines", "run", "");
    for (name, lines) in &table {
        let run = lines.values().filter(|run| **run).count();
        (all, covered) = (all + lines.len(), covered + run);
        println!("{name:<40} {:>6} {run:>8} {:>6.1} %  {}", lines.len(), percent(run, lines.len()), missing(lines));
    }
    println!("{:<40} {all:>6} {covered:>8} {:>6.1} %", "in all", percent(covered, all));
    Ok(())
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// The lines of each file, and whether anything ran through them: a line that several programs have counts by the one that ran through it.
fn read(lcov: &str) -> BTreeMap<PathBuf, BTreeMap<usize, bool>> {
    let mut files: BTreeMap<PathBuf, BTreeMap<usize, bool>> = BTreeMap::new();
    let mut file = None;
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            file = Some(files.entry(PathBuf::from(path)).or_default());
        } else if let (Some(lines), Some((line, count))) =
            (&mut file, line.strip_prefix("DA:").and_then(|rest| rest.split_once(',')))
            && let Ok(line) = line.parse()
        {
            *lines.entry(line).or_default() |= count != "0";
        }
    }
    files
}

/// The modules of a file that are for tests only: they run by themselves, and say nothing of the rest.
fn lines_of_tests(text: &str) -> Vec<std::ops::RangeInclusive<usize>> {
    let mut ranges = Vec::new();
    let mut start = None;
    for (number, line) in (1..).zip(text.lines()) {
        match start {
            None if line == "#[cfg(test)]" => start = Some(number),
            Some(_) if line.starts_with("mod ") && line.ends_with(';') => start = None,
            Some(first) if line == "}" => {
                ranges.push(first..=number);
                start = None;
            }
            _ => {}
        }
    }
    ranges
}

/// Lines that nothing ran through, those that follow each other as one.
fn missing(lines: &BTreeMap<usize, bool>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut open = false;
    for (&line, &run) in lines {
        match ranges.last_mut() {
            _ if run => open = false,
            Some((_, last)) if open => *last = line,
            _ => {
                ranges.push((line, line));
                open = true;
            }
        }
    }
    let words = ranges.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_those_of_several_programs_are_one() {
        let files = read(
            "SF:/a.rs\nFN:1,f\nDA:1,5\nDA:2,0\nDA:3,0\nDA:5,0\nDA:6,1\nDA:9,0\nend_of_record\nSF:/a.rs\nDA:2,1\nend_of_record\n",
        );
        let lines = &files[Path::new("/a.rs")];
        assert_eq!(lines.values().filter(|run| **run).count(), 3);
        assert_eq!(missing(lines), "3-5, 9");
    }

    #[test]
    fn tests_are_left_out() {
        let text = "fn f() {}\n#[cfg(test)]\nmod schema_tests;\n\n#[cfg(test)]\nmod tests {\n    fn g() {\n    }\n}\nfn h() {}\n";
        assert_eq!(lines_of_tests(text), [5..=9]);
    }
}

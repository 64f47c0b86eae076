//! The events that packages log, and those that a README tells of. Tests of other packages use this file too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The packages whose events every daemon has.
pub(crate) const COMMON: [&str; 5] = ["daemon", "store", "monitor", "embed", "verify"];

fn package(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// A package's README.
pub(crate) fn readme(name: &str) -> String {
    let path = package(name).join("README.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the events that these packages log.
pub(crate) fn logged(packages: &[&str]) -> BTreeSet<String> {
    let mut texts = Vec::new();
    for name in packages {
        sources(&package(name).join("src"), &mut texts);
    }
    let mut logged: BTreeSet<String> = texts.iter().flat_map(|text| between(text, "event = \"", "\"")).collect();
    // One of several names: `let event = if … { "…" } else { "…" }`.
    for line in texts.iter().flat_map(|text| text.lines()).filter(|line| line.contains("let event = ")) {
        logged.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    logged
}

/// The names in the first column of a README's table of events.
pub(crate) fn told(readme: &str) -> BTreeSet<String> {
    let (_, table) = readme.split_once("| Event | Level | Meaning |").expect("a table of events");
    let rows = table.split("\n\n").next().unwrap_or_default().lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| row.split(" |").next().unwrap_or_default().split('`').step_by(2)).map(str::to_owned).collect()
}

/// Fails where one has what the other has not.
pub(crate) fn assert_same(logged: &BTreeSet<String>, told: &BTreeSet<String>) {
    let difference = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>().join(", ");
    assert_eq!((difference(logged, told), difference(told, logged)), Default::default(), "not in the table; not in the sources");
}

/// A daemon's own table has the events that only it logs.
pub(crate) fn assert_own(package: &str) {
    let common = logged(&COMMON);
    let own = logged(&[package]).difference(&common).cloned().collect();
    assert_same(&own, &told(&readme(package)));
}

/// What stands between two texts, each time.
fn between(text: &str, before: &str, after: &str) -> Vec<String> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(found, _)| found.to_owned()).collect()
}

/// The texts of all sources below the folder.
fn sources(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(&path).expect("a source"));
        }
    }
}

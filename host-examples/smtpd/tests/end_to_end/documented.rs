//! That the README says what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use smtp_fallback_store::redis::RedisSettings;

/// The crates that log in this server.
const CRATES: [&str; 6] = ["smtpd", "daemon", "store", "monitor", "embed", "verify"];

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// What stands between two texts, each time.
fn between<'a>(text: &'a str, before: &str, after: &str) -> BTreeSet<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(found, _)| found).collect()
}

/// The texts of all files below the folder.
fn sources(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_table_of_events_has_all_events_and_no_others() {
    let mut texts = Vec::new();
    for name in CRATES {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src"), &mut texts);
    }
    let mut logged: BTreeSet<&str> = texts.iter().flat_map(|text| between(text, "event = \"", "\"")).collect();
    // One of several names: `let event = if … { "…" } else { "…" }`.
    for line in texts.iter().flat_map(|text| text.lines()).filter(|line| line.contains("let event = ")) {
        logged.extend(line.split('"').skip(1).step_by(2));
    }
    assert!(logged.len() > 50, "{logged:?}");
    let readme = readme();
    let (_, table) = readme.split_once("| Other events | Level | Meaning |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| !row.starts_with("(no event)"));
    let mut told: BTreeSet<&str> = BTreeSet::from(["decision"]);
    for row in rows {
        let (names, _) = row.split_once(" |").unwrap();
        told.extend(names.split('`').skip(1).step_by(2));
    }
    let difference = |a: &BTreeSet<&str>, b: &BTreeSet<&str>| a.difference(b).copied().collect::<Vec<_>>().join(", ");
    assert_eq!(
        (difference(&logged, &told), difference(&told, &logged)),
        Default::default(),
        "not in the table; not in the sources"
    );
}

#[test]
fn the_table_of_the_shared_store_has_all_its_settings() {
    // Which there are, an error says.
    let error = toml::from_str::<RedisSettings>("nonsense = 1").unwrap_err().to_string();
    let (_, expected) = error.split_once("expected one of ").unwrap();
    let settings: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
    assert!(settings.contains(&"time_limit_ms"), "{error}");
    let readme = readme();
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `[store.redis]` `")).collect();
    for setting in settings {
        assert!(rows.iter().any(|row| row.contains(&format!("`{setting}`"))), "{setting} is not in the README");
    }
}

//! That the README says what there is.
#![allow(clippy::unwrap_used)] // A test may panic.

#[allow(dead_code)] // It serves several test programs.
mod events;

use events::{COMMON, assert_same, logged, readme, told};

#[test]
fn the_table_has_all_events_and_no_others() {
    let logged = logged(&COMMON);
    assert!(logged.len() > 40, "{logged:?}");
    let mut told = told(&readme("daemon"));
    // It has a table of its own.
    told.insert("decision".to_owned());
    assert_same(&logged, &told);
}

#[test]
fn the_table_has_all_fields_of_a_decision() {
    let source = include_str!("../../src/log.rs");
    let (_, fields) = source.split_once("event = \"decision\",").unwrap();
    let (fields, _) = fields.split_once("\n            )").unwrap();
    let readme = readme("daemon");
    let (_, table) = readme.split_once("| Field | Meaning |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    for field in fields.split(",\n").map(|field| field.trim().trim_start_matches('%')).filter(|field| !field.is_empty()) {
        let name = field.split(' ').next().unwrap();
        assert!(table.contains(&format!("`{name}`")), "{name} is not in the table");
    }
}

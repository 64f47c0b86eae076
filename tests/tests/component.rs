//! All vectors, through the shipped component.

use smtp_fallback_tests::{Embedded, Face, Native, run, vectors};

#[test]
fn all_vectors_hold() {
    let component = Embedded::component();
    let failures: Vec<String> = vectors()
        .iter()
        .filter_map(|vector| run(&mut Embedded::new(&component), vector).err())
        .map(|failure| failure.to_string())
        .collect();
    assert!(failures.is_empty(), "{} vectors fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_component_says_what_the_library_says_of_itself() {
    let mut embedded = Embedded::new(&Embedded::component());
    let mut native = Native::default();
    assert_eq!(embedded.describe(), native.describe());
    assert_eq!(embedded.schema(), native.schema());
}

//! Every requirement that the module has to hold is cited by a vector, and vectors cite nothing else.

use std::collections::BTreeSet;

use smtp_fallback_vectors::vectors;

/// Those that concern the module; the others are the hosts'.
const OF_THE_MODULE: &[&str] = &[
    "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11", "P12", "P13", "P14", "P15", "P16", "P17", "P18", "P19",
    "P20", "A2", "A3", "A5", "A6", "A7", "A13", "A14", "A15", "A16", "A18", "A20", "A22", "A25", "A27", "A28", "A29", "A30",
    "A32", "A33", "A34", "A35", "A37", "A38", "A39", "A40", "A41",
];

/// Those of hosts to which the module contributes.
const OF_HOSTS: &[&str] = &["R10"];

#[test]
fn each_is_held_by_a_vector() {
    let cited: BTreeSet<String> = vectors().into_iter().flat_map(|vector| vector.holds).collect();
    let missing: Vec<_> = OF_THE_MODULE.iter().filter(|number| !cited.contains(**number)).collect();
    assert!(missing.is_empty(), "no vector holds {missing:?}");
    let unknown: Vec<_> =
        cited.iter().filter(|number| !OF_THE_MODULE.contains(&number.as_str()) && !OF_HOSTS.contains(&number.as_str())).collect();
    assert!(unknown.is_empty(), "vectors cite {unknown:?}");
}

#[test]
fn each_vector_says_what_it_is_about() {
    for vector in vectors() {
        assert!(vector.about.ends_with('.') && !vector.holds.is_empty() && !vector.steps.is_empty(), "{}", vector.file);
    }
}

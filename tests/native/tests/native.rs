//! All vectors, through the Rust library.

use smtp_fallback_vectors::{Native, run, vectors};

#[test]
fn all_vectors_hold() {
    let vectors = vectors();
    assert!(vectors.len() >= 150, "only {} vectors", vectors.len());
    let failures: Vec<String> = vectors
        .iter()
        .filter_map(|vector| run(&mut Native::default(), vector).err())
        .map(|failure| failure.to_string())
        .collect();
    assert!(failures.is_empty(), "{} of {} vectors fail:\n{}", failures.len(), vectors.len(), failures.join("\n"));
}

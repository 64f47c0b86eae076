//! Runs `tests/vectors/`, the shared truth of every way to call the module. `vectors/README.md` states the format.

mod face;
mod run;
pub mod simulation;
mod vector;

pub use face::{Embedded, Face, Native};
pub use run::{Failure, run};
pub use vector::{Call, Step, Vector, vectors, vectors_in};

/// The secret that every vector is configured with, where it names none.
pub const SECRET: &[u8] = b"0123456789abcdef";

/// The shipped component: the file that `cargo xtask component` wrote.
pub fn component_path() -> std::path::PathBuf {
    let path = std::env::var_os("SMTP_FALLBACK_COMPONENT").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/smtp-fallback-policy.wasm"),
        std::path::PathBuf::from,
    );
    assert!(path.exists(), "{} is missing: run `cargo xtask component` first", path.display());
    path
}

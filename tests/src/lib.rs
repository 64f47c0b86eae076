//! Runs `tests/vectors/`, the shared truth of every way to call the module. `vectors/README.md` states the format.

use std::path::{Path, PathBuf};

mod any;
mod core_module;
mod face;
mod json_face;
mod run;
pub mod simulation;
mod vector;

pub use any::{Calls, check_component};
pub use core_module::{CoreModule, Host, Wasmi, WasmiInstance, Wasmtime, WasmtimeInstance, module_path};
pub use face::{Embedded, Face, Native};
pub use json_face::{ByJson, JsonFace};
pub use run::{Failure, run};
pub use vector::{Call, Step, Vector, vectors, vectors_in};

/// The secret that every vector is configured with, where it names none.
pub const SECRET: &[u8] = b"0123456789abcdef";

/// The shipped component: the file that `cargo xtask component` wrote.
pub fn component_path() -> PathBuf {
    built("SMTP_FALLBACK_COMPONENT", "smtp-fallback-policy.wasm", "component")
}

/// What a command of xtask wrote: the file that this variable names, or the one in dist/.
fn built(variable: &str, name: &str, command: &str) -> PathBuf {
    let path = std::env::var_os(variable)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(name), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo xtask {command}` first", path.display());
    path
}

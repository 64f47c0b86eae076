//! The vectors on the faces that need a runtime, and simulated fortnights. What needs none is in `native/`.

use std::path::{Path, PathBuf};

mod any;
mod core_module;
mod embedded;
mod json_face;
pub mod simulation;

pub use any::{Calls, check_component};
pub use core_module::{CoreModule, Host, Wasmi, WasmiInstance, Wasmtime, WasmtimeInstance, module_path};
pub use embedded::Embedded;
pub use json_face::{ByJson, JsonFace};
pub use smtp_fallback_vectors::{Call, Face, Failure, Native, SECRET, Step, Vector, run, vectors, vectors_in};

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

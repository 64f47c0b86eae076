//! `cargo xtask check`: format, clippy, documentation. No warning passes.

use crate::faces::npm::PACK;
use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, toolchain};

/// Workspaces of their own, each with the name of its step. Their format alone is checked: clippy would compile all of them, and
/// need a C++ compiler and Lua's headers.
const OUTSIDE: [(&str, &str); 4] = [
    ("format, npm package's tool", PACK),
    ("format, fuzzing", "fuzz/Cargo.toml"),
    ("format, fuzzing with a runtime", "fuzz/heavy/Cargo.toml"),
    ("format, peers", "bench/peers/Cargo.toml"),
];

pub(crate) fn run(place: &Place) -> Result<(), Failure> {
    let mut steps = Steps::default();
    steps.step("format", || {
        toolchain::run(toolchain::cargo(place, "fmt")?.args(["--all", "--", "--check"]))
            .map_err(|failure| format!("{failure}; `cargo fmt --all` writes what is expected"))
    })?;
    for (name, manifest) in OUTSIDE {
        steps.step(name, || {
            toolchain::run(toolchain::cargo(place, "fmt")?.args(["--manifest-path", manifest, "--", "--check"]))
                .map_err(|failure| format!("{failure}; `cargo fmt --manifest-path {manifest}` writes what is expected"))
        })?;
    }
    steps.step("clippy", || {
        let mut cargo = toolchain::cargo(place, "clippy")?;
        toolchain::run(cargo.args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    // Natively the component and the core module are empty crates.
    steps.step("clippy, WebAssembly", || {
        toolchain::ensure_wasm_target(place)?;
        let mut cargo = toolchain::cargo(place, "clippy")?;
        cargo.args([
            "--package",
            "smtp-fallback-component",
            "--package",
            "smtp-fallback-module",
            "--package",
            "smtp-fallback-js",
        ]);
        toolchain::run(cargo.args(["--target", toolchain::WASM, "--", "-D", "warnings"]))
    })?;
    steps.step("documentation", || {
        let mut cargo = toolchain::cargo(place, "doc")?;
        toolchain::run(cargo.args(["--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })
}

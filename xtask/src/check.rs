//! `cargo xtask check`: format, clippy, documentation. No warning passes.

use crate::faces::npm::PACK;
use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, toolchain};

/// The packages of the fuzzing targets and of the benchmark's peers, workspaces of their own.
const FUZZING: &str = "fuzz/Cargo.toml";
const PEERS: &str = "bench/peers/Cargo.toml";

pub(crate) fn run(place: &Place) -> Result<(), Failure> {
    let mut steps = Steps::default();
    steps.step("format", || {
        toolchain::run(toolchain::cargo(place, "fmt")?.args(["--all", "--", "--check"]))
            .map_err(|failure| format!("{failure}; `cargo fmt --all` writes what is expected"))
    })?;
    steps.step("format, npm package's tool", || {
        toolchain::run(toolchain::cargo(place, "fmt")?.args(["--manifest-path", PACK, "--", "--check"]))
            .map_err(|failure| format!("{failure}; `cargo fmt --manifest-path {PACK}` writes what is expected"))
    })?;
    // Outside the workspace. Clippy would need a C++ compiler there.
    steps.step("format, fuzzing", || {
        toolchain::run(toolchain::cargo(place, "fmt")?.args(["--manifest-path", FUZZING, "--", "--check"]))
            .map_err(|failure| format!("{failure}; `cargo fmt --manifest-path {FUZZING}` writes what is expected"))
    })?;
    // Likewise; clippy would need Lua's headers.
    steps.step("format, peers", || {
        toolchain::run(toolchain::cargo(place, "fmt")?.args(["--manifest-path", PEERS, "--", "--check"]))
            .map_err(|failure| format!("{failure}; `cargo fmt --manifest-path {PEERS}` writes what is expected"))
    })?;
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

//! `cargo xtask test`: all tests, natively and through the component.

use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component, toolchain};

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    let mut steps = Steps::default();
    steps.step("component", || component::build(place))?;
    // Apart, so that the times tell slow tests from a slow compiler.
    steps.step("build the tests", || build(place))?;
    steps.step("test", || {
        let mut cargo = toolchain::cargo(place, "test")?;
        toolchain::run(cargo.arg("--workspace").args(arguments).env("SMTP_FALLBACK_COMPONENT", place.component()))
    })
}

/// Builds all programs and tests. What runs one of the programs builds them like this, too: for a part of the packages alone cargo
/// would choose other features of what they depend on, and compile wasmtime once more.
pub(crate) fn build(place: &Place) -> Result<(), Failure> {
    toolchain::run(toolchain::cargo(place, "test")?.args(["--workspace", "--no-run"]))
}

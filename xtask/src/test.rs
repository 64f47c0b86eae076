//! `cargo xtask test`: all tests, natively and through the component.

use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component, toolchain};

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    let mut steps = Steps::default();
    steps.step("component", || component::build(place))?;
    // Apart, so that the times tell slow tests from a slow compiler.
    steps.step("build the tests", || toolchain::run(toolchain::cargo(place, "test")?.args(["--workspace", "--no-run"])))?;
    steps.step("test", || {
        let mut cargo = toolchain::cargo(place, "test")?;
        toolchain::run(cargo.arg("--workspace").args(arguments).env("SMTP_FALLBACK_COMPONENT", place.component()))
    })
}

//! `cargo xtask bench`: what a decision costs, natively and through the component file that is shipped, and what its records cost.

use crate::place::Place;
use crate::{Failure, component, toolchain};

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    component::build(place)?;
    let mut cargo = toolchain::cargo(place, "run")?;
    cargo.args(["--release", "--package", "smtp-fallback-bench", "--", "--component"]).arg(place.component());
    toolchain::run(cargo.args(arguments))
}

//! `cargo xtask test`: all tests, natively, through the component and through each face, but those of `cargo xtask interop`.

use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component, faces, interop, toolchain};

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    // Who chooses tests of cargo's wants these alone.
    let with_faces = arguments.is_empty();
    if with_faces {
        faces::check_needs(faces::FACES)?;
    }
    let mut steps = Steps::default();
    steps.step("component", || component::build(place))?;
    steps.step("core module", || faces::module::build(place))?;
    // Apart, so that the times tell slow tests from a slow compiler.
    steps.step("build the tests", || build(place))?;
    steps.step("test", || {
        let mut cargo = toolchain::cargo(place, "test")?;
        if !names_packages(arguments) {
            // What needs root and other people's software has a command of its own.
            cargo.args(["--workspace", "--exclude", interop::PACKAGE]);
        }
        cargo.env("SMTP_FALLBACK_COMPONENT", place.component()).env("SMTP_FALLBACK_MODULE", place.module());
        toolchain::run(cargo.args(arguments))
    })?;
    if with_faces { faces::build_and_test(place, faces::FACES, &mut steps) } else { Ok(()) }
}

/// Builds all programs and tests. What runs one of the programs builds them like this, too: for a part of the packages alone cargo
/// would choose other features of what they depend on, and compile wasmtime once more.
pub(crate) fn build(place: &Place) -> Result<(), Failure> {
    toolchain::run(toolchain::cargo(place, "test")?.args(["--workspace", "--no-run"]))
}

/// Whether the arguments to cargo choose packages: `--workspace` would override them.
fn names_packages(arguments: &[String]) -> bool {
    let of_cargo = arguments.iter().take_while(|argument| *argument != "--");
    of_cargo.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn packages_are_those_of_cargo_and_not_of_the_tests() {
        let names = |arguments: &[&str]| super::names_packages(&arguments.iter().map(|&each| each.into()).collect::<Vec<_>>());
        assert!(names(&["-p", "xtask"]));
        assert!(names(&["--lib", "--package=xtask"]));
        assert!(!names(&["--lib", "name", "--", "-p"]));
        assert!(!names(&[]));
    }
}

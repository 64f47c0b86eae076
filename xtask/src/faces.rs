//! The faces of the module for other languages and runtimes: `cargo xtask npm`, `jco`, `module`, `c-library` and `python` build one each,
//! `cargo xtask faces` builds and tests them, each by all vectors and by a runner in its own language.

pub(crate) mod bench;
pub(crate) mod c_library;
mod commonjs;
mod dataclasses;
mod jco;
pub(crate) mod module;
pub(crate) mod node;
pub(crate) mod npm;
mod python;
mod python_json;
mod typescript;

use std::path::Path;

use self::bench::{Runner, Table};
use crate::needs::{self, Need, Needed};
use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component};

/// One face.
pub(crate) struct Face {
    /// As the command is called.
    name: &'static str,
    /// What its build and its tests start, with the package of Debian that has it.
    needs: &'static [Needed],
    /// Builds it.
    build: fn(&Place) -> Result<(), Failure>,
    /// Runs its tests; it was built.
    test: fn(&Place) -> Result<(), Failure>,
    /// Builds what measures it, as users have it; how that is started.
    runners: fn(&Place) -> Result<Vec<Runner>, Failure>,
}

/// All faces, in the order in which they are built and tested.
pub(crate) const FACES: &[&Face] = &[&npm::FACE, &jco::FACE, &module::FACE, &c_library::FACE, &python::FACE];

/// The face of this name.
fn named(name: &str) -> Result<&'static Face, Failure> {
    FACES.iter().copied().find(|face| face.name == name).ok_or_else(|| {
        let names: Vec<&str> = FACES.iter().map(|face| face.name).collect();
        format!("there is no face {name:?}, expected {}", names.join(", "))
    })
}

/// Builds one.
pub(crate) fn build(place: &Place, name: &str) -> Result<(), Failure> {
    let face = named(name)?;
    check_needs(&[face])?;
    component::build(place)?;
    (face.build)(place)
}

/// Builds and tests those that are named, or all.
pub(crate) fn run(place: &Place, names: &[String]) -> Result<(), Failure> {
    let chosen: Vec<&Face> = match names {
        [] => FACES.to_vec(),
        names => names.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
    };
    check_needs(&chosen)?;
    let mut steps = Steps::default();
    steps.step("component", || component::build(place))?;
    build_and_test(place, &chosen, &mut steps)
}

/// Builds and tests these; the component was built.
pub(crate) fn build_and_test(place: &Place, faces: &[&Face], steps: &mut Steps) -> Result<(), Failure> {
    for face in faces {
        steps.step(face.name, || (face.build)(place).and_then(|()| (face.test)(place)))?;
    }
    Ok(())
}

/// Measures all, beside the module as a library, the component and the core module, which `bench` measures: the program, built for it.
pub(crate) fn measure(place: &Place, bench: &Path, whole: bool) -> Result<(), Failure> {
    let mut runners = bench::of_rust(place, bench);
    for face in FACES {
        runners.extend((face.runners)(place)?);
    }
    let table = Table { kinds: &["accept", "refusal"], unit: 0, unit_name: "native" };
    bench::run(place, &runners, &bench::cases(place, bench, &[])?, &table, whole)
}

/// Said before minutes of compiling, not after.
pub(crate) fn check_needs(faces: &[&Face]) -> Result<(), Failure> {
    needs::check(faces.iter().flat_map(|face| face.needs))
}

//! `cargo xtask reproducible`: whoever builds this commit with this toolchain gets the same component and core module, octet for octet.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component, faces, toolchain};

/// Of different lengths, and with a space: what usually finds its way into a build.
const PLACES: [&str; 2] = ["a", "another place, far away"];

/// Builds in two checkouts under two cargo homes and compares.
pub(crate) fn run(place: &Place) -> Result<(), Failure> {
    let mut steps = Steps::default();
    let folder = Temporary::new()?;
    let [one, other] = PLACES.map(|name| {
        let folder = folder.0.join(name);
        Place { checkout: folder.join("checkout"), cargo_home: folder.join("cargo"), target: folder.join("target") }
    });
    // The second is a copy of the first, so that nobody's editing comes between the two.
    steps.step("copy", || copy(place, &one).and_then(|()| copy_folder(&one.checkout, &other.checkout)))?;
    steps.step("copy cargo's packages", || [&one, &other].into_iter().try_for_each(|to| copy_packages(place, to)))?;
    let built = [steps.step("build", || build(&one))?, steps.step("build elsewhere", || build(&other))?];
    for (one, other) in built[0].iter().zip(&built[1]) {
        compare(one, other)?;
        println!("Both are the same, octet for octet: SHA-256 {}", component::sha256(one));
    }
    Ok(())
}

/// The component and the core module.
fn build(place: &Place) -> Result<[Vec<u8>; 2], Failure> {
    Ok([component::build(place)?, faces::module::build(place)?])
}

/// The checkout, with what is not committed yet.
fn copy(from: &Place, to: &Place) -> Result<(), Failure> {
    let mut git = Command::new("git");
    git.current_dir(&from.checkout).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    for name in toolchain::output(&mut git)?.split_terminator('\0') {
        let source = from.checkout.join(name);
        // A file that was deleted, and not yet from the index.
        if source.is_file() {
            copy_file(&source, &to.checkout.join(name))?;
        }
    }
    Ok(())
}

/// The packages that cargo has downloaded already: a home without them would fetch them anew, with the same outcome.
fn copy_packages(from: &Place, to: &Place) -> Result<(), Failure> {
    for part in ["registry/cache", "registry/index"] {
        copy_folder(&from.cargo_home.join(part), &to.cargo_home.join(part))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| format!("{} cannot be read: {error}", from.display());
    if !from.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (source, copied) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().map_err(failed)? {
            kind if kind.is_dir() => copy_folder(&source, &copied)?,
            kind if kind.is_file() => copy_file(&source, &copied)?,
            _ => {}
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Failure> {
    let copy = || {
        fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
        fs::copy(from, to)
    };
    copy().map(drop).map_err(|error| format!("{} cannot be copied to {}: {error}", from.display(), to.display()))
}

fn compare(one: &[u8], other: &[u8]) -> Result<(), Failure> {
    if one == other {
        return Ok(());
    }
    let position = one.iter().zip(other).position(|(one, other)| one != other).unwrap_or(one.len().min(other.len()));
    Err(format!(
        "the two builds differ: {} and {} octets, the first difference at octet {position}; look there for a path, a time or an order \
         that depends on the machine",
        one.len(),
        other.len()
    ))
}

/// A folder that goes when this does.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, Failure> {
        let folder = env::temp_dir().join(format!("smtp-fallback-reproducible-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        Ok(Temporary(folder))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} cannot be removed: {error}; it is no longer needed", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_placed() {
        assert_eq!(compare(b"same", b"same"), Ok(()));
        assert!(compare(b"same", b"sane").expect_err("must fail").contains("at octet 2;"));
        assert!(
            compare(b"same", b"same and more")
                .expect_err("must fail")
                .contains("4 and 13 octets, the first difference at octet 4;")
        );
    }
}

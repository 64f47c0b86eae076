//! Node and npm: the tools of the faces for JavaScript, and the runner that tests them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bench::Runner;
use crate::component::sha256;
use crate::place::Place;
use crate::{Failure, toolchain};

/// jco, TypeScript and what else the builds and tests start; no user of the packages needs any of it.
const TOOLS: &str = "bindings/js/tools";

/// The vectors' runner and the tests in JavaScript.
const RUNNER: &str = "tests/runners/js";

/// Installs the tools where their lock file has changed since the last time, and returns their folder.
pub(super) fn tools(place: &Place) -> Result<PathBuf, Failure> {
    let folder = place.checkout.join(TOOLS);
    let lock = read(&folder.join("package-lock.json"))?;
    let (stamp, current) = (folder.join("node_modules/.installed"), sha256(&lock));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == current) {
        return Ok(folder);
    }
    // Nothing that a package brings is to run here on its own.
    let mut npm = npm(&folder, "ci");
    toolchain::run(npm.args(["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    write(&stamp, current.as_bytes())?;
    Ok(folder)
}

/// A call of npm in this folder.
pub(crate) fn npm(folder: &Path, subcommand: &str) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder).arg(subcommand);
    // The user's npm may be told to be quiet, to fund, to look for its own updates.
    command.env("NPM_CONFIG_UPDATE_NOTIFIER", "false");
    command
}

/// A call of node with a script of the runner's folder.
pub(super) fn node(place: &Place, script: &str) -> Command {
    let mut command = Command::new("node");
    command.current_dir(&place.checkout).arg(Path::new(RUNNER).join(script));
    command.env("SMTP_FALLBACK_CHECKOUT", &place.checkout).env("SMTP_FALLBACK_CONSUMER", consumer(place));
    command
}

/// What measures a face, by the runner's `bench`.
pub(super) fn runner(place: &Place, name: &'static str, face: &'static str) -> Runner {
    let script = Path::new(RUNNER).join("run.mjs");
    let environment =
        vec![("SMTP_FALLBACK_CHECKOUT", place.checkout.clone().into()), ("SMTP_FALLBACK_CONSUMER", consumer(place).into())];
    Runner { environment, ..Runner::new(name, "node", &[script.as_os_str(), face.as_ref()]) }
}

/// A folder with a program's own `node_modules`, where the package is installed as users install it.
pub(super) fn consumer(place: &Place) -> PathBuf {
    place.target.join("js/consumer")
}

/// Runs node's own test runner on these files of the runner's folder.
pub(super) fn unit_tests(place: &Place, files: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("node");
    command.current_dir(&place.checkout).args(["--expose-gc", "--test", "--test-reporter=spec"]);
    command.args(files.iter().map(|file| Path::new(RUNNER).join(file)));
    command.env("SMTP_FALLBACK_CHECKOUT", &place.checkout).env("SMTP_FALLBACK_CONSUMER", consumer(place));
    toolchain::run(&mut command)
}

/// An empty folder, whatever was there.
pub(super) fn emptied(folder: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| format!("{} cannot be made anew: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

pub(super) fn read_text(file: &Path) -> Result<String, Failure> {
    String::from_utf8(read(file)?).map_err(|_| format!("{} is not UTF-8", file.display()))
}

pub(crate) fn write(file: &Path, content: &[u8]) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, content))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

/// Copies files of one folder to another.
pub(crate) fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<(), Failure> {
    names.iter().try_for_each(|name| write(&to.join(name), &read(&from.join(name))?))
}

/// Fails where a file in this folder holds a path of the machine that built it.
pub(super) fn check_paths(place: &Place, folder: &Path) -> Result<(), Failure> {
    let home = env::home_dir();
    let private: Vec<&Path> =
        [&place.checkout, &place.cargo_home, &place.target].into_iter().map(PathBuf::as_path).chain(home.as_deref()).collect();
    let entries = fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("{} cannot be read: {error}", folder.display()))?.path();
        if path.is_dir() {
            check_paths(place, &path)?;
        } else if let Some(found) = private_path(&read(&path)?, &private) {
            return Err(format!(
                "{} holds a path of this machine: {found:?}; see path_remapping in xtask/src/toolchain.rs",
                path.display()
            ));
        }
    }
    Ok(())
}

/// The first of these folders that is named, unless it stands just below the root, where it tells nothing.
fn private_path(content: &[u8], folders: &[&Path]) -> Option<String> {
    let telling = folders.iter().filter(|folder| folder.components().count() > 2);
    telling
        .map(|folder| folder.as_os_str().as_encoded_bytes())
        .find(|folder| content.windows(folder.len()).any(|window| window == *folder))
        .map(|folder| String::from_utf8_lossy(folder).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_path_is_found_unless_it_tells_nothing() {
        let folders = [Path::new("/src"), Path::new("/home/someone"), Path::new("/home/someone/project")];
        assert_eq!(private_path(b"\0asm /home/someone/project/src/lib.rs", &folders).as_deref(), Some("/home/someone"));
        assert_eq!(private_path(b"\0asm /src/lib.rs /home/other", &folders), None);
    }
}

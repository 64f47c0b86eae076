//! `cargo xtask python`: the Python package, and its tests as a user would install it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::faces::bench::Runner;
use crate::faces::{Face, Need, c_library, dataclasses, python_json};
use crate::place::Place;
use crate::{Failure, toolchain, wit};

/// What `cargo xtask faces` builds and tests.
pub(super) const FACE: Face = Face { name: "python", needs: &[(Need::Program("python3"), "python3-venv")], build, test, runners };

/// What the tests need beside the package and what it depends on: the type checker, and what the package's build hook is written against.
const CHECKED_WITH: [&str; 2] = ["mypy>=1.15,<3", "hatchling>=1.26"];

/// Writes the package's files that come from the contract, and builds the wheel into `dist/python/`.
fn build(place: &Place) -> Result<(), Failure> {
    let contract = wit::read(place)?;
    write(place, dataclasses::FILE, &dataclasses::print(&contract))?;
    write(place, python_json::FILE, &python_json::print(&contract))?;
    let folder = wheels(place);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{} cannot be removed: {error}", folder.display()))?;
    }
    let python = venv(place, "python-build")?;
    let package = place.checkout.join("bindings/python");
    toolchain::run(pip(&python).args(["wheel", "--no-deps", "--wheel-dir"]).arg(&folder).arg(package))?;
    println!("{}", wheel(place)?.display());
    Ok(())
}

/// Installs the wheel into a fresh environment, and runs the unit tests, the type checker and all vectors on each backend.
fn test(place: &Place) -> Result<(), Failure> {
    let python = venv(place, "python-test")?;
    toolchain::run(pip(&python).arg("install").args(CHECKED_WITH).arg(wheel(place)?))?;
    let library = library(place)?;
    let checked = [
        "bindings/python/smtp_fallback",
        "bindings/python/tests",
        "bindings/python/examples",
        "bindings/python/hatch_build.py",
        "tests/runners/python",
    ];
    for each in checked {
        // Each is a program of its own: two of them may have modules of the same name.
        let cache = place.target.join("python-mypy");
        toolchain::run(run(place, &python, &library).args(["-m", "mypy", "--strict", "--cache-dir"]).arg(cache).arg(each))?;
    }
    toolchain::run(run(place, &python, &library).args([
        "-m",
        "unittest",
        "discover",
        "--start-directory",
        "bindings/python/tests",
    ]))?;
    for backend in ["wasmtime", "library"] {
        toolchain::run(run(place, &python, &library).args(["tests/runners/python/run.py", backend]))?;
    }
    Ok(())
}

fn runners(place: &Place) -> Result<Vec<Runner>, Failure> {
    build(place)?;
    let python = venv(place, "python-bench")?;
    toolchain::run(pip(&python).arg("install").arg(wheel(place)?))?;
    let runner = |name, backend: &str| {
        let environment = vec![("SMTP_FALLBACK_LIBRARY", c_library::released(place).into())];
        Runner { environment, ..Runner::new(name, &python, &["tests/runners/python/run.py".as_ref(), backend.as_ref()]) }
    };
    let wasmtime = Runner { slow: true, ..runner("Python, wasmtime's package", "wasmtime") };
    Ok(vec![runner("Python, C library", "library"), wasmtime])
}

/// The C library: the one that is named, or the one that `cargo xtask faces c-library` built for its tests.
fn library(place: &Place) -> Result<PathBuf, Failure> {
    let named = env::var_os("SMTP_FALLBACK_LIBRARY").filter(|path| !path.is_empty()).map(PathBuf::from);
    let name = format!("{}smtp_fallback{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let library = named.unwrap_or_else(|| place.target.join("c-library/prefix/lib").join(name));
    if library.is_file() {
        return Ok(library);
    }
    Err(format!(
        "{}: there is no C library there, and the package is tested with it, too; build it by `cargo xtask faces c-library`, or set \
         SMTP_FALLBACK_LIBRARY",
        library.display()
    ))
}

fn run(place: &Place, python: &Path, library: &Path) -> Command {
    let mut command = Command::new(python);
    command.current_dir(&place.checkout).env("SMTP_FALLBACK_LIBRARY", library);
    // No folder of the checkout may stand in for what was installed, and no test leaves files in it.
    // Cargo adds the folder that it builds into to where libraries are found, with a C library that has no soname's link there.
    command.env_remove("LD_LIBRARY_PATH");
    command.env_remove("PYTHONPATH").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--disable-pip-version-check", "--quiet"]);
    command
}

/// The Python of a fresh environment under the build's output.
fn venv(place: &Place, name: &str) -> Result<PathBuf, Failure> {
    let folder = place.target.join(name);
    toolchain::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    Ok(folder.join("bin/python"))
}

fn wheels(place: &Place) -> PathBuf {
    place.checkout.join("dist/python")
}

/// The only wheel.
fn wheel(place: &Place) -> Result<PathBuf, Failure> {
    let folder = wheels(place);
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}; run `cargo xtask python`", folder.display()))?;
    let mut wheels =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.extension().is_some_and(|end| end == "whl"));
    wheels.next().ok_or_else(|| format!("{} holds no wheel; run `cargo xtask python`", folder.display()))
}

/// Leaves a file alone that is current, so that its time does not change.
fn write(place: &Place, file: &str, text: &str) -> Result<(), Failure> {
    let path = place.checkout.join(file);
    if fs::read_to_string(&path).is_ok_and(|current| current == text) {
        return Ok(());
    }
    fs::write(&path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_from_the_contract_are_current() {
        let place = Place::here().expect("a checkout");
        let contract = wit::read(&place).expect("the contract");
        let files = [(dataclasses::FILE, dataclasses::print(&contract)), (python_json::FILE, python_json::print(&contract))];
        for (file, text) in files {
            let committed = fs::read_to_string(place.checkout.join(file)).expect("it is committed");
            assert!(committed == text, "{file} is not what wit/policy.wit says: run `cargo xtask python` and commit it");
        }
    }

    #[test]
    fn types_are_said_in_the_words_of_python() {
        let place = Place::here().expect("a checkout");
        let python = dataclasses::print(&wit::read(&place).expect("the contract"));
        for line in [
            "    ehlo_name: str | None = None\n    \"\"\"The argument of the last EHLO or HELO; absent before it.\"\"\"\n",
            "    client: AddressLike\n",
            "    tls: Tls | Verified = Tls.NONE\n",
            "    reachable_over_ipv4: bool = True\n",
            "    records: Sequence[StoredRecord] = ()\n",
            "class Verdict(StrEnum):\n",
            "    CONTINUE = \"continue\"\n",
            "class Refuse:\n    reply: Reply\n",
            "class OtherNote:\n",
            "class PolicyFault:\n",
            "    notes: tuple[Note | OtherNote, ...]\n",
        ] {
            assert!(python.contains(line), "{line}");
        }
    }
}

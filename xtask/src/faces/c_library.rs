//! `cargo xtask c-library`: libsmtp_fallback, as files that can be put under a prefix; and its tests, in C and in languages that call C.

mod tests_in_c;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Face, Need, Needed};
use crate::place::Place;
use crate::{Failure, component, toolchain};

/// What `cargo xtask faces` builds and tests.
pub(super) const FACE: Face =
    Face { name: "c-library", needs: NEEDS, build, test: tests_in_c::run, runners: tests_in_c::runners };

const NEEDS: &[Needed] = &[
    (Need::Program("gcc"), "gcc"),
    (Need::Program("nm"), "binutils"),
    (Need::Program("pkg-config"), "pkg-config"),
    (Need::File("/usr/include/jansson.h"), "libjansson-dev"),
    (Need::Program("valgrind"), "valgrind"),
    (Need::Program("luajit"), "luajit"),
    (Need::Program("php"), "php-cli"),
    (Need::Program("perl"), "perl"),
    (Need::File("/usr/share/doc/libffi-platypus-perl"), "libffi-platypus-perl"),
    (Need::Program("go"), "golang-go"),
];

/// The crate.
const FOLDER: &str = "host-examples/c-abi";

/// The library for users, with the component, in `dist/c`.
pub(crate) fn release(place: &Place) -> Result<(), Failure> {
    component::build(place)?;
    let mut cargo = toolchain::cargo(place, "build")?;
    // Of the whole workspace, as everything that is built for release: one set of features, and wasmtime is compiled once.
    cargo.args(["--release", "--workspace", "--lib"]);
    toolchain::run(&mut cargo)?;
    let prefix = place.checkout.join("dist/c");
    install(place, &place.target.join("release"), &prefix)?;
    for name in ["libsmtp_fallback.so", "libsmtp_fallback.a"] {
        let file = prefix.join("lib").join(name);
        // With the lines of all dependencies they have eight times, and twice, as many octets.
        toolchain::run(Command::new("strip").arg("--strip-debug").arg(&file))?;
        let octets = fs::metadata(&file).map_err(|error| format!("{}: {error}", file.display()))?.len();
        println!("dist/c/lib/{name}: {octets} octets");
    }
    Ok(())
}

/// That library.
pub(super) fn released(place: &Place) -> PathBuf {
    place.checkout.join("dist/c/lib/libsmtp_fallback.so")
}

/// The library for the tests, of the same graph as all other tests: nothing is compiled with other features.
fn build(place: &Place) -> Result<(), Failure> {
    let mut cargo = toolchain::cargo(place, "test")?;
    cargo.args(["--workspace", "--test", "header", "--test", "other_process", "--no-run"]);
    toolchain::run(&mut cargo)?;
    install(place, &place.target.join("debug/deps"), &prefix_of_tests(place))
}

fn prefix_of_tests(place: &Place) -> PathBuf {
    place.target.join("c-library/prefix")
}

/// Puts library, header, component and the file for pkg-config below a prefix, in the place of what was there.
fn install(place: &Place, built: &Path, prefix: &Path) -> Result<(), Failure> {
    let source = place.checkout.join(FOLDER);
    let failed = |what: &Path, error: std::io::Error| format!("{} cannot be written: {error}", what.display());
    let put = |from: &Path, to: &Path| {
        let folder = to.parent().unwrap_or(prefix);
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        // A program that runs goes on with the old one.
        let _ = fs::remove_file(to);
        fs::copy(from, to).map_err(|error| format!("{} cannot be copied to {}: {error}", from.display(), to.display()))
    };
    let version = env!("CARGO_PKG_VERSION");
    let library = format!("libsmtp_fallback.so.{version}");
    let lib = prefix.join("lib");
    put(&built.join("libsmtp_fallback.so"), &lib.join(&library))?;
    put(&built.join("libsmtp_fallback.a"), &lib.join("libsmtp_fallback.a"))?;
    for (link, to) in [("libsmtp_fallback.so.0", library.as_str()), ("libsmtp_fallback.so", "libsmtp_fallback.so.0")] {
        let link = lib.join(link);
        let _ = fs::remove_file(&link);
        symlink(to, &link).map_err(|error| failed(&link, error))?;
    }
    put(&source.join("include/smtp_fallback.h"), &prefix.join("include/smtp_fallback.h"))?;
    put(&place.component(), &prefix.join("share/smtp-fallback/smtp-fallback-policy.wasm"))?;
    let template = source.join("smtp_fallback.pc.in");
    let text = fs::read_to_string(&template).map_err(|error| format!("{}: {error}", template.display()))?;
    let pc = lib.join("pkgconfig/smtp_fallback.pc");
    fs::create_dir_all(lib.join("pkgconfig")).map_err(|error| failed(&pc, error))?;
    fs::write(&pc, text.replace("@VERSION@", version)).map_err(|error| failed(&pc, error))
}

/// pkg-config's words about the library below this prefix.
fn pkg_config(prefix: &Path, options: &[&str]) -> Result<Vec<String>, Failure> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(options).arg("smtp_fallback");
    Ok(toolchain::output(&mut command)?.split_whitespace().map(str::to_owned).collect())
}

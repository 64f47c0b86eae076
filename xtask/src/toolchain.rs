//! Calling cargo, rustc and rustup.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::place::Place;

/// The target of the component: WebAssembly without any system interface.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// mail-parser 1.x declares this version of Rust and does not use it. cargo refuses it on an older toolchain unless told otherwise.
const DECLARED_BY_DEPENDENCIES: (u32, u32) = (1, 98);

/// A call of cargo's `subcommand` in the checkout, with the options that all builds share.
pub(crate) fn cargo(place: &Place, subcommand: &str) -> Result<Command, Failure> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&place.checkout).env("CARGO_HOME", &place.cargo_home).arg(subcommand);
    if subcommand != "fmt" {
        command.arg("--locked").arg("--target-dir").arg(&place.target);
        let version = version(&output(rustc(place).arg("--version"))?)?;
        if version < DECLARED_BY_DEPENDENCIES {
            command.arg("--ignore-rust-version");
        }
    }
    Ok(command)
}

/// Runs it with the terminal as its own; a failure names it.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let name = name(command);
    let status = command.status().map_err(|error| format!("`{name}` cannot be started: {error}; check that it is installed"))?;
    if status.success() { Ok(()) } else { Err(format!("`{name}` failed ({status}); its own words are above")) }
}

/// Adds the WebAssembly target to the toolchain when it is missing.
pub(crate) fn ensure_wasm_target(place: &Place) -> Result<(), Failure> {
    // rustc names the folder whether or not it is there.
    let folder = output(rustc(place).args(["--print", "target-libdir", "--target", WASM]))?;
    if Path::new(folder.trim_end()).is_dir() {
        return Ok(());
    }
    eprintln!("This toolchain lacks the target {WASM}: adding it by rustup.");
    run(Command::new("rustup").args(["target", "add", WASM])).map_err(|failure| {
        format!(
            "{failure}.\nThe component needs Rust's standard library for {WASM}. With rustup (https://rustup.rs) and a network, \
             run `rustup target add {WASM}`. Without rustup, install the package of your system that holds it (Debian: \
             libstd-rust-dev-wasm32; Fedora: rust-std-static-wasm32-unknown-unknown), then try again"
        )
    })
}

/// Options for rustc that take this machine's folders out of panic messages.
pub(crate) fn path_remapping(place: &Place) -> Result<Vec<OsString>, Failure> {
    let sysroot = PathBuf::from(output(rustc(place).args(["--print", "sysroot"]))?.trim_end());
    // With the component rust-src, rustc names the sources of the standard library in the toolchain; without, as they were when
    // Rust was built. The latter is the form that is the same everywhere.
    let release = output(rustc(place).arg("-vV"))?;
    let commit = release.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
    Ok(remapping(&[
        (&place.cargo_home, "cargo"),
        (&sysroot.join("lib/rustlib/src/rust"), &format!("/rustc/{commit}")),
        (&place.checkout, "smtp-fallback"),
    ]))
}

/// One option for each folder, and one more where a symbolic link leads to it. Of several that fit, rustc takes the last.
fn remapping(folders: &[(&Path, &str)]) -> Vec<OsString> {
    let option = |folder: &Path, name: &str| {
        let mut option = OsString::from("--remap-path-prefix=");
        option.push(folder);
        option.push("=");
        option.push(name);
        option
    };
    let mut options = Vec::new();
    for (folder, name) in folders {
        options.push(option(folder, name));
        if let Some(real) = folder.canonicalize().ok().filter(|real| real != folder) {
            options.push(option(&real, name));
        }
    }
    options
}

/// What a program says of itself, as text.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let name = name(command);
    let output = command.output().map_err(|error| format!("`{name}` cannot be started: {error}; check that it is installed"))?;
    if !output.status.success() {
        return Err(format!("`{name}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{name}` did not answer in UTF-8"))
}

/// A call of the rustc that cargo calls.
pub(crate) fn rustc(place: &Place) -> Command {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(&place.checkout);
    command
}

/// The program and what it is to do, without options: enough to know the call again.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments.take_while(|argument| !argument.starts_with('-'))).collect::<Vec<_>>().join(" ")
}

/// Major and minor version from `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version(line: &str) -> Result<(u32, u32), Failure> {
    let parse = || {
        let mut numbers = line.strip_prefix("rustc ")?.split(['.', '-', ' ']);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    parse().ok_or_else(|| format!("`rustc --version` said {line:?}, expected a line such as \"rustc 1.95.0\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("rustc 1.95.0 (59807616e 2026-04-14)\n"), Ok((1, 95)));
        assert_eq!(version("rustc 1.100.0-nightly (abc 2027-01-01)"), Ok((1, 100)));
        assert!(version("rustc 1.97.1").is_ok_and(|version| version < DECLARED_BY_DEPENDENCIES));
        assert!(version("rustc 1.98.0-nightly").is_ok_and(|version| version >= DECLARED_BY_DEPENDENCIES));
        assert!(version("rustc 1.100.0").is_ok_and(|version| version >= DECLARED_BY_DEPENDENCIES));
        assert!(version("rustc 2.0.0").is_ok_and(|version| version >= DECLARED_BY_DEPENDENCIES));
        for strange in ["", "rustc", "rustc one.two", "gcc 12.2"] {
            assert!(version(strange).is_err(), "{strange:?}");
        }
    }

    #[test]
    fn each_folder_is_remapped_and_where_it_really_is_too() {
        let options = remapping(&[(Path::new("/no such/home"), "cargo"), (Path::new("/no such/home/project"), "project")]);
        assert_eq!(
            options,
            ["--remap-path-prefix=/no such/home=cargo", "--remap-path-prefix=/no such/home/project=project"],
            "the more special one last"
        );
        let dotted = env::temp_dir().join(".");
        let real = dotted.canonicalize().expect("the temporary folder exists");
        let options = remapping(&[(&real.join("..").join(real.file_name().expect("not the root")), "x")]);
        assert_eq!(options.len(), 2);
        assert_eq!(options[1], *format!("--remap-path-prefix={}=x", real.display()));
    }

    #[test]
    fn a_failed_program_is_named() {
        assert_eq!(
            name(Command::new("/usr/bin/rustup").args(["target", "add", WASM])),
            "rustup target add wasm32-unknown-unknown"
        );
        assert_eq!(name(Command::new("cargo").args(["build", "--locked", "--target-dir", "x"])), "cargo build");
        let failure = run(&mut Command::new("no-such-program-at-all")).expect_err("must fail");
        assert!(failure.contains("no-such-program-at-all") && failure.contains("installed"), "{failure}");
    }
}

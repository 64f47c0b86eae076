//! `cargo xtask bench`: what a decision costs, natively and through the component file that is shipped, what its records cost, and what a
//! milter costs beside a Postfix.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::place::Place;
use crate::{Failure, component, toolchain};

/// The program that measures, and the one that `bench milter` measures.
const BENCH: &str = "smtp-fallback-bench";
const MILTER: &str = "smtp-fallback-milter";

/// The same milter with other cryptography, in a workspace of its own. What both workspaces have in common is compiled once.
const MILTER_AWS_LC: &str = "smtp-fallback-milter-aws-lc";
const AWS_LC: &str = "bench/milter-aws-lc/Cargo.toml";

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    component::build(place)?;
    let mut programs = vec![BENCH];
    let mut ours = Vec::new();
    let mut rest: Vec<&String> = arguments.iter().collect();
    if arguments.first().is_some_and(|word| word == "milter") {
        programs.push(MILTER);
        ours.push(format!("ours, rust-crypto={}", release(place, MILTER).display()));
        if rest.iter().any(|word| *word == "--aws-lc") {
            rest.retain(|word| *word != "--aws-lc");
            ours.push(format!("ours, aws-lc={}", with_aws_lc(place)?.display()));
        }
    }
    let mut cargo = toolchain::cargo(place, "build")?;
    // Of the whole workspace, so that nothing is compiled with other features; the names of the programs choose.
    cargo.args(["--release", "--workspace"]);
    programs.iter().for_each(|program| drop(cargo.args(["--bin", program])));
    toolchain::run(&mut cargo)?;
    let mut bench = Command::new(release(place, BENCH));
    bench.current_dir(&place.checkout).arg("--component").arg(place.component()).args(rest);
    ours.iter().for_each(|build| drop(bench.args(["--ours", build])));
    toolchain::run(&mut bench)
}

/// Builds the milter with aws-lc, which needs a compiler for C.
fn with_aws_lc(place: &Place) -> Result<PathBuf, Failure> {
    // All that both workspaces have in common is to be of the same version; the rest is added.
    let (from, to) = (place.checkout.join("Cargo.lock"), place.checkout.join(AWS_LC).with_file_name("Cargo.lock"));
    fs::copy(&from, &to).map_err(|error| format!("{} cannot be copied to {}: {error}", from.display(), to.display()))?;
    let mut update = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    update.current_dir(&place.checkout).env("CARGO_HOME", &place.cargo_home);
    toolchain::run(update.args(["update", "--workspace", "--manifest-path", AWS_LC]))?;
    let mut cargo = toolchain::cargo(place, "build")?;
    toolchain::run(cargo.args(["--release", "--manifest-path", AWS_LC]))?;
    Ok(release(place, MILTER_AWS_LC))
}

/// A program, as `cargo build --release` leaves it.
fn release(place: &Place, name: &str) -> PathBuf {
    place.target.join("release").join(name).with_extension(env::consts::EXE_EXTENSION)
}

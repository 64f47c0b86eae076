//! `cargo xtask bench`: what a decision costs, natively and through the component file that is shipped, what its records cost, and what a
//! milter costs beside a Postfix.

mod instructions;
mod peers;
mod size;

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::needs::{self, Need, Needed};
use crate::place::Place;
use crate::{Failure, component, faces, toolchain};

/// The program that measures, and the one that `bench milter` measures.
const BENCH: &str = "smtp-fallback-bench";
const MILTER: &str = "smtp-fallback-milter";

/// The same milter with other cryptography, in a workspace of its own. What both workspaces have in common is compiled once.
const MILTER_AWS_LC: &str = "smtp-fallback-milter-aws-lc";
const AWS_LC: &str = "bench/milter-aws-lc/Cargo.toml";

/// What `bench milter` starts, each with the package of Debian that has it.
const NEEDS: [Needed; 6] = [
    (Need::Program("unshare"), "util-linux"),
    (Need::Program("mount"), "mount"),
    (Need::Program("ip"), "iproute2"),
    (Need::Program("postfix"), "postfix"),
    (Need::Program("opendkim"), "opendkim"),
    (Need::Program("policyd-spf"), "postfix-policyd-spf-python"),
];

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    let milter = arguments.first().is_some_and(|word| word == "milter");
    let (flags, rest): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|word| milter && *word == "--aws-lc");
    if milter {
        ready()?;
    }
    let first = rest.first().map_or("", |word| word.as_str());
    match first {
        "instructions" => instructions::check_needs()?,
        "peers" => peers::check_needs()?,
        _ => {}
    }
    component::build(place)?;
    let mut cargo = toolchain::cargo(place, "build")?;
    // Of the whole workspace, so that nothing is compiled with other features; the names of the programs choose.
    cargo.args(["--release", "--workspace", "--bin", BENCH]);
    let mut bench = Command::new(release(place, BENCH));
    bench.current_dir(&place.checkout).arg("--component").arg(place.component()).args(&rest);
    if milter {
        cargo.args(["--bin", MILTER]);
        bench.args(["--ours", &format!("ours, rust-crypto={}", release(place, MILTER).display())]);
    }
    if first == "peers" {
        let verify_only = match rest[1..] {
            [] => false,
            [word] if word == "--verify" => true,
            _ => return Err("usage: cargo xtask bench peers [--verify]".to_owned()),
        };
        toolchain::run(&mut cargo)?;
        return peers::run(place, &release(place, BENCH), verify_only);
    }
    if first == "size" {
        if rest.len() > 1 {
            return Err("usage: cargo xtask bench size".to_owned());
        }
        toolchain::run(&mut cargo)?;
        return size::run(place, &release(place, BENCH));
    }
    if first == "faces" {
        let whole = match rest[1..] {
            [] => false,
            [word] if word == "--whole" => true,
            _ => return Err("usage: cargo xtask bench faces [--whole]".to_owned()),
        };
        faces::check_needs(faces::FACES)?;
        faces::module::build(place)?;
        toolchain::run(&mut cargo)?;
        return faces::measure(place, &release(place, BENCH), whole);
    }
    toolchain::run(&mut cargo)?;
    if first == "instructions" {
        return instructions::run(place, &release(place, BENCH));
    }
    if !flags.is_empty() {
        bench.args(["--ours", &format!("ours, aws-lc={}", with_aws_lc(place)?.display())]);
    }
    toolchain::run(&mut bench)
}

/// Said before minutes of compiling, not after.
fn ready() -> Result<(), Failure> {
    if toolchain::output(Command::new("id").arg("-u"))?.trim() != "0" {
        return Err(
            "this starts Postfix in namespaces of its own, and needs root for that; run `cargo xtask bench milter` as root"
                .to_owned(),
        );
    }
    needs::check(&NEEDS)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs::System;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let folder = env::temp_dir().join(format!("xtask-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let here = |names: &[&str]| {
            names.iter().for_each(|name| fs::write(folder.join(name), "").expect("the folder was made"));
            System::new(&[folder.join("none"), folder.clone()], &folder).missing(&NEEDS)
        };
        let without_postfix = here(&["unshare", "mount", "ip", "postfix"]).unwrap_or_default();
        let all = here(&["opendkim", "policyd-spf"]);
        fs::remove_file(folder.join("postfix")).expect("it was there");
        let with_postfix = here(&[]).unwrap_or_default();
        fs::remove_dir_all(&folder).expect("it can be removed");
        assert!(without_postfix.starts_with("opendkim, policyd-spf not found"), "{without_postfix}");
        assert!(without_postfix.contains("recommends opendkim postfix-policyd-spf-python\n"), "{without_postfix}");
        assert!(!without_postfix.contains("debconf"), "{without_postfix}");
        assert_eq!(all, None);
        assert!(with_postfix.contains("debconf") && with_postfix.contains("recommends postfix\n"), "{with_postfix}");
    }
}

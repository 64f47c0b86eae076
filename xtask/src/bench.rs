//! `cargo xtask bench`: what a decision costs, natively and through the component file that is shipped, what its records cost, what a
//! milter costs beside a Postfix, and what smtpd costs beside Postfix and Haraka.

mod haraka;

mod instructions;
mod peers;
mod size;

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::needs::{self, Need, Needed};
use crate::place::Place;
use crate::{Failure, component, faces, toolchain};

/// The program that measures, and those that `bench milter` and `bench smtpd` measure.
const BENCH: &str = "smtp-fallback-bench";
const MILTER: &str = "smtp-fallback-milter";
const SMTPD: &str = "smtp-fallback-smtpd";

/// The same milter with other cryptography, in a workspace of its own. What both workspaces have in common is compiled once.
const MILTER_AWS_LC: &str = "smtp-fallback-milter-aws-lc";
const AWS_LC: &str = "bench/milter-aws-lc/Cargo.toml";

/// What `bench milter` and `bench smtpd` start, each with the package of Debian that has it.
const NEEDS: [Needed; 6] = [
    (Need::Program("unshare"), "util-linux"),
    (Need::Program("mount"), "mount"),
    (Need::Program("ip"), "iproute2"),
    (Need::Program("postfix"), "postfix"),
    (Need::Program("opendkim"), "opendkim"),
    (Need::Program("policyd-spf"), "postfix-policyd-spf-python"),
];

/// What installs Haraka for `bench smtpd`.
const NPM: [Needed; 1] = [(Need::Program("npm"), "npm")];

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (first, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    match (first, rest) {
        ("faces", [] | ["--whole"]) => faces::check_needs(faces::FACES)?,
        ("peers", [] | ["--verify"]) => peers::check_needs()?,
        ("instructions", []) => instructions::check_needs()?,
        ("size", []) => {}
        ("faces" | "peers" | "instructions" | "size", [word, ..]) => {
            return Err(format!("`cargo xtask bench {first}` does not know {word:?}; see `cargo xtask help`"));
        }
        ("milter", _) => {
            needs::check_root("bench milter")?;
            needs::check(&NEEDS)?;
        }
        ("smtpd", _) => {
            needs::check_root("bench smtpd")?;
            needs::check(NEEDS.iter().chain(&NPM))?;
        }
        _ => {}
    }
    component::build(place)?;
    // Of the whole workspace, so that nothing is compiled with other features; the names of the programs choose.
    let mut build = toolchain::cargo(place, "build")?;
    build.args(["--release", "--workspace", "--bin", BENCH]);
    if let "milter" | "smtpd" = first {
        build.args(["--bin", if first == "milter" { MILTER } else { SMTPD }]);
    }
    toolchain::run(&mut build)?;
    let program = place.released(BENCH);
    let mut bench = Command::new(&program);
    bench.current_dir(&place.checkout).arg("--component").arg(place.component());
    bench.args(words.iter().filter(|word| first != "milter" || **word != WITH_AWS_LC));
    match first {
        "faces" => {
            faces::module::build(place)?;
            return faces::measure(place, &program, !rest.is_empty());
        }
        "peers" => return peers::run(place, &program, !rest.is_empty()),
        "size" => return size::run(place, &program),
        "instructions" => return instructions::run(place, &program),
        "milter" => {
            bench.arg("--ours").arg(format!("ours, rust-crypto={}", place.released(MILTER).display()));
            if rest.contains(&WITH_AWS_LC) {
                bench.arg("--ours").arg(format!("ours, aws-lc={}", with_aws_lc(place)?.display()));
            }
        }
        "smtpd" => {
            bench.arg("--ours").arg(place.released(SMTPD)).arg("--haraka").arg(haraka::install(place)?);
        }
        _ => {}
    }
    toolchain::run(&mut bench)
}

/// That `bench milter` also measures the milter with other cryptography.
const WITH_AWS_LC: &str = "--aws-lc";

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
    Ok(place.released(MILTER_AWS_LC))
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

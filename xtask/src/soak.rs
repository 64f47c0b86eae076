//! `cargo xtask soak [--minutes N]`: smtpd and the milter under mixed load, with all around them breaking, as root. It is the programs as they
//! are shipped whose memory is measured: in release.

use crate::needs::{self, Need, Needed};
use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component, toolchain};

/// Without another word.
const MINUTES: u64 = 30;

/// What is started, with the package of Debian that has it.
const NEEDS: [Needed; 2] = [(Need::Program("postfix"), "postfix"), (Need::Program("redis-server"), "redis-server")];

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    let minutes = minutes(arguments)?;
    needs::check_root("soak")?;
    needs::check(&NEEDS)?;
    let mut steps = Steps::default();
    steps.step("component", || component::build(place))?;
    // Of the whole workspace, so that nothing is compiled with other features; the names choose. The programs as `cargo xtask bench` builds them, the
    // test as all others: what is there already is not compiled again.
    let programs = ["smtp-fallback-smtpd", "smtp-fallback-milter"];
    steps.step("build the programs", || {
        let mut cargo = toolchain::cargo(place, "build")?;
        toolchain::run(cargo.args(["--release", "--workspace", "--bin", programs[0], "--bin", programs[1]]))
    })?;
    let test = || {
        let mut cargo = toolchain::cargo(place, "test")?;
        cargo.args(["--workspace", "--test", "soak"]);
        Ok::<_, Failure>(cargo)
    };
    steps.step("build the test", || toolchain::run(test()?.arg("--no-run")))?;
    steps.step("soak", || {
        let mut cargo = test()?;
        cargo.env("SMTP_FALLBACK_COMPONENT", place.component()).env("SMTP_FALLBACK_SOAK_MINUTES", minutes.to_string());
        cargo.env("SMTP_FALLBACK_SMTPD", place.released(programs[0])).env("SMTP_FALLBACK_MILTER", place.released(programs[1]));
        toolchain::run(cargo.args(["--", "--nocapture"]))
    })
}

fn minutes(arguments: &[String]) -> Result<u64, Failure> {
    match arguments {
        [] => Ok(MINUTES),
        [option, value] if option == "--minutes" => match value.parse() {
            Ok(minutes @ 1..=1440) => Ok(minutes),
            _ => Err(format!("--minutes: found {value:?}, expected a number from 1 to 1440")),
        },
        _ => Err(format!("found {:?}; usage: cargo xtask soak [--minutes N]", arguments.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_minutes() {
        let minutes = |words: &[&str]| super::minutes(&words.iter().map(|&word| word.into()).collect::<Vec<_>>());
        assert_eq!(minutes(&[]), Ok(30));
        assert_eq!(minutes(&["--minutes", "1"]), Ok(1));
        for wrong in [&["--minutes", "0"][..], &["--minutes", "x"], &["--minutes"], &["1"], &["--minutes", "1", "2"]] {
            assert!(minutes(wrong).is_err(), "{wrong:?}");
        }
    }
}

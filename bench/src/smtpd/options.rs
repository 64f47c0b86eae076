//! The options of the measurement.

use std::path::PathBuf;

/// What to measure, and how long.
pub(crate) struct Options {
    /// The program smtp-fallback-smtpd.
    pub(crate) ours: PathBuf,
    /// The folder that npm has installed Haraka into.
    pub(crate) haraka: PathBuf,
    /// How often each row is measured.
    pub(crate) rounds: usize,
    /// Numbers of sessions at a time, each with the number of messages.
    pub(crate) messages: Vec<(usize, usize)>,
    /// Numbers of sessions at a time, each with the number of connections that are refused.
    pub(crate) refusals: Vec<(usize, usize)>,
    /// Numbers of connections that wait. The last is for servers alone that do not start a process for each.
    pub(crate) idle: Vec<usize>,
}

const USAGE: &str = "expected --ours PROGRAM --haraka FOLDER [--short] [--rounds N]";

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
        let (mut ours, mut haraka, mut rounds, mut short) = (None, None, None, false);
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} has no value; {USAGE}"));
            match name.as_str() {
                "--short" => short = true,
                "--rounds" => {
                    let value = value()?;
                    let number = value.parse().ok().filter(|number| (1..=100).contains(number));
                    rounds = Some(number.ok_or(format!("--rounds: found {value:?}, expected a number from 1 to 100"))?);
                }
                "--ours" => ours = Some(existing(name, value()?)?),
                "--haraka" => haraka = Some(existing(name, value()?)?),
                _ => return Err(format!("found {name:?}, {USAGE}")),
            }
        }
        let missing = |name: &str| format!("{name} is missing; {USAGE}");
        let (ours, haraka) = (ours.ok_or_else(|| missing("--ours"))?, haraka.ok_or_else(|| missing("--haraka"))?);
        Ok(Options {
            ours,
            haraka,
            rounds: rounds.unwrap_or(if short { 1 } else { 3 }),
            messages: if short {
                vec![(1, 50), (10, 150), (100, 200), (1000, 1000)]
            } else {
                vec![(1, 200), (10, 600), (100, 800), (1000, 1500)]
            },
            refusals: if short {
                vec![(1, 250), (10, 1000), (100, 1000), (1000, 1000)]
            } else {
                vec![(1, 1000), (10, 4000), (100, 4000), (1000, 4000)]
            },
            idle: vec![100, 1000, 10_000],
        })
    }
}

fn existing(name: &str, value: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(value).ok().filter(|path| path.exists());
    path.ok_or_else(|| format!("{name}: there is no {value:?}; cargo xtask bench smtpd makes it"))
}

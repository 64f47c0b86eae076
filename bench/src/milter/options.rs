//! The options of the measurement.

use std::path::PathBuf;

use crate::inside::load::Batch;

/// What to measure, and how long.
pub(crate) struct Options {
    /// Builds of smtp-fallback-milter, each with a name for its row.
    pub(crate) ours: Vec<(String, PathBuf)>,
    /// Messages of one row in one round.
    pub(crate) messages: usize,
    /// How often each row is measured.
    pub(crate) rounds: usize,
    /// SMTP sessions at a time.
    pub(crate) sessions: usize,
    /// Messages in one session.
    pub(crate) per_session: usize,
    /// Octets of a message.
    pub(crate) size: usize,
}

const USAGE: &str =
    "expected [--ours NAME=PROGRAM]... [--messages N] [--rounds N] [--sessions N] [--per-session N] [--size OCTETS]";

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options { ours: Vec::new(), messages: 1000, rounds: 7, sessions: 8, per_session: 1, size: 10_000 };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} has no value; {USAGE}"))?;
            let number = || match value.parse::<usize>() {
                Ok(number) if (1..=10_000_000).contains(&number) => Ok(number),
                _ => Err(format!("{name}: found {value:?}, expected a number from 1 to 10000000")),
            };
            match name.as_str() {
                "--ours" => {
                    let (name, program) =
                        value.split_once('=').ok_or(format!("--ours: found {value:?}, expected NAME=PROGRAM"))?;
                    let program = std::path::absolute(program).ok().filter(|program| program.is_file());
                    let program = program.ok_or_else(|| format!("--ours: there is no program {value:?}; build it first"))?;
                    options.ours.push((name.to_owned(), program));
                }
                "--messages" => options.messages = number()?,
                "--rounds" => options.rounds = number()?,
                "--sessions" => options.sessions = number()?,
                "--per-session" => options.per_session = number()?,
                "--size" => options.size = number()?,
                _ => return Err(format!("found {name:?}, {USAGE}")),
            }
        }
        Ok(options)
    }

    /// So many messages.
    pub(crate) fn batch(&self, messages: usize) -> Batch {
        Batch { messages, sessions: self.sessions, per_session: self.per_session }
    }
}

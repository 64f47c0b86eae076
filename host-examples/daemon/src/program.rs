//! The `main` of a daemon.

use std::process::ExitCode;

use crate::args::{Args, Program, Run};
use crate::config::{Configuration, InForce};
use crate::run::Outcome;

/// Reads command line and configuration, then checks or serves. Exit status: 0 after a shutdown by a signal or a check that found no
/// error, 1 for an error, 2 for a wrong command line.
pub fn main<C: Configuration>(
    program: Program,
    check: impl FnOnce(&C, &Run) -> Outcome,
    serve: impl FnOnce(&C, InForce, &Run) -> Outcome,
) -> ExitCode {
    let Program { name, version, help } = program;
    let run = match Args::parse(std::env::args_os().skip(1)) {
        Ok(Args::Run(run)) => run,
        Ok(Args::Help) => {
            print!("{help}");
            return ExitCode::SUCCESS;
        }
        Ok(Args::Version) => {
            println!("{name} {version}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{name}: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    let done = InForce::read(&run.config)
        .map_err(Into::into)
        .and_then(|(config, in_force)| if run.check { check(&config, &run) } else { serve(&config, in_force, &run) });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

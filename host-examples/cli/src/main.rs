//! `smtp-fallback`: looks at the records of a running host and changes them, and checks MX records. See `--help`.
#![forbid(unsafe_code)]

mod args;
mod cache;
mod clients;
mod fail;
mod host;
mod mx;
mod output;
mod target;
mod text;
mod time;
mod version;
mod weight;
mod words;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use fail::{Fail, NOT_FOUND};

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Fail::Other(format!("cannot start: {error}"))),
    };
    let done = runtime.block_on(async {
        let socket = args.socket();
        match args.command {
            Command::Cache(command) => cache::run(command, &socket).await,
            Command::Clients(options) => clients::run(options, &socket).await,
            Command::Mx(options) => mx::run(options).await,
            Command::Version(options) => version::run(options, &socket).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => report(&fail),
    }
}

fn report(fail: &Fail) -> ExitCode {
    match fail {
        // Who closes the pipe has seen enough.
        Fail::PipeClosed => ExitCode::SUCCESS,
        Fail::Wrong => ExitCode::from(NOT_FOUND),
        Fail::NotFound(what) => {
            output::complain(what);
            ExitCode::from(NOT_FOUND)
        }
        Fail::Other(what) => {
            output::complain(what);
            ExitCode::from(2)
        }
    }
}

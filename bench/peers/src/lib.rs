//! The policy of the module in what a user would pick in its place: Lua, CEL, Rego, and a Postfix policy service. `cargo xtask bench peers` holds
//! each against the module's own answers, and then measures all of them in one run.
//!
//! A peer makes the decision alone: scope, exempt networks, recipients and domains, the requirement SPF or DKIM, temporary errors, the penalty
//! at the greeting, observe mode, the reply with its texts. It is given what a host would remember, read already; it does not hash, read or
//! write records, does not recognise mail, and draws no probes. `policies/` has what a user would write.
//!
//! ```text
//! smtp-fallback-peers-lua54 PEER verify DECISIONS
//! smtp-fallback-peers-lua54 PEER bench CASES COUNT
//! ```

mod cel;
mod generated;
mod input;
mod lua;
mod measure;
mod rego;
mod ruling;
mod service;
mod verify;

use std::process::ExitCode;

use input::{Input, Settings};
use ruling::Ruling;
use service::Socket;

type Failed = Box<dyn std::error::Error>;

/// One that decides.
trait Peer: Sized {
    /// With the policy loaded, ready to decide.
    fn new(settings: &Settings) -> Result<Self, Failed>;
    fn decide(&mut self, input: &Input) -> Result<Ruling, Failed>;
}

/// The program: one peer, checked or measured.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "expected PEER verify DECISIONS, or PEER bench CASES COUNT, where PEER is lua-by-hand, lua-converted, cel-by-hand, cel-converted, rego, service-unix or service-tcp";

fn run(arguments: &[&str]) -> Result<(), Failed> {
    let [peer, rest @ ..] = arguments else { return Err(USAGE.into()) };
    match *peer {
        "cel-by-hand" => of::<cel::ByHand>(rest),
        "cel-converted" => of::<cel::Converted>(rest),
        "rego" => of::<rego::Rego>(rest),
        "lua-by-hand" => of::<lua::ByHand>(rest),
        "lua-converted" => of::<lua::Converted>(rest),
        "service-unix" => of_service(Socket::Unix, rest),
        "service-tcp" => of_service(Socket::Tcp, rest),
        // What those two start.
        "service" => match rest {
            [place, file] => service::serve(place, file),
            _ => Err(USAGE.into()),
        },
        _ => Err(USAGE.into()),
    }
}

fn of_service(socket: Socket, arguments: &[&str]) -> Result<(), Failed> {
    match arguments {
        ["verify", file] => service::verify(file),
        ["bench", file, count] => service::measure(socket, file, count.parse()?),
        _ => Err(USAGE.into()),
    }
}

fn of<P: Peer>(arguments: &[&str]) -> Result<(), Failed> {
    match arguments {
        ["verify", file] => verify::run::<P>(file),
        ["bench", file, count] => measure::run::<P>(file, count.parse()?),
        _ => Err(USAGE.into()),
    }
}

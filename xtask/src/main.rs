//! `cargo xtask COMMAND`: one command for each job, so that a person and the build server do the same.

mod bench;
mod check;
mod component;
mod coverage;
mod faces;
mod inspect;
mod interop;
mod needs;
mod place;
mod reproducible;
mod serve;
mod soak;
mod steps;
mod test;
mod toolchain;
mod wit;

use std::process::ExitCode;

use place::Place;

const HELP: &str = "\
Usage: cargo xtask COMMAND [ARGUMENTS]

  component      Build dist/smtp-fallback-policy.wasm and check it
  serve          Run the SMTP server with a demo zone and a demo policy, on [::1]:2525 and 127.0.0.1:2525
  demo           Play the draft's dialogues against that server and print them
  test           Run all tests: natively, through the component, and the faces; with ARGUMENTS, those that cargo test finds by them
  interop        Test the SMTP server between Postfix, Dovecot and openssl, and with five servers as its clients, as root; ARGUMENTS go
                 to cargo test. `interop --whole` measures what those five do and writes docs/sender-matrix.md
  soak           Run the SMTP server and the milter under mixed load while all around them breaks, as root, and watch their memory; for half an hour, or
                 `--minutes N`
  coverage       Tell which lines of the module its unit tests and the vectors run through; needs rustup's component llvm-tools
  faces          Build and test the module for other languages and runtimes, or those that ARGUMENTS name: npm, jco, module, c-library,
                 python; `cargo xtask npm` and so on build one of them
  check          Check the format, clippy's advice and the documentation; no warning passes
  bench          Measure decisions natively and through the component. `bench faces` measures them from other languages (`--whole`: a million
                 calls each), `bench peers` the same policy in Lua, CEL, Rego and a policy service (`--verify`: only whether they decide as the
                 module does), `bench size` what the octets of the component are for and what starting it takes, `bench instructions` where
                 a decision's time goes, `bench records` the store, `bench redis` a shared one, `bench milter`, as root, the milter beside
                 other filters of a Postfix, `bench milter --aws-lc` also with other cryptography, `bench smtpd`, as root, the SMTP server
                 beside Postfix and Haraka (`--short`: one round of three, of fewer messages)
  reproducible   Build the component in two checkouts under two cargo homes and compare every octet
  help           Print this

Exit status: 0 when all went well, 1 when something failed, 2 for a command line that cannot be understood.
";

/// Why a command failed: a sentence that says what to do.
type Failure = String;

/// One command: what it is called, and what it does with the arguments that follow.
type Command = fn(&Place, &[String]) -> Result<(), Failure>;

fn main() -> ExitCode {
    if let Some(code) = coverage::in_place_of_rustc() {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let arguments: Vec<String> = arguments.collect();
    if ["help", "--help", "-h"].contains(&name.as_str()) {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let (command, takes_arguments): (Command, bool) = match name.as_str() {
        "component" => (|place, _| component::build(place).map(drop), false),
        "serve" => (|place, arguments| serve::run(place, "serve", arguments), true),
        "demo" => (|place, arguments| serve::run(place, "play", arguments), true),
        "test" => (test::run, true),
        "interop" => (interop::run, true),
        "soak" => (soak::run, true),
        "coverage" => (|place, _| coverage::run(place), false),
        "faces" => (faces::run, true),
        "npm" => (|place, _| faces::build(place, "npm"), false),
        "jco" => (|place, _| faces::build(place, "jco"), false),
        "module" => (|place, _| faces::build(place, "module"), false),
        // For users; `faces` tests one of the graph that all tests share.
        "c-library" => (|place, _| faces::c_library::release(place), false),
        "python" => (|place, _| faces::build(place, "python"), false),
        "check" => (|place, _| check::run(place), false),
        "bench" => (bench::run, true),
        "reproducible" => (|place, _| reproducible::run(place), false),
        _ => {
            eprint!("error: there is no command {name:?}.\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if !takes_arguments && let Some(argument) = arguments.first() {
        eprint!("error: `cargo xtask {name}` takes no arguments, but found {argument:?}.\n\n{HELP}");
        return ExitCode::from(2);
    }
    match Place::here().and_then(|place| command(&place, &arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

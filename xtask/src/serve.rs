//! `cargo xtask serve` and `cargo xtask demo`: the SMTP server with a zone and a policy to try it on.

use std::process::Command;

use crate::place::Place;
use crate::{Failure, component, test};

/// Builds everything and becomes the demo program.
pub(crate) fn run(place: &Place, what: &str, arguments: &[String]) -> Result<(), Failure> {
    component::build(place)?;
    test::build(place)?;
    let mut demo = Command::new(place.program("smtp-fallback-demo"));
    demo.arg(what).arg("--smtpd").arg(place.program("smtp-fallback-smtpd")).arg("--component").arg(place.component());
    become_it(demo.args(arguments))
}

/// Ctrl-C, SIGTERM and the exit status are then the demo's own: nothing stands between it and the terminal.
#[cfg(unix)]
fn become_it(command: &mut Command) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(format!("{} cannot be started: {error}", command.get_program().display()))
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> Result<(), Failure> {
    crate::toolchain::run(command)
}

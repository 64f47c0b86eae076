//! OpenSMTPD as its package comes.

use super::Options;
use crate::{Machine, until};

pub(super) const PACKAGE: &str = "opensmtpd";

pub(super) fn start(machine: &Machine, Options { .. }: Options) {
    // Port 25 is the others'.
    machine.edit("/etc/smtpd.conf", &[("listen on localhost\n", "listen on localhost port 2525\n")]);
    machine.shell("smtpd");
    until("OpenSMTPD runs", || {
        let status = machine.command("smtpctl").args(["show", "status"]).output().unwrap();
        if status.status.success() { Ok(()) } else { Err(machine.log()) }
    });
}

//! Sendmail as its package comes.

use crate::Machine;

pub(super) const PACKAGE: &str = "sendmail-bin";

pub(super) fn start(machine: &Machine) {
    // The package's own start, without the listener. What is given to it by `-Am` is delivered at once; this looks after the queue.
    machine.shell("mkdir -p /run/sendmail/mta && chown smmta:smmsp /run/sendmail/mta && sendmail -Am -q10m");
}

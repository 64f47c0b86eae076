//! smtpd as a host on a machine, behind an [`Exchange`](crate::Exchange).

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::program::{self, Program};
use crate::{Machine, until};

/// What to start.
#[derive(Clone, Copy, Debug)]
pub struct Reception<'a> {
    /// Its name, by which its folder is called as well.
    pub name: &'a str,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The component; `None` for the shipped one.
    pub component: Option<&'a [u8]>,
    /// The policy, as JSON.
    pub policy: &'a str,
    /// The domains that it takes mail for.
    pub domains: &'a [String],
}

/// A message in the Maildir.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// When it was written.
    pub at: SystemTime,
    /// The recipients.
    pub to: Vec<String>,
    /// The message with the fields that smtpd has added.
    pub text: String,
}

/// A running smtpd with a Maildir; all its files are the machine's, and go with it. It learns by the PROXY protocol who the client is.
pub struct Receiver {
    program: Program,
    folder: PathBuf,
}

impl Receiver {
    /// Starts it on the machine. It listens when this returns.
    pub fn start(machine: &Machine, reception: &Reception<'_>) -> Receiver {
        let folder = machine.path("/srv").join(reception.name);
        fs::create_dir_all(&folder).unwrap();
        let domains: Vec<String> = reception.domains.iter().map(|domain| format!("{domain:?}")).collect();
        let configuration = format!(
            "host_name = \"{}\"\ndomains = [{}]\nmaildir = \"mail\"\ncomponent = \"policy.wasm\"\npolicy = \"policy.json\"\nlog = \"info\"\n\
             ipv4_arrivals_visible = true\n\n\
             [[listener]]\naddress = \"127.0.0.1:{}\"\nproxy_from = [\"127.0.0.0/8\"]\nextension = true\n\n\
             [verify]\nnameservers = [\"127.0.0.1:53\"]\n\n\
             [policy_limits]\ndeadline = \"10s\"\n\n\
             [limits]\nconnections = 2000\nconnections_per_prefix = 0\n",
            reception.name,
            domains.join(", "),
            reception.port,
        );
        fs::write(folder.join("smtpd.toml"), configuration).unwrap();
        fs::write(folder.join("policy.json"), reception.policy).unwrap();
        match reception.component {
            Some(octets) => fs::write(folder.join("policy.wasm"), octets).unwrap(),
            None => program::component_into(&folder),
        }
        let path = program::path("smtp-fallback-smtpd", "SMTP_FALLBACK_SMTPD");
        let mut command = machine.outside(&path);
        command.arg("--config").arg(folder.join("smtpd.toml")).env("NO_COLOR", "1");
        let program = Program::start(command, |_| {});
        program.logged(&["listening"]);
        Receiver { program, folder }
    }

    /// The messages that it has delivered so far.
    pub fn delivered(&self) -> Vec<Delivered> {
        let Ok(entries) = fs::read_dir(self.folder.join("mail/new")) else { return Vec::new() };
        let read = |entry: fs::DirEntry| {
            let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
            let fields = text.lines().take_while(|line| !line.is_empty());
            let to = fields.filter_map(|line| line.strip_prefix("Delivered-To: ")).map(|to| to.trim().to_owned()).collect();
            Delivered { at: entry.metadata().unwrap().modified().unwrap(), to, text }
        };
        let mut messages: Vec<Delivered> = entries.map(|entry| read(entry.unwrap())).collect();
        messages.sort_by_key(|message| message.at);
        messages
    }

    /// Waits for a message to this recipient, and gives it.
    pub fn received(&self, recipient: &str) -> Delivered {
        until(&format!("mail for {recipient}"), || {
            let found = self.delivered().into_iter().find(|message| message.to.iter().any(|to| to == recipient));
            found.ok_or_else(|| self.log())
        })
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Waits for a line of the log with all these parts, and gives it.
    pub fn logged(&self, parts: &[&str]) -> String {
        self.program.logged(parts)
    }
}

//! The milter under test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc;

use smtp_fallback_demo::zone::{NameServer, Zone};
use tempfile::TempDir;

use crate::program::{self, Program};
use crate::{PATIENCE, give, public_folder};

/// A running milter, and its name server with the demo's zone. Dropping it kills the process.
pub struct Milter {
    program: Option<Program>,
    folder: TempDir,
    socket: PathBuf,
    /// What it asks about names.
    pub nameserver: NameServer,
}

impl Milter {
    /// Starts it for a Postfix, with a policy and more settings before the tables. It listens when this returns.
    pub async fn start(policy: &str, more: &str) -> Milter {
        let folder = public_folder("smtp-fallback-milter-");
        // Of the user that Postfix's processes run as.
        fs::create_dir(folder.path().join("run")).unwrap();
        give(&folder.path().join("run"), "postfix");
        let socket = folder.path().join("run/milter.sock");
        Milter::start_in(folder, socket, policy, &format!("socket_group = \"postfix\"\n{more}")).await
    }

    /// Starts it with its socket in another place, such as in the root of a [`Machine`](crate::Machine).
    pub async fn start_at(socket: PathBuf, policy: &str, more: &str) -> Milter {
        Milter::start_in(public_folder("smtp-fallback-milter-"), socket, policy, more).await
    }

    async fn start_in(folder: TempDir, socket: PathBuf, policy: &str, more: &str) -> Milter {
        let nameserver = NameServer::start(Zone::demo()).await.unwrap();
        fs::write(folder.path().join("milter.toml"), configuration(&socket, nameserver.addr(), more)).unwrap();
        fs::write(folder.path().join("policy.json"), policy).unwrap();
        program::component_into(folder.path());
        let mut milter = Milter { program: None, folder, socket, nameserver };
        milter.start_again();
        milter
    }

    /// Starts it after [`Milter::stop`].
    pub fn start_again(&mut self) {
        let command = program::command("smtp-fallback-milter", "SMTP_FALLBACK_MILTER", &self.folder.path().join("milter.toml"));
        let (sender, listening) = mpsc::channel();
        let program = Program::start(command, move |line| {
            if line.contains("listening") {
                let _ = sender.send(());
            }
        });
        listening.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the milter does not listen:\n{}", program.log()));
        self.program = Some(program);
    }

    /// Ends it by SIGTERM, and gives its log.
    pub fn stop(&mut self) -> (ExitStatus, String) {
        let mut program = self.program.take().expect("it runs");
        program.signal("TERM");
        (program.ended(), program.log())
    }

    /// Its socket, as Postfix has it in its configuration, with what is to happen without it.
    pub fn for_postfix(&self) -> String {
        format!("{{ unix:{}, default_action=accept }}", self.socket().display())
    }

    /// The path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The folder of its configuration, with `policy.json`.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The process.
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("it runs")
    }

    /// Waits for a line of the log with all these parts, and gives it.
    pub fn logged(&self, parts: &[&str]) -> String {
        self.program().logged(parts)
    }
}

fn configuration(socket: &Path, nameserver: SocketAddr, more: &str) -> String {
    format!(
        "host_name = \"mx.demo.example\"\nlisten = [\"unix:{}\"]\ncomponent = \"policy.wasm\"\npolicy = \"policy.json\"\n\
         log = \"info,smtp_fallback_milter=debug,smtp_fallback_daemon=debug\"\n{more}\n[verify]\nnameservers = [\"{nameserver}\"]\n\n\
         [policy_limits]\ndeadline = \"10s\"\n",
        socket.display()
    )
}

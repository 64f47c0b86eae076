//! A server that is measured.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::inside::client::Client;
use crate::inside::filter::Filter;
use crate::inside::group::{Cpu, Group};
use crate::inside::last_lines;
use crate::inside::load::client;
use crate::inside::postfix::Postfix;

/// How long a server may take until it greets: ours compiles the component first.
const START: Duration = Duration::from_secs(60);

/// A running server. Its program ends with this, and Postfix with the namespace.
pub(crate) struct Server {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    /// Where it takes mail.
    pub(crate) port: u16,
    /// Where it has a process for each of 1000 clients, if it needs one.
    pub(crate) idle_port: u16,
    /// Connections that it is to hold.
    pub(crate) connections: usize,
    /// Where clients of the network that fails are refused in place of the greeting, each way with a name and what is
    /// said; nothing where it is of no interest.
    pub(crate) refusing: Vec<(&'static str, u16, &'static str)>,
    /// What the log, or the message that was taken, says when SPF and DKIM were verified.
    pub(crate) proof: &'static [&'static str],
    pub(crate) groups: Vec<Group>,
    pub(crate) log: PathBuf,
    pub(crate) parts: Parts,
}

/// What it consists of.
pub(crate) enum Parts {
    /// One program.
    Program(#[expect(dead_code, reason = "it ends when it is dropped")] Program),
    /// Postfix, and a filter of it.
    Postfix(Postfix, #[expect(dead_code, reason = "it ends when it is dropped")] Filter),
}

/// A program that ends when this is dropped.
pub(crate) struct Program(Child);

impl Program {
    /// Starts it; what it says goes to the log.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Program, Box<dyn Error>> {
        let file = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Program(command.spawn().map_err(|error| format!("{command:?} cannot be started: {error}"))?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Waits until it greets clients.
    pub(crate) async fn ready(&self) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + START;
        loop {
            let greeted = async {
                let mut client = Client::connect(client(0), self.port).await?;
                client.expect("220").await?;
                client.command("QUIT\r\n", "221").await
            };
            match tokio::time::timeout(START, greeted).await.unwrap_or_else(|late| Err(late.into())) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(self.failed(error).into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// The CPU time so far of all that belongs to it.
    pub(crate) fn cpu(&self) -> std::io::Result<Cpu> {
        self.groups.iter().map(Group::cpu).sum()
    }

    /// The memory of all that belongs to it, in kB: what processes share is counted once.
    pub(crate) fn memory(&self) -> std::io::Result<u64> {
        self.groups.iter().map(Group::memory).sum()
    }

    /// Waits until nothing is left of what was sent to it.
    pub(crate) async fn drained(&self) -> Result<(), Box<dyn Error>> {
        match &self.parts {
            Parts::Postfix(postfix, _) => postfix.drained().await,
            Parts::Program(_) => Ok(()),
        }
    }

    /// With its last words.
    pub(crate) fn failed(&self, error: impl std::fmt::Display) -> String {
        format!("{}: {error}\n{}", self.name, last_lines(&self.said()))
    }

    /// Its log so far.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

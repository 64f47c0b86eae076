//! Other people's mail servers as senders, as their packages come: changed is only what they need to run on a machine of the tests.

mod exim;
mod haraka;
mod opensmtpd;
mod postfix;
mod sendmail;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::{Machine, Root};

/// The domain of the senders, which none of them takes mail for.
pub const DOMAIN: &str = "sender.example";

/// A kind of mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mta {
    /// Postfix.
    Postfix,
    /// Sendmail.
    Sendmail,
    /// Exim, Debian's heavy one.
    Exim,
    /// OpenSMTPD, its portable version.
    OpenSmtpd,
    /// Haraka.
    Haraka,
}

/// What a test may have to have otherwise than the package.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Retries come after so many seconds where the server can be told so, and not when it finds right.
    pub retry: Option<u32>,
}

impl Mta {
    /// All of them.
    pub const ALL: [Mta; 5] = [Mta::Postfix, Mta::Sendmail, Mta::Exim, Mta::OpenSmtpd, Mta::Haraka];

    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Mta::Postfix => "Postfix",
            Mta::Sendmail => "Sendmail",
            Mta::Exim => "Exim",
            Mta::OpenSmtpd => "OpenSMTPD",
            Mta::Haraka => "Haraka",
        }
    }

    /// A root with it.
    pub fn root(self) -> Arc<Root> {
        match self {
            Mta::Postfix => Root::with(&[postfix::PACKAGE]),
            Mta::Sendmail => Root::with(&[sendmail::PACKAGE]),
            Mta::Exim => Root::with(&[exim::PACKAGE]),
            Mta::OpenSmtpd => Root::with(&[opensmtpd::PACKAGE]),
            Mta::Haraka => Root::with_npm(&haraka::PACKAGES),
        }
    }

    /// A machine for it. Its name server has to be there before [`Mta::start`].
    pub fn machine(self) -> Machine {
        Machine::start(&self.root(), &format!("{}.{DOMAIN}", self.name().to_lowercase()))
    }

    /// Starts it on a machine over its root.
    pub fn start(self, machine: &Machine, options: Options) {
        match self {
            Mta::Postfix => postfix::start(machine, options),
            Mta::Sendmail => sendmail::start(machine),
            Mta::Exim => exim::start(machine, options),
            Mta::OpenSmtpd => opensmtpd::start(machine, options),
            Mta::Haraka => haraka::start(machine, options),
        }
    }

    /// Gives it a message, which is on its way when this returns.
    pub fn send(self, machine: &Machine, from: &str, to: &str, message: &str) {
        match self {
            Mta::Postfix | Mta::Exim | Mta::OpenSmtpd => {
                submit(machine.command("/usr/sbin/sendmail").args(["-i", "-f", from, to]), message)
            }
            Mta::Sendmail => submit(machine.command("/usr/sbin/sendmail").args(["-Am", "-i", "-f", from, to]), message),
            Mta::Haraka => haraka::send(machine, from, to, message),
        }
    }

    /// Whether [`Mta::run_queue`] can be.
    pub fn runs_queue(self) -> bool {
        self != Mta::Haraka
    }

    /// Makes it try all of its queue at once.
    pub fn run_queue(self, machine: &Machine) {
        match self {
            Mta::Postfix => machine.shell("postqueue -f"),
            Mta::Sendmail => machine.shell("sendmail -Am -q"),
            Mta::Exim => machine.shell("exim4 -qff"),
            Mta::OpenSmtpd => machine.shell("smtpctl schedule all"),
            Mta::Haraka => panic!("Haraka looks after its queue alone"),
        };
    }

    /// Its queue, with the recipients in it.
    pub fn queue(self, machine: &Machine) -> String {
        match self {
            Mta::Postfix => machine.shell("postqueue -p"),
            Mta::Sendmail => machine.shell("mailq -Am"),
            Mta::Exim => machine.shell("exim4 -bp"),
            Mta::OpenSmtpd => machine.shell("smtpctl show queue"),
            Mta::Haraka => haraka::queue(machine),
        }
    }

    /// What it says about its work, for a test that has failed.
    pub fn log(self, machine: &Machine) -> String {
        let file = match self {
            Mta::Postfix => "/var/log/mail.log",
            Mta::Exim => "/var/log/exim4/mainlog",
            Mta::Haraka => haraka::LOG,
            Mta::Sendmail | Mta::OpenSmtpd => return machine.log(),
        };
        std::fs::read(machine.path(file)).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Its version, with that of its package.
    pub fn version(self, machine: &Machine) -> String {
        let of_package = |package: &str| machine.shell(&format!("dpkg-query --show --showformat '${{Version}}' {package}"));
        match self {
            Mta::Postfix => format!("{} {}", postfix::PACKAGE, of_package(postfix::PACKAGE)),
            Mta::Sendmail => format!("{} {}", sendmail::PACKAGE, of_package(sendmail::PACKAGE)),
            Mta::Exim => format!("{} {}", exim::PACKAGE, of_package(exim::PACKAGE)),
            Mta::OpenSmtpd => format!("{} {}", opensmtpd::PACKAGE, of_package(opensmtpd::PACKAGE)),
            Mta::Haraka => haraka::version(machine),
        }
    }
}

/// Runs a command that reads the message.
fn submit(command: &mut Command, message: &str) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

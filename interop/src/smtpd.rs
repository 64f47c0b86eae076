//! The server under test: the real program, as an administrator starts it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;

use smtp_fallback_demo::client::{Client, Reply};
use smtp_fallback_demo::server::DEMO_POLICY;
use smtp_fallback_demo::zone::{NameServer, Zone};
use tempfile::TempDir;

use crate::program::{self, Program};
use crate::{PATIENCE, give, in_maildir, public_folder};

/// A policy that refuses nothing.
const OBSERVE: &str = "{\"mode\": \"observe\"}";
/// Two listeners, the first on IPv6 and the second on IPv4.
const LISTENERS: &str = "[[listener]]\naddress = \"[::1]:0\"\nextension = true\n\n[[listener]]\naddress = \"127.0.0.1:0\"\n";

/// What to start.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The policy, as JSON.
    pub policy: &'static str,
    /// Settings before the tables.
    pub top: String,
    /// The listeners; at least two.
    pub listeners: String,
    /// More tables.
    pub tables: String,
    /// Files beside the configuration.
    pub files: Vec<(&'static str, String)>,
    /// The component; `None` for the shipped one.
    pub component: Option<Vec<u8>>,
}

impl Setting {
    /// In front of the mail system at `address`, which is told by `tell` who the client is. Its own policy refuses nothing.
    pub fn front(address: impl std::fmt::Display, tell: &str) -> Setting {
        Setting {
            policy: OBSERVE,
            top: "domains = [\"demo.example\"]\n".to_owned(),
            listeners: LISTENERS.to_owned(),
            // The time limit of the component is one of real time: on a busy machine it is not to decide.
            tables: format!("[policy_limits]\ndeadline = \"10s\"\n\n[upstream]\naddress = \"{address}\"\ntell = \"{tell}\"\n"),
            files: Vec::new(),
            component: None,
        }
    }

    /// With a Maildir of its own. Its policy refuses nothing.
    pub fn maildir() -> Setting {
        Setting {
            policy: OBSERVE,
            top: "domains = [\"demo.example\"]\nmaildir = \"mail/box\"\n".to_owned(),
            listeners: LISTENERS.to_owned(),
            tables: "[policy_limits]\ndeadline = \"10s\"\n".to_owned(),
            files: Vec::new(),
            component: None,
        }
    }

    /// The demo's policy, which refuses over IPv6 what is not authenticated.
    pub fn enforcing(self) -> Setting {
        Setting { policy: DEMO_POLICY, ..self }
    }

    /// Which domains mail is taken for is left to the mail system behind it.
    pub fn for_any_domain(self) -> Setting {
        Setting { top: String::new(), ..self }.and("any_domain = true\n")
    }

    /// Both listeners believe what a PROXY header from the loopback addresses says of the client.
    pub fn behind_a_proxy(self) -> Setting {
        let listeners = ["[::1]:0", "127.0.0.1:0"].map(|address| {
            format!("[[listener]]\naddress = \"{address}\"\nproxy_from = [\"127.0.0.0/8\", \"::1\"]\nextension = true\n")
        });
        Setting { listeners: listeners.concat(), ..self }
    }

    /// With more lines at the end of the configuration: of the last table, or tables of their own.
    pub fn and(mut self, lines: &str) -> Setting {
        self.tables.push_str(lines);
        self
    }
}

/// A running smtpd, and its name server with the demo's zone. Dropping it kills the process.
pub struct Smtpd {
    program: Program,
    folder: TempDir,
    /// Its listener on IPv6.
    pub ipv6: SocketAddr,
    /// Its listener on IPv4.
    pub ipv4: SocketAddr,
    /// What it asks about names.
    pub nameserver: NameServer,
}

impl Smtpd {
    /// Starts it. It listens when this returns.
    pub async fn start(setting: Setting) -> Smtpd {
        let nameserver = NameServer::start(Zone::demo()).await.unwrap();
        let folder = write(&setting, nameserver.addr());
        let (sender, listening) = mpsc::channel();
        let program = Program::start(command(folder.path()), move |line| {
            if let Some(address) = listening_address(line) {
                // Only the first two are waited for.
                let _ = sender.send(address);
            }
        });
        let next = || listening.recv_timeout(PATIENCE).ok();
        let (Some(ipv6), Some(ipv4)) = (next(), next()) else { panic!("smtpd does not listen:\n{}", program.log()) };
        Smtpd { program, folder, ipv6, ipv4, nameserver }
    }

    /// A session after its greeting.
    pub async fn connect(&self, address: SocketAddr) -> Client {
        let mut client = Client::connect(address).await.unwrap();
        assert_eq!(client.reply().await.unwrap().code, 220);
        client
    }

    /// A session after EHLO.
    pub async fn client(&self, address: SocketAddr) -> Client {
        let mut client = self.connect(address).await;
        let reply = client.command("EHLO client.example").await.unwrap();
        assert_eq!(reply.code, 250, "{reply}\n{}", self.log());
        client
    }

    /// A session after its greeting that a proxy says to be of the client `source`, with an IPv4 or an IPv6 address.
    pub async fn connect_behind_proxy(&self, source: &str) -> Client {
        let (address, family, own) =
            if source.contains(':') { (self.ipv6, "TCP6", "::1") } else { (self.ipv4, "TCP4", "127.0.0.1") };
        let mut client = Client::connect(address).await.unwrap();
        client.send(format!("PROXY {family} {source} {own} 40000 25\r\n").as_bytes()).await.unwrap();
        assert_eq!(client.reply().await.unwrap().code, 220);
        client
    }

    /// The same after EHLO.
    pub async fn client_behind_proxy(&self, source: &str) -> Client {
        let mut client = self.connect_behind_proxy(source).await;
        let reply = client.command("EHLO client.example").await.unwrap();
        assert_eq!(reply.code, 250, "{reply}\n{}", self.log());
        client
    }

    /// The reply to the message, in a session of its own.
    pub async fn send(&self, address: SocketAddr, sender: &str, message: &[u8]) -> Reply {
        self.client(address).await.transaction(sender, "jones@demo.example", message).await.unwrap()
    }

    /// The messages that it has delivered itself.
    pub fn delivered(&self) -> Vec<Vec<u8>> {
        in_maildir(&self.path().join("mail/box"))
    }

    /// The process with its log.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The folder of its configuration, with `policy.json` and the Maildir.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Asks it to read policy and certificates again. The log says when that was done.
    pub fn hangup(&self) {
        self.program.signal("HUP");
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

/// What `--check-config` says of it.
pub fn check_config(setting: &Setting) -> Output {
    let folder = write(setting, SocketAddr::from(([127, 0, 0, 1], 1)));
    command(folder.path()).arg("--check-config").output().unwrap()
}

/// Writes what is needed to a folder of its own, all of it readable for everybody. `mail` in it belongs to nobody, in case smtpd becomes
/// that user.
fn write(setting: &Setting, nameserver: SocketAddr) -> TempDir {
    let folder = public_folder("smtp-fallback-smtpd-");
    let Setting { policy, top, listeners, tables, files, component } = setting;
    let configuration = format!(
        "host_name = \"mx.demo.example\"\ncomponent = \"policy.wasm\"\npolicy = \"policy.json\"\nlog = \"info,smtp_fallback_smtpd=debug,smtp_fallback_daemon=debug\"\n{top}\n{listeners}\n\
         [verify]\nnameservers = [\"{nameserver}\"]\n\n{tables}"
    );
    fs::write(folder.path().join("smtpd.toml"), configuration).unwrap();
    fs::write(folder.path().join("policy.json"), policy).unwrap();
    match component {
        Some(octets) => fs::write(folder.path().join("policy.wasm"), octets).unwrap(),
        None => program::component_into(folder.path()),
    }
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mail = folder.path().join("mail");
    fs::create_dir(&mail).unwrap();
    give(&mail, "nobody");
    folder
}

fn command(folder: &Path) -> Command {
    program::command("smtp-fallback-smtpd", "SMTP_FALLBACK_SMTPD", &folder.join("smtpd.toml"))
}

/// Of a line about a listener.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening")?;
    let (_, address) = rest.split_once("address=")?;
    address.split(['"', ' ']).next()?.parse().ok()
}

//! The server under test: the real program, as an administrator starts it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use smtp_fallback_demo::client::{Client, Reply};
use smtp_fallback_demo::server::DEMO_POLICY;
use smtp_fallback_demo::zone::{NameServer, Zone};
use tempfile::TempDir;

use crate::{PATIENCE, give, in_maildir, public_folder, until};

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
    child: Child,
    folder: TempDir,
    log: Arc<Mutex<Vec<String>>>,
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
        let mut child = command(folder.path()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, listening) = mpsc::channel();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(address) = listening_address(&line) {
                    // Only the first two are waited for.
                    let _ = sender.send(address);
                }
                lines.lock().unwrap().push(line);
            }
        });
        let next = || listening.recv_timeout(PATIENCE).ok();
        let (Some(ipv6), Some(ipv4)) = (next(), next()) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("smtpd does not listen:\n{}", log.lock().unwrap().join("\n"));
        };
        Smtpd { child, folder, log, ipv6, ipv4, nameserver }
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

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder of its configuration, with `policy.json` and the Maildir.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Asks it to read policy and certificates again. The log says when that was done.
    pub fn hangup(&self) {
        let status = Command::new("sh").args(["-c", "kill -HUP \"$0\"", &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits for a line of the log with all these parts, and gives it.
    pub fn logged(&self, parts: &[&str]) -> String {
        until(&format!("{parts:?} in smtpd's log"), || {
            let log = self.log();
            let line = log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned);
            line.ok_or(log)
        })
    }
}

impl Drop for Smtpd {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    let Setting { policy, top, listeners, tables, files } = setting;
    let configuration = format!(
        "host_name = \"mx.demo.example\"\ncomponent = \"policy.wasm\"\npolicy = \"policy.json\"\nlog = \"info,smtp_fallback_smtpd=debug,smtp_fallback_daemon=debug\"\n{top}\n{listeners}\n\
         [verify]\nnameservers = [\"{nameserver}\"]\n\n{tables}"
    );
    fs::write(folder.path().join("smtpd.toml"), configuration).unwrap();
    fs::write(folder.path().join("policy.json"), policy).unwrap();
    // The checkout may be where only root can look.
    fs::copy(component(), folder.path().join("policy.wasm")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mail = folder.path().join("mail");
    fs::create_dir(&mail).unwrap();
    give(&mail, "nobody");
    folder
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(program());
    // Else colours may come between the words of the log.
    command.arg("--config").arg(folder.join("smtpd.toml")).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// As the build left it: `cargo xtask interop` says where, and without it, it is beside the folder of the tests.
fn program() -> PathBuf {
    let path = std::env::var_os("SMTP_FALLBACK_SMTPD")
        .map_or_else(|| std::env::current_exe().unwrap().parent().unwrap().join("../smtp-fallback-smtpd"), PathBuf::from);
    assert!(path.exists(), "{} is missing: start these tests by `cargo xtask interop`", path.display());
    path
}

/// The shipped component.
fn component() -> PathBuf {
    let path = std::env::var_os("SMTP_FALLBACK_COMPONENT")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/smtp-fallback-policy.wasm"), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo xtask component` first", path.display());
    path
}

/// Of a line about a listener.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening")?;
    let (_, address) = rest.split_once("address=")?;
    address.split(['"', ' ']).next()?.parse().ok()
}

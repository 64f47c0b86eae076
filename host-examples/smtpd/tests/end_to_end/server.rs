//! Starts the program with a configuration of the test's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use smtp_fallback_demo::client::{Client, Reply};
use smtp_fallback_demo::server::DEMO_POLICY;
use smtp_fallback_demo::zone::{NameServer, Zone};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long to wait for the program.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_smtp-fallback-smtpd");

/// A recipient that is taken.
pub(crate) const RECIPIENT: &str = "jones@demo.example";

/// What to start.
pub(crate) struct Setting {
    pub(crate) policy: &'static str,
    /// Settings before the tables: where mail goes, and what else there is to say.
    pub(crate) top: String,
    /// Two listeners, the first on IPv6 and the second on IPv4.
    pub(crate) listeners: String,
    /// Tables to add to the configuration.
    pub(crate) tables: String,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) component: PathBuf,
}

impl Default for Setting {
    /// A Maildir, and the demo's policy, which enforces. The component's time limit is one of real time: on a busy machine it is not to
    /// decide.
    fn default() -> Self {
        Setting {
            policy: DEMO_POLICY,
            top: "domains = [\"demo.example\"]\nmaildir = \"mail\"".to_owned(),
            listeners: "[[listener]]\naddress = \"[::1]:0\"\nextension = true\n\n[[listener]]\naddress = \"127.0.0.1:0\""
                .to_owned(),
            tables: "[policy_limits]\ndeadline = \"10s\"\n".to_owned(),
            arguments: &[],
            component: component(),
        }
    }
}

/// The shipped component.
pub(crate) fn component() -> PathBuf {
    let path = std::env::var_os("SMTP_FALLBACK_COMPONENT")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/smtp-fallback-policy.wasm"), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo xtask component` first", path.display());
    path
}

/// A folder with a configuration and a policy in it.
pub(crate) struct Folder {
    folder: TempDir,
    /// A program and its arguments, which ends by becoming the one that follows.
    starter: Vec<String>,
}

impl Folder {
    pub(crate) fn new(setting: &Setting, nameserver: SocketAddr) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let Setting { policy, top, listeners, tables, component, .. } = setting;
        let configuration = format!(
            "host_name = \"mx.demo.example\"\ncomponent = {component:?}\npolicy = \"policy.json\"\nlog = \"debug\"\n{top}\n\n\
             {listeners}\n\n[verify]\nnameservers = [\"{nameserver}\"]\n\n{tables}\n"
        );
        fs::write(folder.path().join("smtpd.toml"), configuration).unwrap();
        fs::write(folder.path().join("policy.json"), policy).unwrap();
        Folder { folder, starter: Vec::new() }
    }

    /// The program is started by another one, which must become it (as `env` does): its process is the one that is killed.
    pub(crate) fn started_by(self, starter: &[&str]) -> Folder {
        Folder { starter: starter.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self) -> Command {
        let mut words = self.starter.iter().map(String::as_str).chain([PROGRAM]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("--config").arg(self.path().join("smtpd.toml"));
        command
    }
}

/// A running server. Dropping it kills the process.
pub(crate) struct Server {
    child: Child,
    folder: Folder,
    arguments: &'static [&'static str],
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) ipv6: SocketAddr,
    pub(crate) ipv4: SocketAddr,
    pub(crate) nameserver: NameServer,
}

impl Server {
    pub(crate) async fn start(setting: Setting) -> Server {
        let nameserver = NameServer::start(Zone::demo()).await.unwrap();
        let folder = Folder::new(&setting, nameserver.addr());
        Server::start_in(folder, setting.arguments, nameserver)
    }

    /// Starts the program in a folder that is ready.
    pub(crate) fn start_in(folder: Folder, arguments: &'static [&'static str], nameserver: NameServer) -> Server {
        let (child, log, ipv6, ipv4) = spawn(&folder, arguments);
        Server { child, folder, arguments, log, ipv6, ipv4, nameserver }
    }

    /// Starts the program again, in the same folder and on ports of its own choice. The one before must have ended.
    pub(crate) fn restart(&mut self) {
        (self.child, self.log, self.ipv6, self.ipv4) = spawn(&self.folder, self.arguments);
    }

    /// A session after its greeting and EHLO.
    pub(crate) async fn client(&self, address: SocketAddr) -> Client {
        let mut client = Client::connect(address).await.unwrap();
        assert_eq!(client.reply().await.unwrap().code, 220);
        assert_eq!(client.command("EHLO client.example").await.unwrap().code, 250);
        client
    }

    /// The reply to the message, in a session of its own.
    pub(crate) async fn send(&self, address: SocketAddr, sender: &str, message: &[u8]) -> Reply {
        self.client(address).await.transaction(sender, RECIPIENT, message).await.unwrap()
    }

    /// Where the monitor is, by the log.
    pub(crate) fn monitor(&self) -> SocketAddr {
        let line = self.logged(&["metrics and status page", "address="]);
        line.split_once("address=").unwrap().1.split(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder of the configuration, with `policy.json` and all that the configuration names by relative paths.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the process as a power failure would, without a last word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn maildir(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    /// The messages in the Maildir, as they are kept.
    pub(crate) fn delivered(&self) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.maildir().join("new")).unwrap();
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
    }

    /// Whether nothing was left half-written.
    pub(crate) fn has_no_drafts(&self) -> bool {
        fs::read_dir(self.maildir().join("tmp")).unwrap().next().is_none()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits until the log has a line with all these parts, and returns it.
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE / 6;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "{parts:?} is not in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Asks it to read policy and certificates again. The log says when that was done.
    pub(crate) fn hangup(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        // The shell has `kill` built in: a small system has no program of that name.
        let command = format!("kill -{name} \"$0\"");
        assert!(Command::new("sh").args(["-c", &command, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process, its log, and its two listeners.
fn spawn(folder: &Folder, arguments: &[&str]) -> (Child, Arc<Mutex<Vec<String>>>, SocketAddr, SocketAddr) {
    let mut child = folder.command().args(arguments).stderr(Stdio::piped()).spawn().unwrap();
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
    let next = || listening.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("does not listen: {:#?}", log.lock().unwrap()));
    let (ipv6, ipv4) = (next(), next());
    assert!(ipv6.is_ipv6() && ipv4.is_ipv4());
    (child, log, ipv6, ipv4)
}

/// Of a line about a listener, in either format of the log.
pub(crate) fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening")?;
    let (_, address) = rest.split_once("address=").or_else(|| rest.split_once("\"address\":\""))?;
    address.split(['"', ' ']).next()?.parse().ok()
}

/// A name server's address that nobody is asked at.
pub(crate) fn nowhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1).into()
}

/// The body of the answer to a GET, which is 200.
pub(crate) async fn page(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// The value of a metric with its labels.
pub(crate) fn metric(metrics: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').map(|value| value.parse().unwrap());
    metrics.lines().find_map(value)
}

/// A message whose Message-ID is of its own.
pub(crate) fn message(number: u32) -> Vec<u8> {
    format!(
        "From: Smith <smith@plain.example>\r\nTo: jones@demo.example\r\nSubject: {number}\r\n\
         Date: Tue, 24 Nov 2026 12:40:18 +0000\r\nMessage-ID: <{number}@client.example>\r\n\r\nText {number}.\r\n"
    )
    .into_bytes()
}

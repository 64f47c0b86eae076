//! The program, as an administrator starts it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smtp_fallback_demo::zone::{Kind, NameServer, Zone};
use tempfile::TempDir;

use crate::mta::{Mta, OLD, POSTFIX};

/// How long to wait for the program.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_smtp-fallback-milter");

/// Enforces from the first message on.
pub(crate) const POLICY: &str = r#"{"mode": "enforce", "penalty": {"probe_one_in": 0, "jitter_percent": 0}}"#;

/// The domain whose mail from 2001:db8::/32 passes by SPF.
pub(crate) const PASSING: &str = "passing.example";
/// A domain that publishes nothing.
pub(crate) const PLAIN: &str = "smith@none.example";

/// What to start.
pub(crate) struct Setting {
    pub(crate) policy: String,
    /// The sockets, as in the configuration.
    pub(crate) listen: &'static str,
    /// More settings before the tables.
    pub(crate) top: &'static str,
    /// More tables.
    pub(crate) tables: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) component: PathBuf,
}

impl Default for Setting {
    fn default() -> Self {
        let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/smtp-fallback-policy.wasm");
        let component = std::env::var_os("SMTP_FALLBACK_COMPONENT").map_or_else(built, PathBuf::from);
        assert!(component.exists(), "{} is missing: run `cargo xtask component` first", component.display());
        Setting { policy: POLICY.to_owned(), listen: "\"unix:milter.sock\"", top: "", tables: "", arguments: &[], component }
    }
}

impl Setting {
    pub(crate) fn top(top: &'static str) -> Setting {
        Setting { top, ..Setting::default() }
    }
}

/// A folder with a configuration and a policy.
pub(crate) fn folder(setting: &Setting, nameserver: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let Setting { policy, listen, top, tables, component, .. } = setting;
    // The component's time limit is one of real time: on a busy machine it is not to decide.
    let configuration = format!(
        "host_name = \"mx.demo.example\"\nlisten = [{listen}]\ncomponent = {component:?}\npolicy = \"policy.json\"\nlog = \"debug\"\n{top}\n\n\
         [verify]\nnameservers = [\"{nameserver}\"]\n\n[policy_limits]\ndeadline = \"10s\"\n\n{tables}\n"
    );
    fs::write(folder.path().join("milter.toml"), configuration).unwrap();
    fs::write(folder.path().join("policy.json"), policy).unwrap();
    folder
}

/// The program with the configuration of a folder.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    // Else colours may come between the words of the log.
    command.arg("--config").arg(folder.join("milter.toml")).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// A running filter. Dropping it kills the process.
pub(crate) struct Milter {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
    pub(crate) nameserver: NameServer,
}

impl Milter {
    /// It listens when this returns.
    pub(crate) async fn start(setting: Setting) -> Milter {
        Milter::start_with(setting, &[]).await
    }

    /// The same with more in its environment.
    pub(crate) async fn start_with(setting: Setting, environment: &[(&str, &str)]) -> Milter {
        let mut zone = Zone::demo();
        zone.add(PASSING, Kind::Txt, "v=spf1 ip6:2001:db8::/32 -all").unwrap();
        let nameserver = NameServer::start(zone).await.unwrap();
        let folder = folder(&setting, &nameserver.addr().to_string());
        let mut command = command(folder.path());
        let mut child = command.args(setting.arguments).envs(environment.iter().copied()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let milter = Milter { child, log, folder, nameserver };
        for _ in setting.listen.split(',') {
            milter.logged(&["listening", "socket="]);
        }
        milter
    }

    /// The socket of this kind, such as `unix`, as the log names it.
    pub(crate) fn socket(&self, kind: &str) -> String {
        let line = self.logged(&["listening", &format!("socket=\"{kind}:")]);
        line.split_once("socket=\"").unwrap().1.split('"').next().unwrap().to_owned()
    }

    /// A Postfix of today.
    pub(crate) fn postfix(&self) -> Mta {
        Mta::connect(&self.socket("unix"), POSTFIX)
    }

    /// An old MTA.
    pub(crate) fn old_mta(&self) -> Mta {
        Mta::connect(&self.socket("unix"), OLD)
    }

    /// A Postfix with a client after EHLO.
    pub(crate) fn session(&self, client: &str) -> Mta {
        let mut mta = self.postfix();
        mta.client(client);
        mta.helo("client.example");
        mta
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", "kill -\"$1\" \"$0\"", &self.child.id().to_string(), name]).status().unwrap();
        assert!(status.success());
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits for a line of the log with all these parts, and gives the last one.
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().rev().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "{parts:?} is not logged:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many lines of the log have all these parts.
    pub(crate) fn logged_times(&self, times: usize, parts: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let found = log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count();
            assert!(found <= times, "{parts:?} is logged {found} times and not {times}:\n{log}");
            if found == times {
                return;
            }
            assert!(Instant::now() < deadline, "{parts:?} is logged {found} times and not {times}:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The decision about the message with this queue id.
    pub(crate) fn decision(&self, queue_id: &str) -> String {
        self.logged(&["event=\"decision\"", &format!("id=\"{queue_id}\"")])
    }
}

impl Drop for Milter {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message with a Message-ID of its own.
pub(crate) fn message(number: u32) -> Vec<u8> {
    format!(
        "From: Smith <smith@none.example>\r\nTo: jones@demo.example\r\nSubject: {number}\r\nDate: Tue, 24 Nov 2026 12:40:18 +0000\r\n\
         Message-ID: <{number}@client.example>\r\n\r\nText {number}.\r\n"
    )
    .into_bytes()
}

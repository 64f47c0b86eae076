//! Starts smtpd with the demo's policy, in a folder of its own, and ends it again.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use crate::zone::RECEIVING_DOMAIN;

/// How long smtpd may take until it listens: it compiles the component first.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end when it is asked to: its sessions have 32 s.
const END: Duration = Duration::from_secs(40);
/// How many lines of its log are kept.
const LOG_LINES: usize = 10_000;

/// The demo's policy: enforces, does not exempt `::1`, and has penalties of 3 s without chance in them.
pub const DEMO_POLICY: &str = r#"{
  "mode": "enforce",
  "url": "https://policy.demo.example/ipv6",
  "exempt": {"local_networks": false},
  "penalty": {"first": "3s", "maximum": "3s", "jitter_percent": 0, "probe_one_in": 0}
}
"#;

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program `smtp-fallback-smtpd`.
    pub smtpd: PathBuf,
    /// The component `smtp-fallback-policy.wasm`.
    pub component: PathBuf,
    /// The policy, as JSON.
    pub policy: String,
    /// The name server that it is to ask.
    pub nameserver: SocketAddr,
    /// The port on `[::1]`, with the extension, and on `127.0.0.1`, without; 0 for a free one of each.
    pub port: u16,
    /// Repeat its log on this process's standard error.
    pub show_log: bool,
}

/// A running smtpd. Dropping it kills the process; [`Server::stop`] ends it in good order.
pub struct Server {
    child: Child,
    folder: TempDir,
    ipv6: SocketAddr,
    ipv4: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// Why smtpd does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A file that was named is not there, or a folder cannot be written.
    #[error("{path}: {error}; {advice}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The program ended instead of listening.
    #[error("smtpd ended ({status}) before it listened; its log:\n{log}")]
    Ended {
        /// How.
        status: String,
        /// What it logged.
        log: String,
    },
    /// It did not listen in time.
    #[error("smtpd did not listen within {} s; its log:\n{log}", START.as_secs())]
    Late {
        /// What it logged.
        log: String,
    },
    /// It did not end when it was asked to.
    #[error("smtpd did not end within {} s of SIGTERM, and was killed", END.as_secs())]
    NotEnding,
    /// The process cannot be watched or signalled.
    #[error("the process of smtpd cannot be handled: {0}")]
    Process(io::Error),
}

impl Server {
    /// Writes the configuration, starts the program and waits until both listeners are there.
    pub async fn start(launch: Launch) -> Result<Server, ServerError> {
        let program = existing(&launch.smtpd, "build it first: cargo build --ignore-rust-version -p smtp-fallback-smtpd")?;
        let component = existing(&launch.component, "build it first: cargo xtask component")?;
        let folder = tempfile::Builder::new().prefix("smtp-fallback-demo-").tempdir().map_err(|error| ServerError::File {
            path: std::env::temp_dir(),
            error,
            advice: "make room there, or set TMPDIR",
        })?;
        let configuration = configuration(&folder.path().join("Maildir"), &component, launch.nameserver, launch.port);
        for (name, text) in [("policy.json", &launch.policy), ("smtpd.toml", &configuration)] {
            let path = folder.path().join(name);
            fs::write(&path, text).map_err(|error| ServerError::File {
                path,
                error,
                advice: "make room there, or set TMPDIR",
            })?;
        }
        let mut child = Command::new(&program)
            .arg("--config")
            .arg(folder.path().join("smtpd.toml"))
            .current_dir(folder.path())
            // Else colours may come between the words of the log.
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for this process alone, which then ends smtpd: twice would cut its sessions off.
            .process_group(0)
            .spawn()
            .map_err(|error| ServerError::File { path: program, error, advice: "it has to be a program that can be run" })?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let mut listening = watch(stderr, log.clone(), launch.show_log);
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { child, folder, ipv6: unspecified, ipv4: unspecified, log };

        let deadline = Instant::now() + START;
        while server.ipv6 == unspecified || server.ipv4 == unspecified {
            match timeout_at(deadline, listening.recv()).await {
                Ok(Some(address)) if address.is_ipv6() => server.ipv6 = address,
                Ok(Some(address)) => server.ipv4 = address,
                // The log has an end: so has the process, in a moment.
                Ok(None) => {
                    let status = server.ended(Instant::now() + END).await?;
                    let status = status.map_or("its log was closed".to_owned(), |status| status.to_string());
                    return Err(ServerError::Ended { status, log: server.log().join("\n") });
                }
                Err(_) => return Err(ServerError::Late { log: server.log().join("\n") }),
            }
        }
        Ok(server)
    }

    /// The listener on `[::1]`, which announces the extension.
    pub fn ipv6(&self) -> SocketAddr {
        self.ipv6
    }

    /// The listener on `127.0.0.1`.
    pub fn ipv4(&self) -> SocketAddr {
        self.ipv4
    }

    /// Where accepted mail is kept.
    pub fn maildir(&self) -> PathBuf {
        self.folder.path().join("Maildir")
    }

    /// How many messages are in the Maildir, read or not.
    pub fn delivered(&self) -> usize {
        let count = |name| fs::read_dir(self.maildir().join(name)).map_or(0, |entries| entries.count());
        count("new") + count("cur")
    }

    /// What was logged so far, without the line ends.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process, for tests that send it other signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it by SIGTERM and waits for it; the folder with the Maildir goes too.
    pub async fn stop(mut self) -> Result<ExitStatus, ServerError> {
        if let Some(status) = self.child.try_wait().map_err(ServerError::Process)? {
            return Ok(status);
        }
        let pid = self.child.id().to_string();
        // The shell has `kill` built in: a small system has no program of that name.
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().map_err(ServerError::Process)?;
        if !sent.success() {
            return Err(ServerError::Process(io::Error::other(format!("SIGTERM could not be sent ({sent})"))));
        }
        self.ended(Instant::now() + END).await?.ok_or(ServerError::NotEnding)
    }

    async fn ended(&mut self, deadline: Instant) -> Result<Option<ExitStatus>, ServerError> {
        loop {
            match self.child.try_wait().map_err(ServerError::Process)? {
                None if Instant::now() < deadline => sleep(Duration::from_millis(20)).await,
                status => return Ok(status),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn existing(path: &Path, advice: &'static str) -> Result<PathBuf, ServerError> {
    path.canonicalize().map_err(|error| ServerError::File { path: path.to_owned(), error, advice })
}

fn configuration(maildir: &Path, component: &Path, nameserver: SocketAddr, port: u16) -> String {
    let listener =
        |address: SocketAddr, extension: bool| format!("\n[[listener]]\naddress = \"{address}\"\nextension = {extension}\n");
    format!(
        "host_name = \"mx.{RECEIVING_DOMAIN}\"\ndomains = [\"{RECEIVING_DOMAIN}\"]\nmaildir = {}\ncomponent = {}\n\
         policy = \"policy.json\"\nlog = \"info\"\n{}{}\n[verify]\nnameservers = [\"{nameserver}\"]\ndeadline = \"5s\"\n\n\
         # More than a decision takes: the machine may be busy.\n[policy_limits]\ndeadline = \"5s\"\n",
        toml_string(maildir),
        toml_string(component),
        listener(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), true),
        listener(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), false),
    )
}

/// A basic string of TOML.
fn toml_string(path: &Path) -> String {
    let mut text = String::from("\"");
    for character in path.to_string_lossy().chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            control if control.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// Reads the log to its end; hands on the addresses of lines that say "listening".
fn watch(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>, show: bool) -> mpsc::UnboundedReceiver<SocketAddr> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if show {
                eprintln!("{line}");
            }
            let address = listening(&line);
            {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                if log.len() < LOG_LINES {
                    log.push(line);
                }
            }
            if let Some(address) = address {
                // Nobody listens once both are known.
                let _ = sender.send(address);
            }
        }
    });
    receiver
}

/// The address in a line such as `INFO listening address=[::1]:2525`.
fn listening(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening")?;
    let (_, address) = rest.split_once("address=")?;
    address.split_whitespace().next()?.trim_matches('"').parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// While one test writes its program, a process that another test starts would hold the file open, and it could not be run.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// A program in place of smtpd.
    fn launch(folder: &Path, script: &str) -> Launch {
        let smtpd = folder.join("smtpd");
        fs::write(&smtpd, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&smtpd, fs::Permissions::from_mode(0o755)).unwrap();
        let component = folder.join("policy \"x\".wasm");
        fs::write(&component, "").unwrap();
        let nameserver = "127.0.0.1:5353".parse().unwrap();
        Launch { smtpd, component, policy: DEMO_POLICY.to_owned(), nameserver, port: 0, show_log: false }
    }

    #[tokio::test]
    async fn waits_for_both_listeners_and_ends_by_sigterm() {
        let _turn = ONE_AT_A_TIME.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'exit 7' TERM
            cat \"$2\" policy.json >&2
            echo 'INFO listening address=[::1]:4025 extension=true' >&2
            echo 'INFO listening address=127.0.0.1:4026' >&2
            while :; do sleep 0.05; done";
        let server = Server::start(launch(folder.path(), script)).await.unwrap();
        assert_eq!((server.ipv6().to_string(), server.ipv4().to_string()), ("[::1]:4025".into(), "127.0.0.1:4026".into()));
        let log = server.log().join("\n");
        for part in [
            "host_name = \"mx.demo.example\"",
            "policy \\\"x\\\".wasm\"",
            "address = \"[::1]:0\"\nextension = true",
            "address = \"127.0.0.1:0\"\nextension = false",
            "nameservers = [\"127.0.0.1:5353\"]",
            "\"first\": \"3s\"",
        ] {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert_eq!(server.delivered(), 0);
        // It leads a process group of its own.
        let group = Command::new("sh").args(["-c", "kill -s 0 -- \"-$0\"", &server.pid().to_string()]).status().unwrap();
        assert!(group.success());
        let kept = server.maildir().parent().unwrap().to_owned();
        assert!(kept.exists());
        assert_eq!(server.stop().await.unwrap().code(), Some(7));
        assert!(!kept.exists());
    }

    #[tokio::test]
    async fn a_server_that_cannot_start_says_why() {
        let _turn = ONE_AT_A_TIME.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let error = |launch| async { Server::start(launch).await.err().unwrap().to_string() };
        let message = error(launch(folder.path(), "echo 'no such policy' >&2; exit 1")).await;
        assert!(message.contains("exit status: 1") && message.ends_with("no such policy"), "{message}");
        let missing = Launch { smtpd: folder.path().join("nothing"), ..launch(folder.path(), "") };
        assert!(error(missing).await.contains("cargo build --ignore-rust-version -p smtp-fallback-smtpd"));
        let missing = Launch { component: folder.path().join("nothing"), ..launch(folder.path(), "") };
        assert!(error(missing).await.contains("build it first"));
    }

    #[test]
    fn lines_that_name_an_address() {
        for (line, address) in [
            ("2026-01-01T00:00:00Z  INFO listening address=[::1]:40213 extension=true", Some("[::1]:40213")),
            ("INFO listening address=\"127.0.0.1:25\"", Some("127.0.0.1:25")),
            ("INFO listening", None),
            ("INFO stopped address=[::1]:40213", None),
            ("INFO listening address=localhost:25", None),
        ] {
            assert_eq!(listening(line).map(|address| address.to_string()).as_deref(), address, "{line}");
        }
    }
}

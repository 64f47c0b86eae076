//! A program of this project, as an administrator starts it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use crate::until;

/// A running program. Dropping it kills the process.
pub struct Program {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts it. `each` sees the lines of its log as they come.
    pub fn start(mut command: Command, each: impl Fn(&str) + Send + 'static) -> Program {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                each(&line);
                lines.lock().unwrap().push(line);
            }
        });
        Program { child, log }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", "kill -\"$1\" \"$0\"", &self.pid().to_string(), name]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        until("the program has ended", || self.child.try_wait().unwrap().ok_or_else(|| String::from("it runs")))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits for a line of the log with all these parts, and gives it.
    pub fn logged(&self, parts: &[&str]) -> String {
        until(&format!("{parts:?} in the log"), || {
            let log = self.log();
            let line = log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned);
            line.ok_or(log)
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with its configuration, as the build left it: `cargo xtask interop` says in this variable where, and without it, it is beside
/// the folder of the tests.
pub(crate) fn command(name: &str, variable: &str, config: &Path) -> Command {
    let mut command = Command::new(path(name, variable));
    // Else colours may come between the words of the log.
    command.arg("--config").arg(config).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Where the program is.
pub(crate) fn path(name: &str, variable: &str) -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().join("..").join(name);
    let path = std::env::var_os(variable).map_or_else(beside, PathBuf::from);
    assert!(path.exists(), "{} is missing: start these tests by `cargo xtask interop`", path.display());
    path
}

/// Puts the shipped component into a folder: the checkout may be where only root can look.
pub(crate) fn component_into(folder: &Path) {
    let path = std::env::var_os("SMTP_FALLBACK_COMPONENT")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/smtp-fallback-policy.wasm"), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo xtask component` first", path.display());
    fs::copy(path, folder.join("policy.wasm")).unwrap();
}

//! A program of this project, as an administrator starts it.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use crate::until;

/// Lines of a log that are kept: a program that runs for long says more than anybody looks for.
const LINES: usize = 100_000;

/// A running program. Dropping it kills the process.
pub struct Program {
    child: Child,
    log: Arc<Mutex<Log>>,
}

/// The last lines, and how many came before them.
#[derive(Default)]
struct Log {
    gone: usize,
    lines: VecDeque<String>,
}

impl Log {
    fn push(&mut self, line: String) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
            self.gone += 1;
        }
        self.lines.push_back(line);
    }

    /// The lines from this number on, as far as they are kept.
    fn since(&self, mark: usize) -> impl Iterator<Item = &String> {
        self.lines.iter().skip(mark.saturating_sub(self.gone))
    }
}

impl Program {
    /// Starts it. `each` sees the lines of its log as they come.
    pub fn start(mut command: Command, each: impl Fn(&str) + Send + 'static) -> Program {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
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
        self.lines_since(0).join("\n")
    }

    /// How many lines its log has so far.
    pub fn mark(&self) -> usize {
        let log = self.log.lock().unwrap();
        log.gone + log.lines.len()
    }

    /// The lines of its log since a [`Program::mark`]; of a long log, the last of them.
    pub fn lines_since(&self, mark: usize) -> Vec<String> {
        self.lines_and_mark(mark).0
    }

    /// Those, and the mark behind the last of them: a line that comes meanwhile is one of the next.
    pub fn lines_and_mark(&self, mark: usize) -> (Vec<String>, usize) {
        let log = self.log.lock().unwrap();
        (log.since(mark).cloned().collect(), log.gone + log.lines.len())
    }

    /// Waits for a line of the log with all these parts, and gives it.
    pub fn logged(&self, parts: &[&str]) -> String {
        self.logged_since(0, parts)
    }

    /// The same, of the lines since a [`Program::mark`].
    pub fn logged_since(&self, mark: usize, parts: &[&str]) -> String {
        until(&format!("{parts:?} in the log"), || {
            let log = self.log.lock().unwrap();
            let line = log.since(mark).find(|line| parts.iter().all(|part| line.contains(part))).cloned();
            line.ok_or_else(|| log.since(mark).map(String::as_str).collect::<Vec<_>>().join("\n"))
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

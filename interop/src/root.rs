//! Roots with other mail servers in them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// What is prepared by the script.
const SCRIPT: &str = include_str!("shell/root.sh");

/// Where a root is, once it is prepared.
type Place = Arc<Mutex<Option<Arc<Root>>>>;

/// A layer over the files of this system with more packages in it. Debian's mail servers exclude each other: each has a root of its own, and
/// the system keeps what it has. A [`Machine`](crate::Machine) is started over it, as often as wanted.
///
/// It is in memory and in a mount namespace of its own: nothing of it is left when this process has ended, however it ended.
pub struct Root {
    holder: Holder,
}

impl Root {
    /// With these packages of Debian. What is there already is left as it is; without any packages it is this system as it is.
    ///
    /// Each root is prepared once in a process, and lives as long as that.
    pub fn with(packages: &[&str]) -> Arc<Root> {
        Root::prepared(packages.iter().map(|&package| package.to_owned()).collect())
    }

    /// With these packages of npm, under `/opt/npm/node_modules`.
    pub fn with_npm(packages: &[&str]) -> Arc<Root> {
        Root::prepared(["npm"].iter().chain(packages).map(|&word| word.to_owned()).collect())
    }

    fn prepared(words: Vec<String>) -> Arc<Root> {
        static ROOTS: LazyLock<Mutex<BTreeMap<Vec<String>, Place>>> = LazyLock::new(Mutex::default);
        let place = Arc::clone(ROOTS.lock().unwrap_or_else(PoisonError::into_inner).entry(words.clone()).or_default());
        // Different roots are prepared at the same time; who wants one that is being prepared waits. After a failure the next one tries again,
        // and fails with its own words.
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(place.get_or_insert_with(|| Arc::new(Root::prepare(&words))))
    }

    fn prepare(words: &[String]) -> Root {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "--propagation", "unchanged", "--", "sh", "-c", SCRIPT, "sh"]).args(words);
        Root { holder: Holder::start(command, &format!("a root with {}", words.join(" "))) }
    }

    /// A process in its mount namespace.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.pid
    }
}

/// A process that holds namespaces until its input ends: with this value, or with this process, whatever ends it.
pub(crate) struct Holder {
    child: Child,
    /// The process in the namespaces, by the number that it has in the system.
    pub(crate) pid: u32,
}

impl Holder {
    /// Starts it. It has said `ready` with its number when this returns.
    pub(crate) fn start(mut command: Command, what: &str) -> Holder {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("unshare (package util-linux): {error}"));
        let mut errors = child.stderr.take().unwrap();
        // apt may say more than a pipe holds.
        let errors = std::thread::spawn(move || {
            let mut words = Vec::new();
            let _ = errors.read_to_end(&mut words);
            String::from_utf8_lossy(&words).into_owned()
        });
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = said.into_iter().find_map(|line| line.strip_prefix("ready ").and_then(|pid| pid.trim().parse().ok()));
        let Some(pid) = ready else {
            let _ = child.wait();
            panic!(
                "{what}: cannot be prepared; this takes root, and a kernel with overlay file systems\n{}",
                errors.join().unwrap()
            );
        };
        Holder { child, pid }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The end of its input lets it go, with all that is in its namespaces.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

//! Machines of one's own: files, network, processes and a name, without a kernel of their own.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use nix::sched::{CloneFlags, setns};

use crate::Root;
use crate::root::Holder;

/// What sets it up.
const SCRIPT: &str = include_str!("shell/machine.sh");
/// Lines of the log that are kept.
const LOG: usize = 100_000;

/// The IPv4 address from which a machine speaks.
pub const IPV4: &str = "192.0.2.25";
/// The IPv6 address from which a machine speaks.
pub const IPV6: &str = "2001:db8:25::25";

/// A machine over a [`Root`], which stays as it was. Its network is its own and leads nowhere; in it, all of 198.18.0.0/15 and of 2001:db8::/32 is
/// the machine itself, so servers at any number of addresses need a listener on the wildcard address only. Connections
/// there come from [`IPV4`] and [`IPV6`]. It asks a name server on 127.0.0.1 that the test has to start, in [`Machine::enter`].
///
/// Dropping it ends its processes, also those that have become daemons, and removes all else of it; so does the end of this process,
/// however it ends.
pub struct Machine {
    holder: Holder,
    log: Arc<Mutex<VecDeque<String>>>,
    /// As long as its machine.
    _root: Arc<Root>,
}

impl Machine {
    /// A machine of this name.
    pub fn start(root: &Arc<Root>, name: &str) -> Machine {
        let mut command = Command::new("nsenter");
        // With its root: in a chroot that is not the namespace's own one.
        command.args(["--target", &root.pid().to_string(), "--mount", "--root", "--wd", "--", "unshare"]);
        command.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "unchanged"]);
        command.args(["--", "sh", "-c", SCRIPT, "sh", name, IPV4, IPV6]);
        let holder = Holder::start(command, &format!("the machine {name}"));
        let machine = Machine { holder, log: Arc::default(), _root: Arc::clone(root) };
        machine.keep_log();
        machine
    }

    /// Runs a program of its root on it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.nsenter(&["--mount", "--uts", "--ipc", "--root", "--wd"]);
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program of this system, with its files, in the machine's network.
    pub fn outside(&self, program: &Path) -> Command {
        let mut command = self.nsenter(&[]);
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a shell command of its root, and gives what it printed; panics when it fails.
    pub fn shell(&self, line: &str) -> String {
        let Output { status, stdout, stderr } = self.command("sh").args(["-c", line]).output().unwrap();
        let words = String::from_utf8_lossy(&stdout).into_owned();
        assert!(status.success(), "{line}: {status}\n{words}\n{}\n{}", String::from_utf8_lossy(&stderr), self.log());
        words
    }

    /// Does something on a thread of its own in the machine's network: sockets that are opened there are the machine's.
    pub fn enter<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.holder.pid)).unwrap();
        std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        })
    }

    /// A path of the machine, as this process can use it.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.pid)).join(path.trim_start_matches('/'))
    }

    /// Writes a file of the machine, and the folders above it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Changes a file of the machine: each of these texts must be in it once.
    pub fn edit(&self, path: &str, changes: &[(&str, &str)]) {
        let mut text = fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "{path}: {from:?} is not in it once:\n{text}");
            text = text.replacen(from, to, 1);
        }
        self.write(path, &text);
    }

    /// What its programs have told the system's log so far; the oldest lines may be gone.
    pub fn log(&self) -> String {
        Vec::from(self.log.lock().unwrap().clone()).join("\n")
    }

    fn nsenter(&self, more: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.pid.to_string(), "--net", "--pid"]).args(more).arg("--");
        command
    }

    /// Takes the place of syslogd.
    fn keep_log(&self) {
        let path = self.path("/dev/log");
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        let log = Arc::downgrade(&self.log);
        std::thread::spawn(move || {
            let mut octets = vec![0; 8192];
            // Until the machine is gone: it is looked for now and then.
            socket.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
            while let Some(log) = log.upgrade() {
                if let Ok(size) = socket.recv(&mut octets) {
                    let mut log = log.lock().unwrap();
                    log.push_back(String::from_utf8_lossy(&octets[..size]).into_owned());
                    let more = log.len().saturating_sub(LOG);
                    log.drain(..more);
                }
            }
        });
    }
}

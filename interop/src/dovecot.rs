//! A Dovecot of one's own, as an LMTP server (RFC 2033).

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{free_address, give, in_maildir, public_folder, until, user};

/// How long it may take to end, before it is killed.
const STOP: Duration = Duration::from_secs(10);

/// A running Dovecot that takes mail for jones and for smith at demo.example, each with a Maildir: on a UNIX socket, and on a port, where
/// it lets itself be told by XCLIENT who the client is. Dropping it stops it and removes all that it has written.
pub struct Dovecot {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Dovecot {
    /// Starts it. It takes mail when this returns.
    pub fn start() -> Dovecot {
        let folder = public_folder("smtp-fallback-dovecot-");
        let path = folder.path().display();
        let address = free_address(std::net::Ipv4Addr::LOCALHOST.into());
        let (uid, gid) = user("nobody");
        let users: String =
            ["jones", "smith"].map(|name| format!("{name}@demo.example::{uid}:{gid}::{path}/mail/{name}::\n")).concat();
        fs::write(folder.path().join("users"), users).unwrap();
        fs::create_dir(folder.path().join("mail")).unwrap();
        give(&folder.path().join("mail"), "nobody");
        let configuration = format!(
            "protocols = lmtp\nlisten = 127.0.0.1\nssl = no\nhostname = upstream.example\n\
             login_trusted_networks = 127.0.0.1\n\
             base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = {path}/dovecot.log\n\
             mail_location = maildir:~/box\n\
             passdb {{\n  driver = passwd-file\n  args = {path}/users\n}}\n\
             userdb {{\n  driver = passwd-file\n  args = {path}/users\n}}\n\
             service lmtp {{\n  unix_listener {path}/lmtp {{\n    mode = 0666\n  }}\n\
             inet_listener lmtp {{\n    address = {}\n    port = {}\n  }}\n}}\n",
            address.ip(),
            address.port()
        );
        fs::write(folder.path().join("dovecot.conf"), configuration).unwrap();
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(folder.path().join("dovecot.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("dovecot cannot be started: {error}; install dovecot-lmtpd"));
        let dovecot = Dovecot { child, address, folder };
        until("Dovecot listens", || UnixStream::connect(dovecot.socket()).map_err(|error| format!("{error}\n{}", dovecot.log())));
        dovecot
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("lmtp")
    }

    /// Its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The messages that this user has.
    pub fn delivered(&self, name: &str) -> Vec<Vec<u8>> {
        in_maildir(&self.folder.path().join("mail").join(name).join("box"))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("dovecot.log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // By SIGTERM it ends its other processes, too.
        let _ = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()]).status();
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

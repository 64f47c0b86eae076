//! opendkim as a filter before ours: it verifies signatures, and says in Authentication-Results what it found.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use smtp_fallback_demo::sign;
use tempfile::TempDir;

use crate::{public_folder, until};

/// A running opendkim. It asks no name server: it has the demo's keys in a file. Dropping it kills the process.
pub struct Opendkim {
    child: Child,
    folder: TempDir,
}

impl Opendkim {
    /// Starts it with this authserv-id, and with more lines in its configuration. It listens when this returns.
    pub fn start(authserv_id: &str, more: &str) -> Opendkim {
        let folder = public_folder("smtp-fallback-opendkim-");
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(folder.path().join("keys"), format!("{} {}\n", sign::RSA_KEY_NAME, sign::RSA_KEY_RECORD)).unwrap();
        let configuration = format!(
            "Mode v\nAuthservID {authserv_id}\nSocket local:{}\nTestPublicKeys {}\nUMask 000\nBackground no\nSyslog no\n\
             PeerList file:/dev/null\nInternalHosts file:/dev/null\n{more}\n",
            path("opendkim.sock"),
            path("keys")
        );
        fs::write(folder.path().join("opendkim.conf"), configuration).unwrap();
        let mut command = Command::new("opendkim");
        command.args(["-f", "-x"]).arg(folder.path().join("opendkim.conf"));
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("opendkim cannot be started: {error}; install the package opendkim"));
        let opendkim = Opendkim { child, folder };
        until("opendkim listens", || UnixStream::connect(opendkim.socket()).map(drop).map_err(|error| error.to_string()));
        opendkim
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("opendkim.sock")
    }
}

impl Drop for Opendkim {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Servers of the tests' own: on loopback, with a folder of their own, gone with the test.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use redis::{Cmd, FromRedisValue};
use tempfile::TempDir;

/// So often another port is tried: between choosing one and the server's binding it, another process may take it.
const PORTS_TRIED: u32 = 10;

pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
}

impl Server {
    /// A server that keeps nothing on disk.
    pub(crate) fn start() -> Server {
        Server::with(|_| Vec::new())
    }

    /// With these arguments, too. The folder is the server's, for its files.
    pub(crate) fn with(arguments: impl FnOnce(&Path) -> Vec<String>) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let arguments = arguments(folder.path());
        for _ in 0..PORTS_TRIED {
            let port = free_port();
            if let Ok(child) = spawn(&folder, port, &arguments) {
                return Server { child, folder, port, arguments };
            }
        }
        panic!("redis-server found no port in {PORTS_TRIED} tries");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket(self.folder.path())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command over a connection of its own, by the UNIX socket.
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.ask_octets(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    pub(crate) fn ask_octets<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let client = redis::Client::open(format!("unix://{}", self.socket().display())).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query(&mut connection).unwrap()
    }

    /// It stays, and answers nothing.
    pub(crate) fn stop(&self) {
        signal("-STOP", &self.child);
    }

    pub(crate) fn go_on(&self) {
        signal("-CONT", &self.child);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same port again, with nothing in it.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.folder, self.port, &self.arguments).expect("the port is free again");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // A stopped process dies of it, too. It may be dead already.
        let _ = self.child.wait();
    }
}

/// Free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

/// Returns when it answers. The error is what it said.
fn spawn(folder: &TempDir, port: u16, arguments: &[String]) -> Result<Child, String> {
    let mut command = Command::new("redis-server");
    command.args([
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
        "--enable-debug-command",
        "yes",
    ]);
    command.arg("--dir").arg(folder.path()).arg("--unixsocket").arg(socket(folder.path()));
    command.args(["--port", &port.to_string()]).args(arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("redis-server cannot be started: {error}; these tests need it: apt-get install redis-server")
    });
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    loop {
        let before = said.len();
        if output.read_line(&mut said).unwrap() == 0 {
            let _ = child.wait();
            return Err(said);
        }
        if said[before..].contains("Ready to accept connections") {
            break;
        }
    }
    // The socket comes last, so TCP answers as well. What else it says must not fill the pipe.
    std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
    Ok(child)
}

fn signal(name: &str, child: &Child) {
    // The shell has `kill` built in: a small system has no program of that name.
    let command = format!("kill {name} \"$0\"");
    let status = Command::new("sh").args(["-c", &command, &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "kill {name}");
}

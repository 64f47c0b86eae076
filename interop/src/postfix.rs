//! A Postfix of one's own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{free_address, give, in_maildir, public_folder, until};

/// How long `postfix stop` may take, before what is left is killed.
const STOP: Duration = Duration::from_secs(20);

/// What differs from a Postfix that takes mail for demo.example on one port of 127.0.0.1, and delivers it into one Maildir.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    main: BTreeMap<String, String>,
    files: Vec<(String, String)>,
    ipv6: bool,
}

impl Setup {
    /// Nothing differs.
    pub fn new() -> Setup {
        Setup::default()
    }

    /// Postfix learns by XCLIENT who the client is. Where it asks whether the client has one of its own addresses
    /// (permit_inet_interfaces), it goes by the connection all the same: whose header it completes must not depend on that.
    pub fn for_xclient() -> Setup {
        // As smtpd's deploy/README.md advises.
        Setup::new()
            .with("stress", "")
            .with("smtpd_authorized_xclient_hosts", "127.0.0.1")
            .with("local_header_rewrite_clients", "permit_mynetworks")
            .with("smtpd_tls_security_level", "none")
    }

    /// Postfix learns by the PROXY protocol who the client is.
    pub fn for_proxy() -> Setup {
        Setup::new().with("smtpd_upstream_proxy_protocol", "haproxy")
    }

    /// The same for either way to tell it, by the name that smtpd's configuration has for it.
    pub fn told_by(tell: &str) -> Setup {
        match tell {
            "xclient" => Setup::for_xclient(),
            "proxy-v1" => Setup::for_proxy(),
            _ => Setup::new(),
        }
    }

    /// On `[::1]`, and not on 127.0.0.1.
    pub fn over_ipv6(self) -> Setup {
        Setup { ipv6: true, ..self }
    }

    /// With this parameter of main.cf.
    pub fn with(mut self, parameter: &str, value: &str) -> Setup {
        self.main.insert(parameter.to_owned(), value.to_owned());
        self
    }

    /// With this file, which main.cf can name as `$config_directory/NAME`.
    pub fn file(mut self, name: &str, text: &str) -> Setup {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }
}

/// A running Postfix. Dropping it stops it and removes all that it has written.
pub struct Postfix {
    folder: TempDir,
    address: SocketAddr,
}

impl Postfix {
    /// Writes its configuration and starts it. It takes mail when this returns.
    pub fn start(setup: Setup) -> Postfix {
        let folder = public_folder("smtp-fallback-postfix-");
        let ip = if setup.ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let address = free_address(ip);
        for name in ["config", "queue", "data", "mail"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        give(&folder.path().join("data"), "postfix");
        give(&folder.path().join("mail"), "nobody");
        let config = folder.path().join("config");
        fs::write(config.join("main.cf"), main_cf(folder.path(), &setup.main)).unwrap();
        fs::write(config.join("master.cf"), format!("{address} inet n - n - - smtpd\n{SERVICES}")).unwrap();
        for (name, text) in &setup.files {
            fs::write(config.join(name), text).unwrap();
        }
        let postfix = Postfix { folder, address };
        postfix.start_again();
        postfix
    }

    /// Where it takes mail.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it after [`Postfix::stop`], with the same configuration, port and queue.
    pub fn start_again(&self) {
        let output = self.program("postfix", &["start"]);
        assert!(output.status.success(), "postfix start: {}\n{}", text(&output.stderr), self.log());
        until("Postfix listens", || {
            let connected = std::net::TcpStream::connect(self.address);
            connected.map(drop).map_err(|error| format!("{error}\n{}", self.log()))
        });
    }

    /// Stops it. Sessions are cut off.
    pub fn stop(&self) {
        let output = self.program("postfix", &["stop"]);
        assert!(output.status.success(), "postfix stop: {}\n{}", text(&output.stderr), self.log());
        until("Postfix has stopped listening", || match std::net::TcpStream::connect(self.address) {
            Ok(_) => Err("it still takes connections".to_owned()),
            Err(_) => Ok(()),
        });
    }

    /// The messages that it delivered, when there are none left on the way.
    pub fn delivered(&self) -> Vec<Vec<u8>> {
        until("the queue is empty", || match self.queue() {
            queue if queue.is_empty() => Ok(()),
            queue => Err(format!("{queue:?}\n{}", self.log())),
        });
        in_maildir(&self.folder.path().join("mail/box"))
    }

    /// The files of messages on the way, in the order of that way: one that moves on meanwhile is seen all the same.
    pub fn queue(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for name in ["maildrop", "incoming", "active", "deferred", "hold", "corrupt"] {
            collect(&self.folder.path().join("queue").join(name), &mut files);
        }
        files
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read(self.folder.path().join("mail.log")).map(|log| text(&log)).unwrap_or_default()
    }

    /// Waits for a line of the log with all these parts, and gives it.
    pub fn logged(&self, parts: &[&str]) -> String {
        until(&format!("{parts:?} in Postfix's log"), || {
            let log = self.log();
            let line = log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned);
            line.ok_or(log)
        })
    }

    /// Runs one of Postfix's programs on this instance.
    pub fn program(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(name);
        command.arg("-c").arg(self.folder.path().join("config")).args(arguments).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| panic!("{name} cannot be started: {error}; install the package postfix"))
    }

    /// The folder of its configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// What is in the queue, the envelope of each message with its parameters, as postcat shows it.
    pub fn envelopes(&self) -> Vec<String> {
        let show = |file: &PathBuf| text(&self.program("postcat", &["-e", &file.to_string_lossy()]).stdout);
        self.queue().iter().map(show).collect()
    }

    /// The process number of its master.
    fn master(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(self.folder.path().join("queue/pid/master.pid")).ok()?.trim().parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "master").then_some(pid)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if self.master().is_none() {
            return;
        }
        let mut command = Command::new("postfix");
        command.arg("-c").arg(self.folder.path().join("config")).arg("stop");
        let stopping = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let deadline = Instant::now() + STOP;
        if let Ok(mut stopping) = stopping {
            while Instant::now() < deadline && matches!(stopping.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = stopping.kill();
            let _ = stopping.wait();
        }
        if let Some(master) = self.master() {
            // Its children end when it is gone.
            let _ = Command::new("sh").args(["-c", "kill -KILL \"$0\"", &master.to_string()]).status();
        }
    }
}

/// Nothing leaves the machine, no name is looked up, and of the system's own configuration nothing is used.
fn main_cf(folder: &Path, differences: &BTreeMap<String, String>) -> String {
    let folder = folder.display();
    let (uid, gid) = crate::user("nobody");
    let usual = [
        ("compatibility_level", "3.6".to_owned()),
        ("queue_directory", format!("{folder}/queue")),
        ("data_directory", format!("{folder}/data")),
        ("maillog_file", format!("{folder}/mail.log")),
        ("maillog_file_prefixes", folder.to_string()),
        ("mail_owner", "postfix".to_owned()),
        ("setgid_group", "postdrop".to_owned()),
        ("myhostname", "upstream.example".to_owned()),
        ("mydestination", String::new()),
        ("mynetworks", "127.0.0.0/8".to_owned()),
        ("inet_interfaces", "127.0.0.1".to_owned()),
        ("inet_protocols", "all".to_owned()),
        ("alias_maps", String::new()),
        ("alias_database", String::new()),
        ("local_recipient_maps", String::new()),
        ("virtual_mailbox_domains", "demo.example".to_owned()),
        ("virtual_mailbox_base", format!("{folder}/mail")),
        ("virtual_mailbox_maps", "static:box/".to_owned()),
        ("virtual_uid_maps", format!("static:{uid}")),
        ("virtual_gid_maps", format!("static:{gid}")),
        ("default_transport", "error:5.1.2 no mail leaves this machine".to_owned()),
        ("relay_transport", "error:5.1.2 no mail leaves this machine".to_owned()),
        ("smtp_dns_support_level", "disabled".to_owned()),
        ("smtpd_peername_lookup", "no".to_owned()),
        ("smtpd_client_connection_count_limit", "0".to_owned()),
        // Mail is delivered at once.
        ("in_flow_delay", "0".to_owned()),
    ];
    let mut parameters: BTreeMap<&str, &str> = usual.iter().map(|(name, value)| (*name, value.as_str())).collect();
    parameters.extend(differences.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    parameters.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
}

/// The services of a Postfix but for those that listen, for its master.cf. Nothing is chrooted: a chroot would need copies of the system's files.
pub const SERVICES: &str = "\
pickup   unix n - n 60    1 pickup
cleanup  unix n - n -     0 cleanup
qmgr     unix n - n 300   1 qmgr
rewrite  unix - - n -     - trivial-rewrite
bounce   unix - - n -     0 bounce
defer    unix - - n -     0 bounce
trace    unix - - n -     0 bounce
verify   unix - - n -     1 verify
flush    unix n - n 1000? 0 flush
proxymap unix - - n -     - proxymap
smtp     unix - - n -     - smtp
showq    unix n - n -     - showq
error    unix - - n -     - error
retry    unix - - n -     - error
discard  unix - - n -     - discard
virtual  unix - n n -     - virtual
tlsmgr   unix - - n 1000? 1 tlsmgr
anvil    unix - - n -     1 anvil
scache   unix - - n -     1 scache
postlog  unix-dgram n - n - 1 postlogd
";

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            Ok(_) => files.push(entry.path()),
            // It has moved on.
            Err(_) => {}
        }
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

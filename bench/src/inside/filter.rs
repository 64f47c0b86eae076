//! Other people's filters of a Postfix, and the start of any program that tells by its socket that it is ready.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::group::Group;

/// How long a filter may take until its socket is there: ours compiles the component first.
const START: Duration = Duration::from_secs(60);

/// A running milter. It writes no log but for what goes wrong: what its lines cost depends on where they go.
pub(crate) struct Filter {
    pub(crate) name: String,
    pub(crate) group: Group,
    pub(crate) socket: PathBuf,
    child: Child,
}

/// A program that Postfix starts itself, one for each of its smtpd processes.
pub(crate) struct Policyd {
    pub(crate) group: Group,
    /// What Postfix is to start.
    pub(crate) script: PathBuf,
}

impl Filter {
    /// Starts it. Its socket, `FILE.sock` in the folder, is there when this returns.
    pub(crate) fn start(
        name: &str,
        file: &str,
        groups: &Path,
        folder: &Path,
        command: impl FnOnce(&Group, &Path) -> Result<Command, Box<dyn Error>>,
    ) -> Result<Filter, Box<dyn Error>> {
        let group = Group::create(groups, file)?;
        let socket = folder.join(format!("{file}.sock"));
        let log = socket.with_extension("log");
        let mut command = command(&group, &socket)?;
        let child =
            command.stdout(Stdio::null()).stderr(fs::File::create(&log)?).spawn().map_err(|error| format!("{name}: {error}"))?;
        let mut filter = Filter { name: name.to_owned(), group, socket, child };
        let deadline = Instant::now() + START;
        while !filter.socket.exists() {
            let ended = filter.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let ended =
                    ended.map_or(format!("has no socket after {} s", START.as_secs()), |status| format!("has ended ({status})"));
                let log = fs::read_to_string(&log)?;
                return Err(format!("{name} {ended}; its log:\n{log}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Postfix is another user.
        fs::set_permissions(&filter.socket, fs::Permissions::from_mode(0o666))?;
        Ok(filter)
    }

    /// OpenDKIM, which verifies, and refuses nothing.
    pub(crate) fn opendkim(groups: &Path, folder: &Path) -> Result<Filter, Box<dyn Error>> {
        Filter::start("opendkim", "opendkim", groups, folder, |group, socket| {
            let settings = [
                ("Mode", "v"),
                ("Background", "no"),
                ("Syslog", "no"),
                ("Nameservers", "127.0.0.1"),
                ("UMask", "000"),
                ("Socket", &format!("local:{}", socket.display())),
            ];
            let file = folder.join("opendkim.conf");
            fs::write(&file, settings.map(|(name, value)| format!("{name} {value}\n")).concat())?;
            let mut command = group.command("opendkim");
            command.arg("-f").arg("-x").arg(file);
            Ok(command)
        })
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Policyd {
    /// Prepares policyd-spf.
    pub(crate) fn new(groups: &Path, folder: &Path) -> Result<Policyd, Box<dyn Error>> {
        let group = Group::create(groups, "policyd-spf")?;
        let (settings, script) = (folder.join("policyd-spf.conf"), folder.join("policyd-spf"));
        fs::write(&settings, "debugLevel = 0\n")?;
        fs::write(&script, format!("#!/bin/sh\n{}policyd-spf {}\n", group.move_and_exec(), settings.display()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(Policyd { group, script })
    }

    /// The service for Postfix's master.cf that [`ASK_POLICYD`] asks.
    pub(crate) fn service(&self) -> String {
        format!("policyd-spf unix - n n - 0 spawn user=nobody argv={}\n", self.script.display())
    }
}

/// The lines of an smtpd's entry in master.cf by which it asks policyd-spf.
pub(crate) const ASK_POLICYD: &str =
    "  -o { smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service unix:private/policyd-spf }\n";

//! A Postfix that throws away what it accepts.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use smtp_fallback_interop::SERVICES;

use super::group::Group;
use super::load::RECEIVING_DOMAIN;
use super::place::{SERVER, text};

/// The local part whose mail is kept, for it to be looked at.
pub(crate) const KEPT: &str = "kept";

/// How long the queue may take to become empty.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Postfix {
    folder: PathBuf,
    group: Group,
}

impl Postfix {
    /// With these services that listen, as master.cf has them, and with more parameters for main.cf. It takes mail when this returns.
    pub(crate) fn start(groups: &Path, folder: &Path, services: &str, parameters: &str) -> Result<Postfix, Box<dyn Error>> {
        let (group, folder) = (Group::create(groups, "postfix")?, folder.join("postfix"));
        fs::create_dir(&folder)?;
        for (name, user) in [("config", "root"), ("queue", "root"), ("data", "postfix"), ("mail", "nobody")] {
            fs::create_dir(folder.join(name))?;
            text(Command::new("chown").arg(user).arg(folder.join(name)))?;
        }
        fs::write(folder.join("config/main.cf"), main_cf(&folder)? + parameters)?;
        fs::write(folder.join("config/master.cf"), format!("{services}{SERVICES}"))?;
        let postfix = Postfix { folder, group };
        // Without the umask that a group's command has for the filters' sockets.
        let start = format!("umask 022; exec postfix -c {}/config start", postfix.folder.display());
        text(postfix.group.command("sh").args(["-c", &start])).map_err(|error| format!("{error}\n{}", postfix.log()))?;
        Ok(postfix)
    }

    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        super::last_lines(&fs::read_to_string(self.folder.join("mail.log")).unwrap_or_default())
    }

    /// Waits until no message is on its way.
    pub(crate) async fn drained(&self) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        while ["incoming", "active", "deferred"].iter().any(|name| holds_a_file(&self.folder.join("queue").join(name))) {
            if Instant::now() > deadline {
                return Err(format!("Postfix still has messages after {} s\n{}", PATIENCE.as_secs(), self.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The message to [`KEPT`], as soon as it is there. It is not kept any longer.
    pub(crate) async fn kept(&self) -> Result<String, Box<dyn Error>> {
        self.drained().await?;
        let mut files = fs::read_dir(self.folder.join("mail/box/new"))?;
        let path = files.next().ok_or("the message was accepted, and not delivered")??.path();
        let message = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        fs::remove_file(path)?;
        Ok(message)
    }
}

fn holds_a_file(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| if entry.path().is_dir() { holds_a_file(&entry.path()) } else { true })
}

fn main_cf(folder: &Path) -> Result<String, Box<dyn Error>> {
    let nobody = |option: &str| text(Command::new("id").args([option, "nobody"])).map(|number| number.trim().to_owned());
    let (uid, gid, folder) = (nobody("-u")?, nobody("-g")?, folder.display());
    Ok(format!(
        "compatibility_level = 3.6\n\
         queue_directory = {folder}/queue\n\
         data_directory = {folder}/data\n\
         maillog_file = {folder}/mail.log\n\
         maillog_file_prefixes = {folder}\n\
         mail_owner = postfix\n\
         setgid_group = postdrop\n\
         myhostname = mx.{RECEIVING_DOMAIN}\n\
         mydestination =\n\
         mynetworks = 127.0.0.0/8\n\
         inet_interfaces = {SERVER}\n\
         inet_protocols = all\n\
         alias_maps =\n\
         alias_database =\n\
         virtual_mailbox_domains = {RECEIVING_DOMAIN}\n\
         virtual_mailbox_base = {folder}/mail\n\
         virtual_mailbox_maps = static:box/\n\
         virtual_uid_maps = static:{uid}\n\
         virtual_gid_maps = static:{gid}\n\
         virtual_transport = discard:\n\
         transport_maps = inline:{{ {KEPT}@{RECEIVING_DOMAIN}=virtual: }}\n\
         default_transport = error:5.1.2 no mail leaves this machine\n\
         relay_transport = error:5.1.2 no mail leaves this machine\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         smtpd_client_connection_count_limit = 0\n\
         policyd-spf_time_limit = 3600\n\
         in_flow_delay = 0\n"
    ))
}

//! A Sendmail that receives, on a machine of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use smtp_fallback_demo::client::{Client, ClientError, Reply};

use crate::{Machine, Root, until};

/// Where it takes mail: addresses of its machine.
const OVER_IPV6: &str = "[2001:db8:100::1]:25";
const OVER_IPV4: &str = "198.18.100.1:25";

/// The socket of the filter, as Sendmail's machine has it.
const SOCKET: &str = "/run/filter/milter.sock";

/// A running Sendmail, which takes mail for jones@demo.example and asks a filter. Dropping it ends it, with its machine.
pub struct Sendmail {
    machine: Machine,
}

impl Sendmail {
    /// Its machine, where the socket of the filter is to be made before it starts. `daemon` is the name of its service.
    pub fn prepare(daemon: &str) -> Sendmail {
        let machine = Machine::start(&Root::with(&["sendmail-bin"]), "mx.demo.example");
        machine.write("/etc/mail/sendmail.mc", &configuration(daemon));
        machine.write("/etc/mail/local-host-names", "demo.example\n");
        // Of what the package has set up, nothing is used.
        machine.shell(
            "echo 1 >/proc/sys/net/ipv6/bindv6only && mkdir -p /run/filter /run/sendmail/mta /var/mail && mkdir -m 700 /var/spool/queue && useradd --system jones && touch /var/mail/jones && chown jones:mail /var/mail/jones \
             && cd /etc/mail && m4 sendmail.mc >sendmail.cf && touch /run/sendmail/aliases && newaliases",
        );
        Sendmail { machine }
    }

    /// The path of the filter's socket, for the filter.
    pub fn socket(&self) -> PathBuf {
        self.machine.path(SOCKET)
    }

    /// Starts it. It takes mail when this returns.
    pub fn start(&self) {
        self.machine.shell("/usr/libexec/sendmail/sendmail -bd");
        until("Sendmail listens", || match self.talk(false, &[]) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}\n{}", self.machine.log())),
        });
    }

    /// The greeting and the replies to these commands, one after another, of a session from the machine's own address; `DATA` is followed
    /// by the message that stands behind it. Ends early where it closes.
    pub fn talk(&self, ipv6: bool, commands: &[&str]) -> Result<Vec<Reply>, String> {
        let address: SocketAddr = if ipv6 { OVER_IPV6 } else { OVER_IPV4 }.parse().unwrap();
        let commands: Vec<String> = commands.iter().map(|&command| command.to_owned()).collect();
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let talk = self.machine.enter(move || runtime().block_on(dialogue(address, commands)));
        talk.join().unwrap().map_err(|error| error.to_string())
    }

    /// The replies to a message, from the greeting on.
    pub fn send(&self, ipv6: bool, sender: &str, message: &[u8]) -> Vec<Reply> {
        let message = String::from_utf8(message.to_vec()).unwrap();
        let mail = format!("MAIL FROM:<{sender}>");
        self.talk(ipv6, &["EHLO client.example", &mail, "RCPT TO:<jones@demo.example>", "DATA", &message]).unwrap()
    }

    /// The mailbox, once this text is in it; without the field that mail.local adds.
    pub fn delivered(&self, text: &str) -> String {
        until(&format!("{text:?} in the mailbox"), || {
            let mailbox = fs::read(self.machine.path("/var/mail/jones")).unwrap();
            let lines = String::from_utf8(mailbox).unwrap();
            let mailbox: String = lines.split_inclusive('\n').filter(|line| !line.starts_with("Content-Length: ")).collect();
            if mailbox.contains(text) { Ok(mailbox) } else { Err(format!("{mailbox}\n{}", self.machine.log())) }
        })
    }

    /// Waits for a line of its log with all these parts, and gives it.
    pub fn logged(&self, parts: &[&str]) -> String {
        until(&format!("{parts:?} in Sendmail's log"), || {
            let log = self.machine.log();
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned).ok_or(log)
        })
    }
}

async fn dialogue(address: SocketAddr, commands: Vec<String>) -> Result<Vec<Reply>, ClientError> {
    let mut client = Client::connect(address).await?;
    let mut replies = vec![client.reply().await?];
    for command in commands {
        let reply = match replies.last() {
            Some(last) if last.code == 421 => {
                client.closed().await?;
                return Ok(replies);
            }
            Some(last) if last.code == 354 => client.message(command.as_bytes()).await?,
            _ => client.command(&command).await?,
        };
        replies.push(reply);
    }
    Ok(replies)
}

/// Nothing is asked of the DNS but by the filter, and mail goes nowhere but into the mailbox.
fn configuration(daemon: &str) -> String {
    format!(
        "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\n\
         OSTYPE(`debian')dnl\n\
         define(`confDOMAIN_NAME', `mx.demo.example')dnl\n\
         define(`QUEUE_DIR', `/var/spool/queue')dnl\n\
         define(`ALIAS_FILE', `/run/sendmail/aliases')dnl\n\
         define(`confHOST_STATUS_DIRECTORY', `')dnl\n\
         define(`confTO_IDENT', `0')dnl\n\
         define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch-nodns')dnl\n\
         FEATURE(`nocanonify')dnl\n\
         FEATURE(`accept_unresolvable_domains')dnl\n\
         FEATURE(`use_cw_file')dnl\n\
         FEATURE(`no_default_msa')dnl\n\
         DAEMON_OPTIONS(`Family=inet6, Name={daemon}, Port=25, Addr=::')dnl\n\
         DAEMON_OPTIONS(`Family=inet, Name={daemon}, Port=25, Addr=0.0.0.0')dnl\n\
         INPUT_MAIL_FILTER(`smtp-fallback', `S=unix:{SOCKET}, T=S:30s;R:60s;E:5m')dnl\n\
         define(`LOCAL_MAILER_PATH', `/usr/libexec/sendmail/mail.local')dnl\n\
         define(`LOCAL_MAILER_ARGS', `mail.local $u')dnl\n\
         MAILER(`local')dnl\n\
         MAILER(`smtp')dnl\n"
    )
}

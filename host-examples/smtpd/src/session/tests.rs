//! Sessions over a stream in memory, with a policy that a function plays. The end-to-end tests have the real one.

mod chunks;
mod dialogue;
mod extensions;
mod front;
mod starttls;

use std::sync::Mutex;
use std::time::Duration;

use smtp_fallback_daemon::policy::Decider;
use smtp_fallback_daemon::policy::scripted::{Scripted, decision, update};
use smtp_fallback_policy::contract::{self, AuthResults, Connection, Decision, Envelope, Verdict};
use smtp_fallback_store::MemoryStore;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::*;

const IDLE: Duration = Duration::from_millis(300);
const MESSAGE: &str = "Subject: a\r\nMessage-ID: <1@example.com>\r\n\r\nText.\r\n";

struct Setting {
    client: &'static str,
    offers: bool,
    decider: Option<Arc<dyn Decider>>,
    limits: Limits,
    certificates: Option<Certificates>,
    any_domain: bool,
    known: bool,
    /// In place of the Maildir.
    upstream: Option<Settings>,
}

impl Default for Setting {
    fn default() -> Self {
        let limits = Limits { idle: IDLE, data_block: IDLE, message_size: 70_000, ..Limits::default() };
        Setting {
            client: "2001:db8::1",
            offers: true,
            decider: None,
            limits,
            certificates: None,
            any_domain: false,
            known: true,
            upstream: None,
        }
    }
}

struct Client {
    stream: DuplexStream,
    phase: watch::Sender<Phase>,
    maildir: TempDir,
}

/// A session and its client, before the greeting is read.
fn connect(setting: Setting) -> Client {
    let maildir = tempfile::tempdir().expect("a folder");
    let service = Service {
        host_name: "mx.demo.example".into(),
        domains: if setting.any_domain { Vec::new() } else { vec!["demo.example".into(), "other.example".into()] },
        any_domain: setting.any_domain,
        memory: Memory::new(setting.limits.message_memory, setting.limits.memory_for_a_network()),
        limits: setting.limits,
        reachable_over_ipv4: true,
        sees_ipv4_arrivals: true,
        policy: Arc::new(Policy::new(setting.decider, Arc::new(MemoryStore::new(100)), None)),
        store_time: Duration::from_secs(10),
        verifier: None,
        destination: match setting.upstream {
            Some(upstream) => Destination::Upstream(upstream),
            None => Destination::Maildir(Arc::new(Maildir::open(maildir.path(), "mx.demo.example").expect("can be made"))),
        },
        certificates: setting.certificates,
        temporary_errors: TemporaryErrors::default(),
    };
    let (ours, stream) = tokio::io::duplex(1 << 20);
    let (phase, watched) = watch::channel(Phase::Serving);
    let client = SocketAddr::new(setting.client.parse().expect("valid"), 40_000);
    let local = "[2001:db8::25]:25".parse().expect("valid");
    let network = Network::of(Address::from(client.ip()), 64);
    let origin = Origin { client, known: setting.known, network, local, kind: Kind::Mx, offers: setting.offers };
    tokio::spawn(serve(Arc::new(service), origin, ours, watched));
    Client { stream, phase, maildir }
}

/// A session in which the greeting and the replies to `commands` are 2yz.
async fn connected(setting: Setting, commands: &[&str]) -> Client {
    let mut client = connect(setting);
    assert_eq!(client.reply().await, "220 mx.demo.example ESMTP\r\n");
    for command in commands {
        let reply = client.command(command).await;
        assert!(reply.starts_with('2'), "{command}: {reply}");
    }
    client
}

impl Client {
    async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.expect("open");
    }

    /// One reply, of one or more lines; what was sent before the end when the connection is closed.
    async fn reply(&mut self) -> String {
        let mut reply = Vec::new();
        let read = async {
            while let Ok(octet) = self.stream.read_u8().await {
                reply.push(octet);
                if reply.ends_with(b"\r\n") {
                    let last = reply[..reply.len() - 2].rsplit(|octet| *octet == b'\n').next().unwrap_or_default();
                    if last.get(3) == Some(&b' ') {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("a reply in time");
        String::from_utf8(reply).expect("ASCII")
    }

    async fn command(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes()).await;
        self.reply().await
    }

    async fn codes(&mut self, commands: &[&str]) -> Vec<String> {
        let mut codes = Vec::new();
        for command in commands {
            codes.push(self.command(command).await.chars().take(9).collect());
        }
        codes
    }

    /// DATA and the message; the reply to the dot.
    async fn message(&mut self, text: &str) -> String {
        assert!(self.command("DATA").await.starts_with("354 "));
        self.command(&format!("{text}.")).await
    }

    async fn is_closed(&mut self) -> bool {
        self.reply().await.is_empty()
    }

    fn delivered(&self) -> Vec<String> {
        let read =
            |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry.expect("readable").path()).expect("UTF-8");
        std::fs::read_dir(self.maildir.path().join("new")).expect("a folder").map(read).collect()
    }
}

const HELLO: &str = "EHLO client.example";
const MAIL: &str = "MAIL FROM:<smith@example.com>";
const RCPT: &str = "RCPT TO:<jones@demo.example>";

fn refusal(code: u16, close: bool) -> Verdict {
    let lines = vec!["first".to_owned(), "second".to_owned()];
    Verdict::Refuse(contract::Reply { code, enhanced_code: "4.4.8".into(), lines, close })
}

fn scripted(
    decide: impl Fn(&Connection, Option<&Envelope>, Option<&AuthResults>) -> Decision + Send + Sync + 'static,
) -> Option<Arc<dyn Decider>> {
    Some(Arc::new(Scripted(decide)))
}

fn refusing(stage: Stage, code: u16, close: bool) -> Option<Arc<dyn Decider>> {
    scripted(move |connection, _, _| {
        decision(match connection.stage {
            at if at == stage => refusal(code, close),
            Stage::EndOfData => Verdict::Accept,
            _ => Verdict::Continue,
        })
    })
}

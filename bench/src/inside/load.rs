//! Clients, their messages, and the DNS that vouches for them.

use std::error::Error;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smtp_fallback_demo::sign::{self, Algorithm};
use smtp_fallback_demo::zone::{Kind, NameServer, Zone, ZoneError};

use super::client::Client;

/// Domains that send mail, each from a network of its own.
const DOMAINS: u16 = 16;
/// Different messages of a domain.
const MESSAGES: usize = 8;
/// Its DNS has an address and a reverse name for its client, and nothing about mail.
pub(crate) const UNAUTHENTICATED: u16 = DOMAINS;

/// The domain that mail is for.
pub(crate) const RECEIVING_DOMAIN: &str = "demo.example";

/// The addresses that clients connect from.
pub(crate) fn clients() -> impl Iterator<Item = Ipv6Addr> {
    (0..=DOMAINS).map(client)
}

pub(crate) fn client(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x100 + number, 0, 0, 0, 0, 0x25)
}

fn domain(number: u16) -> String {
    format!("sender{number}.example")
}

/// Ready to send.
pub(crate) struct Load {
    /// The messages with the numbers of their domains, dots at the beginnings of lines doubled, and with the final one.
    messages: Arc<Vec<(u16, Vec<u8>)>>,
    _name_server: NameServer,
}

/// How messages are sent.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    /// All of them.
    pub(crate) messages: usize,
    /// SMTP sessions at a time.
    pub(crate) sessions: usize,
    /// Messages in one session.
    pub(crate) per_session: usize,
}

impl Load {
    /// Signs messages of about so many octets, and starts the name server.
    pub(crate) async fn start(size: usize) -> Result<Load, Box<dyn Error>> {
        let mut messages = Vec::new();
        for number in 0..MESSAGES {
            for sender in 0..DOMAINS {
                let domain = domain(sender);
                let message = message(&domain, number, size)?;
                let signed =
                    sign::signed_for(message.as_bytes(), Algorithm::Rsa, &domain).map_err(|error| format!("{error:?}"))?;
                messages.push((sender, transparent(&signed)));
            }
        }
        let name_server = NameServer::start_on(zone()?, SocketAddr::from(([127, 0, 0, 1], 53))).await?;
        Ok(Load { messages: Arc::new(messages), _name_server: name_server })
    }

    /// Sends a batch. All of it has been accepted when this returns how long each session took.
    pub(crate) async fn send(&self, port: u16, batch: Batch) -> Result<Vec<Duration>, Box<dyn Error>> {
        let Batch { messages, sessions, per_session } = batch;
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..sessions {
            let (next, pool) = (next.clone(), self.messages.clone());
            tasks.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let first = next.fetch_add(per_session, Ordering::Relaxed);
                    let count = per_session.min(messages.saturating_sub(first));
                    if count == 0 {
                        return Ok(times);
                    }
                    // A session is that of one client.
                    let sender = pool[(first / per_session) % pool.len()].0;
                    let own: Vec<_> =
                        pool.iter().filter(|(number, _)| *number == sender).map(|(_, message)| message.as_slice()).collect();
                    let messages: Vec<_> =
                        (0..count).map(|number| own[(first / DOMAINS as usize + number) % own.len()]).collect();
                    let begin = Instant::now();
                    session(sender, port, "jones", &messages).await.map_err(|error| error.to_string())?;
                    times.push(begin.elapsed());
                }
            });
        }
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let done: Result<Vec<Duration>, String> = done?;
            times.extend(done?);
        }
        Ok(times)
    }

    /// Sends one message to this recipient.
    pub(crate) async fn send_one_to(&self, port: u16, recipient: &str) -> Result<(), Box<dyn Error>> {
        let (sender, message) = self.messages.first().ok_or("there is no message")?;
        session(*sender, port, recipient, &[message]).await
    }

    /// Sends a message that nothing vouches for; each number is another mail.
    pub(crate) async fn send_unauthenticated(&self, port: u16, number: usize) -> Result<(), Box<dyn Error>> {
        let message = message(&domain(UNAUTHENTICATED), number, 1000)?;
        session(UNAUTHENTICATED, port, "jones", &[&transparent(message.as_bytes())]).await
    }
}

/// SPF for both identities, a DKIM key, a DMARC policy, and names of the clients that lead back to them. Answers may be cached.
fn zone() -> Result<Zone, ZoneError> {
    let mut zone = Zone::new();
    zone.ttl = 3600;
    for number in 0..=DOMAINS {
        let (client, domain) = (client(number), domain(number));
        let host = format!("mail.{domain}");
        let digits = client.octets().iter().rev().map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4)).collect::<String>();
        zone.add(&host, Kind::Aaaa, &client.to_string())?;
        zone.add(&format!("{digits}ip6.arpa"), Kind::Ptr, &host)?;
        if number != UNAUTHENTICATED {
            zone.add(&host, Kind::Txt, "v=spf1 a -all")?;
            zone.add(&domain, Kind::Mx, &format!("10 {host}"))?;
            zone.add(
                &domain,
                Kind::Txt,
                &format!("v=spf1 ip4:192.0.2.{number} ip6:{}/48 -all", client.to_string().trim_end_matches("25")),
            )?;
            zone.add(&format!("demo._domainkey.{domain}"), Kind::Txt, sign::RSA_KEY_RECORD)?;
            zone.add(&format!("_dmarc.{domain}"), Kind::Txt, "v=DMARC1; p=reject; adkim=r; aspf=r")?;
        }
    }
    Ok(zone)
}

/// A newsletter of about that many octets, unsigned.
fn message(domain: &str, number: usize, size: usize) -> Result<String, Box<dyn Error>> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut message = format!(
        "Received: from app7.{domain} (app7.{domain} [192.0.2.7])\r\n\tby mail.{domain} (Postfix) with ESMTPS id 4Xk2vB1{number}z\r\n\
         \tfor <jones@{RECEIVING_DOMAIN}>; Thu, 1 Jan 2026 09:00:00 +0000 (UTC)\r\n\
         Received: from worker (localhost [127.0.0.1])\r\n\tby app7.{domain} with ESMTP id 17{number}a;\r\n\tThu, 1 Jan 2026 08:59:59 +0000\r\n\
         Message-ID: <{seconds}.{number}@{domain}>\r\n\
         Date: Thu, 1 Jan 2026 09:00:00 +0000\r\n\
         From: \"Smith, of {domain}\" <smith@{domain}>\r\n\
         To: Jones <jones@{RECEIVING_DOMAIN}>\r\n\
         Subject: What is new this week, number {number}\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\
         List-Unsubscribe: <https://{domain}/u/{number}>\r\n\
         X-Mailer: Example Mailer 4.2\r\n\r\n"
    );
    let mut line = number;
    while message.len() < size {
        line += 1;
        message.push_str(&format!(
            "{line}. Some words of a letter  that has many lines like this one, which are wrapped=\r\n as usual.\r\n"
        ));
    }
    Ok(message)
}

/// As DATA wants it (RFC 5321 §4.5.2).
fn transparent(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 100);
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// One session of this sender's client. The error is the reply that was not expected.
async fn session(sender: u16, port: u16, recipient: &str, messages: &[&[u8]]) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(client(sender), port).await?;
    let domain = domain(sender);
    client.expect("2").await?;
    client.command(&format!("EHLO mail.{domain}\r\n"), "2").await?;
    for message in messages {
        client.command(&format!("MAIL FROM:<smith@{domain}> SIZE={}\r\n", message.len()), "2").await?;
        client.command(&format!("RCPT TO:<{recipient}@{RECEIVING_DOMAIN}>\r\n"), "2").await?;
        client.command("DATA\r\n", "3").await?;
        client.send(message, "2").await?;
    }
    client.command("QUIT\r\n", "2").await
}

//! Clients, their messages, and the DNS that vouches for them.

use std::error::Error;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use smtp_fallback_demo::sign::{self, Algorithm};
use smtp_fallback_demo::zone::{Kind, NameServer, Zone, ZoneError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpSocket, TcpStream};

use super::options::Options;
use super::place::SERVER;

/// Domains that send mail, each from a network of its own.
const DOMAINS: u16 = 16;
/// Different messages of a domain.
const MESSAGES: usize = 8;
/// Its DNS has an address and a reverse name for its client, and nothing about mail.
const UNAUTHENTICATED: u16 = DOMAINS;

/// The domain that mail is for.
pub(crate) const RECEIVING_DOMAIN: &str = "demo.example";

/// The addresses that clients connect from.
pub(crate) fn clients() -> impl Iterator<Item = Ipv6Addr> {
    (0..=DOMAINS).map(client)
}

fn client(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x100 + number, 0, 0, 0, 0, 0x25)
}

fn domain(number: u16) -> String {
    format!("sender{number}.example")
}

/// Ready to send.
pub(crate) struct Load {
    /// The messages with the numbers of their domains, dots at the beginnings of lines doubled, and with the final one.
    messages: Arc<Vec<(u16, Vec<u8>)>>,
    sessions: usize,
    per_session: usize,
    _name_server: NameServer,
}

impl Load {
    /// Signs the messages and starts the name server.
    pub(crate) async fn start(options: &Options) -> Result<Load, Box<dyn Error>> {
        let mut messages = Vec::new();
        for number in 0..MESSAGES {
            for sender in 0..DOMAINS {
                let domain = domain(sender);
                let message = message(&domain, number, options.size)?;
                let signed =
                    sign::signed_for(message.as_bytes(), Algorithm::Rsa, &domain).map_err(|error| format!("{error:?}"))?;
                messages.push((sender, transparent(&signed)));
            }
        }
        let name_server = NameServer::start_on(zone()?, SocketAddr::from(([127, 0, 0, 1], 53))).await?;
        let (sessions, per_session) = (options.sessions, options.per_session);
        Ok(Load { messages: Arc::new(messages), sessions, per_session, _name_server: name_server })
    }

    /// Sends so many messages. All have been accepted when this returns.
    pub(crate) async fn send(&self, port: u16, messages: usize) -> Result<(), Box<dyn Error>> {
        let next = Arc::new(AtomicUsize::new(0));
        let per_session = self.per_session;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..self.sessions {
            let (next, pool) = (next.clone(), self.messages.clone());
            tasks.spawn(async move {
                loop {
                    let first = next.fetch_add(per_session, Ordering::Relaxed);
                    let count = per_session.min(messages.saturating_sub(first));
                    if count == 0 {
                        return Ok(());
                    }
                    // A session is that of one client.
                    let sender = pool[(first / per_session) % pool.len()].0;
                    let own: Vec<_> =
                        pool.iter().filter(|(number, _)| *number == sender).map(|(_, message)| message.as_slice()).collect();
                    let messages: Vec<_> =
                        (0..count).map(|number| own[(first / DOMAINS as usize + number) % own.len()]).collect();
                    session(sender, port, "jones", &messages).await.map_err(|error| error.to_string())?;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            let done: Result<(), String> = done?;
            done?;
        }
        Ok(())
    }

    /// Sends one message to this recipient.
    pub(crate) async fn send_one_to(&self, port: u16, recipient: &str) -> Result<(), Box<dyn Error>> {
        let (sender, message) = self.messages.first().ok_or("there is no message")?;
        session(*sender, port, recipient, &[message]).await
    }

    /// Sends a message that nothing vouches for.
    pub(crate) async fn send_unauthenticated(&self, port: u16) -> Result<(), Box<dyn Error>> {
        let message = message(&domain(UNAUTHENTICATED), 0, 1000)?;
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
    let socket = TcpSocket::new_v6()?;
    socket.bind(SocketAddr::from((client(sender), 0)))?;
    let mut stream = BufStream::new(socket.connect(SocketAddr::from((SERVER, port))).await?);
    stream.get_ref().set_nodelay(true)?;
    let domain = domain(sender);
    expect(&mut stream, "2").await?;
    command(&mut stream, &format!("EHLO mail.{domain}\r\n"), "2").await?;
    for message in messages {
        command(&mut stream, &format!("MAIL FROM:<smith@{domain}> SIZE={}\r\n", message.len()), "2").await?;
        command(&mut stream, &format!("RCPT TO:<{recipient}@{RECEIVING_DOMAIN}>\r\n"), "2").await?;
        command(&mut stream, "DATA\r\n", "3").await?;
        stream.write_all(message).await?;
        stream.flush().await?;
        expect(&mut stream, "2").await?;
    }
    command(&mut stream, "QUIT\r\n", "2").await
}

async fn command(stream: &mut BufStream<TcpStream>, line: &str, class: &str) -> Result<(), Box<dyn Error>> {
    stream.write_all(line.as_bytes()).await?;
    stream.flush().await?;
    expect(stream, class).await
}

/// Reads a reply, which is an error unless it begins so.
async fn expect(stream: &mut BufStream<TcpStream>, class: &str) -> Result<(), Box<dyn Error>> {
    let mut reply = String::new();
    loop {
        let start = reply.len();
        if stream.read_line(&mut reply).await? == 0 {
            return Err(format!("the connection has ended after {reply:?}").into());
        }
        if reply.as_bytes().get(start + 3) != Some(&b'-') {
            break;
        }
    }
    if reply.starts_with(class) { Ok(()) } else { Err(reply.into()) }
}

//! smtpd with Postfix, Dovecot and openssl on its two sides. Run by `cargo xtask interop`: it needs root, and these programs.
#![allow(clippy::unwrap_used)] // A test may panic.

mod failure;
mod front;
mod identity;
mod lmtp;
mod milter;
mod peers;
mod policy;
mod privileges;
mod refusals;
mod sendmail;
mod smuggling;

use smtp_fallback_demo::client::{Client, Reply};

/// A recipient that is taken.
const RECIPIENT: &str = "jones@demo.example";
/// The two ways that let Postfix know the client.
const TOLD: [&str; 2] = ["xclient", "proxy-v1"];

/// A message whose Message-ID is of its own.
fn message(number: u32) -> Vec<u8> {
    format!(
        "From: Smith <smith@none.example>\r\nTo: jones@demo.example\r\nSubject: {number}\r\n\
         Date: Tue, 24 Nov 2026 12:40:18 +0000\r\nMessage-ID: <{number}@client.example>\r\n\r\nText {number}.\r\n"
    )
    .into_bytes()
}

/// A session with any server, after EHLO.
async fn session(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address).await.unwrap();
    assert_eq!(client.reply().await.unwrap().code, 220);
    assert_eq!(client.command("EHLO client.example").await.unwrap().code, 250);
    client
}

/// Sends the commands one after another; each must get this code.
async fn all(client: &mut Client, code: u16, commands: &[&str]) {
    for command in commands {
        let reply = client.command(command).await.unwrap();
        assert_eq!(reply.code, code, "{command}: {reply}");
    }
}

/// Sends the octets in chunks of `size` (RFC 3030); the last reply, or the first that is not 250.
async fn by_bdat(client: &mut Client, octets: &[u8], size: usize) -> Reply {
    let mut chunks = octets.chunks(size).peekable();
    while let Some(chunk) = chunks.next() {
        let last = if chunks.peek().is_none() { " LAST" } else { "" };
        client.send(&[format!("BDAT {}{last}\r\n", chunk.len()).as_bytes(), chunk].concat()).await.unwrap();
        let reply = client.reply().await.unwrap();
        if !last.is_empty() || reply.code != 250 {
            return reply;
        }
    }
    panic!("there was nothing to send");
}

/// That DATA is refused for now: at once where smtpd knows that the mail system behind it has gone away, or else after the message.
async fn no_message_is_taken(mut client: Client) {
    let mut reply = client.command("DATA").await.unwrap();
    if reply.code == 354 {
        reply = client.message(&message(0)).await.unwrap();
        assert!(reply.code == 451 && reply.has_enhanced_code("4.3.0"), "{reply}");
    } else {
        // What Postfix said on going, or else that it does not answer.
        assert!(
            reply.code == 421 && (reply.has_enhanced_code("4.3.2") || reply.lines[0].starts_with("4.4.2 upstream.example ")),
            "{reply}"
        );
        client.closed().await.unwrap();
    }
}

/// What a delivered message has before `body`, which must be its end; with the line ends of UNIX.
fn fields_before(kept: &[u8], body: &[u8]) -> String {
    let body = smtp_fallback_interop::kept_as(body);
    assert!(kept.ends_with(&body), "changed:\n{}", String::from_utf8_lossy(&kept[..kept.len().min(2000)]));
    String::from_utf8(kept[..kept.len() - body.len()].to_vec()).unwrap()
}

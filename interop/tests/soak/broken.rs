//! Clients that break off, or say what nobody understands.

use smtp_fallback_demo::client::{Client, ClientError, Reply};
use smtp_fallback_demo::zone::SPF_DOMAIN;

use crate::load::{Host, message, open};
use crate::mail::{Attempt, Lcg, Ledger, Route};
use crate::tls;

/// How many ways there are.
const WAYS: u64 = 9;

/// A session that goes wrong, what it is called, and the last reply.
pub(crate) async fn session(
    ledger: &Ledger,
    host: &Host,
    attempt: Attempt,
    random: &mut Lcg,
) -> (&'static str, Result<Reply, ClientError>) {
    let source = format!("2001:db8:{:x}::1", 0x300 + random.below(16));
    let route = Route { proxied: Some(source), ..Route::to(host.ipv6) };
    let way = random.below(WAYS);
    if way >= 6 {
        // It is not to the client to know whether the message has arrived.
        let said = in_message(way, &route, attempt).await;
        if way == 8 {
            ledger.doubt(attempt)
        } else {
            ledger.broke_off(attempt)
        }
        return (["in DATA", "between chunks", "before the reply"][way as usize - 6], said);
    }
    let name = ["at once", "no PROXY header", "after RCPT", "no SMTP", "many errors", "no handshake"][way as usize];
    (name, without_message(way, &route).await)
}

async fn without_message(way: u64, route: &Route) -> Result<Reply, ClientError> {
    if way < 2 {
        let mut client = Client::connect(route.address).await?;
        if way == 0 {
            return Err(ClientError::Closed);
        }
        client.send(b"\x00\x01\xff\r\nPROXY?\r\n").await?;
        return client.reply().await;
    }
    let mut client = match open(route).await? {
        Ok(client) => client,
        Err(reply) => return Ok(reply),
    };
    match way {
        2 => {
            client.command(&format!("MAIL FROM:<smith@{SPF_DOMAIN}>")).await?;
            client.command("RCPT TO:<jones@demo.example>").await
        }
        3 => {
            client.send(&[b"\xff\xfe\x00".repeat(4000).as_slice(), b"\r\n"].concat()).await?;
            client.reply().await
        }
        4 => {
            for _ in 0..30 {
                let reply = client.command("EXPN everybody and his dog").await?;
                if reply.code == 421 {
                    return Ok(reply);
                }
            }
            panic!("there is no end to it")
        }
        _ => {
            tls::nonsense(&mut client).await?;
            client.closed().await?;
            Err(ClientError::Closed)
        }
    }
}

/// Breaks off in the middle of a message, or right after its end.
async fn in_message(way: u64, route: &Route, attempt: Attempt) -> Result<Reply, ClientError> {
    let mut client = match open(route).await? {
        Ok(client) => client,
        Err(reply) => return Ok(reply),
    };
    let octets = message(attempt, 5000);
    let half = &octets[..octets.len() / 2];
    let commands = [format!("MAIL FROM:<smith@{SPF_DOMAIN}>"), "RCPT TO:<jones@demo.example>".to_owned()];
    for command in commands {
        let reply = client.command(&command).await?;
        if reply.code != 250 {
            return Ok(reply);
        }
    }
    if way == 7 {
        client.send(&[format!("BDAT {}\r\n", half.len()).as_bytes(), half].concat()).await?;
        return client.reply().await;
    }
    let reply = client.command("DATA").await?;
    if reply.code != 354 {
        return Ok(reply);
    }
    if way == 6 {
        client.send(half).await?;
        return Ok(reply);
    }
    let wire = String::from_utf8(octets).expect("it is ASCII").replace("\r\n.", "\r\n..");
    client.send(format!("{wire}.\r\n").as_bytes()).await?;
    Ok(reply)
}

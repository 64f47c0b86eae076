//! Messages that say what they are, clients that send them, and the account of what became of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use smtp_fallback_demo::client::{Client, ClientError, Reply};

/// A recipient that is taken.
const RECIPIENT: &str = "jones@demo.example";

/// The field that says what a message is.
const FIELD: &str = "X-Chaos: ";

/// Numbers that look random, the same for the same seed.
pub(crate) struct Lcg(pub(crate) u64);

impl Lcg {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX; the upper half of it, since the lower bits repeat soon.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// One attempt to send a message: the message's number, and which attempt it is. No two attempts have the same text, so that what
/// arrives tells by which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) attempt: u32,
}

impl Attempt {
    pub(crate) fn first(number: u32) -> Attempt {
        Attempt { number, attempt: 0 }
    }

    pub(crate) fn next(self) -> Attempt {
        Attempt { attempt: self.attempt + 1, ..self }
    }

    /// The message, with a text of about `size` octets, of which its length and checksum are in a field. Some lines begin with a dot.
    pub(crate) fn message(self, size: usize) -> Vec<u8> {
        let Attempt { number, attempt } = self;
        let mut text = String::with_capacity(size + 100);
        let mut line = 0;
        loop {
            let dot = if line % 7 == 3 { "." } else { "" };
            text.push_str(&format!("{dot}{number}.{attempt}, line {line}: all of this is one message.\r\n"));
            line += 1;
            if text.len() >= size {
                break;
            }
        }
        let (length, sum) = (text.len(), checksum(text.as_bytes()));
        format!(
            "{FIELD}{number} {attempt} {length} {sum}\r\nFrom: Smith <smith@none.example>\r\nTo: jones@demo.example\r\n\
             Subject: {number}\r\nDate: Tue, 24 Nov 2026 12:40:18 +0000\r\nMessage-ID: <{number}.{attempt}@client.example>\r\n\r\n{text}"
        )
        .into_bytes()
    }

    /// Which attempt a kept message is of; an error where it is not whole.
    pub(crate) fn read(kept: &[u8]) -> Result<Attempt, String> {
        let kept = str::from_utf8(kept).map_err(|error| error.to_string())?;
        let (_, rest) = kept.split_once(FIELD).ok_or_else(|| format!("without its field: {kept:?}"))?;
        let (field, rest) = rest.split_once("\r\n").ok_or("cut in its field")?;
        let numbers: Vec<u64> = field.split(' ').map_while(|number| number.parse().ok()).collect();
        let [number, attempt, length, sum] = numbers[..] else { return Err(format!("a broken field: {field:?}")) };
        let (_, text) = rest.split_once("\r\n\r\n").ok_or("without a text")?;
        if text.len() as u64 != length {
            return Err(format!("message {number}.{attempt} has {} octets of {length}", text.len()));
        }
        if checksum(text.as_bytes()) != sum {
            return Err(format!("message {number}.{attempt} was changed"));
        }
        let number = |number: u64| u32::try_from(number).map_err(|error| error.to_string());
        Ok(Attempt { number: number(numbers[0])?, attempt: number(attempt)? })
    }
}

/// FNV-1a, of 64 bits.
fn checksum(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |sum, octet| (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

/// How a client gets to the server, and how it hands the message over.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) address: SocketAddr,
    /// The client's own address, told by the PROXY protocol: of IPv6, or of IPv4.
    pub(crate) proxied: Option<String>,
    /// By BDAT in two chunks, else by DATA.
    pub(crate) chunked: bool,
}

impl Route {
    pub(crate) fn to(address: SocketAddr) -> Route {
        Route { address, proxied: None, chunked: false }
    }

    /// A session of one message, of which this is the last reply: to the message, or the first that refuses.
    pub(crate) async fn send(&self, sender: &str, message: &[u8]) -> Result<Reply, ClientError> {
        let mut client = Client::connect(self.address).await?;
        if let Some(address) = &self.proxied {
            let (family, own) = if address.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
            client.send(format!("PROXY {family} {address} {own} 4711 25\r\n").as_bytes()).await?;
        }
        let greeting = client.reply().await?;
        if greeting.code != 220 {
            return Ok(greeting);
        }
        let hello = client.command("EHLO client.example").await?;
        if hello.code != 250 {
            return Ok(hello);
        }
        let reply = self.transaction(&mut client, sender, message).await?;
        if reply.code == 250 {
            // The answer comes when the records of the decision are stored. Whether it comes is no matter to the message by now.
            let _ = client.command("QUIT").await;
        }
        Ok(reply)
    }

    /// One message in a session.
    pub(crate) async fn transaction(&self, client: &mut Client, sender: &str, message: &[u8]) -> Result<Reply, ClientError> {
        if !self.chunked {
            let reply = client.transaction(sender, RECIPIENT, message).await?;
            return Ok(reply);
        }
        for command in [format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{RECIPIENT}>")] {
            let reply = client.command(&command).await?;
            if reply.code != 250 {
                return Ok(reply);
            }
        }
        let (first, last) = message.split_at(message.len() / 2);
        client.send(&[format!("BDAT {}\r\n", first.len()).as_bytes(), first].concat()).await?;
        let reply = client.reply().await?;
        if reply.code != 250 {
            return Ok(reply);
        }
        client.send(&[format!("BDAT {} LAST\r\n", last.len()).as_bytes(), last].concat()).await?;
        client.reply().await
    }
}

/// What the client heard at the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Accepted,
    Refused,
    /// The connection broke, or the server did not know: it may be there, or not.
    Nothing,
}

/// What clients heard of their attempts.
#[derive(Default)]
pub(crate) struct Ledger {
    attempts: Mutex<BTreeMap<Attempt, Heard>>,
}

/// What a [`Ledger`] and the messages that are there come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Balance {
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// Attempts that were never answered, or so that it says nothing.
    pub(crate) broken: usize,
    /// Of those, the ones that are there all the same: a second copy of a message whose client had to come back.
    pub(crate) duplicates: usize,
}

impl Ledger {
    /// Writes down how an attempt ended.
    pub(crate) fn note(&self, attempt: Attempt, outcome: &Result<Reply, ClientError>) {
        let heard = match outcome {
            Ok(reply) if reply.code == 250 => Heard::Accepted,
            Ok(reply) => {
                assert!(reply.code >= 400, "{attempt:?}: {reply}");
                Heard::Refused
            }
            Err(ClientError::TimedOut | ClientError::NoReply(_)) => panic!("{attempt:?}: {outcome:?}"),
            Err(_) => Heard::Nothing,
        };
        let earlier = self.attempts.lock().unwrap().insert(attempt, heard);
        assert_eq!(earlier, None, "{attempt:?} was used twice");
    }

    /// Writes down an attempt that ended by an answer which leaves open whether the message was taken.
    pub(crate) fn doubt(&self, attempt: Attempt) {
        let earlier = self.attempts.lock().unwrap().insert(attempt, Heard::Nothing);
        assert_eq!(earlier, None, "{attempt:?} was used twice");
    }

    /// Writes down an attempt that the client broke off before the end of the message: nothing of it may be kept.
    #[allow(dead_code, reason = "the soak test uses it")]
    pub(crate) fn broke_off(&self, attempt: Attempt) {
        let earlier = self.attempts.lock().unwrap().insert(attempt, Heard::Refused);
        assert_eq!(earlier, None, "{attempt:?} was used twice");
    }

    pub(crate) fn attempts(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.attempts.lock().unwrap().values().filter(|heard| **heard == Heard::Accepted).count()
    }

    /// Compares with what is there: what was accepted is there once, what was refused is not, what was never answered is there at most
    /// once, and all of it is whole.
    pub(crate) fn check<'a>(&self, kept: impl IntoIterator<Item = &'a Vec<u8>>) -> Balance {
        let mut copies: BTreeMap<Attempt, usize> = BTreeMap::new();
        for message in kept {
            let attempt = Attempt::read(message).unwrap_or_else(|error| panic!("a message is not whole: {error}"));
            *copies.entry(attempt).or_default() += 1;
        }
        self.settle(copies)
    }

    /// The same with how often each is there.
    pub(crate) fn settle(&self, mut copies: BTreeMap<Attempt, usize>) -> Balance {
        let attempts = self.attempts.lock().unwrap();
        let mut balance = Balance::default();
        for (attempt, heard) in attempts.iter() {
            let copies = copies.remove(attempt).unwrap_or_default();
            match heard {
                Heard::Accepted => {
                    assert_eq!(copies, 1, "{attempt:?} was answered 250");
                    balance.accepted += 1;
                }
                Heard::Refused => {
                    assert_eq!(copies, 0, "{attempt:?} was refused");
                    balance.refused += 1;
                }
                Heard::Nothing => {
                    assert!(copies <= 1, "{attempt:?} is there {copies} times");
                    balance.broken += 1;
                    balance.duplicates += copies;
                }
            }
        }
        assert!(copies.is_empty(), "nobody sent these: {copies:?}");
        balance
    }
}

/// Whether a refusal is the server's own, for now, and sends nobody to IPv4.
pub(crate) fn is_own_temporary(reply: &Reply, enhanced: &str) -> bool {
    reply.code / 100 == 4 && reply.has_enhanced_code(enhanced) && enhanced != "4.4.8"
}

#[test]
fn what_is_not_whole_is_seen() {
    let attempt = Attempt { number: 7, attempt: 2 };
    let message = attempt.message(1000);
    assert_eq!(Attempt::read(&message), Ok(attempt));
    assert_eq!(Attempt::read(&[b"Received: x\r\n".as_slice(), &message].concat()), Ok(attempt));
    assert!(Attempt::read(&message[..message.len() - 1]).unwrap_err().contains("octets of"));
    assert!(Attempt::read(&[message.as_slice(), b"x"].concat()).unwrap_err().contains("octets of"));
    let mut changed = message.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(Attempt::read(&changed).unwrap_err().contains("was changed"));
    assert!(Attempt::read(&message[9..]).is_err() && Attempt::read(b"").is_err());
}

#[test]
#[should_panic(expected = "was answered 250")]
fn what_was_lost_is_seen() {
    let ledger = Ledger::default();
    ledger.note(Attempt::first(1), &Ok(Reply { code: 250, lines: vec![] }));
    ledger.check([]);
}

#[test]
#[should_panic(expected = "was refused")]
fn what_was_delivered_in_spite_of_its_refusal_is_seen() {
    let ledger = Ledger::default();
    ledger.note(Attempt::first(1), &Ok(Reply { code: 451, lines: vec![] }));
    ledger.check([&Attempt::first(1).message(10)]);
}

//! What a client sends, in any octets, for fuzzing: what must hold however the network cuts it.

mod model;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use smtp_fallback_daemon::memory::Share;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::chunks::Chunks;
use crate::command::{Chunk, Command};
use crate::data::Decoder;
use crate::path::Mailbox;
use crate::reply::{ClientReads, Reply};
use crate::text::{Fault, Text};
use crate::wire::{End, Line, Patience, Phase, Wire};

/// The longest message here: short, so that it is reached.
const LIMIT: usize = 20_000;

/// Inputs up to this length are read octet by octet, too.
const SHORT: usize = 400;

/// What a client's octets are taken for, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    /// A command, or the reply to what is none.
    Command(Box<Result<Command, Reply>>),
    /// A line that is not read as a command.
    BadLine,
    /// Such a one that begins with BDAT, behind which nothing can be read.
    BadChunk,
    /// A message after DATA, or that it was refused, and whether its end may be in doubt.
    Data(Result<Vec<u8>, Kind>, bool),
    /// A message in chunks, at its last.
    Chunks(Result<Vec<u8>, Kind>),
}

/// Why a message is refused. Which limit was passed first may depend on how the octets came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Limit,
    BareCr,
    BareLf,
    Nul,
}

impl From<Fault> for Kind {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::BareCr => Kind::BareCr,
            Fault::BareLf => Kind::BareLf,
            Fault::Nul => Kind::Nul,
            Fault::LineTooLong | Fault::TooLarge | Fault::OutOfMemory => Kind::Limit,
        }
    }
}

/// Reads the octets as all that a client sends, messages after DATA and chunks after BDAT among its commands:
///
/// - the same is read however the octets are cut, and by a second implementation that has them all at once (`model`);
/// - a line ends with CRLF, a message with CRLF "." CRLF, and nothing else ends them;
/// - what is kept of a message could be sent again: its line ends are whole, and there is no NUL;
/// - what a command names is readable, and replies are lines that end where they end.
///
/// Octet 255 with a number and another octet stands for that octet 16 times that number, so that limits are reached in few octets.
pub fn check_input(octets: &[u8]) {
    let input = unfolded(octets);
    let whole = cut(&input, &[input.len().max(1)]);
    assert_eq!(whole.iter().map(model::Item::from).collect::<Vec<_>>(), model::read(&input));
    let number = octets.iter().fold(0_usize, |sum, &octet| sum.wrapping_mul(31).wrapping_add(octet.into()));
    // A long input is one for its limits: octet by octet it would take as long as a thousand others.
    let small = if input.len() <= SHORT { 1 } else { 509 };
    for sizes in [[1, small, small], [number % 7 + 1, number / 7 % 64 + 1, number / 448 % 1024 + 1]] {
        assert_eq!(cut(&input, &sizes), whole, "in pieces of {sizes:?}");
    }
    for item in &whole {
        check_item(item);
    }
}

fn unfolded(octets: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    let mut rest = octets;
    while let Some((&octet, more)) = rest.split_first() {
        match (octet, more) {
            (255, &[count, octet, ref more @ ..]) => {
                input.resize(input.len() + 16 * usize::from(count), octet);
                rest = more;
            }
            _ => {
                input.push(octet);
                rest = more;
            }
        }
    }
    // This reaches every limit.
    input.truncate(LIMIT + 5000);
    input
}

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without input and output");
}

/// What is read of the octets in pieces of these sizes, in turn.
fn cut(input: &[u8], sizes: &[usize]) -> Vec<Item> {
    RUNTIME.with(|runtime| runtime.block_on(read(input, sizes)))
}

async fn read(input: &[u8], sizes: &[usize]) -> Vec<Item> {
    let long = Duration::from_secs(600);
    let (_phase, phase) = watch::channel(Phase::Serving);
    let client = Client { rest: input, sizes: sizes.iter().cycle(), asked: 0 };
    let mut wire = Wire::new(client, Patience { command: long, block: long }, phase);
    let deadline = Instant::now() + long;
    let mut items = Vec::new();
    let mut chunks: Option<Chunks> = None;
    loop {
        let line = match wire.command(Phase::Draining, None).await {
            Ok(Line::Complete(line)) => line,
            Ok(Line::Bad(_)) => {
                items.push(Item::BadLine);
                continue;
            }
            Ok(Line::BadChunk(_)) => {
                items.push(Item::BadChunk);
                return items;
            }
            Err(End::Closed) => return items,
            Err(end) => panic!("{end:?}"),
        };
        let command = Command::parse(&line);
        items.push(Item::Command(Box::new(command.clone())));
        match command {
            Ok(Command::Data) => {
                let mut decoder = Decoder::new(LIMIT, &Share::unlimited());
                let Ok(()) = wire.message(&mut decoder, deadline).await else { return items };
                let ambiguous = decoder.is_ambiguous();
                items.push(Item::Data(kept(decoder.finish()), ambiguous));
            }
            Ok(Command::Bdat(Chunk { size, last })) => {
                let mut all = chunks.take().unwrap_or_else(|| Chunks::new(LIMIT, &Share::unlimited()));
                all.announce(size);
                let Ok(()) = wire.chunk(size, Some(&mut all), deadline).await else { return items };
                if last {
                    items.push(Item::Chunks(kept(all.finish())));
                } else {
                    chunks = Some(all);
                }
            }
            Err(reply) if reply.close => return items,
            Ok(Command::Quit) => return items,
            _ => {}
        }
    }
}

fn kept(text: Result<Text, Fault>) -> Result<Vec<u8>, Kind> {
    text.map(|text| text.octets().to_vec()).map_err(Kind::from)
}

fn check_item(item: &Item) {
    match item {
        Item::Command(command) => match &**command {
            Ok(command) => check_command(command),
            Err(reply) => check_reply(reply),
        },
        Item::Data(Ok(text), ambiguous) => {
            assert!(!ambiguous, "a message of which another server may see another end");
            check_text(text);
        }
        Item::Chunks(Ok(text)) => check_text(text),
        _ => {}
    }
}

fn check_text(text: &[u8]) {
    assert!(text.len() <= LIMIT && (text.is_empty() || text.ends_with(b"\r\n")));
    let ends = text.windows(2).filter(|pair| pair == b"\r\n").count();
    let count = |octet| text.iter().filter(|&&found| found == octet).count();
    assert_eq!((count(b'\r'), count(b'\n'), count(0)), (ends, ends, 0));
}

fn check_command(command: &Command) {
    match command {
        Command::Ehlo(name) | Command::Helo(name) => {
            assert!((1..=255).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic()), "{name:?}");
        }
        Command::Mail(mail) => {
            if let crate::path::ReversePath::Mailbox(mailbox) = &mail.from {
                check_mailbox(mailbox);
            }
        }
        Command::Rcpt(rcpt) => {
            if let crate::path::ForwardPath::Mailbox(mailbox) = &rcpt.to {
                check_mailbox(mailbox);
            }
        }
        _ => {}
    }
}

/// It ends up in header fields, logs and the commands to another server.
fn check_mailbox(mailbox: &Mailbox) {
    let address = mailbox.address();
    assert!(!address.contains(char::is_control), "{address:?}");
    assert_eq!(address, format!("{}@{}", mailbox.local_part(), mailbox.domain()));
    assert!(!mailbox.local_part().is_empty() && !mailbox.domain().is_empty(), "{address:?}");
    let line = format!("MAIL FROM:<{address}>");
    let Ok(Command::Mail(again)) = Command::parse(line.as_bytes()) else { panic!("{line:?} cannot be read again") };
    assert_eq!(again.from, crate::path::ReversePath::Mailbox(mailbox.clone()), "{line:?}");
    assert!(mailbox.ascii_domain().is_ascii(), "{address:?}");
}

/// RFC 5321 §4.2: one reply, whatever was said.
fn check_reply(reply: &Reply) {
    assert!((400..600).contains(&reply.code) && !reply.lines.is_empty(), "{reply:?}");
    let mut written = Vec::new();
    reply.write_to(&mut written, ClientReads::BEFORE_EHLO);
    let written = String::from_utf8(written).expect("ASCII");
    let lines: Vec<&str> = written.split_terminator("\r\n").collect();
    assert!(written.ends_with("\r\n") && lines.len() == reply.lines.len(), "{written:?}");
    for line in lines {
        assert!(line.len() <= 510 && line.bytes().all(|octet| matches!(octet, b' '..=b'~' | b'\t')), "{line:?}");
        assert!(line.starts_with(&reply.code.to_string()), "{line:?}");
    }
}

/// Sends in pieces of these sizes; takes what it is sent. Each of the first pieces, and now and then one of the others, comes only when it is
/// asked for a second time.
struct Client<'a> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    asked: usize,
}

impl AsyncRead for Client<'_> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.asked += 1;
        if self.asked < 64 && self.asked % 2 == 1 || self.asked.is_multiple_of(16) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let size = self.sizes.next().map_or(1, |&size| size.min(buffer.remaining()).min(self.rest.len()));
        let piece;
        (piece, self.rest) = self.rest.split_at(size);
        buffer.put_slice(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;

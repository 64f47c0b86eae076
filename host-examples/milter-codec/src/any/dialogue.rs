//! The same octets over a [`Connection`], with replies.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

use super::{Read, model};
use crate::command::Command;
use crate::connection::{Connection, ConnectionError, TimeLimits};
use crate::edit::Edit;
use crate::negotiate::Wishes;
use crate::packet::{self, Decoder, Packet};
use crate::protocol::Stage;
use crate::reply::{LINE_MAX, LINES_MAX, Refusal, Reply};

/// None of them is reached: what an MTA sends is there.
const LIMITS: TimeLimits =
    TimeLimits { command: Duration::from_secs(600), packet: Duration::from_secs(600), write: Duration::from_secs(600) };

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without input and output");
}

/// A filter that gets `octets`, answers, and asks for what it must not get, too. `whole` is what is in the octets.
pub(super) fn check(octets: &[u8], sizes: &[usize], wishes: &Wishes, whole: &Read) {
    RUNTIME.with(|runtime| runtime.block_on(converse(octets, sizes, wishes, whole)));
}

async fn converse(octets: &[u8], sizes: &[usize], wishes: &Wishes, (commands, error): &Read) {
    let sent = Sent::default();
    let mta = Mta { rest: octets, sizes: sizes.iter().cycle(), waits: false, sent: sent.clone() };
    let mut connection = match Connection::open(mta, wishes, LIMITS).await {
        Ok(Some(connection)) => connection,
        Ok(None) => return assert_eq!((commands.len(), error), (0, &None), "closed without a word"),
        Err(ConnectionError::Protocol(found)) => return assert_eq!((Some(found), commands.len() < 2), (error.clone(), true)),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(sent.take(), connection.agreement().encode());
    let mut expected = commands[1..].iter().filter(|command| !matches!(command, Command::Macros(..)));
    loop {
        match next(&mut connection, sizes[0].is_multiple_of(2)).await {
            Ok(Some(command)) => {
                assert_eq!(Some(&command), expected.next());
                answer(&mut connection, &command, &sent).await;
                assert_eq!(connection.due(), None);
            }
            Ok(None) => {
                assert_eq!((expected.next(), error), (None, &None), "the end of the connection");
                assert!(matches!(connection.next().await, Ok(None)), "it stays over");
                return;
            }
            // A command that came where it cannot be is among those that were read.
            Err(ConnectionError::Protocol(found)) => {
                assert_eq!((Some(&found), expected.count() < 2), (error.as_ref(), true));
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The next command; `patient` or given up and asked for again whenever nothing is there.
async fn next(connection: &mut Connection<Mta<'_>>, patient: bool) -> Result<Option<Command>, ConnectionError> {
    if patient {
        return connection.next().await;
    }
    loop {
        let mut once = pin!(connection.next());
        let polled = std::future::poll_fn(|context| Poll::Ready(once.as_mut().poll(context))).await;
        if let Poll::Ready(command) = polled {
            return command;
        }
    }
}

async fn answer(connection: &mut Connection<Mta<'_>>, command: &Command, sent: &Sent) {
    let stage = command.stage().filter(|&stage| connection.agreement().has_reply(stage));
    assert_eq!(connection.due(), stage);
    let Packet { data, .. } = model::packet(command);
    let (edit, reply) = (any_edit(&data), any_reply(&data));
    if stage.is_some() {
        assert!(matches!(connection.next().await, Err(ConnectionError::ReplyMissing(missing)) if Some(missing) == stage));
    }
    let edited = match &edit {
        Some(edit) => Some(connection.edit(edit).await),
        None => None,
    };
    let progress = connection.progress().await;
    if stage == Some(Stage::EndOfMessage) {
        let (agreed, mut expected) = (*connection.agreement(), Vec::new());
        if let (Some(edit), Some(edited)) = (edit, edited) {
            assert_eq!(edited.is_ok(), agreed.actions().contains(edit.action()), "{edited:?}");
            if edited.is_ok() {
                expected = edit.encode(agreed.has_leading_space());
                check_edit(&expected);
            }
        }
        expected.extend(packet::encode(b'p', &[]));
        progress.expect("it is the end of a message");
        assert_eq!(sent.take(), expected);
    } else {
        assert!(progress.is_err() && edited.is_none_or(|edited| edited.is_err()));
    }
    let possible = match reply {
        Reply::Skip => stage == Some(Stage::Body) && connection.agreement().can_skip(),
        Reply::Discard => stage.is_some_and(|stage| stage >= Stage::Mail),
        _ => stage.is_some(),
    };
    match connection.reply(&reply).await {
        Ok(()) => assert!(possible, "{reply:?} at {stage:?}"),
        Err(ConnectionError::NotDue) => return assert!(stage.is_none() && sent.take().is_empty()),
        Err(ConnectionError::NotHere { .. }) => {
            assert!(!possible && sent.take().is_empty(), "{reply:?} at {stage:?}");
            connection.reply(&Reply::Continue).await.expect("another reply can be sent");
        }
        Err(error) => panic!("{error}"),
    }
    let octets = sent.take();
    assert_eq!(octets, if possible { reply } else { Reply::Continue }.encode());
    only_packet(&octets);
    assert!(matches!(connection.reply(&Reply::Continue).await, Err(ConnectionError::NotDue)), "a second reply");
    assert!(sent.take().is_empty());
}

fn any_reply(data: &[u8]) -> Reply {
    let number = model::number(data);
    let refusal = any_refusal(data, number / 16);
    match (number % 16, refusal) {
        (0, _) => Reply::Accept,
        (1, _) => Reply::Reject,
        (2, _) => Reply::TempFail,
        (3, _) => Reply::Discard,
        (4, _) => Reply::Skip,
        (5..14, Some(refusal)) => Reply::Refuse(refusal),
        _ => Reply::Continue,
    }
}

/// A refusal with the client's own words, where that can be one.
fn any_refusal(data: &[u8], number: usize) -> Option<Refusal> {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.split_terminator('\0').collect();
    let code = 395 + u16::try_from(number % 210).expect("small");
    let enhanced_code = format!("{}.{}.8", code / 100, number / 256 % 1100);
    let refusal = Refusal::new(code, &enhanced_code, &lines).ok()?;
    let packet = only_packet(&Reply::Refuse(refusal.clone()).encode());
    let (nul, data) = packet.data.split_last().expect("codes and text");
    assert_eq!((packet.command, *nul), (b'y', 0));
    assert_eq!(str::from_utf8(data).expect("ASCII").replace("%%", "%"), refusal.text());
    assert_eq!(data.iter().filter(|&&octet| octet == b'%').count(), refusal.text().matches('%').count() * 2);
    let sent: Vec<&str> = refusal.text().split("\r\n").collect();
    assert!(sent.len() == lines.len() && sent.len() <= LINES_MAX);
    for (place, line) in (1..).zip(&sent) {
        assert!(line.len() + 2 <= LINE_MAX && line.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{line:?}");
        let separator = if place == sent.len() { ' ' } else { '-' };
        let words = line.strip_prefix(&format!("{code}{separator}{enhanced_code} ")).expect("codes in each line");
        assert!(!words.trim().is_empty(), "{line:?}");
    }
    Some(refusal)
}

/// A change of the header with the client's own words, where that can be one.
fn any_edit(data: &[u8]) -> Option<Edit> {
    let text = String::from_utf8_lossy(data);
    let (name, value) = text.split_once('\0')?;
    let place = u32::try_from(model::number(value.as_bytes()) >> 2 & 0xff).expect("small");
    match model::number(data) % 4 {
        0 => Edit::add(name, value),
        1 => Edit::insert(place, name, value.trim_end_matches('\0')),
        2 => Edit::change(place, name, value.trim_end_matches('\0')),
        _ => Edit::remove(place, name),
    }
    .ok()
}

/// What is sent changes one field and begins no other.
fn check_edit(octets: &[u8]) {
    let Packet { command, data } = only_packet(octets);
    let strings = if command == b'h' { &data[..] } else { &data[4..] };
    let [name, value, b""] = strings.split(|&octet| octet == 0).collect::<Vec<_>>()[..] else {
        panic!("two strings: {strings:?}")
    };
    assert!(!name.is_empty() && name.iter().all(|&octet| octet.is_ascii_graphic() && octet != b':'));
    assert!(!value.contains(&b'\r'));
    assert!(value.split(|&octet| octet == b'\n').skip(1).all(|line| matches!(line.first(), Some(b' ' | b'\t'))));
}

/// The one packet that this is.
fn only_packet(octets: &[u8]) -> Packet {
    let mut decoder = Decoder::new();
    decoder.push(octets);
    let packet = decoder.next_packet().expect("within the limits").expect("a whole packet");
    assert!(!decoder.is_within_packet(), "something behind {packet:?}");
    packet
}

/// What the filter sent and nobody has looked at.
#[derive(Clone, Default)]
struct Sent(Rc<RefCell<Vec<u8>>>);

impl Sent {
    fn take(&self) -> Vec<u8> {
        self.0.take()
    }
}

/// Sends and takes in pieces of these sizes, and not before it was asked twice.
struct Mta<'a> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    waits: bool,
    sent: Sent,
}

impl Mta<'_> {
    fn piece(&mut self, context: &mut Context<'_>, most: usize) -> Poll<usize> {
        self.waits = !self.waits;
        if self.waits {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.sizes.next().map_or(most, |&size| size.min(most)))
    }
}

impl AsyncRead for Mta<'_> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = buffer.remaining().min(self.rest.len());
        let Poll::Ready(size) = self.piece(context, most) else { return Poll::Pending };
        let piece;
        (piece, self.rest) = self.rest.split_at(size);
        buffer.put_slice(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Mta<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(size) = self.piece(context, octets.len()) else { return Poll::Pending };
        self.sent.0.borrow_mut().extend_from_slice(&octets[..size]);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

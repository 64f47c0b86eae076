//! The same once more, made to be simple: it has all octets at once, and looks for the ends in them.

use super::LIMIT;
use crate::command::{Chunk, Command};
use crate::text::LINE_MAX;
use crate::wire::COMMAND_MAX;

/// What is read, without the reason why something is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Command(Option<Command>),
    BadLine,
    BadChunk,
    Data(Option<Vec<u8>>),
    Chunks(Option<Vec<u8>>),
}

impl From<&super::Item> for Item {
    fn from(item: &super::Item) -> Self {
        match item {
            super::Item::Command(command) => Item::Command(command.as_ref().as_ref().ok().cloned()),
            super::Item::BadLine => Item::BadLine,
            super::Item::BadChunk => Item::BadChunk,
            super::Item::Data(text, _) => Item::Data(text.as_ref().ok().cloned()),
            super::Item::Chunks(text) => Item::Chunks(text.as_ref().ok().cloned()),
        }
    }
}

/// What a client's octets are.
pub(super) fn read(mut rest: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut chunks: Vec<u8> = Vec::new();
    loop {
        let Some(end) = position(rest, b"\r\n") else {
            // A line without its end is refused as soon as it can be no command any more.
            if rest.contains(&b'\n') || rest.len() >= COMMAND_MAX {
                items.push(bad(rest));
            }
            return items;
        };
        let line = &rest[..end];
        rest = &rest[end + 2..];
        if line.len() + 2 > COMMAND_MAX || line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            items.push(bad(line));
            if items.last() == Some(&Item::BadChunk) {
                return items;
            }
            continue;
        }
        let command = Command::parse(line);
        items.push(Item::Command(command.as_ref().ok().cloned()));
        match command {
            Ok(Command::Data) => {
                let body = if rest.starts_with(b".\r\n") { Some(0) } else { position(rest, b"\r\n.\r\n").map(|end| end + 2) };
                let Some(body) = body else { return items };
                items.push(Item::Data(text(&rest[..body], true)));
                rest = &rest[body + 3..];
            }
            Ok(Command::Bdat(Chunk { size, last })) => {
                let Some(size) = usize::try_from(size).ok().filter(|size| *size <= rest.len()) else { return items };
                chunks.extend_from_slice(&rest[..size]);
                rest = &rest[size..];
                if last {
                    items.push(Item::Chunks(text(&std::mem::take(&mut chunks), false)));
                }
            }
            Err(reply) if reply.close => return items,
            Ok(Command::Quit) => return items,
            _ => {}
        }
    }
}

fn bad(line: &[u8]) -> Item {
    if line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT")) { Item::BadChunk } else { Item::BadLine }
}

fn position(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets.windows(wanted.len()).position(|found| found == wanted)
}

/// The message, line by line, where it can be kept. After DATA its lines may be protected by a dot.
fn text(mut rest: &[u8], dots: bool) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while !rest.is_empty() {
        // The last one may lack its end.
        let end = position(rest, b"\r\n").unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        let line = line.strip_prefix(b".").filter(|_| dots).unwrap_or(line);
        if line.len() + 2 > LINE_MAX || line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return None;
        }
        text.extend_from_slice(line);
        text.extend_from_slice(b"\r\n");
    }
    (text.len() <= LIMIT).then_some(text)
}

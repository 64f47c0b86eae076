//! All of it in any octets, for fuzzing: what must hold whatever an MTA sends.

mod dialogue;
mod model;

use crate::command::Command;
use crate::connection::ProtocolError;
use crate::macros::Macros;
use crate::negotiate::{Agreement, NEGOTIATE, NegotiateError, Wishes};
use crate::order::Order;
use crate::packet::{Decoder, MAX_DATA, Packet, PacketError};
use crate::protocol::Stage;

/// Reads `octets` as all that an MTA sends on one connection, and panics where something does not hold that a filter relies on:
///
/// - the same is read however the octets are cut;
/// - the decoder keeps what is not yet read, and no more;
/// - a command, written as an MTA writes it, is the packet it was read from;
/// - commands come in an order in which each part of a message is within one;
/// - macros are those of this message and of this connection;
/// - over a [`Connection`](crate::Connection) the same comes as without input and output, each reply is sent where one is due and once, and
///   what is sent is what the MTA can take, also when the text in it is the client's.
///
/// What is answered depends on the command alone, so that a finding stays one when it is made smaller.
pub fn check_any(octets: &[u8]) {
    // By the negotiation alone, so that what follows it can be changed without changing what it means.
    let wishes = [&Wishes::POLICY, &model::ALL, &model::FEW][model::number(&octets[..octets.len().min(17)]) % 3];
    let mut history = model::History::default();
    let whole = read(octets, &[octets.len()], wishes, Some(&mut history));
    let cuts = cuts(octets);
    assert_eq!(read(octets, &cuts, wishes, None), whole, "in pieces of {cuts:?}");
    model::check_order(&whole.0, wishes);
    dialogue::check(octets, &cuts, wishes, &whole);
}

/// Reads `octets` as all that an MTA sends on one connection, in pieces of `piece` octets (at least one), and goes through all that a
/// [`Connection`](crate::Connection) does without input and output. Returns the commands, and the error at which it ended, as text.
///
/// Whatever the octets are it must not panic, and how they are cut must not matter.
pub fn decode_any(octets: &[u8], piece: usize) -> (Vec<Command>, Option<String>) {
    let (commands, error) = read(octets, &[piece], &Wishes::POLICY, None);
    (commands, error.map(|error| error.to_string()))
}

/// The commands, and the error at which it ended.
type Read = (Vec<Command>, Option<ProtocolError>);

/// Sizes of pieces that differ from input to input.
fn cuts(octets: &[u8]) -> [usize; 3] {
    let number = model::number(octets);
    [number % 7 + 1, number / 7 % 64 + 1, number / 448 % 1024 + 1]
}

/// Reads `octets` in pieces of these sizes, in turn; with a `history`, each command is looked at, too.
fn read(octets: &[u8], sizes: &[usize], wishes: &Wishes, history: Option<&mut model::History>) -> Read {
    let mut commands = Vec::new();
    let error = read_into(octets, sizes, wishes, history, &mut commands).err();
    (commands, error)
}

fn read_into(
    octets: &[u8],
    sizes: &[usize],
    wishes: &Wishes,
    mut history: Option<&mut model::History>,
    commands: &mut Vec<Command>,
) -> Result<(), ProtocolError> {
    let (mut decoder, mut order, mut macros) = (Decoder::new(), Order::default(), Macros::default());
    let mut agreement = None;
    let (mut rest, mut sizes, mut waiting, mut most) = (octets, sizes.iter().cycle(), 0, 0);
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |&size| size.clamp(1, rest.len()));
        let piece;
        (piece, rest) = rest.split_at(size);
        decoder.push(piece);
        most = most.max(waiting + piece.len());
        check_memory(&mut decoder, waiting + piece.len(), most);
        while let Some(packet) = decoder.next_packet()? {
            if agreement.is_none() && packet.command != NEGOTIATE {
                return Err(NegotiateError::Missing(packet.command).into());
            }
            let looked_at = history.is_some().then(|| packet.clone());
            let command = Command::decode(packet)?;
            if let Some(packet) = looked_at {
                check_command(&command, packet);
            }
            commands.push(command.clone());
            match (&agreement, command) {
                (None, Command::Negotiate(offer)) => {
                    let agreed = Agreement::new(offer, wishes)?;
                    model::check_agreement(&agreed, offer, wishes);
                    agreement = Some(agreed);
                }
                (None, command) => panic!("{command:?} for a negotiation"),
                (Some(agreed), command) => {
                    order.step(&command, agreed)?;
                    macros.take(&command);
                    if let Some(history) = &mut history {
                        history.check(&command, &macros);
                        if let Command::Header { name, value } = &command {
                            check_field(agreed, name.as_bytes(), value.as_bytes());
                        }
                    }
                    if command == Command::Quit {
                        return Ok(());
                    }
                }
            }
        }
        waiting = match decoder.finish() {
            Err(PacketError::CutOff(waiting)) => waiting,
            other => other.map(|()| 0)?,
        };
        assert!(waiting < MAX_DATA + 5, "a packet is there as a whole and was not given out");
    }
    Ok(decoder.finish()?)
}

/// What is announced takes no memory, and neither does what was given out.
fn check_memory(decoder: &mut Decoder, received: usize, most: usize) {
    let buffer = decoder.buffer();
    assert_eq!(buffer.len(), received, "octets that were not given out yet");
    // A vector doubles.
    assert!(buffer.capacity() <= 2 * most.max(8), "{} octets for {most}", buffer.capacity());
}

/// An MTA that says this command sends this packet.
fn check_command(command: &Command, packet: Packet) {
    let written = model::packet(command);
    assert_eq!(command.stage().map_or(packet.command, Stage::octet), packet.command);
    match command {
        // Later versions may add to an offer, and addresses have more than one form.
        Command::Negotiate(_) => assert!(packet.data.starts_with(&written.data), "{command:?}"),
        Command::Connect { .. } => assert_eq!(Command::decode(written).as_ref(), Ok(command)),
        _ => assert_eq!(written, packet, "{command:?}"),
    }
}

/// A field ends where it ends, and nothing of it is lost.
fn check_field(agreed: &Agreement, name: &[u8], value: &[u8]) {
    let mut field = b"before".to_vec();
    agreed.write_field(name, value, &mut field);
    let field = field.strip_prefix(b"before").expect("what was there stays");
    let end = if agreed.has_leading_space() { &b":"[..] } else { b": " };
    let written = field.strip_prefix(name).and_then(|rest| rest.strip_prefix(end)).and_then(|rest| rest.strip_suffix(b"\r\n"));
    let written = written.expect("name, colon, value, CRLF");
    let bare = |value: &[u8]| value.iter().enumerate().any(|(i, &octet)| octet == b'\n' && !value[..i].ends_with(b"\r"));
    assert!(!bare(written), "a bare LF in \"{}\"", written.escape_ascii());
    let plain = |value: &[u8]| -> Vec<u8> { value.iter().copied().filter(|&octet| octet != b'\r').collect() };
    assert_eq!(plain(written), plain(value));
}

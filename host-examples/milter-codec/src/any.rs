//! All commands in any octets, for fuzzing.

use crate::command::Command;
use crate::connection::ProtocolError;
use crate::macros::Macros;
use crate::negotiate::{Agreement, Wishes};
use crate::order::Order;
use crate::packet::Decoder;

/// Reads `octets` as all that an MTA sends on one connection, in pieces of `piece` octets (at least one), and goes through all that a
/// [`Connection`](crate::Connection) does without input and output. Returns the commands, and the error at which it ended, as text.
///
/// Whatever the octets are it must not panic, and how they are cut must not matter.
pub fn decode_any(octets: &[u8], piece: usize) -> (Vec<Command>, Option<String>) {
    let mut commands = Vec::new();
    let error = read(octets, piece, &mut commands).err();
    (commands, error.map(|error| error.to_string()))
}

fn read(octets: &[u8], piece: usize, commands: &mut Vec<Command>) -> Result<(), ProtocolError> {
    let (mut decoder, mut order, mut macros) = (Decoder::new(), Order::default(), Macros::default());
    let mut agreement = None;
    for piece in octets.chunks(piece.max(1)) {
        decoder.push(piece);
        while let Some(packet) = decoder.next_packet()? {
            let command = Command::decode(packet)?;
            commands.push(command.clone());
            match (&agreement, command) {
                (None, Command::Negotiate(offer)) => {
                    let agreed = Agreement::new(offer, &Wishes::POLICY)?;
                    agreed.encode();
                    agreement = Some(agreed);
                }
                (None, _) => return Ok(()),
                (Some(agreed), command) => {
                    order.step(&command, agreed)?;
                    macros.take(&command);
                    macros.get("i");
                    if let Command::Header { name, value } = &command {
                        agreed.write_field(name.as_bytes(), value.as_bytes(), &mut Vec::new());
                    }
                    if command == Command::Quit {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(decoder.finish()?)
}

//! The same once more, told in another way: by looking back over all that came.

use crate::command::{Client, Command};
use crate::macros::Macros;
use crate::negotiate::{Agreement, NEGOTIATE, Offer, VERSION_MAX, Wishes};
use crate::octets::Octets;
use crate::packet::Packet;
use crate::protocol::{Actions, Stage};

/// Everything that can be wished for, and a reply to each command.
pub(super) const ALL: Wishes = Wishes {
    actions: Actions::from_bits(Actions::ADD_HEADERS.bits() | Actions::CHANGE_HEADERS.bits()),
    unwanted: &[],
    silent: &[],
    skip: true,
    macros: &[],
};

/// As little as possible, and replies where they cannot be left out.
pub(super) const FEW: Wishes = Wishes {
    actions: Actions::ADD_HEADERS,
    unwanted: &[Stage::Connect, Stage::Mail, Stage::Header],
    silent: &Stage::ALL,
    skip: false,
    macros: &[(Stage::Connect, &["j"])],
};

/// A number that is the same for the same octets (FNV-1a, its halves mixed).
pub(super) fn number(octets: &[u8]) -> usize {
    let hash =
        octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3));
    usize::try_from((hash ^ (hash >> 32)) & 0xffff_ffff).expect("32 bits")
}

/// As an MTA writes it.
pub(super) fn packet(command: &Command) -> Packet {
    let strings =
        |strings: &[&Octets]| strings.iter().flat_map(|string| string.as_bytes().iter().copied().chain([0])).collect::<Vec<u8>>();
    let (command, data) = match command {
        Command::Negotiate(Offer { version, actions, protocol }) => {
            (NEGOTIATE, [*version, actions.bits(), protocol.bits()].into_iter().flat_map(u32::to_be_bytes).collect())
        }
        Command::Macros(stage, values) => {
            let values: Vec<_> = values.iter().flat_map(|(name, value)| [name, value]).collect();
            (b'D', [vec![stage.octet()], strings(&values)].concat())
        }
        Command::Connect { host, client } => {
            let (family, place) = match client {
                Client::Unknown => (b'U', None),
                Client::Local(path) => (b'L', Some((0, path.clone()))),
                Client::Internet(address, port) => (b'6', Some((*port, address.to_string().as_str().into()))),
                Client::Unreadable(text, port) => (b'4', Some((*port, text.clone()))),
            };
            let place = place.map(|(port, text)| [&port.to_be_bytes()[..], &strings(&[&text])].concat());
            (b'C', [strings(&[host]), vec![family], place.unwrap_or_default()].concat())
        }
        Command::Helo(name) => (b'H', strings(&[name])),
        Command::Mail(path) | Command::Rcpt(path) => {
            let octet = if matches!(command, Command::Mail(_)) { b'M' } else { b'R' };
            (octet, strings(&[&path.path].into_iter().chain(&path.arguments).collect::<Vec<_>>()))
        }
        Command::Data => (b'T', Vec::new()),
        Command::Unknown(line) => (b'U', strings(&[line])),
        Command::Header { name, value } => (b'L', strings(&[name, value])),
        Command::EndOfHeader => (b'N', Vec::new()),
        Command::Body(octets) => (b'B', octets.as_bytes().to_vec()),
        Command::EndOfMessage(octets) => (b'E', octets.as_bytes().to_vec()),
        Command::Abort => (b'A', Vec::new()),
        Command::Quit => (b'Q', Vec::new()),
        Command::QuitNewConnection => (b'K', Vec::new()),
    };
    Packet { command, data }
}

/// Nothing is agreed on that was not offered or not wanted, and the answer says what was.
pub(super) fn check_agreement(agreed: &Agreement, offer: Offer, wishes: &Wishes) {
    assert!(agreed.version() <= offer.version.min(VERSION_MAX));
    let wanted = wishes.actions | Actions::SET_MACROS;
    assert_eq!(agreed.actions().bits() & !(offer.actions & wanted).bits(), 0, "{agreed:?} of {offer:?}");
    assert_eq!(agreed.protocol().bits() & !offer.protocol.bits(), 0, "{agreed:?} of {offer:?}");
    assert!(agreed.is_sent(Stage::EndOfMessage) && agreed.has_reply(Stage::EndOfMessage));
    let answer = Packet { command: NEGOTIATE, data: agreed.encode().split_off(5) };
    let (version, actions, protocol) = (agreed.version(), agreed.actions(), agreed.protocol());
    assert_eq!(Command::decode(answer), Ok(Command::Negotiate(Offer { version, actions, protocol })));
}

/// What a filter may rely on in the commands of a connection. The last one may be one that was refused, so it is passed over.
pub(super) fn check_order(commands: &[Command], wishes: &Wishes) {
    let Some((Command::Negotiate(offer), accepted)) = commands.split_first() else { return };
    let Ok(agreed) = Agreement::new(*offer, wishes) else { return };
    let accepted = &accepted[..accepted.len().saturating_sub(1)];
    for (place, command) in accepted.iter().enumerate() {
        assert!(!matches!(command, Command::Negotiate(_) | Command::Quit), "{command:?} and something after it");
        let Some(stage) = command.stage() else { continue };
        let before = || accepted[..place].iter().rev();
        let client = || before().take_while(|command| !matches!(command, Command::QuitNewConnection));
        if stage == Stage::Connect {
            assert_eq!(
                client().filter_map(Command::stage).next(),
                None,
                "a client after {place} commands that has said something"
            );
            continue;
        }
        if agreed.is_sent(Stage::Connect) {
            assert_eq!(client().filter(|command| command.stage() == Some(Stage::Connect)).count(), 1, "{stage} of no client");
        }
        if stage < Stage::Rcpt || stage == Stage::Unknown {
            continue;
        }
        let ends = |command: &&Command| match command {
            Command::Abort | Command::QuitNewConnection => true,
            other => matches!(other.stage(), Some(Stage::Connect | Stage::Helo | Stage::EndOfMessage)),
        };
        let mut begun = before().take_while(|command| !ends(command)).filter_map(Command::stage).filter(|s| *s != Stage::Unknown);
        match begun.next() {
            None => assert!(!agreed.is_sent(Stage::Mail), "{stage} of no message"),
            Some(Stage::Mail) => {}
            Some(last) => {
                assert!(last <= stage, "{stage} after {last}");
                let once = matches!(stage, Stage::Data | Stage::EndOfHeader | Stage::EndOfMessage);
                assert!(last < stage || !once, "{stage} twice");
                assert!(!agreed.is_sent(Stage::Mail) || begun.any(|stage| stage == Stage::Mail), "{stage} of no message");
            }
        }
    }
}

/// All that came, for the macros that hold.
#[derive(Default)]
pub(super) struct History {
    commands: Vec<Command>,
}

impl History {
    /// Looking back is quadratic; what is to be found is found in a few messages.
    const MAX: usize = 24;
    const NAMES: usize = 8;

    /// Takes a command, after which `macros` are to hold.
    pub(super) fn check(&mut self, command: &Command, macros: &Macros) {
        if self.commands.len() >= History::MAX {
            return;
        }
        self.commands.push(command.clone());
        let mut holding: Vec<_> = (0..self.commands.len()).filter_map(|place| self.held(place)).collect();
        // That of the latest stage counts.
        holding.sort_by_key(|(stage, _)| std::cmp::Reverse(*stage));
        assert!(holding.windows(2).all(|pair| pair[0].0 != pair[1].0), "two sets of macros for one stage: {:?}", self.commands);
        for name in self.names().take(History::NAMES) {
            // By name; a name that is no text cannot be asked for.
            let Ok(text) = str::from_utf8(name) else { continue };
            let expected = holding.iter().flat_map(|(_, values)| values.iter()).find(|(found, _)| bare(found) == bare_name(name));
            assert_eq!(macros.get(text), expected.map(|(_, value)| value), "{text:?} after {:?}", self.commands);
        }
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let values = self.commands.iter().filter_map(|command| match command {
            Command::Macros(_, values) => Some(values),
            _ => None,
        });
        values.flatten().map(|(name, _)| name.as_bytes())
    }

    /// The macros that came at this place, where they still hold.
    fn held(&self, place: usize) -> Option<(Stage, &[(Octets, Octets)])> {
        let Command::Macros(stage, values) = &self.commands[place] else { return None };
        let mut message_over = false;
        for (distance, later) in (1..).zip(&self.commands[place + 1..]) {
            if message_over && *stage >= Stage::Mail {
                return None;
            }
            let gone = match later {
                Command::Quit | Command::QuitNewConnection => true,
                Command::Abort => *stage >= Stage::Mail,
                Command::Macros(other, _) => other <= stage,
                // Their own command is the one that follows at once.
                other => other.stage().is_some_and(|other| other < *stage || (other == *stage && distance > 1)),
            };
            if gone {
                return None;
            }
            message_over = matches!(later, Command::EndOfMessage(_));
        }
        Some((*stage, values))
    }
}

fn bare(name: &Octets) -> &[u8] {
    bare_name(name.as_bytes())
}

fn bare_name(name: &[u8]) -> &[u8] {
    match name {
        [b'{', name @ .., b'}'] => name,
        name => name,
    }
}

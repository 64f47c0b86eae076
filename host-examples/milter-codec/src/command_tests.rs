use super::*;

fn decode(command: u8, data: &[u8]) -> Result<Command, CommandError> {
    Command::decode(Packet { command, data: data.to_vec() })
}

fn expect(command: u8, data: &[u8]) -> Command {
    decode(command, data).unwrap_or_else(|error| panic!("{error}"))
}

/// The data do not fit the command.
fn misfit(command: u8, data: &[u8]) -> bool {
    matches!(decode(command, data), Err(CommandError::Data { command: named, found, .. }) if named == command && found == data.len())
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

#[test]
fn the_offer_of_postfix_and_of_sendmail() {
    // Postfix 3.7: version 6, actions 0x1ff, protocol 0x1fffff. Sendmail 8.17 offers the same.
    let new = expect(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
    let offer = Offer { version: 6, actions: Actions::from_bits(0x1ff), protocol: Protocol::from_bits(0x1f_ffff) };
    assert_eq!(new, Command::Negotiate(offer));
    assert_eq!(expect(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xffmore"), new, "a later version may say more");
    assert!(misfit(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff"));
    assert!(misfit(b'O', b""));
}

#[test]
fn a_client_with_an_address() {
    // Postfix: the address without a prefix; port 0xc001 = 49153.
    let postfix = expect(b'C', b"mail.example\x006\xc0\x012001:db8::1\0");
    let client = Client::Internet(address("2001:db8::1"), 49153);
    assert_eq!(postfix, Command::Connect { host: "mail.example".into(), client: client.clone() });
    // Sendmail: with a prefix and in full.
    let sendmail = expect(b'C', b"mail.example\x006\xc0\x01IPv6:2001:db8:0:0:0:0:0:1\0");
    assert_eq!(sendmail, postfix);
    let ipv4 = expect(b'C', b"[192.0.2.1]\x004\0\x19192.0.2.1\0");
    assert_eq!(ipv4, Command::Connect { host: "[192.0.2.1]".into(), client: Client::Internet(address("192.0.2.1"), 25) });
}

#[test]
fn a_client_without_an_address() {
    assert_eq!(expect(b'C', b"unknown\0U"), Command::Connect { host: "unknown".into(), client: Client::Unknown });
    // libmilter's test programs send a port and an address even so.
    assert_eq!(expect(b'C', b"unknown\0U\0\0unknown\0"), expect(b'C', b"unknown\0U"));
    let local = Command::Connect { host: "localhost".into(), client: Client::Local("/run/smtp".into()) };
    assert_eq!(expect(b'C', b"localhost\0L\0\0/run/smtp\0"), local);
    for text in ["", "unknown", "192.0.2.256", "2001:db8::1 ", "\u{fc}"] {
        let data = [b"x\x006\0\x19", text.as_bytes(), b"\0"].concat();
        let client = Client::Unreadable(text.into(), 25);
        assert_eq!(expect(b'C', &data), Command::Connect { host: "x".into(), client }, "no mail is lost for it");
    }
}

#[test]
fn a_client_in_pieces_is_none() {
    let whole = b"mail.example\x006\xc0\x012001:db8::1\0";
    for end in 0..whole.len() {
        assert!(misfit(b'C', &whole[..end]), "{end} octets");
    }
    assert!(misfit(b'C', b"x\x007\0\x19::1\0"), "no such family");
    assert!(misfit(b'C', b"x\x006\0\x19::1\0more\0"));
    assert!(misfit(b'C', b"x\x006\0\x19::1\0\0"));
}

#[test]
fn helo_and_unknown_have_one_string() {
    assert_eq!(expect(b'H', b"mail.example\0"), Command::Helo("mail.example".into()));
    assert_eq!(expect(b'H', b"\0"), Command::Helo("".into()));
    assert_eq!(expect(b'U', b"XFALLBACK\0"), Command::Unknown("XFALLBACK".into()));
    for command in [b'H', b'U'] {
        for data in [&b""[..], b"a", b"a\0b", b"a\0b\0", b"a\0\0"] {
            assert!(misfit(command, data), "{}", data.escape_ascii());
        }
    }
}

#[test]
fn octets_are_kept() {
    let Command::Helo(name) = expect(b'H', b"\xff\xfe\0") else { panic!("another command") };
    assert_eq!(name.as_bytes(), b"\xff\xfe");
    let Command::Header { name, value } = expect(b'L', b"Subject\0 Gr\xfc\xdfe\n\tan alle\0") else { panic!("another command") };
    assert_eq!((name, value), ("Subject".into(), b" Gr\xfc\xdfe\n\tan alle"[..].into()));
}

#[test]
fn paths_have_arguments() {
    let Command::Mail(mail) = expect(b'M', b"<smith@example.org>\0SIZE=1000\0BODY=8BITMIME\0") else { panic!("another command") };
    assert_eq!(mail.mailbox(), b"smith@example.org");
    assert_eq!(mail.arguments, ["SIZE=1000", "BODY=8BITMIME"].map(Octets::from));
    let Command::Rcpt(rcpt) = expect(b'R', b"<jones@example.net>\0") else { panic!("another command") };
    assert_eq!((rcpt.mailbox(), rcpt.arguments.len()), (&b"jones@example.net"[..], 0));
    let mailbox = |data| match expect(b'M', data) {
        Command::Mail(mail) => mail.mailbox().to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(mailbox(b"<>\0"), b"");
    assert_eq!(mailbox(b"\0"), b"");
    assert_eq!(mailbox(b"smith@example.org\0"), b"smith@example.org", "Sendmail passes on what has no brackets");
    assert_eq!(mailbox(b"<\0"), b"<");
    assert_eq!(mailbox(b"<a\0"), b"<a");
    for command in [b'M', b'R'] {
        assert!(misfit(command, b""));
        assert!(misfit(command, b"<>"));
        assert!(misfit(command, b"<>\0SIZE=1"));
    }
}

#[test]
fn macros_are_pairs() {
    let macros = expect(b'D', b"Ci\x004F\0{daemon_addr}\0\0");
    assert_eq!(macros, Command::Macros(Stage::Connect, vec![("i".into(), "4F".into()), ("{daemon_addr}".into(), "".into())]));
    assert_eq!(
        expect(b'D', b"E"),
        Command::Macros(Stage::EndOfMessage, Vec::new()),
        "Sendmail sends none where none has a value"
    );
    assert!(misfit(b'D', b""));
    assert!(misfit(b'D', b"Ci\0"));
    assert!(misfit(b'D', b"Ci\x004F"));
    assert_eq!(decode(b'D', b"Qi\x004F\0"), Err(CommandError::MacroStage(b'Q')));
}

#[test]
fn strings_have_a_number() {
    let strings = |number: usize| b"M".iter().copied().chain(std::iter::repeat_n(0, number)).collect::<Vec<_>>();
    let Command::Macros(_, pairs) = expect(b'D', &strings(MAX_STRINGS)) else { panic!("another command") };
    assert_eq!(pairs.len(), MAX_STRINGS / 2);
    assert_eq!(decode(b'D', &strings(MAX_STRINGS + 1)), Err(CommandError::Strings(b'D')));
    assert_eq!(decode(b'M', &[0; MAX_STRINGS + 1]), Err(CommandError::Strings(b'M')));
    assert_eq!(expect(b'B', &[0; MAX_STRINGS + 1]), Command::Body(vec![0; MAX_STRINGS + 1].into()), "a body has none");
}

#[test]
fn a_header_field_has_name_and_value() {
    assert_eq!(expect(b'L', b"X\0\0"), Command::Header { name: "X".into(), value: "".into() });
    for data in [&b""[..], b"X\0", b"X\0a", b"X\0a\0b", b"X\0a\0b\0"] {
        assert!(misfit(b'L', data), "{}", data.escape_ascii());
    }
}

#[test]
fn bodies_are_octets() {
    assert_eq!(expect(b'B', b"a\0b"), Command::Body(b"a\0b"[..].into()));
    assert_eq!(expect(b'B', b""), Command::Body(Octets::default()));
    assert_eq!(expect(b'E', b""), Command::EndOfMessage("".into()), "Postfix and Sendmail");
    assert_eq!(expect(b'E', b"last\r\n"), Command::EndOfMessage("last\r\n".into()), "as the protocol allows");
}

#[test]
fn the_rest_has_no_data() {
    for (command, expected) in [
        (b'T', Command::Data),
        (b'N', Command::EndOfHeader),
        (b'A', Command::Abort),
        (b'Q', Command::Quit),
        (b'K', Command::QuitNewConnection),
    ] {
        assert_eq!(expect(command, b""), expected);
        assert!(misfit(command, b"\0"));
    }
}

#[test]
fn other_commands_are_named() {
    for command in (0..=255).filter(|command| !b"ODCHMRTULNBEAQK".contains(command)) {
        assert_eq!(decode(command, b""), Err(CommandError::Octet(command)));
    }
    let error = decode(0x1b, b"").expect_err("no command").to_string();
    assert!(error.starts_with("unknown command '\\x1b'; expected"), "{error}");
}

#[test]
fn a_stage_is_that_of_the_octet() {
    let whole: [(u8, &[u8]); 10] = [
        (b'C', b"x\0U"),
        (b'H', b"x\0"),
        (b'M', b"x\0"),
        (b'R', b"x\0"),
        (b'T', b""),
        (b'L', b"x\0y\0"),
        (b'N', b""),
        (b'B', b""),
        (b'E', b""),
        (b'U', b"x\0"),
    ];
    for (octet, data) in whole {
        assert_eq!(expect(octet, data).stage().map(Stage::octet), Some(octet));
    }
    for octet in *b"AQK" {
        assert_eq!(expect(octet, b"").stage(), None);
    }
}

#![allow(clippy::unwrap_used)] // A test may panic.

use super::*;
use crate::protocol::{Actions, Protocol};
use crate::reply::Refusal;
use tokio::io::{DuplexStream, duplex};

/// What Postfix and Sendmail offer.
const OFFER: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";
/// What an MTA of version 2 offers: it waits for a reply at each stage.
const OLD_OFFER: &[u8] = b"\0\0\0\x0dO\0\0\0\x02\0\0\0\x3f\0\0\0\x7f";
const SHORT: TimeLimits =
    TimeLimits { command: Duration::from_millis(100), packet: Duration::from_millis(100), write: Duration::from_millis(100) };

/// Negotiates; the other end is the MTA's.
async fn open(offer: &[u8], wishes: &Wishes, limits: TimeLimits) -> (Connection<DuplexStream>, DuplexStream) {
    let (ours, mut mta) = duplex(4096);
    mta.write_all(offer).await.unwrap();
    let connection = Connection::open(ours, wishes, limits).await.unwrap().expect("a negotiation");
    let mut answer = vec![0; connection.agreement().encode().len()];
    mta.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, connection.agreement().encode());
    (connection, mta)
}

async fn policy() -> (Connection<DuplexStream>, DuplexStream) {
    open(OFFER, &Wishes::POLICY, TimeLimits::default()).await
}

async fn send(mta: &mut DuplexStream, packets: &[(u8, &[u8])]) {
    for (command, data) in packets {
        mta.write_all(&packet::encode(*command, &[data])).await.unwrap();
    }
}

async fn expect_octets(mta: &mut DuplexStream, expected: &[u8]) {
    let mut found = vec![0; expected.len()];
    mta.read_exact(&mut found).await.unwrap();
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

/// Goes on to the next command that waits for a reply.
async fn next_due(connection: &mut Connection<DuplexStream>) -> Stage {
    while connection.due().is_none() {
        connection.next().await.unwrap().expect("a command");
    }
    connection.due().expect("a reply is due")
}

#[tokio::test]
async fn a_session_with_two_messages() {
    let (mut connection, mut mta) = policy().await;
    let message: &[(u8, &[u8])] = &[
        (b'D', b"Mi\x001\0"),
        (b'M', b"<a@example.org>\0"),
        (b'D', b"Ri\x002\0"),
        (b'R', b"<b@example.net>\0"),
        (b'T', b""),
        (b'L', b"From\0 a@example.org\0"),
        (b'D', b"Ei\x003\0"),
        (b'E', b"text\r\n"),
    ];
    send(&mut mta, &[(b'D', b"Cj\0mx.example\0"), (b'C', b"x\x006\0\x19::1\0"), (b'H', b"x\0")]).await;
    send(&mut mta, message).await;
    send(&mut mta, message).await;
    send(&mut mta, &[(b'A', b""), (b'Q', b"")]).await;
    let (mut seen, mut ids) = (String::new(), String::new());
    while let Some(command) = connection.next().await.unwrap() {
        seen.push(command.stage().map_or('.', |stage| stage.octet().into()));
        ids.push_str(&connection.macros().get("i").map_or("-".into(), |id| id.to_text()));
        if connection.due().is_some() {
            seen.push('!');
            connection.reply(&Reply::Continue).await.unwrap();
        }
    }
    assert_eq!(seen, "C!H!M!RT!LE!M!RT!LE!..");
    assert_eq!(ids, "--1222312223--");
    assert!(connection.next().await.unwrap().is_none(), "and it stays over");
    drop(connection);
    let mut replies = Vec::new();
    mta.read_to_end(&mut replies).await.unwrap();
    assert_eq!(replies, b"\0\0\0\x01c".repeat(8), "one for each stage that has one");
}

#[tokio::test]
async fn an_old_mta_gets_a_reply_to_everything() {
    let (mut connection, mut mta) = open(OLD_OFFER, &Wishes::POLICY, TimeLimits::default()).await;
    send(&mut mta, &[(b'C', b"x\0U"), (b'M', b"<>\0"), (b'R', b"<b>\0"), (b'L', b"A\0b\0"), (b'B', b"c"), (b'E', b"")]).await;
    for expected in [Stage::Connect, Stage::Mail, Stage::Rcpt, Stage::Header, Stage::Body, Stage::EndOfMessage] {
        assert_eq!(next_due(&mut connection).await, expected);
        connection.reply(&Reply::Continue).await.unwrap();
        expect_octets(&mut mta, b"\0\0\0\x01c").await;
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_none() {
    let (ours, mta) = duplex(64);
    drop(mta);
    assert!(Connection::open(ours, &Wishes::POLICY, TimeLimits::default()).await.unwrap().is_none());
}

#[tokio::test]
async fn what_does_not_negotiate_is_no_mta() {
    let attempt = async |octets: &[u8]| {
        let (ours, mut mta) = duplex(4096);
        mta.write_all(octets).await.unwrap();
        drop(mta);
        Connection::open(ours, &Wishes::POLICY, TimeLimits::default()).await.expect_err("no negotiation")
    };
    let missing = attempt(b"\0\0\0\x04Ca\0U").await;
    assert!(matches!(missing, ConnectionError::Protocol(ProtocolError::Negotiate(NegotiateError::Missing(b'C')))), "{missing}");
    let old = attempt(b"\0\0\0\x0dO\0\0\0\x01\0\0\0\x0f\0\0\0\x3f").await;
    assert!(matches!(old, ConnectionError::Protocol(ProtocolError::Negotiate(NegotiateError::Version(1)))), "{old}");
    let cut = attempt(&OFFER[..OFFER.len() - 1]).await;
    assert!(matches!(cut, ConnectionError::Protocol(ProtocolError::Packet(PacketError::CutOff(16)))), "{cut}");
    let http = attempt(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(matches!(http, ConnectionError::Protocol(ProtocolError::Packet(PacketError::Huge(0x4745_5420)))), "{http}");
    let short = attempt(b"\0\0\0\x05O\0\0\0\x06").await;
    assert!(
        matches!(short, ConnectionError::Protocol(ProtocolError::Command(CommandError::Data { command: b'O', .. }))),
        "{short}"
    );
}

#[tokio::test]
async fn macros_are_there_with_their_command() {
    let (mut connection, mut mta) = policy().await;
    send(&mut mta, &[(b'D', b"C{daemon_addr}\x002001:db8::25\0"), (b'C', b"x\0U")]).await;
    assert!(matches!(connection.next().await.unwrap(), Some(Command::Connect { .. })));
    assert_eq!(connection.macros().get("{daemon_addr}").unwrap(), &"2001:db8::25");
}

#[tokio::test]
async fn a_connection_may_follow_on_the_same_socket() {
    let (mut connection, mut mta) = policy().await;
    send(&mut mta, &[(b'D', b"Cj\0one\0"), (b'C', b"x\0U"), (b'K', b""), (b'C', b"y\0U")]).await;
    assert_eq!(next_due(&mut connection).await, Stage::Connect);
    connection.reply(&Reply::Continue).await.unwrap();
    assert_eq!(connection.next().await.unwrap(), Some(Command::QuitNewConnection));
    assert!(connection.macros().get("j").is_none());
    assert_eq!(next_due(&mut connection).await, Stage::Connect);
}

#[tokio::test]
async fn order_is_enforced() {
    let (mut connection, mut mta) = policy().await;
    send(&mut mta, &[(b'R', b"<a>\0")]).await;
    let error = connection.next().await.expect_err("no client yet");
    assert!(matches!(error, ConnectionError::Protocol(ProtocolError::Order(OrderError::NoClient(Stage::Rcpt)))), "{error}");
}

#[tokio::test]
async fn an_unknown_command_is_an_error_that_names_it() {
    let (mut connection, mut mta) = policy().await;
    send(&mut mta, &[(b'Z', b"")]).await;
    let error = connection.next().await.expect_err("unknown");
    assert!(error.to_string().starts_with("unknown command 'Z'"), "{error}");
}

#[tokio::test]
async fn replies_are_sent_where_they_are_due() {
    let (mut connection, mut mta) = policy().await;
    assert!(matches!(connection.reply(&Reply::Continue).await, Err(ConnectionError::NotDue)));
    send(&mut mta, &[(b'C', b"x\0U"), (b'M', b"<>\0"), (b'R', b"<b>\0")]).await;
    connection.next().await.unwrap();
    assert!(matches!(connection.next().await, Err(ConnectionError::ReplyMissing(Stage::Connect))));
    connection.reply(&Reply::Continue).await.unwrap();
    assert!(matches!(connection.reply(&Reply::Continue).await, Err(ConnectionError::NotDue)), "one only");
    connection.next().await.unwrap();
    let refusal = Refusal::new(456, "4.4.8", &["first", "100 %"]).unwrap();
    connection.reply(&Reply::Refuse(refusal)).await.unwrap();
    assert!(matches!(connection.next().await.unwrap(), Some(Command::Rcpt(_))));
    assert!(matches!(connection.reply(&Reply::TempFail).await, Err(ConnectionError::NotDue)), "recipients are silent");
    expect_octets(&mut mta, b"\0\0\0\x01c").await;
    expect_octets(&mut mta, b"\0\0\0\x23y456-4.4.8 first\r\n456 4.4.8 100 %%\0").await;
}

#[tokio::test]
async fn some_replies_have_their_place() {
    let not_here = |result: Result<(), ConnectionError>| matches!(result, Err(ConnectionError::NotHere { .. }));
    let wishes = Wishes { silent: &[], skip: true, actions: Actions::ADD_HEADERS, ..Wishes::POLICY };
    let (mut connection, mut mta) = open(OFFER, &wishes, TimeLimits::default()).await;
    send(&mut mta, &[(b'C', b"x\0U"), (b'M', b"<>\0"), (b'B', b"a"), (b'E', b"")]).await;
    let (add, change) = (Edit::add("X", "a").unwrap(), Edit::remove(1, "X").unwrap());

    assert_eq!(next_due(&mut connection).await, Stage::Connect);
    assert!(not_here(connection.reply(&Reply::Discard).await));
    assert!(not_here(connection.reply(&Reply::Skip).await));
    assert!(not_here(connection.edit(&add).await));
    assert!(not_here(connection.progress().await));
    connection.reply(&Reply::Continue).await.unwrap();
    assert!(matches!(connection.edit(&add).await, Err(ConnectionError::NotDue)));

    assert_eq!(next_due(&mut connection).await, Stage::Mail);
    connection.reply(&Reply::Discard).await.unwrap();
    assert_eq!(next_due(&mut connection).await, Stage::Body);
    connection.reply(&Reply::Skip).await.unwrap();

    assert_eq!(next_due(&mut connection).await, Stage::EndOfMessage);
    assert!(not_here(connection.reply(&Reply::Skip).await));
    assert!(not_here(connection.edit(&change).await), "it was not agreed on");
    connection.progress().await.unwrap();
    connection.edit(&add).await.unwrap();
    connection.reply(&Reply::Accept).await.unwrap();
    for expected in ["\x01c", "\x01d", "\x01s", "\x01p", "\x06hX\0 a\0", "\x01a"] {
        expect_octets(&mut mta, &[b"\0\0\0", expected.as_bytes()].concat()).await;
    }
}

#[tokio::test]
async fn skip_has_to_be_agreed_on() {
    let wishes = Wishes { silent: &[], ..Wishes::POLICY };
    let (mut connection, mut mta) = open(OFFER, &wishes, TimeLimits::default()).await;
    assert!(!connection.agreement().protocol().contains(Protocol::SKIP));
    send(&mut mta, &[(b'C', b"x\0U"), (b'M', b"<>\0"), (b'B', b"a")]).await;
    for _ in 0..2 {
        next_due(&mut connection).await;
        connection.reply(&Reply::Continue).await.unwrap();
    }
    assert_eq!(next_due(&mut connection).await, Stage::Body);
    let error = connection.reply(&Reply::Skip).await.expect_err("not agreed on");
    assert_eq!(error.to_string(), "skip at body; it was not agreed on");
    connection.reply(&Reply::Continue).await.unwrap();
}

#[tokio::test]
async fn the_end_is_between_packets_or_an_error() {
    let (mut connection, mut mta) = policy().await;
    send(&mut mta, &[(b'A', b"")]).await;
    drop(mta);
    assert_eq!(connection.next().await.unwrap(), Some(Command::Abort));
    assert_eq!(connection.next().await.unwrap(), None, "Postfix says nothing more after some replies");

    let (mut connection, mut mta) = policy().await;
    mta.write_all(b"\0\0\0\x05H").await.unwrap();
    drop(mta);
    let error = connection.next().await.expect_err("half a packet");
    assert!(matches!(error, ConnectionError::Protocol(ProtocolError::Packet(PacketError::CutOff(5)))), "{error}");
}

#[tokio::test]
async fn waiting_has_limits() {
    let (ours, _mta) = duplex(64);
    let error = Connection::open(ours, &Wishes::POLICY, SHORT).await.expect_err("silence");
    assert_eq!(error.to_string(), "the MTA did not negotiate within 100ms");

    let (mut connection, _mta) = open(OFFER, &Wishes::POLICY, SHORT).await;
    let error = connection.next().await.expect_err("silence");
    assert_eq!(error.to_string(), "the MTA did not send a command within 100ms");

    let (mut connection, mut mta) = open(OFFER, &Wishes::POLICY, SHORT).await;
    mta.write_all(b"\0\0").await.unwrap();
    let error = connection.next().await.expect_err("half a packet");
    assert_eq!(error.to_string(), "the MTA did not send the rest of a packet within 100ms");
}

#[tokio::test]
async fn a_packet_that_trickles_does_not_begin_anew() {
    let limits = TimeLimits { command: Duration::from_secs(60), ..SHORT };
    let (mut connection, mut mta) = open(OFFER, &Wishes::POLICY, limits).await;
    let trickle = tokio::spawn(async move {
        for octet in *b"\0\0\0\x20Habcdefghijklmnopqrstuvw" {
            if mta.write_all(&[octet]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    // Given up and taken up again, as in a `select!`.
    let error = loop {
        if let Ok(result) = timeout(Duration::from_millis(15), connection.next()).await {
            break result.expect_err("half a packet");
        }
    };
    assert!(matches!(error, ConnectionError::Slow { what: "send the rest of a packet", .. }), "{error}");
    assert!(!trickle.is_finished(), "the limit is for the packet, and not for each octet");
    trickle.abort();
}

#[tokio::test]
async fn each_packet_has_a_time_of_its_own() {
    let limits = TimeLimits { packet: Duration::from_millis(900), ..TimeLimits::default() };
    let (mut connection, mut mta) = open(OFFER, &Wishes::POLICY, limits).await;
    let sender = tokio::spawn(async move {
        // Together longer than the limit, each far below it.
        for octet in b"\0\0\0\x01A".repeat(2) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            mta.write_all(&[octet]).await.unwrap();
        }
        mta
    });
    for _ in 0..2 {
        assert_eq!(connection.next().await.unwrap(), Some(Command::Abort));
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn a_reader_that_is_given_up_loses_nothing() {
    let (mut connection, mut mta) = policy().await;
    let whole = packet::encode(b'C', &[b"mail.example\0U"]);
    for octet in &whole {
        assert!(timeout(Duration::from_millis(1), connection.next()).await.is_err());
        mta.write_all(&[*octet]).await.unwrap();
    }
    let Some(Command::Connect { host, .. }) = connection.next().await.unwrap() else { panic!("another command") };
    assert_eq!(host, "mail.example");
}

#[tokio::test]
async fn a_reply_that_is_given_up_ends_the_connection() {
    let (ours, mut mta) = duplex(300);
    mta.write_all(OFFER).await.unwrap();
    let wishes = Wishes { macros: &[], ..Wishes::POLICY };
    let mut connection = Connection::open(ours, &wishes, SHORT).await.unwrap().unwrap();
    send(&mut mta, &[(b'C', b"x\0U")]).await;
    connection.next().await.unwrap();
    let long = Reply::Refuse(Refusal::new(451, "4.4.8", &["x".repeat(400)]).unwrap());
    let error = connection.reply(&long).await.expect_err("the MTA does not read");
    assert_eq!(error.to_string(), "the MTA did not take a reply within 100ms");
    assert!(matches!(connection.reply(&Reply::Continue).await, Err(ConnectionError::Broken)), "half a packet is on its way");
    assert!(matches!(connection.next().await, Err(ConnectionError::Broken)));
}

#[tokio::test]
async fn the_largest_header_field_of_sendmail_passes() {
    let (mut connection, mut mta) = policy().await;
    let mut field = vec![b'x'; crate::MAX_DATA];
    field[7] = 0;
    *field.last_mut().unwrap() = 0;
    let sender = tokio::spawn(async move {
        send(&mut mta, &[(b'C', b"x\0U"), (b'M', b"<>\0"), (b'L', &field)]).await;
        mta
    });
    for _ in 0..2 {
        next_due(&mut connection).await;
        connection.reply(&Reply::Continue).await.unwrap();
    }
    let Some(Command::Header { name, value }) = connection.next().await.unwrap() else { panic!("another command") };
    assert_eq!((name.len(), value.len()), (7, crate::MAX_DATA - 9));
    sender.await.unwrap();
}

//! Many connections, slow ones and deaf ones, while ordinary mail flows: memory for each is bounded, and comes back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::peer::{ENVELOPE, Peer, memory, observing};
use crate::server::{Server, message};

/// Slow connections.
const MANY: usize = 10_000;
/// Of them from one address: less than `connections_per_prefix` by default, 50.
const FROM_ONE: usize = 40;
/// Files that the test needs beside its connections.
const OTHER_FILES: u64 = 1000;
/// What a connection may take while a command is waited for, in octets. Of the system's memory for sockets nothing is counted.
const FOR_A_CONNECTION: u64 = 12_000;
/// What one may take while its message comes: a block of 16 KiB, and what is kept of the message, beside the above.
const FOR_A_MESSAGE: u64 = 60_000;
/// How long ordinary mail may take beside the flood, on a machine that has other things to do.
const MAIL_TIME: Duration = Duration::from_secs(10);

/// The address of the client with this number: 127.1.0.1 and on.
fn source(number: usize) -> IpAddr {
    let [.., high, low] = (number / FROM_ONE).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low.wrapping_add(1).max(1)).into()
}

/// Files that the process has open, which is connections for the most part.
fn files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Waits until the process has no more files open than this.
async fn shrunk(server: &Server, most: usize, time: Duration) {
    let deadline = Instant::now() + time;
    while files(server.pid()) > most {
        assert!(Instant::now() < deadline, "{} files are open, {most} were before", files(server.pid()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Raises this process's limit, or says what is wrong with the machine.
fn allow_files(needed: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        hard >= needed,
        "this test needs {needed} open files for each of two processes, and the hard limit is {hard}: raise it (ulimit -Hn {needed}, or \
         LimitNOFILE= of the service that runs the tests)"
    );
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard).unwrap();
}

/// `room` is what the system keeps for the client, if not what it usually does.
async fn connect(source: IpAddr, server: SocketAddr, room: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(room) = room {
        socket.set_recv_buffer_size(room).unwrap();
    }
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    let stream = tokio::time::timeout(Duration::from_secs(60), socket.connect(server)).await.expect("accepted in time").unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// So many connections that have read the greeting, some at a time.
async fn greeted(count: usize, server: SocketAddr) -> Vec<TcpStream> {
    let mut connecting = JoinSet::new();
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        if connecting.len() >= 128 {
            streams.push(connecting.join_next().await.unwrap().unwrap());
        }
        connecting.spawn(async move {
            let mut stream = connect(source(number), server, None).await;
            let mut greeting = Vec::new();
            while !greeting.ends_with(b"\r\n") {
                let read = tokio::time::timeout(Duration::from_secs(60), stream.read_buf(&mut greeting)).await;
                assert!(read.expect("a greeting in time").unwrap() > 0, "closed after {}", greeting.escape_ascii());
            }
            assert!(greeting.starts_with(b"220 "), "{}", greeting.escape_ascii());
            stream
        });
    }
    streams.extend(connecting.join_all().await);
    streams
}

/// One octet more from each.
async fn an_octet_each(streams: &mut [TcpStream], octet: u8) {
    for stream in streams {
        // One that was silent for too long is closed by now.
        let _ = stream.write_all(&[octet]).await;
    }
}

/// Some ordinary mail; the longest time that one message took.
async fn ordinary_mail(server: &Server) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..10 {
        for address in [server.ipv6, server.ipv4] {
            let begin = Instant::now();
            let reply = server.send(address, "smith@plain.example", &message(number)).await;
            assert_eq!(reply.code, 250, "{reply}");
            longest = longest.max(begin.elapsed());
        }
    }
    longest
}

#[tokio::test]
async fn ten_thousand_slow_connections_and_ordinary_mail() {
    const IDLE: Duration = Duration::from_secs(25);
    allow_files(MANY as u64 + OTHER_FILES);
    let server = observing("[limits]\nconnections = 12000\nidle = \"25s\"\n").await;
    let alone = ordinary_mail(&server).await;
    let (files_before, before) = (files(server.pid()), memory(server.pid(), "VmRSS"));

    let begin = Instant::now();
    let mut streams = greeted(MANY, server.ipv4).await;
    let connected = begin.elapsed();
    let mut longest = Duration::ZERO;
    // Letters of a command that never ends.
    for octet in *b"NOO" {
        an_octet_each(&mut streams, octet).await;
        longest = longest.max(ordinary_mail(&server).await);
    }
    // Those that came first may have been silent for too long on a slow machine: what is measured is what is open.
    let (open, at_most) = (files(server.pid()) - files_before, memory(server.pid(), "VmRSS"));
    let each = (at_most - before) * 1024 / open as u64;
    println!(
        "{open} of {MANY} connections open, made in {connected:?}: {before} kB before, {at_most} kB with them, {each} octets each; \
         ordinary mail took {alone:?} at most alone and {longest:?} beside them"
    );
    assert!(open > MANY / 2 && each < FOR_A_CONNECTION, "{open} connections of {each} octets");
    assert!(longest < MAIL_TIME, "{longest:?}");

    // An octet now and then does not count as a command: each is told so, and closed.
    let mut farewells = 0;
    for mut stream in streams {
        let mut said = Vec::new();
        let read =
            tokio::time::timeout(IDLE + Duration::from_secs(30), stream.read_to_end(&mut said)).await.expect("closed in time");
        farewells += usize::from(read.is_ok() && said == b"421 4.4.2 the session was idle for too long; closing\r\n");
    }
    // Who sent its octet after that, on a slow machine, may have heard a reset instead.
    assert!(farewells >= open * 9 / 10, "{farewells} were told why");
    shrunk(&server, files_before + 5, Duration::from_secs(30)).await;
    // The memory is used again.
    let again = greeted(MANY / 4, server.ipv4).await;
    let highest = memory(server.pid(), "VmHWM");
    println!("{} kB now, and {highest} kB at the highest, with {} connections more", memory(server.pid(), "VmRSS"), again.len());
    assert!(highest < at_most + at_most / 5, "{highest} kB after {at_most} kB");
    assert!(ordinary_mail(&server).await < MAIL_TIME);
    assert_eq!(server.delivered().len(), 5 * 20);
}

#[tokio::test]
async fn a_thousand_slow_messages() {
    const COUNT: usize = 1000;
    allow_files(COUNT as u64 + OTHER_FILES);
    let server = observing("[limits]\nconnections = 2000\ndata_block = \"5s\"\nmessage_time = \"8s\"\n").await;
    ordinary_mail(&server).await;
    let (files_before, before) = (files(server.pid()), memory(server.pid(), "VmRSS"));
    let mut streams = greeted(COUNT, server.ipv4).await;
    for stream in &mut streams {
        stream.write_all(format!("EHLO client.example\r\n{ENVELOPE}DATA\r\n").as_bytes()).await.unwrap();
    }
    for stream in &mut streams {
        let mut replies = Vec::new();
        while !replies.windows(4).any(|part| part == b"354 ") {
            assert!(stream.read_buf(&mut replies).await.unwrap() > 0, "{}", replies.escape_ascii());
        }
    }
    for octet in *b"a: b\r\n" {
        an_octet_each(&mut streams, octet).await;
    }
    let longest = ordinary_mail(&server).await;
    let (open, at_most) = (files(server.pid()) - files_before, memory(server.pid(), "VmRSS"));
    let each = at_most.saturating_sub(before) * 1024 / open as u64;
    println!(
        "{open} messages at a time: {before} kB before, {at_most} kB with them, {each} octets each; ordinary mail took {longest:?}"
    );
    assert!(open > COUNT / 2 && each < FOR_A_MESSAGE, "{open} messages of {each} octets");
    assert!(longest < MAIL_TIME, "{longest:?}");
    // In vain do they send an octet in time for each block: the whole message has its time, too.
    let begin = Instant::now();
    while files(server.pid()) > files_before + COUNT / 10 {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} files are open", files(server.pid()));
        an_octet_each(&mut streams, b'x').await;
        for stream in &mut streams {
            // What it says, so that it can close.
            let _ = stream.try_read(&mut [0; 512]);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(server.delivered().len(), 2 * 20);
}

#[tokio::test]
async fn one_address_cannot_take_all_places() {
    let server = observing("").await;
    let greedy: IpAddr = [127, 0, 0, 9].into();
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut peer = Peer::connected_from(greedy, server.ipv4).await;
        assert_eq!(peer.reply().await.code, 220);
        held.push(peer);
    }
    // Many more than are told so at a time.
    let (mut told, mut closed) = (0, 0);
    let mut refused = Vec::new();
    for _ in 0..200 {
        refused.push(Peer::connected_from(greedy, server.ipv4).await);
    }
    for mut peer in refused {
        match &peer.rest().await[..] {
            [] => closed += 1,
            [reply] => {
                assert!(reply.code == 421 && reply.has_enhanced_code("4.7.0"), "{reply}");
                told += 1;
            }
            replies => panic!("{replies:?}"),
        }
    }
    println!("the 51st and on: {told} were told so, {closed} were closed without a word");
    assert!(told >= 64 && told + closed == 200);
    // Its neighbour, and IPv6, have their own; it has a place again when it has given one back.
    for address in [[127, 0, 0, 8], [127, 0, 0, 10]] {
        assert_eq!(Peer::connected_from(address.into(), server.ipv4).await.reply().await.code, 220);
    }
    assert!(ordinary_mail(&server).await < MAIL_TIME);
    assert_eq!(held.pop().unwrap().command("QUIT").await.code, 221);
    for attempt in 0.. {
        if Peer::connected_from(greedy, server.ipv4).await.reply().await.code == 220 {
            break;
        }
        assert!(attempt < 200, "the place is not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for peer in &mut held {
        assert_eq!(peer.command("NOOP").await.code, 250, "those who were first are still served");
    }
}

#[tokio::test]
async fn all_places_are_taken() {
    let server = observing("[limits]\nconnections = 20\n").await;
    let mut held = Vec::new();
    for number in 0..20 {
        let mut peer = Peer::connected_from(source(number * FROM_ONE), server.ipv4).await;
        assert_eq!(peer.reply().await.code, 220);
        held.push(peer);
    }
    let mut told = 0;
    for number in 0..300 {
        let mut peer = Peer::connected_from(source(number * FROM_ONE), server.ipv4).await;
        match &peer.rest().await[..] {
            [] => {}
            [reply] => {
                assert!(reply.code == 421 && reply.has_enhanced_code("4.3.2"), "{reply}");
                told += 1;
            }
            replies => panic!("{replies:?}"),
        }
    }
    assert!(told >= 64, "{told} were told so");
    for peer in &mut held {
        let codes = peer.codes(&[
            "EHLO client.example",
            "MAIL FROM:<a@plain.example>",
            "RCPT TO:<jones@demo.example>",
            "DATA",
            "a: b\r\n\r\n.",
        ]);
        assert_eq!(codes.await, [250, 250, 250, 354, 250]);
    }
    assert_eq!(server.delivered().len(), 20);
}

/// Clients that send and send, and read no reply.
#[tokio::test]
async fn clients_that_are_deaf() {
    const CLIENTS: usize = 40;
    let server = observing("[limits]\nidle = \"2s\"\ndata_block = \"2s\"\n").await;
    ordinary_mail(&server).await;
    let (files_before, before) = (files(server.pid()), memory(server.pid(), "VmRSS"));
    let floods = [
        (CLIENTS, String::new(), "NOOP\r\n"),
        (CLIENTS, String::new(), "EHLO client.example\r\n"),
        (CLIENTS, String::new(), "HELP\r\n"),
        (CLIENTS, String::new(), "WHAT\r\n"),
        (CLIENTS, format!("EHLO client.example\r\n{ENVELOPE}"), "RCPT TO:<jones@demo.example>\r\n"),
        // Nothing is wrong with these: only the replies stop them, once there is no room left for them.
        (8, format!("EHLO client.example\r\n{ENVELOPE}"), "BDAT 3\r\nx\r\n"),
    ];
    let (begin, mut clients) = (Instant::now(), JoinSet::new());
    for (kind, (count, start, line)) in floods.iter().enumerate() {
        let group: Arc<str> = [&start[..], &line.repeat(200_000)].concat().into();
        for number in 0..*count {
            let (server, group) = (server.ipv4, Arc::clone(&group));
            clients.spawn(async move {
                // The system is not to take the replies in the client's place.
                let mut stream = connect(source(kind * FROM_ONE + number), server, Some(4096)).await;
                // Ends when the server has closed the connection, or the system has taken all.
                let _ = tokio::time::timeout(Duration::from_secs(60), stream.write_all(group.as_bytes()))
                    .await
                    .expect("an end in time");
                stream
            });
        }
    }
    assert!(ordinary_mail(&server).await < MAIL_TIME);
    // Still open on this side, and nothing is read.
    let _streams = clients.join_all().await;
    shrunk(&server, files_before + 5, Duration::from_secs(30)).await;
    let grown = memory(server.pid(), "VmHWM") - before;
    println!(
        "{} deaf clients, closed after {:?}; {grown} kB more than before",
        floods.iter().map(|flood| flood.0).sum::<usize>(),
        begin.elapsed()
    );
    assert!(grown < 20_000, "{grown} kB more");
    assert!(ordinary_mail(&server).await < MAIL_TIME);
}

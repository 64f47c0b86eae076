//! The dialogues, against a server that only pretends: they pass where its replies are right, and name the scene where not.

#![allow(clippy::unwrap_used)] // A test may panic.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use smtp_fallback_demo::dialogues::{Listeners, play};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It refuses nothing.
    AcceptsAll,
    /// It stays after 421.
    StaysOpen,
    /// One line of the refusal has no enhanced code.
    BareLine,
    /// It refuses signed mail too.
    RefusesAll,
    /// It never refuses at the greeting.
    NoPenalty,
    /// It refuses at the greeting after few failures.
    TooSoon,
    /// Its greeting has the wrong code.
    Greeting421,
    /// It forgets the verb.
    ForgetsVerb,
    /// It announces the extension over IPv4.
    AnnouncesOverIpv4,
}

struct State {
    fault: Fault,
    failures: usize,
    penalty: Option<Instant>,
}

impl State {
    fn count_failure(&mut self) {
        self.failures += 1;
        if self.failures == if self.fault == Fault::TooSoon { 6 } else { 8 } {
            self.penalty = Some(Instant::now() + Duration::from_millis(600));
        }
    }
}

async fn serve(listener: TcpListener, ipv6: bool, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that goes away early ends only its own session.
        let _ = session(stream, ipv6, &state).await;
    }
}

async fn session(stream: TcpStream, ipv6: bool, state: &Mutex<State>) -> std::io::Result<()> {
    let fault = state.lock().unwrap().fault;
    let mut stream = BufReader::new(stream);
    let penalty = state.lock().unwrap().penalty.is_some_and(|until| until > Instant::now());
    if ipv6 && penalty && fault != Fault::NoPenalty {
        let code = if fault == Fault::Greeting421 { 421 } else { 451 };
        stream.write_all(format!("{code} 4.4.8 come back\r\n").as_bytes()).await?;
        return close(stream).await;
    }
    stream.write_all(b"220 mx\r\n").await?;
    let mut verb = false;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let announced = ipv6 || fault == Fault::AnnouncesOverIpv4;
        let reply = match line.trim_end() {
            "DATA" => "354 go on".to_owned(),
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return close(stream).await;
            }
            "IPV6-IPV4-FALLBACK" => {
                verb = fault != Fault::ForgetsVerb;
                "250 OK".to_owned()
            }
            ehlo if ehlo.starts_with("EHLO") && announced => "250-mx\r\n250 IPV6-IPV4-FALLBACK".to_owned(),
            _ => "250 OK".to_owned(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        if !reply.starts_with("354") {
            continue;
        }
        let mut message = String::new();
        while !message.ends_with("\r\n.\r\n") {
            stream.read_line(&mut message).await?;
        }
        let passes = message.starts_with("DKIM-Signature:") && fault != Fault::RefusesAll;
        if !ipv6 || passes || fault == Fault::AcceptsAll {
            stream.write_all(b"250 OK\r\n").await?;
            continue;
        }
        let code = if verb { 456 } else { 421 };
        let second = if fault == Fault::BareLine { "see" } else { "4.4.8 see" };
        stream.write_all(format!("{code}-4.4.8 no\r\n{code} {second}\r\n").as_bytes()).await?;
        state.lock().unwrap().count_failure();
        if !verb && fault != Fault::StaysOpen {
            return close(stream).await;
        }
    }
}

/// In good order: without reading what is still coming, the reply might be lost to a reset (A4).
async fn close(mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// The text of the scenes, and how many messages were accepted or the problem.
async fn played(fault: Fault) -> (String, Result<usize, String>) {
    let state = Arc::new(Mutex::new(State { fault, failures: 0, penalty: None }));
    let ipv6 = TcpListener::bind("[::1]:0").await.unwrap();
    let ipv4 = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = Listeners { ipv6: ipv6.local_addr().unwrap(), ipv4: ipv4.local_addr().unwrap() };
    let servers = [tokio::spawn(serve(ipv6, true, state.clone())), tokio::spawn(serve(ipv4, false, state))];
    let mut text = String::new();
    let played = play(listeners, |scene| text.push_str(scene)).await.map_err(|error| error.to_string());
    servers.iter().for_each(tokio::task::JoinHandle::abort);
    (text, played)
}

#[tokio::test]
async fn a_right_server_passes_and_all_is_shown() {
    let (text, accepted) = played(Fault::None).await;
    // First over IPv4, signed, the 7 over IPv4, signed, signed, the last over IPv4.
    assert_eq!(accepted, Ok(12), "{text}");
    assert_eq!(text.matches("== ").count(), 5, "{text}");
    for part in [
        "S: 421-4.4.8 no\nS: 421 4.4.8 see\nC: QUIT\n",
        "(7 more messages like the first",
        "S: 451 4.4.8 come back\nS: <disconnect>",
        "(waited ",
        "C: IPV6-IPV4-FALLBACK\nS: 250 OK",
        "S: 456 4.4.8 see\nC: MAIL FROM:<smith@signed.example>",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[tokio::test]
async fn a_wrong_reply_is_found() {
    for (fault, scene, problem) in [
        (Fault::AcceptsAll, "without SPF or DKIM", "expected 421 with 4.4.8 on each line, found \"250 OK\""),
        (Fault::StaysOpen, "without SPF or DKIM", "it should have closed the connection"),
        (Fault::BareLine, "without SPF or DKIM", "found \"421 4.4.8 no / see\""),
        (Fault::AnnouncesOverIpv4, "without SPF or DKIM", "expected no IPV6-IPV4-FALLBACK over IPv4"),
        (Fault::RefusesAll, "DKIM signature", "expected 250, found \"421 4.4.8 no / 4.4.8 see\""),
        (Fault::NoPenalty, "the greeting is the refusal", "the greeting is still 220"),
        (Fault::TooSoon, "the greeting is the refusal", "451 after 5 more failures, expected at least 6"),
        (Fault::Greeting421, "the greeting is the refusal", "expected 451 with 4.4.8 on each line, found \"421"),
        (Fault::ForgetsVerb, "keeps its session", "expected 456"),
    ] {
        let (text, found) = played(fault).await;
        let found = found.expect_err(&format!("{fault:?} was not found"));
        assert!(found.contains(scene) && found.contains(problem), "{fault:?}: {found}\n{text}");
    }
}

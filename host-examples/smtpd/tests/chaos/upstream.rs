//! The mail system behind the server misbehaves at each stage: the client hears a refusal for now, or upstream's own words, and never
//! 250 without upstream's 250 to the same message.

mod double;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use smtp_fallback_demo::client::{Client, ClientError, Reply};
use smtp_fallback_demo::zone::{NameServer, PLAIN_DOMAIN, Zone};
use tempfile::TempDir;

use crate::mail::{Attempt, Lcg, Ledger, Route, is_own_temporary};
use crate::server::{Folder, Server, Setting};
use double::{Action, Double, Stage, WORDS, Wrong};

const SENDER: &str = "smith@spf.example";
/// No attempt takes longer, at a time-out of 1.5 s.
const BOUND: Duration = Duration::from_secs(8);
const SEED: u64 = 4711;
const MESSAGES: u32 = 300;
const CLIENTS: u32 = 10;

const STAGES: [Stage; 7] = [Stage::Greeting, Stage::Hello, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Text, Stage::Dot];
const ACTIONS: [Action; 9] = [
    Action::Close,
    Action::Reset,
    Action::Hang,
    Action::Garbage,
    Action::Giant,
    Action::Twice,
    Action::Say(421),
    Action::Say(451),
    Action::Say(550),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_smtp_upstream_that_fails_at_any_stage() {
    let (double, address) = Double::tcp(free()).await;
    let server = start(&tcp(address, "1500ms")).await;
    every_failure(&server, &double).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_lmtp_upstream_that_fails_at_any_stage() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("lmtp");
    let double = Double::unix(&socket);
    let server = start(&upstream(&format!("unix:{}", socket.display()), "lmtp", "nothing", "1500ms")).await;
    every_failure(&server, &double).await;
}

async fn every_failure(server: &Server, double: &Double) {
    let ledger = Ledger::default();
    let mut number = 0;
    for stage in STAGES {
        for action in ACTIONS {
            double.plan(move || Some((stage, action)));
            failure(server, double, &ledger, number, (stage, action)).await;
            number += 10;
        }
    }
    let balance = ledger.check(&double.taken());
    println!("{} failures of upstream: {balance:?}", STAGES.len() * ACTIONS.len());
}

/// One misbehaviour: what the client hears, and that the next message gets through: in the same session if that goes on, and in another.
async fn failure(server: &Server, double: &Double, ledger: &Ledger, number: u32, wrong: (Stage, Action)) {
    let (stage, action) = wrong;
    // More than sockets hold, so that there is a middle.
    let size = if stage == Stage::Text { 8 << 20 } else { 400 };
    let attempt = Attempt::first(number);
    let began = Instant::now();
    let (reply, client) = session(server.ipv4, attempt, size).await.unwrap();
    assert!(began.elapsed() < BOUND, "{wrong:?}: {reply} took {:?}", began.elapsed());
    double.plan(|| None);

    let in_message = matches!(stage, Stage::Data | Stage::Text | Stage::Dot);
    let own = is_own_temporary(&reply, if in_message { "4.3.0" } else { "4.3.2" });
    match action {
        // What came behind the reply need not be there by the time that it is passed on.
        Action::Twice if stage == Stage::Dot && reply.code == 250 => {}
        Action::Say(code) => {
            assert_eq!(reply.code, code, "{wrong:?}: {reply}");
            let enhanced = format!("{}.7.9", code / 100);
            assert_eq!(reply.lines, [format!("{enhanced} {stage:?}:"), format!("{enhanced} {WORDS}")], "word for word");
        }
        _ => assert!(own, "{wrong:?}: {reply}"),
    }
    note(ledger, attempt, &Ok(reply.clone()));

    // 421 ends the session, and so does a refusal of the whole session.
    let goes_on = reply.code != 421 && !matches!(stage, Stage::Greeting | Stage::Hello);
    let mut client = client;
    if goes_on {
        if stage == Stage::Rcpt {
            assert_eq!(client.command("RSET").await.unwrap().code, 250, "{wrong:?}");
        }
        let next = Attempt::first(number + 1);
        let outcome = Route::to(server.ipv4).transaction(&mut client, SENDER, &next.message(400)).await;
        note(ledger, next, &outcome);
        let reply = outcome.unwrap();
        assert_eq!(reply.code, 250, "{wrong:?}, the next message: {reply}\n{:#?}", client.transcript());
    } else {
        client.closed().await.unwrap();
    }
    let next = Attempt::first(number + 2);
    let outcome = Route::to(server.ipv4).send(SENDER, &next.message(400)).await;
    note(ledger, next, &outcome);
    assert_eq!(outcome.unwrap().code, 250, "{wrong:?}, the next session");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_and_comes_back() {
    let (double, address) = Double::tcp(free()).await;
    let server = start(&tcp(address, "1500ms")).await;
    let ledger = Ledger::default();
    let mut taken = Vec::new();
    let (reply, mut client) = session(server.ipv4, Attempt::first(1), 400).await.unwrap();
    assert_eq!(reply.code, 250, "{reply}");
    note(&ledger, Attempt::first(1), &Ok(reply));

    // A restart between two messages of a session is none of the client's business.
    taken.extend(double.stop().await);
    let (double, _) = Double::tcp(address).await;
    let outcome = Route::to(server.ipv4).transaction(&mut client, SENDER, &Attempt::first(2).message(400)).await;
    note(&ledger, Attempt::first(2), &outcome);
    assert_eq!(outcome.unwrap().code, 250);

    taken.extend(double.stop().await);
    let outcome = Route::to(server.ipv4).transaction(&mut client, SENDER, &Attempt::first(3).message(400)).await;
    note(&ledger, Attempt::first(3), &outcome);
    assert!(is_own_temporary(outcome.as_ref().unwrap(), "4.3.2"), "{outcome:?}");
    let outcome = Route::to(server.ipv4).send(SENDER, &Attempt::first(4).message(400)).await;
    note(&ledger, Attempt::first(4), &outcome);
    assert!(is_own_temporary(outcome.as_ref().unwrap(), "4.3.2"), "{outcome:?}");
    server.logged(&["ERROR", "event=\"upstream-failure\"", "cannot be reached"]);

    let (double, _) = Double::tcp(address).await;
    let outcome = Route::to(server.ipv4).send(SENDER, &Attempt::first(5).message(400)).await;
    note(&ledger, Attempt::first(5), &outcome);
    assert_eq!(outcome.unwrap().code, 250);
    taken.extend(double.taken());
    let balance = ledger.check(&taken);
    assert_eq!((balance.accepted, balance.refused), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_once_at_mail_is_not_for_the_client_to_hear() {
    let (double, address) = Double::tcp(free()).await;
    let server = start(&tcp(address, "1500ms")).await;
    let ledger = Ledger::default();
    // A reply 421 is not such a thing: it is passed on, in upstream's own words.
    for (number, action) in [Action::Close, Action::Reset, Action::Garbage, Action::Twice].into_iter().enumerate() {
        let mut once = Some((Stage::Mail, action));
        double.plan(move || once.take());
        let attempt = Attempt::first(u32::try_from(number).unwrap());
        let outcome = Route::to(server.ipv4).send(SENDER, &attempt.message(400)).await;
        note(&ledger, attempt, &outcome);
        let reply = outcome.unwrap();
        assert_eq!(reply.code, 250, "{action:?}: {reply}");
    }
    ledger.check(&double.taken());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_at_random() {
    let (double, address) = Double::tcp(free()).await;
    let server = start(&tcp(address, "400ms")).await;
    let mut random = Lcg(SEED);
    double.plan(move || at_random(&mut random));
    let ledger = Arc::new(Ledger::default());
    let (ipv4, ipv6) = (server.ipv4, server.ipv6);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                for number in (client..MESSAGES).step_by(CLIENTS as usize) {
                    until_accepted(&Route { chunked: number % 3 == 0, ..Route::to(ipv4) }, &ledger, number).await;
                    if number % 5 == 0 {
                        unwanted(ipv6, &ledger, 10_000 + number).await;
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let balance = ledger.check(&double.taken());
    println!("seed {SEED}, upstream at random: {balance:?}");
    assert_eq!(balance.accepted as u32, MESSAGES);
    assert!(balance.refused > 100 && balance.broken > 10, "{balance:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_answered_250_is_lost_when_the_process_is_killed_before_upstream() {
    const KILLS: u64 = 4;
    let (double, address) = Double::tcp(free()).await;
    let mut server = start(&tcp(address, "5s")).await;
    let ledger = Arc::new(Ledger::default());
    let address = Arc::new(RwLock::new(server.ipv4));
    let end = Instant::now() + Duration::from_secs(60);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (ledger, address) = (Arc::clone(&ledger), Arc::clone(&address));
            tokio::spawn(async move {
                for number in (client..MESSAGES).step_by(CLIENTS as usize) {
                    let mut attempt = Attempt::first(number);
                    loop {
                        let route = Route::to(*address.read().unwrap());
                        let outcome = route.send(SENDER, &attempt.message(20_000)).await;
                        note(&ledger, attempt, &outcome);
                        if outcome.is_ok_and(|reply| reply.code == 250) {
                            break;
                        }
                        assert!(Instant::now() < end, "{attempt:?} does not get through");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        attempt = attempt.next();
                    }
                }
            })
        })
        .collect();
    let mut random = Lcg(SEED);
    for kill in 0..KILLS {
        let threshold = (u64::from(MESSAGES) * kill + random.below(u64::from(MESSAGES))) / KILLS;
        while (ledger.accepted() as u64) < threshold {
            assert!(Instant::now() < end, "{} accepted by kill {kill}", ledger.accepted());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::task::block_in_place(|| {
            server.kill();
            server.restart();
        });
        *address.write().unwrap() = server.ipv4;
    }
    for client in clients {
        client.await.unwrap();
    }
    let balance = ledger.check(&double.stop().await);
    println!("{KILLS} kills before upstream: {balance:?}");
    assert_eq!(balance.accepted as u32, MESSAGES);
    assert!(balance.broken > 0, "no delivery was interrupted");
}

fn at_random(random: &mut Lcg) -> Wrong {
    if random.below(100) < 45 {
        return None;
    }
    let (stage, action) = (random.below(STAGES.len() as u64) as usize, random.below(ACTIONS.len() as u64) as usize);
    match (STAGES[stage], ACTIONS[action]) {
        // A reply 250 to a message whose end upstream has not seen is no misbehaviour that anybody could tell from a true one.
        (Stage::Text, Action::Twice) => None,
        wrong => Some(wrong),
    }
}

/// As a client does that has it in its queue, only sooner.
async fn until_accepted(route: &Route, ledger: &Ledger, number: u32) {
    let mut attempt = Attempt::first(number);
    while attempt.attempt < 50 {
        let outcome = route.send(SENDER, &attempt.message(1000)).await;
        note(ledger, attempt, &outcome);
        let reply = outcome.unwrap();
        if reply.code == 250 {
            return;
        }
        let own = is_own_temporary(&reply, "4.3.0") || is_own_temporary(&reply, "4.3.2");
        assert!(own || reply.lines.last().unwrap().contains(WORDS), "{reply}");
        attempt = attempt.next();
    }
    panic!("message {number} does not get through");
}

/// Mail that the policy refuses.
async fn unwanted(address: SocketAddr, ledger: &Ledger, number: u32) {
    let outcome = Route::to(address).send(&format!("smith@{PLAIN_DOMAIN}"), &Attempt::first(number).message(300)).await;
    note(ledger, Attempt::first(number), &outcome);
}

/// What the server says of itself at the end of the message leaves open whether upstream has it.
fn note(ledger: &Ledger, attempt: Attempt, outcome: &Result<Reply, ClientError>) {
    match outcome {
        Ok(reply) if reply.code == 451 && reply.has_enhanced_code("4.3.0") => ledger.doubt(attempt),
        outcome => ledger.note(attempt, outcome),
    }
}

/// A session of one message, which stays open; with the last reply.
async fn session(address: SocketAddr, attempt: Attempt, size: usize) -> Result<(Reply, Client), ClientError> {
    let mut client = Client::connect(address).await?;
    for command in ["", "EHLO client.example"] {
        let reply = if command.is_empty() { client.reply().await? } else { client.command(command).await? };
        if reply.code >= 400 {
            return Ok((reply, client));
        }
    }
    let reply = Route::to(address).transaction(&mut client, SENDER, &attempt.message(size)).await?;
    Ok((reply, client))
}

async fn start(table: &str) -> Server {
    let setting = Setting {
        top: "domains = [\"demo.example\"]\ncomponent_cache = \"cache\"".to_owned(),
        tables: format!("[policy_limits]\ndeadline = \"10s\"\n\n{table}"),
        ..Setting::default()
    };
    let nameserver = NameServer::start(Zone::demo()).await.unwrap();
    Server::start_in(Folder::new(&setting, nameserver.addr()), &[], nameserver)
}

fn tcp(address: SocketAddr, time: &str) -> String {
    upstream(&address.to_string(), "smtp", "proxy-v1", time)
}

fn upstream(address: &str, protocol: &str, tell: &str, time: &str) -> String {
    let times = ["connect", "greeting", "command", "data", "block", "dot"].map(|name| format!("{name} = \"{time}\"\n")).concat();
    format!("[upstream]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\ntell = \"{tell}\"\n\n[upstream.timeouts]\n{times}")
}

/// On an address of this test's own, so that nobody else gets the port while upstream is away.
fn free() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    (Ipv4Addr::new(127, 54, 0, NEXT.fetch_add(1, Ordering::Relaxed)), 0).into()
}

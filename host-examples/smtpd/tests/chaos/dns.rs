//! The name server is dead, silent, slow, lying, and comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smtp_fallback_demo::client::Reply;
use smtp_fallback_demo::sign::{Algorithm, signed};
use smtp_fallback_demo::zone::{Kind, NameServer, PLAIN_DOMAIN, SIGNED_DOMAIN, Zone};
use tokio::net::{TcpSocket, UdpSocket};

use crate::mail::{Attempt, Ledger, Route, is_own_temporary};
use crate::server::{Folder, RECIPIENT, Server, Setting};

/// Messages with a temporary error that a network may send in 24 hours (A27).
const BUDGET: u32 = 10;
const DEADLINE: Duration = Duration::from_secs(1);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(2);

/// An address at which nobody answers, and that nobody else gets: a UDP socket that is connected elsewhere, and a TCP socket that does not
/// listen, so that the system refuses what comes.
struct Nobody {
    address: SocketAddr,
    _udp: UdpSocket,
    _tcp: TcpSocket,
}

impl Nobody {
    async fn new() -> Nobody {
        // A port that is free for one protocol need not be for the other: some are tried.
        for _ in 0..20 {
            let udp = UdpSocket::bind((Ipv4Addr::new(127, 53, 0, 1), 0)).await.unwrap();
            let address = udp.local_addr().unwrap();
            udp.connect((Ipv4Addr::new(127, 53, 0, 2), 9)).await.unwrap();
            let tcp = TcpSocket::new_v4().unwrap();
            if tcp.bind(address).is_ok() {
                return Nobody { address, _udp: udp, _tcp: tcp };
            }
        }
        panic!("no port of 127.53.0.1 is free for both UDP and TCP");
    }
}

/// What a name server does to a query.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Answer,
    Slow,
    Silent,
    ServFail,
    /// It cuts the answer, and does not answer over TCP.
    Truncate,
    Garbage,
    /// It answers, but to another query.
    WrongId,
}

#[tokio::test(flavor = "multi_thread")]
async fn a27_a_broken_name_server_has_its_budget_and_then_defers() {
    let trouble = [Mode::Silent, Mode::ServFail, Mode::Truncate, Mode::Garbage, Mode::WrongId];
    let mut zone = Zone::demo();
    for mode in trouble {
        zone.add(&domain(mode), Kind::Txt, "v=spf1 ip6:2001:db8::/32 -all").unwrap();
    }
    zone.add(&domain(Mode::Slow), Kind::Txt, "v=spf1 ip6:2001:db8::/32 -all").unwrap();
    let nameserver = NameServer::start(zone).await.unwrap();
    let fickle = Fickle::start(nameserver.addr()).await;
    let server = Server::start_in(Folder::new(&setting(DEADLINE), fickle.address), &[], nameserver);
    let ledger = Arc::new(Ledger::default());
    for (network, mode) in trouble.into_iter().enumerate() {
        fickle.set(mode);
        budget_and_then(&server, &ledger, network, &domain(mode)).await;
        fickle.set(Mode::Answer);
        recovered(&server, &ledger, network, &domain(mode)).await;
    }

    // Slow, but in time.
    fickle.set(Mode::Slow);
    let reply = send(&server, &ledger, 9, 900, &domain(Mode::Slow)).await;
    assert_eq!(reply.code, 250, "{reply}");
    server.logged(&["reason=\"authenticated\"", "client=2001:db8:9::1"]);
    let balance = ledger.check(&server.delivered());
    println!("name server in trouble: {balance:?}");
    server.logged(&["reason=\"temporary-error\"", "verdict=\"accept\""]);
    server.logged(&["reason=\"temporary-error-budget\"", "verdict=\"refuse\"", "code=451"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a27_no_name_server_at_all() {
    let nobody = Nobody::new().await;
    let address = nobody.address;
    let elsewhere = NameServer::start(Zone::demo()).await.unwrap();
    let server = Server::start_in(Folder::new(&setting(DEADLINE), address), &[], elsewhere);
    let ledger = Arc::new(Ledger::default());
    budget_and_then(&server, &ledger, 0, "back.example").await;
    let mut zone = Zone::demo();
    zone.add("back.example", Kind::Txt, "v=spf1 ip6:2001:db8::/32 -all").unwrap();
    drop(nobody);
    let _nameserver = NameServer::start_on(zone, address).await.unwrap();
    recovered(&server, &ledger, 0, "back.example").await;
    ledger.check(&server.delivered());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reply_takes_longer_than_the_deadline() {
    let nameserver = NameServer::start(Zone::demo()).await.unwrap();
    let fickle = Fickle::start(nameserver.addr()).await;
    fickle.set(Mode::Silent);
    let deadline = Duration::from_secs(3);
    let server = Server::start_in(
        Folder::new(&Setting { listeners: Setting::default().listeners, ..setting(deadline) }, fickle.address),
        &[],
        nameserver,
    );
    // Neither its SPF record nor its DKIM key can be found. The one is looked for before the message, the other after it.
    let message = signed(&crate::server::message(1), Algorithm::Rsa).unwrap();
    let mut client = server.client(server.ipv6).await;
    for (command, code) in [(format!("MAIL FROM:<smith@{SIGNED_DOMAIN}>"), 250), (format!("RCPT TO:<{RECIPIENT}>"), 250)] {
        assert_eq!(client.command(&command).await.unwrap().code, code);
    }
    let began = Instant::now();
    assert_eq!(client.command("DATA").await.unwrap().code, 354);
    let (data, began) = (began.elapsed(), Instant::now());
    let reply = client.message(&message).await.unwrap();
    let dot = began.elapsed();
    assert_eq!(reply.code, 250, "{reply}");
    server.logged(&["end-of-data", "spf=temperror", "dkim=temperror"]);
    println!("with a deadline of {deadline:?}, DATA took {data:?} and the dot {dot:?}");
    assert!(data < deadline + SLACK && dot < deadline + SLACK, "{data:?} {dot:?}");
}

/// As many messages as the budget has are accepted over IPv6, and then none; over IPv4 all are.
async fn budget_and_then(server: &Server, ledger: &Arc<Ledger>, network: usize, domain: &str) {
    let first = u32::try_from(network).unwrap() * 100;
    let sent: Vec<_> = (first..first + BUDGET)
        .map(|number| {
            let (route, ledger, sender) = (route(server, network), Arc::clone(ledger), format!("smith@{domain}"));
            tokio::spawn(async move { timely(&route, &ledger, number, &sender).await })
        })
        .collect();
    for sent in sent {
        let reply = sent.await.unwrap();
        assert_eq!(reply.code, 250, "{domain}: {reply}");
    }
    let reply = send(server, ledger, network, first + BUDGET, domain).await;
    assert!(reply.code == 451 && is_own_temporary(&reply, "4.4.3"), "{domain}: {reply}");
    let route = Route::to(server.ipv4);
    let reply = timely(&route, ledger, first + 50, &format!("smith@{domain}")).await;
    assert_eq!(reply.code, 250, "{domain}, over IPv4: {reply}");
}

/// Mail is decided as if nothing had been.
async fn recovered(server: &Server, ledger: &Ledger, network: usize, domain: &str) {
    let first = u32::try_from(network).unwrap() * 100 + 60;
    let reply = send(server, ledger, network, first, domain).await;
    assert_eq!(reply.code, 250, "{domain}: {reply}");
    let reply = send(server, ledger, network, first + 1, PLAIN_DOMAIN).await;
    assert!(reply.code == 421 && reply.has_enhanced_code("4.4.8"), "{domain}: {reply}");
}

async fn send(server: &Server, ledger: &Ledger, network: usize, number: u32, domain: &str) -> Reply {
    timely(&route(server, network), ledger, number, &format!("smith@{domain}")).await
}

/// The reply, which is there in time.
async fn timely(route: &Route, ledger: &Ledger, number: u32, sender: &str) -> Reply {
    let attempt = Attempt::first(number);
    let began = Instant::now();
    let outcome = route.send(sender, &attempt.message(300)).await;
    ledger.note(attempt, &outcome);
    let (reply, took) = (outcome.unwrap(), began.elapsed());
    // It is looked for records twice: before the message and after it.
    assert!(took < 2 * DEADLINE + SLACK, "{sender}: {reply} after {took:?}");
    reply
}

fn route(server: &Server, network: usize) -> Route {
    Route { proxied: Some(format!("2001:db8:{network:x}::1")), ..Route::to(server.ipv6) }
}

fn domain(mode: Mode) -> String {
    format!("{mode:?}.test.example").to_lowercase()
}

fn setting(deadline: Duration) -> Setting {
    Setting {
        listeners: "[[listener]]\naddress = \"[::1]:0\"\nextension = true\nproxy_from = [\"::1\"]\n\n\
                    [[listener]]\naddress = \"127.0.0.1:0\""
            .to_owned(),
        // The first line ends the table [verify], which is there already.
        tables: format!("deadline = \"{}s\"\n\n[policy_limits]\ndeadline = \"10s\"\n", deadline.as_secs()),
        ..Setting::default()
    }
}

/// A name server in front of another one. It has UDP only.
struct Fickle {
    address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
}

impl Fickle {
    async fn start(behind: SocketAddr) -> Fickle {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let mode = Arc::new(Mutex::new(Mode::Answer));
        let shared = Arc::clone(&mode);
        tokio::spawn(async move {
            let mut query = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                let (socket, query, mode) = (Arc::clone(&socket), query[..length].to_vec(), *shared.lock().unwrap());
                tokio::spawn(async move {
                    if let Some(answer) = answer(mode, query, behind).await {
                        socket.send_to(&answer, client).await.unwrap();
                    }
                });
            }
        });
        Fickle { address, mode }
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }
}

async fn answer(mode: Mode, mut query: Vec<u8>, behind: SocketAddr) -> Option<Vec<u8>> {
    // RFC 1035 §4.1.1: the first two octets are the ID, the next two the flags.
    const RESPONSE: u8 = 0x80;
    const TRUNCATED: u8 = 0x02;
    const SERVFAIL: u8 = 2;
    match mode {
        Mode::Answer => forwarded(query, behind).await,
        Mode::Slow => {
            // Less than the third of the deadline that each attempt has.
            tokio::time::sleep(Duration::from_millis(150)).await;
            forwarded(query, behind).await
        }
        Mode::Silent => None,
        Mode::ServFail => {
            query[2] |= RESPONSE;
            query[3] = SERVFAIL;
            Some(query)
        }
        Mode::Truncate => {
            query[2] |= RESPONSE | TRUNCATED;
            Some(query)
        }
        Mode::Garbage => Some(vec![0xa5; 40]),
        Mode::WrongId => {
            let mut answer = forwarded(query, behind).await?;
            answer[0] ^= 1;
            Some(answer)
        }
    }
}

async fn forwarded(query: Vec<u8>, behind: SocketAddr) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.ok()?;
    socket.send_to(&query, behind).await.ok()?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await.ok()?;
    answer.truncate(length);
    Some(answer)
}

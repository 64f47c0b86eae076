//! Clients of all kinds, and what is known of each of their messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smtp_fallback_demo::client::{Client, ClientError, Reply};
use smtp_fallback_demo::sign::{self, Algorithm};
use smtp_fallback_demo::zone::{FAILING_DOMAIN, PLAIN_DOMAIN, SIGNED_DOMAIN, SPF_DOMAIN};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::mail::{Attempt, Lcg, Ledger, Route};
use crate::site::Site;
use crate::{broken, tls};

/// Attempts over the same way before a client gives a message up.
const ATTEMPTS: u32 = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(700);
/// So many slow and so many idle clients hold connections of each smtpd.
const SLOW: usize = 5;
const IDLE: usize = 12;

/// A server under load.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    name: &'static str,
    pub(crate) ipv6: SocketAddr,
    pub(crate) ipv4: SocketAddr,
    /// Messages a second, and the clients that send them.
    rate: u32,
    clients: u32,
    /// It is smtpd itself, with all that it can.
    pub(crate) own: bool,
    /// Its component answers as it should.
    sound: bool,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Spf,
    Dkim,
    /// Of a domain with no SPF, or one whose SPF fails; it comes back over IPv4.
    Unauthenticated,
    Failing,
    /// It issues the verb.
    Verb,
    Tls,
    Large,
    Slow,
}

impl Kind {
    fn random(host: &Host, random: &mut Lcg) -> Option<Kind> {
        Some(match random.below(100) {
            0..34 => Kind::Spf,
            34..48 => Kind::Dkim,
            48..72 => Kind::Unauthenticated,
            72..78 => Kind::Failing,
            78..84 if host.own => Kind::Verb,
            84..90 if host.own => Kind::Tls,
            90..92 => Kind::Large,
            92..100 if host.own => return None,
            _ => Kind::Spf,
        })
    }

    fn sender(self) -> String {
        let domain = match self {
            Kind::Spf | Kind::Tls | Kind::Large | Kind::Slow => SPF_DOMAIN,
            Kind::Dkim => SIGNED_DOMAIN,
            Kind::Unauthenticated | Kind::Verb => PLAIN_DOMAIN,
            Kind::Failing => FAILING_DOMAIN,
        };
        format!("smith@{domain}")
    }

    /// Whether IPv6 is refused.
    fn unwanted(self) -> bool {
        matches!(self, Kind::Unauthenticated | Kind::Verb | Kind::Failing)
    }
}

/// Calm, or trouble: while something is broken on purpose, replies are not known beforehand.
#[derive(Default)]
pub(crate) struct Weather(AtomicU64);

impl Weather {
    /// The number of the calm, which is another one after each trouble.
    fn calm(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|number| number % 2 == 0)
    }

    /// Trouble begins, or ends.
    pub(crate) fn turn(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// How often each reply was heard, by server and by what the client wanted.
type Counts = BTreeMap<(&'static str, String), BTreeMap<String, u64>>;

pub(crate) struct Load {
    pub(crate) ledger: Ledger,
    pub(crate) weather: Weather,
    hosts: [Host; 3],
    number: AtomicU32,
    over: AtomicBool,
    counts: Mutex<Counts>,
    /// Replies in calm that should have been others.
    surprises: Mutex<Vec<String>>,
}

impl Load {
    pub(crate) fn new(site: &Site) -> Load {
        let postfix = site.postfix.address();
        let hosts = [
            Host { name: "smtpd", ipv6: site.smtpd.ipv6, ipv4: site.smtpd.ipv4, rate: 30, clients: 24, own: true, sound: true },
            Host {
                name: "traps",
                ipv6: site.faulty.ipv6,
                ipv4: site.faulty.ipv4,
                rate: 10,
                clients: 10,
                own: true,
                sound: false,
            },
            Host { name: "milter", ipv6: postfix, ipv4: postfix, rate: 10, clients: 10, own: false, sound: true },
        ];
        Load {
            ledger: Ledger::default(),
            weather: Weather::default(),
            hosts,
            number: AtomicU32::new(0),
            over: AtomicBool::new(false),
            counts: Mutex::default(),
            surprises: Mutex::default(),
        }
    }

    /// Starts all clients.
    pub(crate) fn start(load: &Arc<Load>) -> Vec<JoinHandle<()>> {
        let mut clients = Vec::new();
        for host in load.hosts {
            clients.extend((0..host.clients).map(|client| tokio::spawn(Load::client(Arc::clone(load), host, u64::from(client)))));
            if host.own {
                clients.extend((0..SLOW).map(|client| tokio::spawn(Load::slow(Arc::clone(load), host, client as u64))));
                clients.extend((0..IDLE).map(|client| tokio::spawn(Load::idle(Arc::clone(load), host, client as u64))));
            }
        }
        clients
    }

    /// No client begins anything new.
    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// An address of a network whose mail passes.
    fn good(random: &mut Lcg) -> String {
        format!("2001:db8:{:x}::{:x}", 0x100 + random.below(64), 1 + random.below(30))
    }

    async fn client(load: Arc<Load>, host: Host, client: u64) {
        let mut random = Lcg(client * 7919 + u64::from(host.ipv6.port()));
        let pace = Duration::from_secs(1) * host.clients / host.rate;
        sleep(pace * client as u32 / host.clients).await;
        while !load.is_over() {
            let begin = Instant::now();
            match Kind::random(&host, &mut random) {
                Some(kind) => load.mail(&host, kind, &mut random).await,
                None => {
                    let attempt = load.attempt();
                    let (name, outcome) = broken::session(&load.ledger, &host, attempt, &mut random).await;
                    load.count(&host, format!("broken off: {name}"), &outcome);
                }
            }
            sleep_until(begin + pace).await;
        }
    }

    async fn slow(load: Arc<Load>, host: Host, client: u64) {
        let mut random = Lcg(client * 104_729 + 17);
        while !load.is_over() {
            load.mail(&host, Kind::Slow, &mut random).await;
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Says EHLO and nothing more, until the server has had enough of it.
    async fn idle(load: Arc<Load>, host: Host, client: u64) {
        let mut random = Lcg(client * 1299 + 5);
        while !load.is_over() {
            let said = async {
                let mut client = Client::connect(host.ipv6).await?;
                client.send(format!("PROXY TCP6 {} ::1 4711 25\r\n", Load::good(&mut random)).as_bytes()).await?;
                client.reply().await?;
                let hello = client.command("EHLO client.example").await?;
                if hello.code != 250 {
                    return Ok(hello);
                }
                client.reply().await
            };
            let outcome = said.await;
            load.count(&host, "idle".to_owned(), &outcome);
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// A number of its own.
    fn attempt(&self) -> Attempt {
        Attempt::first(self.number.fetch_add(1, Ordering::Relaxed))
    }

    /// A message, until it is accepted or given up.
    async fn mail(&self, host: &Host, kind: Kind, random: &mut Lcg) {
        let mut attempt = self.attempt();
        let unwanted = if kind.unwanted() { 1 } else { 0 };
        for number in 0..unwanted + ATTEMPTS {
            let over_ipv6 = unwanted == 0 || number == 0;
            let source = match (over_ipv6, kind.unwanted()) {
                (true, false) => Load::good(random),
                (true, true) => format!("2001:db8:{:x}:{:x}::1", 0x200 + random.below(8), random.below(2)),
                (false, _) => format!("192.0.2.{}", 1 + random.below(200)),
            };
            let calm = self.weather.calm();
            let outcome = self.send(host, kind, attempt, source.clone(), random).await;
            match &outcome {
                // What the server says of itself at the end of the message leaves open whether upstream has it.
                Ok(reply) if reply.code == 451 && reply.has_enhanced_code("4.3.0") => self.ledger.doubt(attempt),
                outcome => self.ledger.note(attempt, outcome),
            }
            let way = if over_ipv6 { "" } else { " over IPv4" };
            self.count(host, format!("{kind:?}{way}"), &outcome);
            let refused = over_ipv6 && kind.unwanted();
            if calm.is_some() && calm == self.weather.calm() && host.sound && !expected(refused, &outcome) {
                let mut surprises = self.surprises.lock().unwrap();
                surprises.push(format!("{}: {attempt:?}, {kind:?} from {source}: {outcome:?}", host.name));
            }
            if outcome.is_ok_and(|reply| reply.code == 250) {
                return;
            }
            attempt = attempt.next();
            sleep(PAUSE).await;
        }
        *self
            .counts
            .lock()
            .unwrap()
            .entry((host.name, format!("{kind:?}")))
            .or_default()
            .entry("given up".to_owned())
            .or_default() += 1;
    }

    async fn send(
        &self,
        host: &Host,
        kind: Kind,
        attempt: Attempt,
        source: String,
        random: &mut Lcg,
    ) -> Result<Reply, ClientError> {
        let size = if kind == Kind::Large { 200_000 } else { 300 + random.below(1500) as usize };
        let message = message(attempt, size);
        let sender = kind.sender();
        let route = Route {
            address: if source.contains(':') { host.ipv6 } else { host.ipv4 },
            proxied: Some(source.clone()),
            chunked: random.below(3) == 0,
        };
        match kind {
            Kind::Tls => tls::send(host.ipv6, &source, &sender, &message).await,
            Kind::Dkim => {
                let algorithm = if random.below(4) == 0 { Algorithm::Rsa } else { Algorithm::Ed25519 };
                route.send(&sender, &sign::signed(&message, algorithm).expect("message and key are well-formed")).await
            }
            Kind::Verb if source.contains(':') => with_the_verb(&route, &sender, &message).await,
            Kind::Slow => slowly(&route, &sender, &message).await,
            _ => route.send(&sender, &message).await,
        }
    }

    fn count(&self, host: &Host, kind: String, outcome: &Result<Reply, ClientError>) {
        let word = match outcome {
            Ok(reply) => {
                let enhanced = reply.lines.first().and_then(|line| line.split(' ').next()).unwrap_or_default();
                if enhanced.contains('.') { format!("{} {enhanced}", reply.code) } else { reply.code.to_string() }
            }
            Err(_) => "cut off".to_owned(),
        };
        *self.counts.lock().unwrap().entry((host.name, kind)).or_default().entry(word).or_default() += 1;
    }

    /// Where it stands.
    pub(crate) fn line(&self) -> String {
        let surprises = self.surprises.lock().unwrap();
        format!(
            "          {} attempts, {} accepted, {} surprises {:?}",
            self.ledger.attempts(),
            self.ledger.accepted(),
            surprises.len(),
            surprises.first()
        )
    }

    pub(crate) fn table(&self) -> String {
        let counts = self.counts.lock().unwrap();
        let line = |((host, kind), counts): (&(&str, String), &BTreeMap<String, u64>)| {
            let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{word}: {count}")).collect();
            format!("{host:<8} {kind:<32} {}\n", counts.join(", "))
        };
        counts.iter().map(line).collect()
    }

    /// In calm each reply was as it should be.
    pub(crate) fn check(&self) {
        let surprises = self.surprises.lock().unwrap();
        assert!(
            surprises.is_empty(),
            "{} replies in calm, such as {:#?}",
            surprises.len(),
            &surprises[..surprises.len().min(10)]
        );
    }
}

/// Whether a reply is as it should be while nothing is broken.
fn expected(refused: bool, outcome: &Result<Reply, ClientError>) -> bool {
    match outcome {
        Ok(reply) if refused => [421, 451, 456].contains(&reply.code) && reply.has_enhanced_code("4.4.8"),
        Ok(reply) => reply.code == 250,
        Err(_) => false,
    }
}

/// The same mail at each attempt, by its Message-ID.
pub(crate) fn message(attempt: Attempt, size: usize) -> Vec<u8> {
    let Attempt { number, attempt: again } = attempt;
    let message = String::from_utf8(attempt.message(size)).unwrap();
    message.replacen(&format!("<{number}.{again}@"), &format!("<{number}@"), 1).into_bytes()
}

/// A session after EHLO; or the reply that refuses.
pub(crate) async fn open(route: &Route) -> Result<Result<Client, Reply>, ClientError> {
    let mut client = Client::connect(route.address).await?;
    let source = route.proxied.as_deref().unwrap_or("::1");
    client.send(format!("PROXY TCP6 {source} ::1 4711 25\r\n").as_bytes()).await?;
    let greeting = client.reply().await?;
    if greeting.code != 220 {
        return Ok(Err(greeting));
    }
    let hello = client.command("EHLO client.example").await?;
    Ok(if hello.code == 250 { Ok(client) } else { Err(hello) })
}

async fn with_the_verb(route: &Route, sender: &str, message: &[u8]) -> Result<Reply, ClientError> {
    let mut client = match open(route).await? {
        Ok(client) => client,
        Err(reply) => return Ok(reply),
    };
    let reply = client.command("IPV6-IPV4-FALLBACK").await?;
    if reply.code != 250 {
        return Ok(reply);
    }
    route.transaction(&mut client, sender, message).await
}

/// Eight pieces, a second between each two.
async fn slowly(route: &Route, sender: &str, message: &[u8]) -> Result<Reply, ClientError> {
    let mut client = match open(route).await? {
        Ok(client) => client,
        Err(reply) => return Ok(reply),
    };
    for (command, code) in
        [(format!("MAIL FROM:<{sender}>"), 250), ("RCPT TO:<jones@demo.example>".to_owned(), 250), ("DATA".to_owned(), 354)]
    {
        let reply = client.command(&command).await?;
        if reply.code != code {
            return Ok(reply);
        }
    }
    let wire = String::from_utf8(message.to_vec()).unwrap().replace("\r\n.", "\r\n..");
    for piece in wire.as_bytes().chunks(wire.len().div_ceil(8)) {
        client.send(piece).await?;
        sleep(Duration::from_secs(1)).await;
    }
    client.message(b"").await
}

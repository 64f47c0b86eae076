//! One sender, all cases: what came of each message.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use smtp_fallback_demo::zone::{Kind, Zone};
use smtp_fallback_interop::senders::{DOMAIN, Mta, Options};
use smtp_fallback_interop::{Arrival, Exchange, Host, Receiver, Reception};

use crate::layouts::{self, Layout};
use crate::refusals::Refusal;

/// What arrives within this time of its first refusal was retried at once.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);
/// How long it is waited before the queue is run, and again after that.
pub(crate) const WINDOW: Duration = Duration::from_secs(20);
/// How often the queue is run.
const RUNS: usize = 2;
/// The same for a server whose queue cannot be run from outside: its first retry comes by itself in this time.
const OWN_RETRY: Duration = Duration::from_secs(85);
/// Where reports of failure go.
const REPORTS: &str = "198.18.1.1";

/// One kind of message: how it is refused, and where IPv4 is found.
pub(crate) type Case = (Refusal, Layout);

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It went over IPv4 from the start, and says nothing about refusals.
    Ipv4First,
    /// It arrived over IPv4 so long after its first refusal, without the queue having been run.
    Arrived(Duration),
    /// It arrived over IPv4 after the queue was run.
    AfterRun,
    /// Its sender got a report that it failed.
    Bounced,
    /// It waits in the queue, and was tried over IPv6 only.
    Waits,
    /// It waits in the queue, and nobody tried to send it.
    Untried,
}

/// What came of each message of each case, and how often it was brought over IPv6.
pub(crate) struct Trial {
    pub(crate) mta: Mta,
    pub(crate) version: String,
    pub(crate) outcomes: BTreeMap<Case, Vec<(Outcome, usize)>>,
}

struct Message {
    case: Case,
    recipient: String,
    sender: String,
}

/// Sends so many messages of each case, each to a domain of its own.
pub(crate) fn run(mta: Mta, cases: &[Case], repetitions: u16) -> Trial {
    let machine = mta.machine();
    let mut zone = Zone::new();
    zone.ttl = 3600;
    let mut hosts = BTreeMap::new();
    let mut messages = Vec::new();
    let mut domains = vec![DOMAIN.to_owned()];
    let mut places = BTreeMap::new();
    zone.add(DOMAIN, Kind::Mx, &format!("10 reports.{DOMAIN}")).unwrap();
    zone.add(&format!("reports.{DOMAIN}"), Kind::A, REPORTS).unwrap();
    hosts.insert(REPORTS.parse().unwrap(), Host { port: Refusal::Dot421.port(), verb: false });
    // Repetitions in turn, so that no case has a better moment than the others.
    for number in 0..repetitions * cases.len() as u16 {
        let case = cases[usize::from(number) % cases.len()];
        let (domain, addresses) = layouts::publish(&mut zone, number, case.1, usize::from(number) / cases.len() % 2 == 1);
        for address in addresses {
            hosts.insert(address, Host { port: case.0.port(), verb: case.0 == Refusal::Dot456 });
            places.insert(address, messages.len());
        }
        messages.push(Message { case, recipient: format!("jones@{domain}"), sender: format!("m{number}@{DOMAIN}") });
        domains.push(domain);
    }
    let exchange = Exchange::start(&machine, zone, hosts);
    let refusals: BTreeSet<Refusal> = cases.iter().map(|case| case.0).chain([Refusal::Dot421]).collect();
    let receivers: Vec<Receiver> = refusals.into_iter().map(|refusal| {
        let component = refusal.component();
        let name = format!("mx{}.example", refusal as u8);
        Receiver::start(&machine, &Reception { name: &name, port: refusal.port(), component: Some(&component), policy: "{}", domains: &domains })
    }).collect();
    mta.start(&machine, Options::default());

    for message in &messages {
        mta.send(&machine, &message.sender, &message.recipient, &text(message));
    }
    let own_retry = !mta.runs_queue();
    let look = || Seen::new(exchange.arrivals(), &receivers, &places, &messages);
    settle(if own_retry { OWN_RETRY } else { WINDOW }, &look);
    let mut first_run = None;
    for _ in 0..if own_retry { 0 } else { RUNS } {
        first_run = first_run.or(Some(SystemTime::now()));
        mta.run_queue(&machine);
        settle(WINDOW, &look);
    }
    let seen = look();
    let queue = mta.queue(&machine);
    let mut outcomes: BTreeMap<Case, Vec<(Outcome, usize)>> = BTreeMap::new();
    for (number, message) in messages.iter().enumerate() {
        let outcome = seen.outcome(number, first_run);
        if matches!(outcome, Outcome::Waits | Outcome::Untried) {
            let is_there = queue.contains(&message.recipient) || queue.contains(&message.sender);
            assert!(is_there, "{}: {} is lost\n{queue}\n{}", mta.name(), message.recipient, mta.log(&machine));
        }
        outcomes.entry(message.case).or_default().push((outcome, seen.ipv6[number].len()));
    }
    Trial { mta, version: mta.version(&machine), outcomes }
}

/// Waits so long, or until nothing more is to come.
fn settle(window: Duration, look: &dyn Fn() -> Seen) {
    let deadline = Instant::now() + window;
    while Instant::now() < deadline && !look().is_complete() {
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn text(message: &Message) -> String {
    format!("From: {0}\nTo: {1}\nSubject: A test\n\nText for {1}.\n", message.sender, message.recipient)
}

/// What was seen of each message.
struct Seen {
    /// When it was brought over IPv6.
    ipv6: Vec<Vec<SystemTime>>,
    arrived: Vec<Option<SystemTime>>,
    bounced: Vec<bool>,
}

impl Seen {
    fn new(arrivals: Vec<Arrival>, receivers: &[Receiver], places: &BTreeMap<IpAddr, usize>, messages: &[Message]) -> Seen {
        let count = messages.len();
        let mut seen = Seen { ipv6: vec![Vec::new(); count], arrived: vec![None; count], bounced: vec![false; count] };
        for arrival in arrivals {
            if let (true, Some(&number)) = (arrival.to.is_ipv6(), places.get(&arrival.to)) {
                seen.ipv6[number].push(arrival.at);
            }
        }
        let numbers: BTreeMap<&str, (usize, bool)> = messages
            .iter()
            .enumerate()
            .flat_map(|(number, message)| [(&*message.recipient, (number, true)), (&*message.sender, (number, false))])
            .collect();
        for delivered in receivers.iter().flat_map(Receiver::delivered) {
            for to in &delivered.to {
                match numbers[&**to] {
                    (number, true) => {
                        let first = seen.arrived[number].get_or_insert(delivered.at);
                        *first = delivered.at.min(*first);
                    }
                    // Some report a delay as well.
                    (number, false) => seen.bounced[number] |= delivered.text.contains("\nAction: failed") || !delivered.text.contains("\nAction: delayed"),
                }
            }
        }
        seen
    }

    fn is_complete(&self) -> bool {
        self.arrived.iter().zip(&self.bounced).all(|(arrived, bounced)| arrived.is_some() || *bounced)
    }

    fn outcome(&self, number: usize, first_run: Option<SystemTime>) -> Outcome {
        let Some(&refused) = self.ipv6[number].first() else {
            return if self.arrived[number].is_some() { Outcome::Ipv4First } else { Outcome::Untried };
        };
        match self.arrived[number] {
            Some(at) if first_run.is_some_and(|run| at >= run) => Outcome::AfterRun,
            Some(at) => Outcome::Arrived(at.duration_since(refused).unwrap_or_default()),
            None if self.bounced[number] => Outcome::Bounced,
            None => Outcome::Waits,
        }
    }
}

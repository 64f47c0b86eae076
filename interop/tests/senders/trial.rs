//! One sender, all cases: what came of each message.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use smtp_fallback_demo::zone::{Kind, Zone};
use smtp_fallback_interop::senders::{DOMAIN, Mta, Options};
use smtp_fallback_interop::{Arrival, Exchange, Host, Receiver, Reception};

use crate::layouts::{self, Layout};
use crate::refusals::Refusal;

/// What arrives within this time of its first refusal was retried at once: OpenSMTPD takes two seconds for each host that refuses.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(8);
/// How long it is waited at most before the queue is run, and again after that.
const WINDOW: Duration = Duration::from_secs(40);
/// Nothing has happened for so long: nothing will before the queue is run.
const QUIET: Duration = Duration::from_secs(8);
/// How often the queue is run.
const RUNS: usize = 2;
/// How long it is waited for the first retry of a server whose queue cannot be run from outside: Haraka's comes after 64 s.
const OWN_RETRY: Duration = Duration::from_secs(85);
/// Between two messages: all of them at once would be a test of how servers bear load.
const PAUSE: Duration = Duration::from_millis(25);
/// Where reports of failure go.
const REPORTS: &str = "198.18.1.1";

/// One kind of message: how it is refused, and where IPv4 is found.
pub(crate) type Case = (Refusal, Layout);

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It went over IPv4 from the start, and says nothing about refusals.
    Ipv4First,
    /// It arrived over IPv4 at once, so long after its first refusal.
    AtOnce(Duration),
    /// It arrived over IPv4 later, by a retry of the server's own.
    Later(Duration),
    /// It arrived over IPv4 after the queue was run.
    AfterRun,
    /// Its sender got a report that it failed.
    Bounced,
    /// It waits in the queue after all of this.
    Waits,
    /// Nobody tried to send it.
    Untried,
}

/// What came of each message of each case.
pub(crate) struct Trial {
    pub(crate) mta: Mta,
    pub(crate) version: String,
    pub(crate) outcomes: BTreeMap<Case, Vec<Outcome>>,
}

struct Message {
    case: Case,
    recipient: String,
    sender: String,
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    Refusal::ALL.into_iter().flat_map(|refusal| Layout::ALL.into_iter().map(move |layout| (refusal, layout))).collect()
}

/// Sends so many messages of each case, each to a domain of its own. Whether it is waited for retries that come by themselves.
pub(crate) fn run(mta: Mta, repetitions: u16, own_retries: bool) -> Trial {
    let cases = cases();
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
        let turned = usize::from(number) / cases.len() % 2 == 1;
        let (domain, addresses) = layouts::publish(&mut zone, number, case.1, turned);
        for address in addresses {
            hosts.insert(address, Host { port: case.0.port(), verb: case.0 == Refusal::Dot456 });
            places.insert(address, messages.len());
        }
        messages.push(Message { case, recipient: format!("jones@{domain}"), sender: format!("m{number}@{DOMAIN}") });
        domains.push(domain);
    }
    let exchange = Exchange::start(&machine, zone, hosts);
    let refusals: BTreeSet<Refusal> = cases.iter().map(|case| case.0).chain([Refusal::Dot421]).collect();
    let receivers: Vec<Receiver> = refusals
        .into_iter()
        .map(|refusal| {
            let component = refusal.component();
            let name = format!("mx{}.example", refusal as u8);
            Receiver::start(
                &machine,
                &Reception { name: &name, port: refusal.port(), component: Some(&component), policy: "{}", domains: &domains },
            )
        })
        .collect();
    mta.start(&machine, Options::default());

    for message in &messages {
        mta.send(&machine, &message.sender, &message.recipient, &text(message));
        std::thread::sleep(PAUSE);
    }
    let look = || Seen::new(exchange.arrivals(), &receivers, &places, &messages);
    let mut first_run = None;
    if mta.runs_queue() {
        settle(WINDOW, QUIET, &look);
        for _ in 0..RUNS {
            first_run = first_run.or(Some(SystemTime::now()));
            mta.run_queue(&machine);
            settle(WINDOW, QUIET, &look);
        }
    } else if own_retries {
        settle(OWN_RETRY, OWN_RETRY, &look);
    } else {
        settle(WINDOW, QUIET, &look);
    }
    let seen = look();
    let queue = mta.queue(&machine);
    let mut outcomes: BTreeMap<Case, Vec<Outcome>> = BTreeMap::new();
    for (number, message) in messages.iter().enumerate() {
        let outcome = seen.outcome(number, first_run);
        if matches!(outcome, Outcome::Waits | Outcome::Untried) {
            let is_there = queue.contains(&message.recipient) || queue.contains(&message.sender);
            assert!(is_there, "{}: {} is lost\n{queue}\n{}", mta.name(), message.recipient, mta.log(&machine));
        }
        outcomes.entry(message.case).or_default().push(outcome);
    }
    Trial { mta, version: mta.version(&machine), outcomes }
}

/// Waits for at most `window`, until nothing more is to come, or until nothing has happened for `quiet`.
fn settle(window: Duration, quiet: Duration, look: &dyn Fn() -> Seen) {
    let start = Instant::now();
    let (mut last, mut last_seen) = (start, look().events());
    while start.elapsed() < window && last.elapsed() < quiet {
        std::thread::sleep(Duration::from_secs(1));
        let seen = look();
        if seen.is_complete() {
            return;
        }
        if seen.events() != last_seen {
            (last, last_seen) = (Instant::now(), seen.events());
        }
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
                    (number, false) => {
                        seen.bounced[number] |=
                            delivered.text.contains("\nAction: failed") || !delivered.text.contains("\nAction: delayed")
                    }
                }
            }
        }
        seen
    }

    fn is_complete(&self) -> bool {
        self.arrived.iter().zip(&self.bounced).all(|(arrived, bounced)| arrived.is_some() || *bounced)
    }

    /// How much has happened.
    fn events(&self) -> usize {
        let arrived = self.arrived.iter().flatten().count();
        arrived + self.ipv6.iter().map(Vec::len).sum::<usize>() + self.bounced.iter().filter(|bounced| **bounced).count()
    }

    fn outcome(&self, number: usize, first_run: Option<SystemTime>) -> Outcome {
        let Some(&refused) = self.ipv6[number].first() else {
            return if self.arrived[number].is_some() { Outcome::Ipv4First } else { Outcome::Untried };
        };
        match self.arrived[number] {
            Some(at) if first_run.is_some_and(|run| at >= run) => Outcome::AfterRun,
            Some(at) => match at.duration_since(refused).unwrap_or_default() {
                delay if delay <= AT_ONCE => Outcome::AtOnce(delay),
                delay => Outcome::Later(delay),
            },
            None if self.bounced[number] => Outcome::Bounced,
            None => Outcome::Waits,
        }
    }
}

//! Simulated fortnights: how the policy treats senders of many kinds, whose servers do after a refusal what real ones were seen to do.
//!
//! Time is virtual and chance is seeded, so a run is the same whenever and wherever it is made. The module is called as a host calls
//! it, at each stage of each session, over IPv6 and over IPv4; its records are kept and handed back.

mod events;
pub mod kinds;
mod layout;
mod mail;
mod mta;
mod random;
mod receiver;
mod sender;
mod table;
mod tally;

pub use layout::Layout;
pub use mail::Writing;
pub use mta::Mta;
pub use sender::{Addresses, Sender};
pub use table::{Row, Table};
pub use tally::Tally;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Decision, Stage};

use self::events::Events;
use self::layout::{Family, Host};
use self::mail::Mail;
use self::mta::{Attempt, Memory, Queued, Said};
use self::random::Random;
use self::receiver::{Client, Receiver};
use crate::Face;

/// The second in which each run begins.
const BEGIN: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;
/// For so long mail is written. A run goes on until the last of it was delivered or given up.
const FORTNIGHT: u64 = 14 * DAY;

/// Two passes are a good standing (P13); for nine hours they count as two.
const STANDING_LASTS: u64 = 9 * 3600;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The receiver's policy.
    pub policy_json: &'a str,
    /// Its MX records.
    pub layout: Layout,
    /// Who sends to it, at the same time.
    pub senders: &'a [Sender],
    /// Another number, another course of events.
    pub seed: u64,
}

/// Runs a fortnight: the counts of each sender. All decisions go to `log`; they are the same on every face.
pub fn fortnight(face: &mut dyn Face, setting: &Setting<'_>, log: Option<&mut Vec<Decision>>) -> Vec<Tally> {
    let &Setting { policy_json, layout, senders, seed } = setting;
    let servers = senders.iter().map(|sender| Servers::new(sender.clone())).collect();
    let mut run = Run {
        receiver: Receiver::new(face, policy_json, log),
        layout,
        events: Events::new(),
        random: Random::new(seed),
        servers,
        queue: Vec::new(),
    };
    for sender in 0..senders.len() {
        run.will_write(sender, BEGIN);
    }
    while let Some((now, event)) = run.events.next() {
        match event {
            Event::Write(sender) => run.write(sender, now),
            Event::Attempt { waiting, hosts } => run.attempt(waiting, hosts, now),
        }
    }
    run.servers.into_iter().map(|servers| servers.tally).collect()
}

/// What happens at a time.
#[derive(Debug)]
enum Event {
    /// A sender writes a mail.
    Write(usize),
    /// A mail is tried: at the hosts that are left of the attempt before, or at all of them anew.
    Attempt { waiting: usize, hosts: Option<Vec<Host>> },
}

struct Run<'f> {
    receiver: Receiver<'f>,
    layout: Layout,
    events: Events<Event>,
    random: Random,
    servers: Vec<Servers>,
    /// All mails so far.
    queue: Vec<Waiting>,
}

/// A sender's servers, as one.
struct Servers {
    sender: Sender,
    memory: Memory,
    /// The last two passes over IPv6, by which a single address has its good standing.
    passes: [Option<(u64, Address)>; 2],
    tally: Tally,
}

impl Servers {
    fn new(sender: Sender) -> Self {
        Servers { sender, memory: Memory::default(), passes: [None; 2], tally: Tally::default() }
    }

    fn is_in_good_standing(&self, client: Address, now: u64) -> bool {
        self.passes.iter().all(|pass| pass.is_some_and(|(time, address)| address == client && now - time < STANDING_LASTS))
    }
}

/// A mail and its way so far.
struct Waiting {
    sender: usize,
    client: Client,
    mail: Mail,
    queued: Queued,
    /// No session took place.
    is_first: bool,
}

impl Run<'_> {
    /// The next mail comes after a time between none and twice the mean.
    fn will_write(&mut self, sender: usize, now: u64) {
        let mean = DAY / u64::from(self.servers[sender].sender.per_day);
        let at = now + self.random.below(2 * mean + 1);
        if at < BEGIN + FORTNIGHT {
            self.events.add(at, Event::Write(sender));
        }
    }

    fn write(&mut self, sender: usize, now: u64) {
        let random = &mut self.random;
        let servers = &mut self.servers[sender];
        let client = servers.sender.client(random);
        let number = servers.tally.mails;
        let mail = servers.sender.writing.mail(&servers.sender.domain(), &client.ehlo_name, number, now, random);
        servers.tally.mails += 1;
        servers.tally.sound += u32::from(mail.passes(now));
        let waiting = self.queue.len();
        self.queue.push(Waiting { sender, client, mail, queued: Queued { since: now, failures: 0 }, is_first: true });
        self.will_write(sender, now);
        self.attempt(waiting, None, now);
    }

    fn attempt(&mut self, number: usize, hosts: Option<Vec<Host>>, now: u64) {
        let hosts = hosts.unwrap_or_else(|| self.layout.order(&mut self.random));
        let Run { receiver, random, servers, queue, .. } = self;
        let waiting = &mut queue[number];
        let servers = &mut servers[waiting.sender];
        let mta = servers.sender.mta;
        let mut memory = std::mem::take(&mut servers.memory);
        let attempt = mta.attempt(now, &hosts, &mut memory, |host| connect(receiver, servers, waiting, host.family, random, now));
        servers.memory = memory;
        match attempt {
            Attempt::Delivered(family) => servers.tally.count_delivery(family, now - waiting.queued.since),
            Attempt::Bounced => servers.tally.lost += 1,
            Attempt::GoesOn(after, hosts) => self.events.add(now + after, Event::Attempt { waiting: number, hosts: Some(hosts) }),
            Attempt::Queued => {
                waiting.queued.failures += 1;
                match mta.next_attempt(waiting.queued, now) {
                    // Queue runs are not to the second.
                    Some(next) => self.events.add(next + random.below(10), Event::Attempt { waiting: number, hosts: None }),
                    None => servers.tally.lost += 1,
                }
            }
        }
    }
}

/// A session with a host of the receiver, and what the client hears.
fn connect(
    receiver: &mut Receiver<'_>,
    servers: &mut Servers,
    waiting: &mut Waiting,
    family: Family,
    random: &mut Random,
    now: u64,
) -> Said {
    let nonce = random.next() as u32;
    let is_first = std::mem::replace(&mut waiting.is_first, false);
    if family == Family::Ipv4 {
        if !servers.sender.has_ipv4 {
            waiting.is_first = is_first;
            return Said::NoConnection;
        }
        let client = servers.sender.over_ipv4(&waiting.client);
        let session = receiver.session(now, &client, nonce, &waiting.mail);
        assert_eq!(session.refused, None, "nothing is refused over IPv4 (P9)");
        return Said::Taken;
    }
    let address = waiting.client.address;
    let stands = servers.is_in_good_standing(address, now);
    let session = receiver.session(now, &waiting.client, nonce, &waiting.mail);
    let tally = &mut servers.tally;
    tally.count_session(&session, waiting.mail.message.size);
    if is_first {
        tally.over_ipv6 += 1;
        tally.in_good_standing += u32::from(stands);
        tally.refused_in_good_standing += u32::from(stands && session.refused.is_some());
    }
    let Some(code) = session.refused else {
        if waiting.mail.passes(now) {
            servers.passes = [servers.passes[1], Some((now, address))];
        }
        return Said::Taken;
    };
    if let Writing::FixedAt(time) = servers.sender.writing
        && now >= time
    {
        tally.last_refusal_after_mending = tally.last_refusal_after_mending.max(Some(now - time));
    }
    match session.stage {
        Stage::Greeting | Stage::Ehlo => Said::NotAtAll,
        _ if code >= 500 => Said::Never,
        _ => Said::NotNow(code),
    }
}

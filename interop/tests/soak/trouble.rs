//! What goes wrong, one thing after another.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use smtp_fallback_demo::client::Client;
use smtp_fallback_demo::zone::SPF_DOMAIN;
use smtp_fallback_interop::Program;

use crate::double::{Action, Stage, Wrong};
use crate::gauge::Gauges;
use crate::load::Load;
use crate::mail::Lcg;
use crate::site::{POLICIES, Site};

/// How long each thing is away, how long it takes until all is as before, and the time between.
const AWAY: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(2);
const CALM: Duration = Duration::from_secs(3);
/// Connections at once.
const BURST: usize = 150;

const STAGES: [Stage; 6] = [Stage::Greeting, Stage::Hello, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Dot];
const ACTIONS: [Action; 8] = [
    Action::Close,
    Action::Reset,
    Action::Hang,
    Action::Garbage,
    Action::Giant,
    Action::Say(421),
    Action::Say(451),
    Action::Say(550),
];

#[derive(Clone, Copy, Debug)]
enum Event {
    PolicyReloaded,
    BadPolicy,
    CertificatesRenewed,
    RedisStopped,
    RedisHangs,
    UpstreamStopped,
    UpstreamAtRandom,
    NamesSilent,
    Burst,
}

const EVENTS: [Event; 10] = [
    Event::PolicyReloaded,
    Event::RedisStopped,
    Event::BadPolicy,
    Event::UpstreamStopped,
    Event::PolicyReloaded,
    Event::CertificatesRenewed,
    Event::UpstreamAtRandom,
    Event::RedisHangs,
    Event::NamesSilent,
    Event::Burst,
];

/// What happened so far.
#[derive(Default)]
pub(crate) struct Trouble {
    number: usize,
    counts: BTreeMap<String, u64>,
}

impl Trouble {
    /// The next event, from its beginning until all is as it was, and some calm.
    pub(crate) async fn next(&mut self, site: &mut Site, load: &Load, gauges: &mut Gauges) {
        let event = EVENTS[self.number % EVENTS.len()];
        self.number += 1;
        *self.counts.entry(format!("{event:?}")).or_default() += 1;
        match event {
            Event::PolicyReloaded => tokio::task::block_in_place(|| self.reload(site)),
            Event::BadPolicy => tokio::task::block_in_place(|| bad_policy(site, self.number)),
            Event::CertificatesRenewed => tokio::task::block_in_place(|| renew(site)),
            _ => {
                load.weather.turn();
                self.break_off(event, site, gauges).await;
                gauges.pause(site, AGAIN).await;
                load.weather.turn();
            }
        }
        gauges.pause(site, CALM).await;
    }

    async fn break_off(&self, event: Event, site: &mut Site, gauges: &mut Gauges) {
        match event {
            Event::RedisStopped => {
                site.redis.kill();
                gauges.pause(site, AWAY).await;
                tokio::task::block_in_place(|| site.redis.start_again());
            }
            Event::RedisHangs => {
                site.redis.stop();
                gauges.pause(site, AWAY).await;
                site.redis.go_on();
            }
            Event::UpstreamStopped => {
                site.stop_upstream().await;
                gauges.pause(site, AWAY).await;
                site.start_upstream().await;
            }
            Event::UpstreamAtRandom => {
                let mut random = Lcg(self.number as u64);
                site.upstream().plan(move || at_random(&mut random));
                gauges.pause(site, AWAY * 2).await;
                site.upstream().plan(|| None);
            }
            Event::NamesSilent => {
                let change = |silent: bool| {
                    for nameserver in [&site.smtpd.nameserver, &site.faulty.nameserver, &site.milter.nameserver] {
                        nameserver.change(|zone| if silent { zone.silence(SPF_DOMAIN) } else { zone.repair(SPF_DOMAIN) });
                    }
                };
                change(true);
                tokio::time::sleep(AWAY).await;
                change(false);
                // What asked meanwhile waits for its time limit.
                gauges.pause(site, AWAY * 2).await;
            }
            _ => {
                let mut clients = Vec::new();
                for number in 0..BURST {
                    let Ok(mut client) = Client::connect(site.smtpd.ipv6).await else { continue };
                    let header = format!("PROXY TCP6 2001:db8:400:{number:x}::1 ::1 4711 25\r\n");
                    if client.send(header.as_bytes()).await.is_ok() {
                        clients.push(client);
                    }
                }
                gauges.pause(site, AWAY).await;
                drop(clients);
            }
        }
    }

    /// Another policy in force, everywhere.
    fn reload(&self, site: &Site) {
        let policy = POLICIES[self.number / 2 % 2];
        for (program, path) in [(site.smtpd.program(), site.smtpd.path()), (site.milter.program(), site.milter.path())] {
            fs::write(path.join("policy.json"), policy).unwrap();
            signalled(program, "event=\"policy-loaded\"");
        }
        fs::write(site.faulty.path().join("policy.json"), "{}").unwrap();
        signalled(site.faulty.program(), "event=\"policy-loaded\"");
    }

    pub(crate) fn table(&self) -> String {
        let counts: Vec<String> = self.counts.iter().map(|(event, count)| format!("{event}: {count}")).collect();
        format!("events: {}", counts.join(", "))
    }
}

/// Policies that cannot be used. The component of the other smtpd traps on a text of four letters, and never ends on one of five.
fn bad_policy(site: &Site, number: usize) {
    for (program, path) in [(site.smtpd.program(), site.smtpd.path()), (site.milter.program(), site.milter.path())] {
        fs::write(path.join("policy.json"), ["{\"mode\": ", "{\"moed\": 1}", ""][number % 3]).unwrap();
        signalled(program, "event=\"policy-kept\"");
    }
    fs::write(site.faulty.path().join("policy.json"), ["abc", "abcd", "abcde"][number % 3]).unwrap();
    signalled(site.faulty.program(), "event=\"policy-kept\"");
}

fn renew(site: &Site) {
    for smtpd in [&site.smtpd, &site.faulty] {
        smtp_fallback_demo::tls::renew(smtpd.path(), "mx.demo.example").unwrap();
        signalled(smtpd.program(), "event=\"certificates-loaded\"");
    }
}

/// Sends SIGHUP, and waits until the log says what came of it.
fn signalled(program: &Program, outcome: &str) {
    let mark = program.mark();
    program.signal("HUP");
    program.logged_since(mark, &[outcome]);
}

fn at_random(random: &mut Lcg) -> Wrong {
    if random.below(100) < 50 {
        return None;
    }
    Some((STAGES[random.below(STAGES.len() as u64) as usize], ACTIONS[random.below(ACTIONS.len() as u64) as usize]))
}

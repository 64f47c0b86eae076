//! The kinds of sender.

use super::mail::Writing;
use super::mta::Mta;
use super::sender::{Addresses, Sender};
use super::{BEGIN, DAY};

/// When [`fixed`] publishes a right SPF record: after a week.
const FIXED_AT: u64 = BEGIN + 7 * DAY;

/// A bulk mailer: twelve servers in three networks; three mails in a hundred fail.
pub fn bulk_mailer(mta: Mta) -> Sender {
    let addresses = Addresses::Servers { site: 1, first: 1, networks: 3, each: 4, host: 0x25 };
    Sender::new("bulk mailer", mta, addresses, 120, Writing::Sound { failing_percent: 3 })
}

/// A sender of which a little more than half passes: no majority fails.
pub fn half_sound(mta: Mta) -> Sender {
    Sender::new("55 % pass", mta, Addresses::one(2), 20, Writing::Sound { failing_percent: 45 })
}

/// A small host with a broken SPF record.
pub fn broken(mta: Mta) -> Sender {
    Sender::new("broken SPF", mta, Addresses::one(3), 5, Writing::BrokenSpf)
}

/// The same with more mail.
pub fn busy_broken(mta: Mta) -> Sender {
    Sender::new("broken SPF, busy", mta, Addresses::one(4), 40, Writing::BrokenSpf)
}

/// One that mends its SPF record after a week.
pub fn fixed(mta: Mta) -> Sender {
    Sender::new("fixed after 7 days", mta, Addresses::one(5), 40, Writing::FixedAt(FIXED_AT))
}

/// A forwarder that leaves the envelope's sender as it was.
pub fn forwarder(mta: Mta) -> Sender {
    Sender::new("forwarder", mta, Addresses::one(6), 30, Writing::Forwarded { srs: false, signed_percent: 60 })
}

/// A forwarder that rewrites it, to a domain without SPF; what it forwards is seldom signed.
pub fn forwarder_with_srs(mta: Mta) -> Sender {
    Sender::new("forwarder, SRS", mta, Addresses::one(7), 30, Writing::Forwarded { srs: true, signed_percent: 20 })
}

/// A small host with a broken SPF record that has no IPv4 address.
pub fn ipv6_only(mta: Mta) -> Sender {
    Sender::new("broken SPF, no IPv4", mta, Addresses::one(8), 5, Writing::BrokenSpf).without_ipv4()
}

/// A host with a broken SPF record that has the extension.
pub fn capable() -> Sender {
    Sender::new("broken SPF, with the verb", Mta::Draft, Addresses::one(9), 20, Writing::BrokenSpf).with_verb()
}

/// Bots in two /48s that take a new address for each connection.
pub fn bots() -> Sender {
    Sender::new("bots", Mta::Bot, Addresses::Rotating { site: 20, sites: 2 }, 1600, Writing::Forged).without_ipv4()
}

/// Bots in one /64 whose mails all look like one that is tried again and again.
pub fn bots_with_one_mail() -> Sender {
    Sender::new("bots, always one mail", Mta::Bot, Addresses::Rotating { site: 30, sites: 1 }, 400, Writing::Template)
        .without_ipv4()
}

/// Bots that issue the verb so as not to be refused at the greeting.
pub fn bots_with_verb() -> Sender {
    Sender::new("bots, verb as a pretext", Mta::Bot, Addresses::Rotating { site: 31, sites: 1 }, 800, Writing::Forged)
        .without_ipv4()
        .with_verb()
}

/// A spammer whose server keeps trying.
pub fn spammer(mta: Mta) -> Sender {
    Sender::new("spammer", mta, Addresses::one(40), 400, Writing::Forged)
}

/// One that has IPv6 alone.
pub fn ipv6_only_spammer(mta: Mta) -> Sender {
    Sender::new("spammer, no IPv4", mta, Addresses::one(41), 400, Writing::Forged).without_ipv4()
}

/// One that issues the verb as well, but never turns to IPv4.
pub fn spammer_with_verb(mta: Mta) -> Sender {
    Sender::new("spammer, verb as pretext", mta, Addresses::one(42), 400, Writing::Forged).without_ipv4().with_verb()
}

/// Two good servers and a bad one in a /64.
pub fn neighbours(good: Mta) -> Vec<Sender> {
    let sound = Writing::Sound { failing_percent: 0 };
    vec![
        Sender::new("good neighbour", good, Addresses::neighbour(50, 0x25), 20, sound),
        Sender::new("good neighbour, quiet", good, Addresses::neighbour(50, 0x26), 3, sound),
        Sender::new("bad neighbour", Mta::Bot, Addresses::neighbour(50, 0xbad), 200, Writing::Forged).without_ipv4(),
    ]
}

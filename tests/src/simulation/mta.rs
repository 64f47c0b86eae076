//! How mail servers go on after a refusal: what was measured with real ones, and their queues' schedules.

use std::collections::HashMap;

use super::layout::{Family, Host};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A mail server as a client, or what passes for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mta {
    /// Tries the next host at once at any 4yz.
    Postfix,
    /// The same.
    Sendmail,
    /// The same; remembers a host that refused at the greeting.
    Exim,
    /// Tries the next host after a refused greeting only; all else goes to the queue.
    OpenSmtpd,
    /// Everything goes to the queue.
    Haraka,
    /// Issues the verb, and after 456 tries IPv4 at once (C1 to C5); in all else as Postfix.
    Draft,
    /// Tries once, and never again.
    Bot,
}

/// What a host said, as far as clients make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// 250 after the dot.
    Taken,
    /// A 4yz in place of the greeting, or 421 at EHLO.
    NotAtAll,
    /// A 4yz later.
    NotNow(u16),
    /// A 5yz.
    Never,
    /// The client has no address of the host's family.
    NoConnection,
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Delivered(Family),
    Bounced,
    /// Goes on with these hosts after so many seconds.
    GoesOn(u64, Vec<Host>),
    /// Back to the queue.
    Queued,
}

/// What a server remembers of hosts from mail to mail: until when it does not try them.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<u8, u64>);

/// A mail in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) since: u64,
    /// Attempts that came to nothing.
    pub(super) failures: u32,
}

impl Mta {
    /// Those that were measured.
    pub const MEASURED: [Mta; 5] = [Mta::Postfix, Mta::Sendmail, Mta::Exim, Mta::OpenSmtpd, Mta::Haraka];

    /// As the table names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mta::Postfix => "Postfix",
            Mta::Sendmail => "Sendmail",
            Mta::Exim => "Exim",
            Mta::OpenSmtpd => "OpenSMTPD",
            Mta::Haraka => "Haraka",
            Mta::Draft => "the draft's",
            Mta::Bot => "no retry",
        }
    }

    /// Tries the hosts in their order, as far as this server does.
    pub(super) fn attempt(
        self,
        now: u64,
        hosts: &[Host],
        memory: &mut Memory,
        mut try_host: impl FnMut(Host) -> Said,
    ) -> Attempt {
        let mut sessions = 0;
        for (at, &host) in hosts.iter().enumerate().take(self.most_hosts()) {
            if memory.0.get(&host.number).is_some_and(|&until| until > now) {
                continue;
            }
            let said = try_host(host);
            match (said, self) {
                (Said::Taken, _) => return Attempt::Delivered(host.family),
                (Said::Never, _) => return Attempt::Bounced,
                (Said::NoConnection, _) => {}
                (_, Mta::Bot) => return Attempt::Bounced,
                (Said::NotNow(456), Mta::Draft) => {
                    let rest: Vec<Host> = hosts.iter().copied().filter(|host| host.family == Family::Ipv4).collect();
                    // No IPv4 address to try: fail the message (C3).
                    return if rest.is_empty() { Attempt::Bounced } else { Attempt::GoesOn(0, rest) };
                }
                (Said::NotAtAll, Mta::Exim) => {
                    memory.0.insert(host.number, now + 15 * MINUTE);
                }
                (Said::NotAtAll, Mta::OpenSmtpd) if at + 1 < hosts.len() => return Attempt::GoesOn(2, hosts[at + 1..].to_vec()),
                (Said::NotAtAll | Said::NotNow(_), Mta::OpenSmtpd | Mta::Haraka) => return Attempt::Queued,
                (Said::NotNow(_), Mta::Postfix | Mta::Draft) => {
                    // smtp_mx_session_limit; refused greetings are not counted.
                    sessions += 1;
                    if sessions == 2 {
                        return Attempt::Queued;
                    }
                }
                (Said::NotAtAll | Said::NotNow(_), _) => {}
            }
        }
        Attempt::Queued
    }

    /// When the queue tries again after an attempt at `now`; `None` when the mail goes back to its sender.
    pub(super) fn next_attempt(self, mail: Queued, now: u64) -> Option<u64> {
        let age = now.saturating_sub(mail.since);
        let (wait, life) = match self {
            // minimal_backoff_time, doubled with the age, to maximal_backoff_time.
            Mta::Postfix | Mta::Draft => (age.clamp(300, 4000), 5 * DAY),
            // A queue run every quarter of an hour.
            Mta::Sendmail => (15 * MINUTE, 5 * DAY),
            // F,2h,15m; G,16h,1h,1.5; F,4d,6h
            Mta::Exim if age < 2 * HOUR => (15 * MINUTE, 4 * DAY),
            Mta::Exim if age < 16 * HOUR => (HOUR + (age - 2 * HOUR) / 2, 4 * DAY),
            Mta::Exim => (6 * HOUR, 4 * DAY),
            // 400 s times the square of the attempt's number, from when it was queued.
            Mta::OpenSmtpd => {
                let next = (1..).map(|step: u64| 400 * step * step).find(|&time| time > age)?;
                (next - age, 4 * DAY)
            }
            // 64 s, doubled at each of 13 failures.
            Mta::Haraka if mail.failures < 13 => (32 << mail.failures, u64::MAX),
            Mta::Haraka | Mta::Bot => return None,
        };
        (age + wait < life).then_some(now + wait)
    }

    /// smtp_mx_address_limit and hosts_max_try.
    fn most_hosts(self) -> usize {
        match self {
            Mta::Postfix | Mta::Draft | Mta::Exim => 5,
            Mta::Sendmail | Mta::OpenSmtpd | Mta::Haraka | Mta::Bot => usize::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV6: Host = Host { number: 0, family: Family::Ipv6 };
    const IPV4: Host = Host { number: 1, family: Family::Ipv4 };

    /// The first attempt of a server whose IPv6 host says this.
    fn first(mta: Mta, said: Said) -> Attempt {
        let answer = |host: Host| if host.family == Family::Ipv6 { said } else { Said::Taken };
        mta.attempt(0, &[IPV6, IPV4], &mut Memory::default(), answer)
    }

    #[test]
    fn after_a_refusal_as_measured() {
        for mta in [Mta::Postfix, Mta::Sendmail, Mta::Exim] {
            for said in [Said::NotAtAll, Said::NotNow(421), Said::NotNow(451), Said::NotNow(456)] {
                assert_eq!(first(mta, said), Attempt::Delivered(Family::Ipv4), "{mta:?} {said:?}");
            }
        }
        assert_eq!(first(Mta::OpenSmtpd, Said::NotAtAll), Attempt::GoesOn(2, vec![IPV4]));
        assert_eq!(first(Mta::OpenSmtpd, Said::NotNow(421)), Attempt::Queued);
        assert_eq!(first(Mta::Haraka, Said::NotAtAll), Attempt::Queued);
        assert_eq!(first(Mta::Haraka, Said::NotNow(421)), Attempt::Queued);
        assert_eq!(first(Mta::Draft, Said::NotNow(456)), Attempt::GoesOn(0, vec![IPV4]));
        assert_eq!(first(Mta::Bot, Said::NotNow(421)), Attempt::Bounced);
    }

    #[test]
    fn postfix_stops_after_two_sessions_and_refused_greetings_are_none() {
        let hosts = [IPV6, Host { number: 2, ..IPV6 }, IPV4];
        let attempt = |said: Said| {
            let answer = |host: Host| if host.family == Family::Ipv6 { said } else { Said::Taken };
            Mta::Postfix.attempt(0, &hosts, &mut Memory::default(), answer)
        };
        assert_eq!(attempt(Said::NotNow(421)), Attempt::Queued);
        assert_eq!(attempt(Said::NotAtAll), Attempt::Delivered(Family::Ipv4));
    }

    #[test]
    fn exim_goes_to_ipv4_directly_for_a_quarter_of_an_hour() {
        let mut memory = Memory::default();
        let mut tried = Vec::new();
        for now in [0, 899, 900] {
            let attempt = Mta::Exim.attempt(now, &[IPV6, IPV4], &mut memory, |host| {
                tried.push((now, host.family));
                if host.family == Family::Ipv6 { Said::NotAtAll } else { Said::Taken }
            });
            assert_eq!(attempt, Attempt::Delivered(Family::Ipv4));
        }
        let ipv6: Vec<u64> = tried.iter().filter(|(_, family)| *family == Family::Ipv6).map(|&(now, _)| now).collect();
        assert_eq!(ipv6, [0, 900]);
    }

    /// The times of all attempts.
    fn schedule(mta: Mta) -> Vec<u64> {
        let mut mail = Queued { since: 0, failures: 0 };
        let mut times = vec![0];
        let mut now = 0;
        loop {
            mail.failures += 1;
            let Some(next) = mta.next_attempt(mail, now) else { return times };
            now = next;
            times.push(now);
        }
    }

    #[test]
    fn queues_have_their_schedules() {
        let last = |mta| schedule(mta).last().copied().unwrap_or_default();
        assert_eq!(schedule(Mta::Postfix)[..6], [0, 300, 600, 1200, 2400, 4800]);
        assert_eq!(schedule(Mta::OpenSmtpd)[..5], [0, 400, 1600, 3600, 6400]);
        assert_eq!(schedule(Mta::Haraka)[..6], [0, 64, 192, 448, 960, 1984]);
        assert_eq!(schedule(Mta::Exim)[..4], [0, 900, 1800, 2700]);
        for (mta, days) in [(Mta::Postfix, 5), (Mta::Sendmail, 5), (Mta::Exim, 4), (Mta::OpenSmtpd, 4)] {
            assert!((days * DAY - 6 * HOUR..days * DAY).contains(&last(mta)), "{mta:?}: {}", last(mta));
        }
        assert_eq!((schedule(Mta::Haraka).len(), last(Mta::Haraka)), (13, 64 * ((1 << 12) - 1)));
        assert_eq!(schedule(Mta::Bot), [0]);
    }
}

//! What the mails of one network show.

use smtp_fallback_policy::record::{MailRecord, SettledBy};

use super::definitions::{FALLS_BACK_WITHIN, GIVEN_UP_AFTER, NEVER_OVER, NEVER_REFUSALS};
use super::{ClientKind, Names};

/// What one mail shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// It was refused often enough, or was rejected for that.
    Never,
    /// It was brought over IPv4, at this time; whether that was late.
    Ipv4 { at: u64, slow: bool },
    /// It came over IPv6 again, and passed or was let in.
    Passes,
    /// It waits, and is still tried.
    Waiting,
    /// It waits, but nobody tries it.
    GivenUp,
}

/// What this mail shows at `now`. A record under the fingerprint of a sender may be about several mails, so that its refusals add up to
/// nothing: `is_exact` tells.
fn shows(mail: &MailRecord, is_exact: bool, now: u64) -> Shows {
    match mail.settled {
        Some(settled) => match settled.by {
            SettledBy::Ipv4 => {
                let slow = settled.at.saturating_sub(mail.first_refusal) > FALLS_BACK_WITHIN;
                Shows::Ipv4 { at: settled.at, slow }
            }
            // That it was let in shows nothing: its network may be let in by an operator, or for the sake of another mail.
            SettledBy::LetIn if is_exact && is_never(mail) => Shows::Never,
            SettledBy::Ipv6 | SettledBy::LetIn => Shows::Passes,
            // Only a client that does not fall back is rejected (A34).
            SettledBy::Rejected => Shows::Never,
        },
        None if is_exact && is_never(mail) => Shows::Never,
        None if is_tried(mail, now) => Shows::Waiting,
        None => Shows::GivenUp,
    }
}

fn is_never(mail: &MailRecord) -> bool {
    mail.refusals >= NEVER_REFUSALS && mail.last_refusal.saturating_sub(mail.first_refusal) >= NEVER_OVER
}

/// Whether it was refused lately. A time in the future is of another clock: lately.
fn is_tried(mail: &MailRecord, now: u64) -> bool {
    now.saturating_sub(mail.last_refusal) < GIVEN_UP_AFTER
}

/// The mails of one network, in a few octets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mails {
    /// When one was last brought over IPv4; whether it was late.
    last_ipv4: Option<(u64, bool)>,
    never: bool,
    passes: bool,
    /// How they were seen again: over IPv4, over IPv6, let in, rejected.
    pub(super) settled: [u32; 4],
    /// Not seen, and still tried.
    pub(super) waiting: u32,
    /// Not seen, and no longer tried.
    pub(super) given_up: u32,
    /// When the oldest that waits was first refused; 0 where none does.
    pub(super) oldest: u64,
}

/// What a report keeps of a mail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brief {
    pub(super) shows: Shows,
    settled: Option<SettledBy>,
    is_tried: bool,
    first_refusal: u64,
}

impl Brief {
    /// Of a record under the mail's own fingerprint (`is_exact`) or that of its sender, at `now`.
    pub(super) fn of(mail: &MailRecord, is_exact: bool, now: u64) -> Self {
        Brief {
            shows: shows(mail, is_exact, now),
            settled: mail.settled.map(|settled| settled.by),
            is_tried: is_tried(mail, now),
            first_refusal: mail.first_refusal,
        }
    }

    /// Whether it came over IPv6 again, and was let in.
    pub(super) fn was_let_in(&self) -> bool {
        matches!(self.settled, Some(SettledBy::LetIn))
    }

    /// Whether it was not seen since, and is still tried.
    pub(super) fn waits(&self) -> bool {
        self.settled.is_none() && self.is_tried
    }
}

impl Mails {
    pub(super) fn add(&mut self, brief: Brief) {
        match brief.shows {
            Shows::Never => self.never = true,
            Shows::Ipv4 { at, slow } => self.last_ipv4 = self.last_ipv4.max(Some((at, slow))),
            Shows::Passes => self.passes = true,
            Shows::Waiting | Shows::GivenUp => {}
        }
        match brief.settled {
            Some(by) => {
                let place = match by {
                    SettledBy::Ipv4 => 0,
                    SettledBy::Ipv6 => 1,
                    SettledBy::LetIn => 2,
                    SettledBy::Rejected => 3,
                };
                self.settled[place] = self.settled[place].saturating_add(1);
            }
            None if brief.is_tried => {
                self.waiting = self.waiting.saturating_add(1);
                // 0 stands for none, and no mail is from then.
                let since = brief.first_refusal.max(1);
                self.oldest = if self.oldest == 0 { since } else { self.oldest.min(since) };
            }
            None => self.given_up = self.given_up.saturating_add(1),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.settled == [0; 4] && self.waiting == 0 && self.given_up == 0
    }

    /// The kind of client that they show; `None` where there are none.
    pub(super) fn kind(&self) -> Option<ClientKind> {
        Some(match self {
            Mails { never: true, .. } => ClientKind::Never,
            Mails { last_ipv4: Some((_, false)), .. } => ClientKind::FallsBack,
            Mails { last_ipv4: Some((_, true)), .. } => ClientKind::Slow,
            Mails { waiting: 1.., .. } => ClientKind::Waiting,
            Mails { passes: true, .. } => ClientKind::Passes,
            Mails { given_up: 1.., .. } => ClientKind::NoRetry,
            _ => return None,
        })
    }
}

/// More about the mails of a network whose client does not fall back. Only those that show it are in it; where none does, those that were
/// let in, since a policy with smaller numbers than the report's may have let the network in for them.
#[derive(Clone, Debug)]
pub(super) struct Details {
    /// Its mails show it by themselves.
    pub(super) shows_it: bool,
    pub(super) ehlo_names: Names,
    pub(super) sender_domains: Names,
    pub(super) since: u64,
    pub(super) refusals: u64,
    pub(super) last_refusal: u64,
    pub(super) lacked: String,
    pub(super) refused_for: &'static str,
    pub(super) oldest_waiting: Option<u64>,
}

impl Details {
    pub(super) fn new(shows_it: bool) -> Self {
        Details {
            shows_it,
            ehlo_names: Names::default(),
            sender_domains: Names::default(),
            since: u64::MAX,
            refusals: 0,
            last_refusal: 0,
            lacked: String::new(),
            refused_for: "",
            oldest_waiting: None,
        }
    }

    pub(super) fn add(&mut self, mail: &MailRecord) {
        self.ehlo_names.add(&mail.ehlo_name);
        self.sender_domains.add(&mail.sender_domain);
        self.since = self.since.min(mail.first_refusal);
        self.refusals = self.refusals.saturating_add(mail.refusals.into());
        if mail.last_refusal >= self.last_refusal {
            self.last_refusal = mail.last_refusal;
            self.lacked.clone_from(&mail.lacked);
            self.refused_for = mail.refused_for.as_str();
        }
        if mail.settled.is_none() {
            let oldest = self.oldest_waiting.unwrap_or(u64::MAX);
            self.oldest_waiting = Some(oldest.min(mail.first_refusal));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use smtp_fallback_policy::network::Network;
    use smtp_fallback_policy::record::{MessageId, RefusedFor, Settled};

    pub(crate) const NOW: u64 = 1_700_000_000;

    /// A mail that was refused so often: first and last so many seconds before `NOW`.
    pub(crate) fn mail(refusals: u32, first: u64, last: u64) -> MailRecord {
        MailRecord {
            network: Network::parse("2001:db8:1::/64").expect("valid"),
            first_refusal: NOW - first,
            last_refusal: NOW - last,
            refusals,
            acknowledged: false,
            message_id: MessageId::Known,
            refused_for: RefusedFor::Unauthenticated,
            lacked: "SPF=none, DKIM=none".into(),
            ehlo_name: "mail.example.net".into(),
            sender_domain: "example.net".into(),
            settled: None,
        }
    }

    pub(crate) fn settled(mail: MailRecord, by: SettledBy, ago: u64) -> MailRecord {
        MailRecord { settled: Some(Settled { at: NOW - ago, by }), ..mail }
    }

    fn exact(mail: &MailRecord) -> Shows {
        shows(mail, true, NOW)
    }

    #[test]
    fn three_refusals_over_half_an_hour_show_a_client_that_does_not_fall_back() {
        assert_eq!(exact(&mail(3, 1900, 100)), Shows::Never);
        assert_eq!(exact(&mail(3, 1899, 100)), Shows::Waiting, "in less than half an hour");
        assert_eq!(exact(&mail(2, 90_000, 100)), Shows::Waiting, "only twice");
        assert_eq!(shows(&mail(3, 1900, 100), false, NOW), Shows::Waiting, "these may be three mails");
        assert_eq!(exact(&settled(mail(3, 1900, 100), SettledBy::Ipv4, 50)), Shows::Ipv4 { at: NOW - 50, slow: true });
    }

    #[test]
    fn that_a_mail_was_let_in_shows_nothing_but_that_it_was_rejected_does() {
        let let_in = |mail| settled(mail, SettledBy::LetIn, 50);
        assert_eq!(exact(&let_in(mail(3, 1900, 100))), Shows::Never);
        assert_eq!(exact(&let_in(mail(3, 1899, 100))), Shows::Passes, "an operator let its network in");
        assert_eq!(exact(&let_in(mail(1, 1900, 1900))), Shows::Passes);
        assert_eq!(shows(&let_in(mail(3, 1900, 100)), false, NOW), Shows::Passes, "these may be three mails");
        assert_eq!(exact(&settled(mail(2, 1900, 100), SettledBy::Rejected, 50)), Shows::Never, "by a policy of its own");
    }

    #[test]
    fn five_minutes_part_those_who_fall_back_from_the_slow() {
        let arrival = |after| exact(&settled(mail(1, 1000, 1000), SettledBy::Ipv4, 1000_u64 - after));
        assert_eq!(arrival(300), Shows::Ipv4 { at: NOW - 700, slow: false });
        assert_eq!(arrival(301), Shows::Ipv4 { at: NOW - 699, slow: true });
        assert_eq!(exact(&settled(mail(1, 1000, 1000), SettledBy::Ipv6, 0)), Shows::Passes);
    }

    #[test]
    fn after_six_hours_without_a_try_a_mail_is_given_up() {
        assert_eq!(exact(&mail(1, 21_599, 21_599)), Shows::Waiting);
        assert_eq!(exact(&mail(1, 21_600, 21_600)), Shows::GivenUp);
        assert_eq!(exact(&mail(2, 90_000, 21_599)), Shows::Waiting, "tried again");
        let ahead = MailRecord { last_refusal: NOW + 60, ..mail(1, 0, 0) };
        assert_eq!(exact(&ahead), Shows::Waiting, "another host's clock is ahead");
    }

    #[test]
    fn a_network_has_one_kind() {
        let kind = |mails: &[MailRecord]| {
            let mut all = Mails::default();
            for mail in mails {
                all.add(Brief::of(mail, true, NOW));
            }
            all.kind()
        };
        let never = mail(3, 1900, 100);
        let quick = |ago| settled(mail(1, ago + 10, ago + 10), SettledBy::Ipv4, ago);
        let slow = |ago| settled(mail(1, ago + 900, ago + 900), SettledBy::Ipv4, ago);
        let passes = settled(mail(1, 900, 900), SettledBy::Ipv6, 1);
        let (waiting, given_up) = (mail(1, 5, 5), mail(1, 90_000, 90_000));
        assert_eq!(kind(&[]), None);
        assert_eq!(kind(&[given_up.clone(), waiting.clone(), passes.clone(), quick(5), never]), Some(ClientKind::Never));
        assert_eq!(kind(&[waiting.clone(), passes.clone(), slow(20), quick(10)]), Some(ClientKind::FallsBack));
        assert_eq!(kind(&[slow(10), quick(20)]), Some(ClientKind::Slow), "the last arrival counts");
        assert_eq!(kind(&[passes.clone(), waiting, given_up.clone()]), Some(ClientKind::Waiting));
        assert_eq!(kind(&[given_up.clone(), passes]), Some(ClientKind::Passes));
        assert_eq!(kind(&[given_up]), Some(ClientKind::NoRetry));
    }
}

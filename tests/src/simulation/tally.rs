//! What is counted of a sender.

use smtp_fallback_policy::contract::{Note, Reason, Stage};

use super::layout::Family;
use super::receiver::Session;

/// The counts of one sender, over one run or several.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Mails that it sent.
    pub mails: u32,
    /// Of them, those whose first session was over IPv6.
    pub over_ipv6: u32,
    /// Those that passed the requirement when they were sent.
    pub sound: u32,
    /// Delivered over IPv6.
    pub in_over_ipv6: u32,
    /// Delivered over IPv4.
    pub in_over_ipv4: u32,
    /// Went back to their sender.
    pub lost: u32,
    /// Seconds from sending to delivery, of each delivered mail.
    pub delays: Vec<u64>,
    /// Connections refused at the greeting or at EHLO.
    pub refused_at_greeting: u32,
    /// Mails refused after their data.
    pub refused_after_data: u32,
    /// The octets of mails whose data a penalty spared.
    pub octets_spared: u64,
    /// The octets of mails that failed after their data, refused or let in.
    pub octets_failed: u64,
    /// Failing mails that were let in.
    pub let_in: u32,
    /// How often letting in began.
    pub let_ins_begun: u32,
    /// How often a penalty began or was renewed.
    pub penalties: u32,
    /// The last refusal of a mail of `FixedAt` after its SPF record was right, in seconds from then.
    pub last_refusal_after_mending: Option<u64>,
    /// Mails that were sent while the address was in good standing, and those of them that were refused at first.
    pub in_good_standing: u32,
    /// See `in_good_standing`.
    pub refused_in_good_standing: u32,
}

impl Tally {
    /// Counts a session over IPv6.
    pub(super) fn count_session(&mut self, session: &Session, size: u32) {
        let size = u64::from(size);
        match (session.refused, session.stage) {
            (None, _) => {}
            (Some(_), Stage::Greeting | Stage::Ehlo) => {
                self.refused_at_greeting += 1;
                self.octets_spared += size;
            }
            (Some(_), _) => {
                self.refused_after_data += 1;
                self.octets_failed += size;
            }
        }
        if session.refused.is_none() && session.reason == Reason::LetIn {
            self.let_in += 1;
            self.octets_failed += size;
        }
        for note in &session.notes {
            match note {
                Note::PenaltyBegins | Note::PenaltyRenewed => self.penalties += 1,
                Note::LetInBegins => self.let_ins_begun += 1,
                _ => {}
            }
        }
    }

    pub(super) fn count_delivery(&mut self, family: Family, delay: u64) {
        match family {
            Family::Ipv6 => self.in_over_ipv6 += 1,
            Family::Ipv4 => self.in_over_ipv4 += 1,
        }
        self.delays.push(delay);
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Tally) {
        self.mails += other.mails;
        self.over_ipv6 += other.over_ipv6;
        self.sound += other.sound;
        self.in_over_ipv6 += other.in_over_ipv6;
        self.in_over_ipv4 += other.in_over_ipv4;
        self.lost += other.lost;
        self.delays.extend_from_slice(&other.delays);
        self.refused_at_greeting += other.refused_at_greeting;
        self.refused_after_data += other.refused_after_data;
        self.octets_spared += other.octets_spared;
        self.octets_failed += other.octets_failed;
        self.let_in += other.let_in;
        self.let_ins_begun += other.let_ins_begun;
        self.penalties += other.penalties;
        self.last_refusal_after_mending = self.last_refusal_after_mending.max(other.last_refusal_after_mending);
        self.in_good_standing += other.in_good_standing;
        self.refused_in_good_standing += other.refused_in_good_standing;
    }

    /// The share of its mail that came in over IPv6, in per cent of all that it sent.
    pub fn percent_in_over_ipv6(&self) -> f64 {
        percent(self.in_over_ipv6.into(), self.mails.into())
    }

    /// The share of failing octets that penalties spared, in per cent.
    pub fn percent_spared(&self) -> f64 {
        percent(self.octets_spared, self.octets_spared + self.octets_failed)
    }

    /// Mean, 95th percentile and maximum of the delays, in seconds; zeros where nothing was delivered.
    pub fn delay(&self) -> (u64, u64, u64) {
        let mut sorted = self.delays.clone();
        sorted.sort_unstable();
        let count = sorted.len();
        let Some(&longest) = sorted.last() else { return (0, 0, 0) };
        (sorted.iter().sum::<u64>() / count as u64, sorted[(count * 95).div_ceil(100) - 1], longest)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_of_the_delivered() {
        let tally = Tally { delays: (1..=100).rev().collect(), ..Tally::default() };
        assert_eq!(tally.delay(), (50, 95, 100));
        assert_eq!(Tally { delays: vec![7], ..Tally::default() }.delay(), (7, 7, 7));
        assert_eq!(Tally::default().delay(), (0, 0, 0));
    }

    #[test]
    fn shares_in_per_cent() {
        let tally = Tally { mails: 8, in_over_ipv6: 2, octets_spared: 30, octets_failed: 10, ..Tally::default() };
        assert_eq!((tally.percent_in_over_ipv6(), tally.percent_spared()), (25.0, 75.0));
        assert_eq!(Tally::default().percent_in_over_ipv6(), 0.0, "no mail is no share");
    }
}

//! What senders make of a layout: how many of their attempts end before they come to an IPv4 address.
//!
//! Both try the addresses in the order of the preferences, in random order where those are equal, and give up after so many: the rest
//! of the mail's addresses has to wait for the next attempt, which has another random order. So a share below 100 % delays mail, and
//! one of 100 % loses it.

use serde::Serialize;

use super::layout::{Group, Layout};

/// Postfix ends an attempt after so many sessions that got past the greeting (`smtp_mx_session_limit`).
const POSTFIX_SESSIONS: usize = 2;
/// Exim after so many addresses (`hosts_max_try`).
const EXIM_HOSTS: usize = 5;

/// A sender, as it comes without settings of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Sender {
    pub(super) name: &'static str,
    /// Of its attempts, the share that ends without having tried IPv4: 0 to 1. Absent while addresses are unknown.
    pub(super) share: Option<f64>,
    /// Why.
    pub(super) why: &'static str,
}

/// All whose behaviour is known.
pub(super) fn all(layout: &Layout) -> Vec<Sender> {
    if layout.hosts.is_empty() {
        return Vec::new();
    }
    let (groups, are_all) = layout.groups();
    let share = |limit| without_ipv4(&groups, are_all, limit);
    // Each host is tried over one family: an IPv4 address is only tried on a host that has no other.
    let ipv4_only = layout.hosts.iter().map(|host| Some(host.ipv4.count()? > 0 && host.ipv6.count()? == 0));
    let sendmail = ipv4_only.collect::<Option<Vec<bool>>>().map(|hosts| if hosts.contains(&true) { 0.0 } else { 1.0 });
    vec![
        Sender {
            name: "Postfix",
            share: share(POSTFIX_SESSIONS),
            why: "ends an attempt after 2 sessions (smtp_mx_session_limit)",
        },
        Sender { name: "Exim", share: share(EXIM_HOSTS), why: "ends an attempt after 5 addresses (hosts_max_try)" },
        Sender { name: "Sendmail", share: sendmail, why: "goes on to the next host, not to the next address of one host" },
    ]
}

/// The probability that the first `limit` addresses are all IPv6, or that there is no IPv4 address at all. Nothing where that depends on what
/// is not known: the groups are not all, and leave something to try.
fn without_ipv4(groups: &[Group], are_all: bool, limit: usize) -> Option<f64> {
    let has_ipv4 = groups.iter().any(|group| group.ipv4 > 0);
    if are_all && !has_ipv4 {
        return Some(1.0);
    }
    let mut left = limit;
    let mut share = 1.0;
    for group in groups {
        let all = group.ipv4 + group.ipv6;
        for tried in 0..left.min(all) {
            share *= group.ipv6.saturating_sub(tried) as f64 / (all - tried) as f64;
        }
        left -= left.min(all);
        if left == 0 {
            break;
        }
    }
    (are_all || left == 0 || share == 0.0).then_some(share)
}

/// A share for people: no mail is lost that is said to arrive, and none arrives that is said to be lost.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 1.0 => "< 1 %".to_owned(),
        percent if percent > 99.0 && percent < 100.0 => "> 99 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(groups: &[(usize, usize)], are_all: bool, limit: usize) -> Option<f64> {
        let groups: Vec<Group> = groups.iter().map(|&(ipv6, ipv4)| Group { ipv4, ipv6 }).collect();
        without_ipv4(&groups, are_all, limit).map(|share| (share * 1e6).round() / 1e6)
    }

    fn share(groups: &[(usize, usize)], limit: usize) -> f64 {
        known(groups, true, limit).expect("all is known")
    }

    #[test]
    fn what_comes_after_the_last_attempt_need_not_be_known() {
        assert_eq!(known(&[(2, 0)], false, 2), Some(1.0));
        assert_eq!(known(&[(2, 2)], false, 5), Some(0.0));
        assert_eq!(known(&[(2, 0)], false, 3), None);
        assert_eq!(known(&[], false, 2), None);
    }

    #[test]
    fn one_of_each_family_is_safe() {
        for limit in [POSTFIX_SESSIONS, EXIM_HOSTS] {
            assert_eq!(share(&[(1, 1)], limit), 0.0);
            assert_eq!(share(&[(1, 0), (0, 1)], limit), 0.0);
            assert_eq!(share(&[(1, 1), (1, 1)], limit), 0.0, "staggered pairs");
            assert_eq!(share(&[(1, 3)], limit), 0.0, "one IPv6 host with several IPv4 hosts");
            assert_eq!(share(&[(0, 1), (9, 0)], limit), 0.0, "IPv4 first");
        }
    }

    #[test]
    fn two_equal_pairs_cost_postfix_a_sixth_of_its_attempts() {
        // 2/4 · 1/3: a third of those that begin with IPv6.
        assert_eq!(share(&[(2, 2)], 2), 0.166_667);
        assert_eq!(share(&[(2, 2)], 5), 0.0);
    }

    #[test]
    fn as_many_ipv6_addresses_as_a_sender_tries_hide_the_rest() {
        assert_eq!(share(&[(2, 0), (0, 1)], 2), 1.0);
        assert_eq!(share(&[(1, 0), (1, 1)], 2), 0.5);
        assert_eq!(share(&[(5, 0), (0, 1)], 5), 1.0);
        assert_eq!(share(&[(4, 0), (0, 1)], 5), 0.0);
        assert_eq!(share(&[(5, 1)], 5), 0.166_667);
    }

    #[test]
    fn without_ipv4_nothing_comes_to_it() {
        assert_eq!(share(&[(1, 0)], 5), 1.0);
        assert_eq!(share(&[], 5), 1.0);
    }

    #[test]
    fn shares_are_not_rounded_to_certainty() {
        for (share, expected) in [(0.0, "0 %"), (0.001, "< 1 %"), (0.166, "17 %"), (0.9951, "> 99 %"), (1.0, "100 %")] {
            assert_eq!(percent(share), expected);
        }
    }
}

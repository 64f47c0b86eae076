//! The rules for MX records, of the draft (D1 to D3, D6) and of practice.

use serde::Serialize;

use super::layout::{Alias, Host, Layout};

/// How a rule came out; the later the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// It holds.
    Well,
    /// The DNS did not say.
    Unknown,
    /// It is broken.
    Wrong,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Outcome::Well => "ok",
            Outcome::Unknown => "unknown",
            Outcome::Wrong => "WRONG",
        }
    }
}

/// What a rule says of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Finding {
    /// Its number in the draft's requirements, or a word.
    pub(super) rule: &'static str,
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) text: String,
    /// What to do.
    pub(super) advice: Option<String>,
}

impl Finding {
    fn new(rule: &'static str, outcome: Outcome, text: impl Into<String>, advice: Option<&str>) -> Self {
        let advice = advice.filter(|_| outcome == Outcome::Wrong).map(str::to_owned);
        Finding { rule, outcome, text: text.into(), advice }
    }
}

/// All rules, in the order in which they are explained.
pub(super) fn check(layout: &Layout) -> Vec<Finding> {
    if layout.is_null {
        let text = "the domain takes no mail (RFC 7505): there is nothing to check";
        return vec![Finding::new("MX", Outcome::Well, text, None)];
    }
    let mut findings = Vec::new();
    if layout.is_implicit {
        let advice = "publish MX records: one host with an AAAA record only, one with an A record only, at the same preference";
        let text = "there is no MX record: the domain's own addresses take the mail";
        findings.push(Finding::new("MX", Outcome::Wrong, text, Some(advice)));
    }
    findings.extend([
        addressed(layout),
        pairs(layout),
        single_stack(layout),
        best_has_ipv4_only(layout),
        first_ipv6(layout),
        order(layout),
    ]);
    findings
}

/// D1: MX records name hosts, not aliases, and those have addresses.
fn addressed(layout: &Layout) -> Finding {
    let alias = layout.hosts.iter().find_map(|host| match &host.alias {
        Alias::Of(other) => Some((&host.name, other)),
        Alias::No | Alias::Unknown(_) => None,
    });
    if let Some((name, other)) = alias {
        let advice = format!("name {other} itself in the MX record, which must not name an alias (RFC 2181 section 10.3)");
        return Finding::new("D1", Outcome::Wrong, format!("{name} is an alias of {other}"), Some(&advice));
    }
    let without = |host: &Host| {
        let is_known = !matches!(host.alias, Alias::Unknown(_));
        let has_none = host.ipv4.count()? == 0 && host.ipv6.count()? == 0;
        (is_known || has_none).then_some(has_none)
    };
    let advice = "give it an address, or take its MX record out";
    each("D1", layout, without, "has no address", "every MX host has an address, and none is an alias", advice)
}

/// D1 and D3: no MX host has addresses of both families.
fn single_stack(layout: &Layout) -> Finding {
    let dual = |host: &Host| match (host.ipv4.count(), host.ipv6.count()) {
        (Some(0), _) | (_, Some(0)) => Some(false),
        (Some(_), Some(_)) => Some(true),
        _ => None,
    };
    let advice = "give it two names, one with the A and one with the AAAA record, and an MX record for each: Sendmail does not go on to a host's second address";
    each("D3", layout, dual, "has both A and AAAA records", "no MX host has both A and AAAA records", advice)
}

/// D2: at each preference there is a host of each family.
fn pairs(layout: &Layout) -> Finding {
    let advice = "give this preference one host with an AAAA record only and one with an A record only";
    let mut unknown = None;
    for hosts in layout.by_preference() {
        let has = |count: fn(&Host) -> Option<usize>| match hosts.iter().filter_map(count).any(|count| count > 0) {
            true => Some(true),
            false => hosts.iter().map(count).collect::<Option<Vec<_>>>().map(|_| false),
        };
        let preference = hosts.first().map_or(0, |host| host.preference);
        match (has(|host| host.ipv6.count()), has(|host| host.ipv4.count())) {
            (Some(true), Some(true)) => {}
            (Some(false), _) | (_, Some(false)) => {
                let lacking = if has(|host| host.ipv4.count()) == Some(false) { "IPv4" } else { "IPv6" };
                return Finding::new(
                    "D2",
                    Outcome::Wrong,
                    format!("no host at preference {preference} has {lacking}"),
                    Some(advice),
                );
            }
            _ => unknown = Some(preference),
        }
    }
    match unknown {
        Some(preference) => {
            Finding::new("D2", Outcome::Unknown, format!("the addresses at preference {preference} are not all known"), None)
        }
        None => Finding::new("D2", Outcome::Well, "each preference has IPv6 and IPv4", None),
    }
}

/// D6: of the best preference, one host at least has IPv4 only.
fn best_has_ipv4_only(layout: &Layout) -> Finding {
    let advice = "give the best preference a host with an A record only: clients without the extension find it at once";
    let best = layout.by_preference().next().unwrap_or_default();
    let ipv4_only = |host: &Host| Some(host.ipv4.count()? > 0 && host.ipv6.count()? == 0);
    let outcomes: Vec<Option<bool>> = best.iter().map(ipv4_only).collect();
    if outcomes.contains(&Some(true)) {
        Finding::new("D6", Outcome::Well, "the best preference has a host with IPv4 only", None)
    } else if outcomes.contains(&None) {
        Finding::new("D6", Outcome::Unknown, "the addresses of the best preference are not all known", None)
    } else {
        Finding::new("D6", Outcome::Wrong, "no host of the best preference has IPv4 only", Some(advice))
    }
}

/// More than one IPv6 address before the first IPv4 address.
fn first_ipv6(layout: &Layout) -> Finding {
    let advice = "publish one IPv6 address at the preference where the first IPv4 address is, or before it: senders give up after a few addresses (below)";
    let (groups, are_all) = layout.groups();
    let mut before = 0;
    for group in &groups {
        before += group.ipv6;
        if group.ipv4 > 0 {
            break;
        }
    }
    // An IPv4 address among what is not known would come after two that are.
    if !are_all && before < 2 && groups.iter().all(|group| group.ipv4 == 0) {
        return Finding::new("one IPv6", Outcome::Unknown, "the addresses are not all known", None);
    }
    let text = match before {
        0 => "no IPv6 address can be tried before the first IPv4 address".to_owned(),
        1 => "one IPv6 address can be tried before the first IPv4 address".to_owned(),
        _ => format!("{before} IPv6 addresses can be tried before the first IPv4 address"),
    };
    Finding::new("one IPv6", if before > 1 { Outcome::Wrong } else { Outcome::Well }, text, Some(advice))
}

/// IPv6 is tried at all, and not IPv6 alone.
fn order(layout: &Layout) -> Finding {
    let best = layout.by_preference().next().unwrap_or_default();
    let some = |hosts: &[Host], count: fn(&Host) -> Option<usize>| {
        hosts.iter().map(count).try_fold(false, |found, count| Some(found || count? > 0))
    };
    let (ipv4, ipv6) = (some(&layout.hosts, |host| host.ipv4.count()), some(&layout.hosts, |host| host.ipv6.count()));
    match (ipv4, ipv6, some(best, |host| host.ipv6.count())) {
        (Some(false), ..) => Finding::new(
            "order",
            Outcome::Wrong,
            "no MX host has IPv4: what is refused over IPv6 is never delivered",
            Some("publish an MX host with an A record, or do not enforce"),
        ),
        (_, Some(false), _) => Finding::new("order", Outcome::Well, "no MX host has IPv6: nothing is ever refused", None),
        (Some(true), Some(true), Some(false)) => Finding::new(
            "order",
            Outcome::Wrong,
            "IPv4 has the better preference: IPv6 is not tried while IPv4 answers",
            Some("give both families the same preference"),
        ),
        (Some(true), Some(true), Some(true)) => Finding::new("order", Outcome::Well, "IPv6 is tried, and IPv4 can be", None),
        _ => Finding::new("order", Outcome::Unknown, "the addresses are not all known", None),
    }
}

/// A rule about each host by itself: `is_wrong`, if that is known.
fn each(
    rule: &'static str,
    layout: &Layout,
    is_wrong: impl Fn(&Host) -> Option<bool>,
    wrong: &str,
    well: &str,
    advice: &str,
) -> Finding {
    let named = |outcome| layout.hosts.iter().find(|host| is_wrong(host) == outcome).map(|host| &host.name);
    if let Some(name) = named(Some(true)) {
        Finding::new(rule, Outcome::Wrong, format!("{name} {wrong}"), Some(advice))
    } else if let Some(name) = named(None) {
        Finding::new(rule, Outcome::Unknown, format!("the addresses of {name} are not all known"), None)
    } else {
        Finding::new(rule, Outcome::Well, well, None)
    }
}

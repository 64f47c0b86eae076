//! The status page, for the postmaster. The template escapes for HTML; what clients said also passes [`visible`].

use askama::Template;
use smtp_fallback_policy::contract::Mode;
use smtp_fallback_store::Health;

use crate::monitor::{Monitor, Problem};
use crate::report::{
    Clients, LETS_IN, LetInNetwork, Listing, Names, NeverFallsBack, PenaltyInForce, Report, SettledMails, WaitingMail,
};
use crate::time::{brief_from_now, from_now, rfc3339, span, utc};
use crate::visible::visible;

/// Networks in a table; `status.json` has more.
const NETWORKS: usize = 100;
/// Clients that do not fall back, each with all that is known of it.
const CLIENTS: usize = 50;
/// Waiting mails.
const MAILS: usize = 20;

/// The page as HTML. `refresh`: seconds between two refreshes, where the browser runs scripts.
pub(crate) fn render(monitor: &Monitor, now: u64, refresh: u64) -> Result<String, askama::Error> {
    let census = monitor.census();
    let policy = monitor.policy();
    let view = View { now };
    let health = monitor.health();
    let mut problems = monitor.problems();
    problems.extend(lost(health.dropped));
    let page = Page {
        name: monitor.name(),
        software: monitor.software(),
        now: view.time(now),
        refresh,
        begun: view.time(monitor.begun()),
        mode: policy.mode.map(|mode| mode == Mode::Enforce),
        problems,
        failures: monitor.failures().into_iter().filter(|(_, count)| *count > 0).map(failed).collect(),
        store: view.store(&health),
        census: census.report.as_deref().map(|report| view.census(report)),
        lets_in: LETS_IN,
    };
    page.render()
}

#[derive(Template)]
#[template(path = "status.html")]
struct Page<'a> {
    name: &'a str,
    software: &'a str,
    now: Time,
    refresh: u64,
    begun: Time,
    /// Whether refusals reach clients; absent without a policy.
    mode: Option<bool>,
    problems: Vec<Problem>,
    failures: Vec<String>,
    store: StoreView,
    census: Option<CensusView>,
    /// Who lets in what.
    lets_in: &'static str,
}

/// A moment: as machines read it, as people do, and how far away it is, also in short.
struct Time {
    machine: String,
    utc: String,
    away: String,
    brief: String,
}

struct StoreView {
    kind: &'static str,
    works: bool,
    local_copy: bool,
    records: Option<String>,
    facts: Vec<String>,
}

struct CensusView {
    at: Time,
    penalties: Table<PenaltyRow>,
    simulated: Table<PenaltyRow>,
    never: Table<NeverRow>,
    let_in: Table<LetInRow>,
    waiting: Table<WaitingRow>,
    waiting_mails: String,
    waiting_oldest: Option<Time>,
    given_up: String,
    settled: [(&'static str, String); 4],
    clients: Vec<(&'static str, String, &'static str)>,
    not_classified: Option<String>,
    unreadable: Option<String>,
}

/// Rows, and how many there are that are not shown.
struct Table<T> {
    rows: Vec<T>,
    total: String,
    more: Option<String>,
}

struct PenaltyRow {
    network: String,
    until: Time,
    failed: String,
    passed: String,
    last_failure: Time,
}

struct NeverRow {
    network: String,
    ehlo_names: Vec<String>,
    more_ehlo_names: bool,
    sender_domains: Vec<String>,
    more_sender_domains: bool,
    since: Option<Time>,
    came: Option<String>,
    lacked: String,
    is_distrusted: bool,
    oldest_waiting: Option<Time>,
    let_in: Option<(Time, &'static str)>,
    exempt: String,
    command: String,
}

struct LetInRow {
    network: String,
    by: &'static str,
    since: Time,
    until: Time,
}

struct WaitingRow {
    network: String,
    ehlo_name: String,
    sender_domain: String,
    since: Time,
    refusals: String,
    /// When it was refused more than once.
    last: Option<Time>,
    lacked: String,
    is_distrusted: bool,
}

/// Turns a report into what the template shows.
struct View {
    now: u64,
}

impl View {
    fn time(&self, time: u64) -> Time {
        Time { machine: rfc3339(time), utc: utc(time), away: from_now(time, self.now), brief: brief_from_now(time, self.now) }
    }

    fn store(&self, health: &Health) -> StoreView {
        let kind = match health.kind.as_str() {
            "memory" => "in memory: gone when the host stops",
            "embedded" => "embedded database of this host",
            "redis" => "Redis or Valkey, shared by several hosts",
            _ => "of a kind that this page does not know",
        };
        let records = match (health.records, health.capacity) {
            (None, _) => None,
            (Some(records), None) => Some(number(records)),
            (Some(records), Some(capacity)) => Some(format!("{} of at most {}", number(records), number(capacity))),
        };
        let facts = [
            (health.unsaved, "update", "not on disk yet"),
            (health.evicted, "record", "dropped for want of room"),
            (health.timeouts, "call", "without an answer in time"),
            (health.dropped, "update", "lost"),
        ];
        StoreView {
            kind,
            works: health.problem.is_none(),
            local_copy: health.serves_local_copy,
            records,
            facts: facts
                .into_iter()
                .filter(|(count, ..)| *count > 0)
                .map(|(n, what, how)| format!("{} {how}", counted(n, what)))
                .collect(),
        }
    }

    fn census(&self, report: &Report) -> CensusView {
        let waiting = &report.waiting;
        CensusView {
            at: self.time(report.at),
            penalties: table(&report.penalties, NETWORKS, |entry| self.penalty(entry)),
            simulated: table(&report.simulated_penalties, NETWORKS, |entry| self.penalty(entry)),
            never: table(&report.never, CLIENTS, |entry| self.never(entry)),
            let_in: table(&report.let_in, NETWORKS, |entry| self.let_in(entry)),
            waiting: table(&waiting.oldest, MAILS, |entry| self.waiting(entry)),
            waiting_mails: number(waiting.mails),
            waiting_oldest: waiting.oldest_since.map(|since| self.time(since)),
            given_up: number(waiting.given_up),
            settled: settled(report.settled),
            clients: clients(&report.clients),
            not_classified: some_number(report.clients.not_classified),
            unreadable: some_number(report.records.unreadable),
        }
    }

    fn penalty(&self, entry: &PenaltyInForce) -> PenaltyRow {
        PenaltyRow {
            network: entry.network.clone(),
            until: self.time(entry.refuse_until),
            failed: messages(entry.failed),
            passed: messages(entry.passed),
            last_failure: self.time(entry.last_failure),
        }
    }

    fn never(&self, entry: &NeverFallsBack) -> NeverRow {
        let shown = |names: &Names| names.shown.iter().map(|name| visible(name).to_string()).collect();
        NeverRow {
            network: entry.network.clone(),
            ehlo_names: shown(&entry.ehlo_names),
            more_ehlo_names: entry.ehlo_names.more,
            sender_domains: shown(&entry.sender_domains),
            more_sender_domains: entry.sender_domains.more,
            since: entry.since.map(|since| self.time(since)),
            came: some_number(entry.refusals)
                .map(|_| format!("{}{}", counted(entry.refusals, "time"), entry.without_authentication())),
            lacked: visible(&entry.lacked).to_string(),
            is_distrusted: entry.is_distrusted(),
            oldest_waiting: entry.oldest_waiting.map(|since| self.time(since)),
            let_in: entry.let_in.map(|let_in| (self.time(let_in.until), let_in.by())),
            exempt: entry.exempt.clone(),
            command: entry.command.clone(),
        }
    }

    fn let_in(&self, entry: &LetInNetwork) -> LetInRow {
        LetInRow {
            network: entry.network.clone(),
            by: entry.let_in.by(),
            since: self.time(entry.let_in.since),
            until: self.time(entry.let_in.until),
        }
    }

    fn waiting(&self, entry: &WaitingMail) -> WaitingRow {
        WaitingRow {
            network: entry.network.clone(),
            ehlo_name: visible(&entry.ehlo_name).to_string(),
            sender_domain: visible(&entry.sender_domain).to_string(),
            since: self.time(entry.since),
            refusals: number(entry.refusals.into()),
            last: (entry.refusals > 1).then(|| self.time(entry.last_refusal)),
            lacked: visible(&entry.lacked).to_string(),
            is_distrusted: entry.is_distrusted(),
        }
    }
}

fn table<T, R>(listing: &Listing<T>, most: usize, row: impl Fn(&T) -> R) -> Table<R> {
    let rows: Vec<R> = listing.entries.iter().take(most).map(row).collect();
    let more = some_number(listing.total() - rows.len() as u64);
    Table { rows, total: number(listing.total()), more }
}

fn settled(settled: SettledMails) -> [(&'static str, String); 4] {
    [
        ("was brought over IPv4, as it was asked to", settled.ipv4),
        ("came over IPv6 again and passed", settled.ipv6),
        ("came over IPv6 again and was let in", settled.let_in),
        ("came over IPv6 again and was rejected", settled.rejected),
    ]
    .map(|(how, count)| (how, number(count)))
}

fn clients(clients: &Clients) -> Vec<(&'static str, String, &'static str)> {
    clients.by_kind().iter().map(|(kind, count)| (kind.label(), number(*count), kind.meaning())).collect()
}

/// What the store lost leaves nothing well: what it said of clients is forgotten.
fn lost(updates: u64) -> Option<Problem> {
    let were = if updates == 1 { "was" } else { "were" };
    let text = format!(
        "{} {were} lost since the start: what they said of clients, such as a penalty or a refused mail, may be forgotten",
        counted(updates, "update")
    );
    (updates > 0).then_some(Problem { with: "store", text, is_failure: false })
}

/// "3 calls failed: deadline".
fn failed((kind, count): (&'static str, u64)) -> String {
    format!("{} failed: {kind}", counted(count, "call"))
}

/// "1 call", "1,234 calls".
fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", number(count), if count == 1 { "" } else { "s" })
}

/// "1,234,567".
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn some_number(count: u64) -> Option<String> {
    (count > 0).then(|| number(count))
}

/// Decayed counts of messages, to the nearest tenth.
fn messages(count: f64) -> String {
    let text = format!("{count:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

impl Page<'_> {
    /// "15 s".
    fn refresh_text(&self) -> String {
        span(self.refresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups_of_three() {
        for (n, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), expected);
        }
        for (kind, count, expected) in [("trap", 1, "1 call failed: trap"), ("deadline", 3, "3 calls failed: deadline")] {
            assert_eq!(failed((kind, count)), expected);
        }
        for (n, expected) in [(9.0, "9"), (9.25, "9.2"), (0.96, "1"), (0.0, "0")] {
            assert_eq!(messages(n), expected);
        }
    }
}

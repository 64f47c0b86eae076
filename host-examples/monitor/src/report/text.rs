//! The report for terminals.

use std::fmt::Write as _;

use super::definitions::MOST_NAMES;
use super::{ClientKind, Clients, LETS_IN, Listing, Names, NeverFallsBack, PenaltyInForce, Report};
use crate::time::{from_now, utc};
use crate::visible::visible;

/// Networks of each list that are shown.
const NETWORKS: usize = 50;
/// Waiting mails that are shown.
const MAILS: usize = 20;

pub(super) fn write(report: &Report) -> String {
    let mut text = Text { text: String::new(), now: report.at };
    text.line(format_args!("As of {}.", utc(report.at)));
    text.penalties(report);
    text.never(&report.never);
    text.waiting(report);
    text.let_in(report);
    text.clients(&report.clients);
    text.unreadable(report.records.unreadable);
    text.text
}

struct Text {
    text: String,
    now: u64,
}

impl Text {
    fn penalties(&mut self, report: &Report) {
        self.heading("Refused now, at the greeting");
        if report.penalties.is_empty() {
            self.line(format_args!("  Nothing is refused at the moment."));
        }
        self.list(&report.penalties, NETWORKS, |text, entry| text.penalty(entry));
        if !report.simulated_penalties.is_empty() {
            self.heading("Would be refused now: made in observe mode, refuses nothing");
            self.list(&report.simulated_penalties, NETWORKS, |text, entry| text.penalty(entry));
        }
    }

    fn penalty(&mut self, entry: &PenaltyInForce) {
        let PenaltyInForce { network, refuse_until, last_failure, failed, passed, .. } = entry;
        let (until, last) = (self.both(*refuse_until), self.both(*last_failure));
        self.line(format_args!("  {network}  until {until}"));
        self.line(format_args!("      {failed} messages failed, {passed} passed, the older the less; last failure {last}"));
    }

    fn never(&mut self, never: &Listing<NeverFallsBack>) {
        self.heading("Clients that do not fall back");
        if never.is_empty() {
            self.line(format_args!(
                "  None is known: refused mail was brought over IPv4, or was not tried often enough to tell."
            ));
        } else {
            self.line(format_args!("  {}", ClientKind::Never.meaning()));
        }
        self.list(never, NETWORKS, |text, entry| {
            text.line(format_args!("  {}", entry.network));
            text.line(format_args!("      EHLO {}, sender domains {}", names(&entry.ehlo_names), names(&entry.sender_domains)));
            if let (Some(since), Some(last)) = (entry.since, entry.last_refusal) {
                let (since, last) = (text.both(since), text.both(last));
                let (came, why) = (times(entry.refusals), why(entry.is_distrusted(), &entry.lacked));
                let how = entry.without_authentication();
                text.line(format_args!("      came {came}{how} since {since}, last {last}; {why}"));
            }
            match entry.oldest_waiting {
                Some(since) => {
                    let since = text.both(since);
                    text.line(format_args!("      oldest waiting mail: since {since}"));
                }
                None => text.line(format_args!("      no mail waits")),
            }
            match entry.let_in {
                Some(let_in) => {
                    let until = text.both(let_in.until);
                    text.line(format_args!("      let in until {until}, by {}", let_in.by()));
                }
                None => text.line(format_args!("      not let in")),
            }
            text.line(format_args!("      to let it in for a week: {}", entry.command));
            text.line(format_args!("      for good, in the policy: {}", entry.exempt));
        });
    }

    fn waiting(&mut self, report: &Report) {
        let waiting = &report.waiting;
        self.heading("Refused mail that has not arrived yet");
        match waiting.oldest_since {
            None => self.line(format_args!("  None waits.")),
            Some(since) => {
                let since = self.both(since);
                self.line(format_args!("  {} still tried, the oldest since {since}", waiting.mails));
            }
        }
        self.line(format_args!("  {} not tried for 6 hours", waiting.given_up));
        self.list(&waiting.oldest, MAILS, |text, mail| {
            let ehlo = visible(&mail.ehlo_name);
            let domain = if mail.sender_domain.is_empty() {
                "null sender".to_owned()
            } else {
                format!("sender domain {}", visible(&mail.sender_domain))
            };
            let since = text.both(mail.since);
            text.line(format_args!("  {}  EHLO {ehlo}, {domain}", mail.network));
            let why = why(mail.is_distrusted(), &mail.lacked);
            text.line(format_args!("      refused {} since {since}; {why}", times(mail.refusals.into())));
        });
        let settled = report.settled;
        self.line(format_args!(
            "  In the last 5 days {} were brought over IPv4, {} passed over IPv6, {} were let in, {} rejected.",
            settled.ipv4, settled.ipv6, settled.let_in, settled.rejected
        ));
    }

    fn let_in(&mut self, report: &Report) {
        self.heading("Networks that are let in");
        if report.let_in.is_empty() {
            self.line(format_args!("  None."));
        } else {
            self.line(format_args!("  {LETS_IN}"));
        }
        self.list(&report.let_in, NETWORKS, |text, entry| {
            let by = entry.let_in.by();
            let (since, until) = (text.both(entry.let_in.since), text.both(entry.let_in.until));
            text.line(format_args!("  {}  by {by}, since {since}, until {until}", entry.network));
        });
    }

    fn clients(&mut self, clients: &Clients) {
        self.heading("Networks with refused mail, by kind of client");
        for (kind, count) in clients.by_kind() {
            self.line(format_args!("  {:<10} {count:>8}  {}", kind.as_str(), kind.meaning()));
        }
        if clients.not_classified > 0 {
            self.line(format_args!("  {} records are of more networks than are told apart.", clients.not_classified));
        }
    }

    fn unreadable(&mut self, count: u64) {
        if count > 0 {
            let what = if count == 1 { "record cannot be read and counts" } else { "records cannot be read and count" };
            self.line(format_args!(
                "\n{count} {what} as absent: written by another version of the host than this program is of."
            ));
        }
    }

    fn list<T>(&mut self, list: &Listing<T>, most: usize, mut entry: impl FnMut(&mut Self, &T)) {
        for each in list.entries.iter().take(most) {
            entry(self, each);
        }
        let more = list.total().saturating_sub(most as u64);
        if more > 0 {
            self.line(format_args!("  and {more} more"));
        }
    }

    fn both(&self, time: u64) -> String {
        format!("{} ({})", utc(time), from_now(time, self.now))
    }

    fn heading(&mut self, heading: &str) {
        self.line(format_args!("\n{heading}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a String does not fail");
    }
}

/// "a.example, b.example and others".
fn names(names: &Names) -> String {
    if names.shown.is_empty() {
        return "not known".to_owned();
    }
    let shown: Vec<String> = names.shown.iter().take(MOST_NAMES).map(|name| visible(name).to_string()).collect();
    format!("{}{}", shown.join(", "), if names.more { " and others" } else { "" })
}

/// What the mail was refused for.
fn why(is_distrusted: bool, lacked: &str) -> String {
    if is_distrusted {
        "distrusted: only domains that the policy distrusts authenticated it".to_owned()
    } else {
        format!("lacked {}", visible(lacked))
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

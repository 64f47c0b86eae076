//! Records in words for people.

use smtp_fallback_monitor::visible;
use smtp_fallback_policy::contract::{Key, KeyKind, StoredRecord};
use smtp_fallback_policy::record::{
    Evidence, LetIn, MESSAGE, MailRecord, NetworkRecord, Record, RefusedFor, Settled, SettledBy, Window,
};

use crate::target::{key_name, kind_name};
use crate::time::{date, date_and_distance, distance, length};

/// What a record is about, such as "network 2001:db8::/64".
pub(crate) fn heading(key: &Key) -> String {
    // The name of a mail has its kind in it.
    let kind = match key.kind {
        KeyKind::Exact | KeyKind::Inferred => "mail",
        kind => kind_name(kind),
    };
    format!("{kind} {}", key_name(key))
}

/// A heading, and a line for each thing that is known.
pub(crate) fn described(record: &StoredRecord, now: u64) -> Vec<String> {
    let mut lines = vec![heading(&record.key)];
    let known = match Record::read(record) {
        None => {
            vec![format!("unreadable: {} octets that are no record of this version; it counts as absent", record.value.len())]
        }
        Some(Record::Address(address)) => evidence(address.evidence, now),
        Some(Record::Network(network)) => network_record(&network, now),
        Some(Record::Budget(budget)) => {
            let temporary = window("accepted on temporary errors", budget.temporary);
            temporary.into_iter().chain(window("let in without authentication", budget.let_in)).collect()
        }
        Some(Record::Mail(mail)) => mail_record(&mail, now),
    };
    lines.extend(
        if known.is_empty() { vec!["nothing any more".to_owned()] } else { known }.iter().map(|line| format!("  {line}")),
    );
    lines
}

/// The same in half a line.
pub(crate) fn summary(record: &StoredRecord, now: u64) -> String {
    let mut lines = described(record, now).into_iter().skip(1);
    lines.next().map(|line| line.trim().to_owned()).unwrap_or_default()
}

fn network_record(record: &NetworkRecord, now: u64) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(record.let_in.map(|let_in| let_in_line(let_in, now)));
    if let Some(penalty) = record.penalty {
        let simulated = if penalty.simulated { " (only observed)" } else { "" };
        lines.push(if penalty.refuse_until > now {
            let until = date_and_distance(penalty.refuse_until, now);
            match record.let_in.is_some_and(|let_in| let_in.in_force(now)) {
                true => format!("would be refused at the greeting until {until}{simulated}, were it not let in"),
                false => format!("refused at the greeting until {until}{simulated}"),
            }
        } else {
            format!("its last penalty ended {}{simulated}", distance(penalty.refuse_until, now))
        });
    }
    lines.extend(evidence(record.evidence, now));
    let waiting: Vec<u64> = record.waiting.iter().flatten().map(|waiting| waiting.since).collect();
    if let Some(oldest) = waiting.iter().min() {
        let count = waiting.len();
        // The record has no room for more.
        let at_least = if count == record.waiting.len() { "at least " } else { "" };
        lines.push(format!(
            "{at_least}{count} refused {} not seen since; the oldest was refused {}",
            mails(count),
            date_and_distance(*oldest, now)
        ));
    }
    if let Some(until) = record.not_believed_until.filter(|until| *until > now) {
        lines.push(format!("issues the verb but does not fall back: not believed until {}", date_and_distance(until, now)));
    }
    lines.extend(record.capable_at.map(|at| format!("issued the verb of the extension {}", distance(at, now))));
    lines.extend(record.incapable_at.map(|at| format!("went on without the verb {}", distance(at, now))));
    lines.extend(window("accepted on temporary errors", record.temporary));
    lines.extend(record.probed_at.map(|at| format!("last let through a penalty for a refused mail {}", distance(at, now))));
    lines
}

fn let_in_line(let_in: LetIn, now: u64) -> String {
    if !let_in.in_force(now) {
        return format!("was let in until {}", date_and_distance(let_in.until, now));
    }
    let by = if let_in.by_operator { "by an operator" } else { "since its client does not fall back" };
    let used = let_in.failing.map_or(String::new(), |failing| format!("; {} of its mails lacked authentication", failing.count));
    format!("let in until {}, {by}{used}", date_and_distance(let_in.until, now))
}

fn mail_record(mail: &MailRecord, now: u64) -> Vec<String> {
    // What acts on a terminal is written out, and backslashes are doubled: the quote is all that is left.
    let quoted = |text: &str| format!("\"{}\"", visible(text).to_string().replace('"', "\\\""));
    let sender = match mail.sender_domain.as_str() {
        "" => "a bounce".to_owned(),
        domain => format!("mail of {}", quoted(domain)),
    };
    // The last time that is counted it may have been let in or rejected, not refused.
    let last_was_none =
        |settled: Settled| matches!(settled.by, SettledBy::LetIn | SettledBy::Rejected) && settled.at == mail.last_refusal;
    let (what, how) = match (mail.settled.is_some_and(last_was_none), mail.refused_for) {
        (false, _) => ("refused", ""),
        (true, RefusedFor::Unauthenticated) => ("came", " without authentication"),
        (true, RefusedFor::Distrusted) => ("came", ""),
    };
    let times = match mail.refusals {
        1 => format!("{what} once{how}, {}", date_and_distance(mail.first_refusal, now)),
        n => format!(
            "{what} {n} times{how} in {}, the last time {}",
            length(mail.last_refusal.saturating_sub(mail.first_refusal)),
            date_and_distance(mail.last_refusal, now)
        ),
    };
    let verb = if mail.acknowledged { ", which had issued the verb" } else { "" };
    let settled = match mail.settled {
        None => "not seen since".to_owned(),
        Some(settled) => format!("{} {}", settled_word(settled.by.as_str()), date_and_distance(settled.at, now)),
    };
    vec![
        format!("{sender} from {}, EHLO {}{verb}", mail.network, quoted(&mail.ehlo_name)),
        times,
        match mail.refused_for {
            RefusedFor::Unauthenticated => format!("lacked {}", mail.lacked),
            RefusedFor::Distrusted => "distrusted: only domains that the policy distrusts authenticated it".to_owned(),
        },
        settled,
    ]
}

fn settled_word(word: &str) -> &'static str {
    match word {
        "ipv4" => "was brought over IPv4",
        "ipv6" => "passed over IPv6",
        "let-in" => "was let in",
        _ => "was rejected",
    }
}

fn evidence(evidence: Evidence, now: u64) -> Vec<String> {
    if evidence.passed == 0 && evidence.failed == 0 {
        return Vec::new();
    }
    let messages = |count: u32| f64::from(count) / f64::from(MESSAGE);
    vec![format!(
        "{:.1} messages passed and {:.1} failed, as they counted {}",
        messages(evidence.passed),
        messages(evidence.failed),
        distance(evidence.at, now)
    )]
}

fn window(what: &str, window: Option<Window>) -> Option<String> {
    window.map(|window| format!("{} {} {what} since {}", window.count, mails(window.count as usize), date(window.since)))
}

fn mails(count: usize) -> &'static str {
    if count == 1 { "mail" } else { "mails" }
}

//! The document for administrators.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cache::{Loss, Story};
use crate::layouts::Layout;
use crate::refusals::Refusal;
use crate::trial::{Outcome, Trial};

/// What stands above the tables. It rests on `facts.rs`, which each run is held against.
const HEAD: &str = include_str!("report/head.md");
/// What explains the first tables.
const LEGEND: &str = include_str!("report/legend.md");
/// What the tables do not show.
const LIMITS: &str = include_str!("report/limits.md");

/// Writes it.
pub(crate) fn write(trials: &[Trial], stories: &[Story], losses: &[Loss], repetitions: u16) {
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().unwrap();
    let date = String::from_utf8(date.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sender-matrix.md");
    std::fs::write(&path, text(trials, stories, losses, repetitions, date.trim())).unwrap();
}

fn text(trials: &[Trial], stories: &[Story], losses: &[Loss], repetitions: u16, date: &str) -> String {
    let versions: String = trials.iter().map(|trial| format!("| {} | {} |\n", trial.mta.name(), trial.version)).collect();
    let run = format!(
        "Written by `cargo xtask interop --whole` on {date}, {repetitions} messages in each field, of OpenSMTPD 8. Do not edit it: change \
         `interop/tests/senders` and run it again.\n\n| Server | Version |\n|---|---|\n{versions}"
    );
    let tables: String = trials.iter().map(|trial| format!("\n### {}\n\n{}", trial.mta.name(), table(trial))).collect();
    let parts = [
        HEAD,
        &run,
        "\n",
        &summary(trials),
        "\n",
        LEGEND,
        &tables,
        "\n",
        &memory(stories),
        "\n",
        &nothing_lost(losses),
        "\n",
        LIMITS,
    ];
    parts.concat()
}

/// Which servers always come back over IPv4 at once.
fn summary(trials: &[Trial]) -> String {
    let columns = [Refusal::Greeting451, Refusal::Ehlo421, Refusal::Dot421];
    let mut text =
        "## In short\n\nServers that **always** came back over IPv4 at once, where their message began over IPv6:\n\n".to_owned();
    text += &head("Layout of MX records", &columns.map(Refusal::title));
    for layout in Layout::ALL {
        let cell = |refusal| {
            let always = trials.iter().filter(|trial| {
                let began = || trial.outcomes[&(refusal, layout)].iter().filter(|outcome| **outcome != Outcome::Ipv4First);
                began().all(|outcome| matches!(outcome, Outcome::AtOnce(_)))
            });
            let names: Vec<_> = always.map(|trial| trial.mta.name()).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        text += &row(layout.title(), &columns.map(cell));
    }
    text
}

fn table(trial: &Trial) -> String {
    let mut text = head("Layout", &Refusal::ALL.map(Refusal::title));
    for layout in Layout::ALL {
        text += &row(layout.title(), &Refusal::ALL.map(|refusal| field(&trial.outcomes[&(refusal, layout)])));
    }
    text
}

/// What came of the messages of one case that began over IPv6.
fn field(outcomes: &[Outcome]) -> String {
    let began: Vec<Outcome> = outcomes.iter().copied().filter(|outcome| *outcome != Outcome::Ipv4First).collect();
    let mut words: Vec<(String, usize)> = Vec::new();
    let mut count = |word: String, number: usize| {
        if number > 0 {
            words.push((word, number));
        }
    };
    let delays = |choose: fn(&Outcome) -> Option<Duration>| -> Vec<Duration> { began.iter().filter_map(choose).collect() };
    let at_once = delays(|outcome| if let Outcome::AtOnce(delay) = outcome { Some(*delay) } else { None });
    let slowest = at_once.iter().max().copied().unwrap_or_default();
    // Two seconds are how OpenSMTPD does it; a busy machine may take one.
    let word =
        if slowest < Duration::from_millis(1500) { "at once".to_owned() } else { format!("in {:.0} s", slowest.as_secs_f64()) };
    count(word, at_once.len());
    let later = delays(|outcome| if let Outcome::Later(delay) = outcome { Some(*delay) } else { None });
    count(format!("after {} s", later.iter().min().copied().unwrap_or_default().as_secs()), later.len());
    for (outcome, word) in [
        (Outcome::AfterRun, "after a queue run"),
        (Outcome::Bounced, "bounced"),
        (Outcome::Waits, "waits"),
        (Outcome::Untried, "untried"),
    ] {
        count(word.to_owned(), began.iter().filter(|each| **each == outcome).count());
    }
    if words.is_empty() {
        return "began over IPv4".to_owned();
    }
    let all = began.len();
    words.into_iter().map(|(word, number)| format!("{word} {number}/{all}")).collect::<Vec<_>>().join(", ")
}

fn memory(stories: &[Story]) -> String {
    let mut text = format!("{}\n", include_str!("report/memory.md"));
    text += &head(
        "Server",
        &["stopped at the greeting for the first time", "such mail arrives over IPv4", "back on IPv6 after its SPF was mended"],
    );
    for story in stories {
        let fallback = story.fallback.map_or("by chance, or when the penalty is over".to_owned(), |delay| {
            if delay < Duration::from_secs(1) { "at once".to_owned() } else { format!("in {:.0} s", delay.as_secs_f64()) }
        });
        text +=
            &row(story.mta.name(), &[format!("mail {}", story.stopped), fallback, format!("{:.0} s", story.back.as_secs_f64())]);
    }
    text
}

fn nothing_lost(losses: &[Loss]) -> String {
    let mut text = format!("{}\n", include_str!("report/loss.md"));
    text += &head("Server", &["mails", "arrived", "of these over IPv6, let in", "refusals after the dot"]);
    for loss in losses {
        let numbers = [loss.mails.to_string(), loss.mails.to_string(), loss.let_in.to_string(), loss.refusals.to_string()];
        text += &row(loss.mta.name(), &numbers);
    }
    text
}

fn head(first: &str, columns: &[&str]) -> String {
    format!("| {first} | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
}

fn row(first: &str, fields: &[String]) -> String {
    format!("| {first} | {} |\n", fields.join(" | "))
}

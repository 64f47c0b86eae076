//! What each sender does with each refusal, for each layout of MX records.

use smtp_fallback_interop::senders::Mta;

use crate::layouts::Layout;
use crate::refusals::Refusal;
use crate::trial;

fn try_one(mta: Mta) {
    let cases: Vec<_> = Refusal::ALL.into_iter().flat_map(|r| Layout::ALL.into_iter().map(move |l| (r, l))).collect();
    let start = std::time::Instant::now();
    let trial = trial::run(mta, &cases, std::env::var("REPS").map_or(2, |r| r.parse().unwrap()));
    println!("{} {:?}", trial.version, start.elapsed());
    for (case, outcomes) in trial.outcomes {
        println!("{case:?} {outcomes:?}");
    }
}

#[test]
fn postfix() {
    try_one(Mta::Postfix);
}
#[test]
fn sendmail() {
    try_one(Mta::Sendmail);
}
#[test]
fn exim() {
    try_one(Mta::Exim);
}
#[test]
fn opensmtpd() {
    try_one(Mta::OpenSmtpd);
}
#[test]
fn haraka() {
    try_one(Mta::Haraka);
}

//! What each sender does with each refusal, for each layout of MX records.

use std::collections::VecDeque;
use std::sync::Mutex;

use smtp_fallback_interop::senders::Mta;

use crate::trial::Trial;
use crate::{cache, facts, report, trial};

/// Messages of each case in the short form: with the records in either order.
const SHORT: u16 = 2;
/// Messages of each case in the whole form.
const WHOLE: u16 = 40;
/// OpenSMTPD sends no more than the short form at a time. It holds a session for 10 s after a message and has a limit of sessions for its one
/// address, so that with more some messages wait for a free one, and not for what refused them.
const OPENSMTPD_AT_A_TIME: u16 = SHORT;
/// How often.
const OPENSMTPD_TIMES: u16 = 4;
/// Senders at work at a time in the whole form, where each sends much: on a busy machine "at once" would be late, and Sendmail would only queue.
const AT_A_TIME: usize = 2;

fn does_what_is_known_of_it(mta: Mta) {
    facts::check(&trial::run(mta, SHORT, false));
}

#[test]
fn postfix_does_what_is_known_of_it() {
    does_what_is_known_of_it(Mta::Postfix);
}

#[test]
fn sendmail_does_what_is_known_of_it() {
    does_what_is_known_of_it(Mta::Sendmail);
}

#[test]
fn exim_does_what_is_known_of_it() {
    does_what_is_known_of_it(Mta::Exim);
}

#[test]
fn opensmtpd_does_what_is_known_of_it() {
    does_what_is_known_of_it(Mta::OpenSmtpd);
}

#[test]
fn haraka_does_what_is_known_of_it() {
    does_what_is_known_of_it(Mta::Haraka);
}

/// All of it so often that chance shows, written to the document for administrators.
#[test]
#[ignore = "it is the whole form, and writes docs/sender-matrix.md: cargo xtask interop --whole"]
fn whole() {
    let repetitions = std::env::var("SMTP_FALLBACK_REPETITIONS").map_or(WHOLE, |number| number.parse().unwrap());
    let stories = each(&Mta::ALL, Mta::ALL.len(), cache::failing_then_mended);
    let losses = each(&[Mta::OpenSmtpd, Mta::Haraka], 2, cache::never_authenticated);
    let trials = each(&Mta::ALL, AT_A_TIME, |mta| all_cases(mta, repetitions));
    // Written first: what is not known is to be seen in it.
    report::write(&trials, &stories, &losses, repetitions);
    for trial in &trials {
        facts::check(trial);
    }
}

/// All cases of one sender; of OpenSMTPD, as many as it bears.
fn all_cases(mta: Mta, repetitions: u16) -> Trial {
    if mta != Mta::OpenSmtpd {
        return trial::run(mta, repetitions, true);
    }
    let at_a_time = repetitions.min(OPENSMTPD_AT_A_TIME);
    let mut all = trial::run(mta, at_a_time, true);
    for _ in 1..OPENSMTPD_TIMES {
        for (case, outcomes) in trial::run(mta, at_a_time, true).outcomes {
            all.outcomes.entry(case).or_default().extend(outcomes);
        }
    }
    all
}

/// What comes of each of them, so many at a time.
fn each<T: Send>(mtas: &[Mta], at_a_time: usize, act: impl Fn(Mta) -> T + Sync) -> Vec<T> {
    let waiting = Mutex::new(VecDeque::from(mtas.to_vec()));
    let next = || waiting.lock().unwrap().pop_front();
    let mut done: Vec<(Mta, T)> = std::thread::scope(|scope| {
        let work = || std::iter::from_fn(next).map(|mta| (mta, act(mta))).collect::<Vec<_>>();
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    done.sort_by_key(|(mta, _)| *mta);
    done.into_iter().map(|(_, result)| result).collect()
}

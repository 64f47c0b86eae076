//! The tables: medians of the rounds, each printed when it is complete.

use super::options::Options;
use super::{SIZE, idle, messages, refusals};
use crate::inside::median;

/// The sessions at a time at which a refusal and an evaluated message are compared.
const COMPARED: usize = 10;

/// What all of it is about.
pub(crate) fn print_conditions(options: &Options) {
    println!(
        "{} round{} of {} messages of {SIZE} octets with one in each session, and of {} refusals, medians; over IPv6, signed with 2048 bits of RSA; SPF, \
         DKIM and DMARC pass. CPU times in µs of all processes of a server; what its clients' system calls do for it in the kernel is not in them. \
         Files are in memory.",
        options.rounds,
        if options.rounds == 1 { "" } else { "s" },
        numbers(&options.messages),
        numbers(&options.refusals),
    );
}

/// Messages that are verified.
pub(crate) fn print_messages(rows: &[messages::Row]) {
    println!(
        "{:<26} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}",
        "messages", "sessions", "msgs/s", "CPU µs", "in kernel", "p50 ms", "p99 ms"
    );
    for row in rows {
        let of = |value: fn(&messages::Sample) -> f64| median(row.samples.iter().map(value));
        println!(
            "{:<26} {:>8} {:>8.0} {:>8.0} {:>9.0} {:>8.1} {:>8.1}",
            row.name,
            row.sessions,
            of(|sample| sample.rate),
            of(|sample| sample.cpu.0),
            of(|sample| sample.cpu.1),
            of(|sample| sample.took.0),
            of(|sample| sample.took.1),
        );
    }
    println!();
}

/// Refusals, and what of the goals is reached.
pub(crate) fn print_refusals(rows: &[refusals::Row], messages: &[messages::Row]) {
    println!(
        "{:<26} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}",
        "refused greetings", "sessions", "refs/s", "CPU µs", "in kernel", "× bare", "greeted"
    );
    let cpu = |row: &refusals::Row| median(row.samples.iter().map(|sample| sample.cpu.0));
    let bare = |sessions: usize| rows.iter().find(|row| row.sessions == sessions).map_or(f64::NAN, cpu);
    for row in rows {
        println!(
            "{:<26} {:>8} {:>8.0} {:>8.1} {:>9.1} {:>8.2} {:>8}",
            row.name,
            row.sessions,
            median(row.samples.iter().map(|sample| sample.rate)),
            cpu(row),
            median(row.samples.iter().map(|sample| sample.cpu.1)),
            cpu(row) / bare(row.sessions),
            row.greeted,
        );
    }
    let refusal = rows.iter().find(|row| row.name == "smtpd" && row.sessions == COMPARED).map_or(f64::NAN, cpu);
    for row in messages.iter().filter(|row| row.name.starts_with("smtpd") && row.sessions == COMPARED) {
        let message = median(row.samples.iter().map(|sample| sample.cpu.0));
        println!("at {COMPARED} sessions a refusal takes 1/{:.0} of a message ({})", message / refusal, row.name);
    }
    println!();
}

/// Connections that only wait.
pub(crate) fn print_idle(rows: &[idle::Row], options: &Options) {
    print!("{:<26} {:>10}", "memory", "alone, kB");
    options.idle.iter().for_each(|count| print!(" {:>14}", format!("{count}, kB each")));
    println!();
    for row in rows {
        print!("{:<26} {:>10}", row.name, row.alone);
        row.each.iter().for_each(|each| print!(" {:>14}", each.map_or("-".to_owned(), |each| format!("{each:.1}"))));
        println!();
    }
    println!();
}

fn numbers(counts: &[(usize, usize)]) -> String {
    counts.iter().map(|(sessions, count)| format!("{count} ({sessions} at a time)")).collect::<Vec<_>>().join(", ")
}

//! The table.

use super::options::Options;
use crate::inside::median;

/// One round of one row.
pub(crate) struct Sample {
    /// Messages per second.
    pub(crate) rate: f64,
    /// CPU time of Postfix in µs per message: all, and what of it was spent in the kernel.
    pub(crate) postfix: (f64, f64),
    /// That of the filters.
    pub(crate) filters: (f64, f64),
}

pub(crate) struct Row {
    name: String,
    samples: Vec<Sample>,
}

impl Row {
    pub(crate) fn new(name: &str) -> Row {
        Row { name: name.to_owned(), samples: Vec::new() }
    }

    pub(crate) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    fn median(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value))
    }

    /// Of the ratios to the other row in the same round.
    fn ratio(&self, other: &Row, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().zip(&other.samples).map(|(own, other)| value(own) / value(other)))
    }
}

/// Medians of the rounds; ratios to the rows "no milter" and "opendkim".
pub(crate) fn print(rows: &[Row], options: &Options) {
    let of_name = |name: &str| rows.iter().find(|row| row.name == name);
    let (Some(none), Some(opendkim)) = (of_name("no milter"), of_name("opendkim")) else { return };
    println!(
        "{:<26} {:>8} {:>7} {:>9} {:>9} {:>9} {:>15} {:>10} {:>10}",
        "", "msgs/s", "× none", "Postfix", "filters", "in kernel", "least–most", "× opendkim", "all × none"
    );
    for row in rows {
        let filters = |sample: &Sample| sample.filters.0;
        let all = |sample: &Sample| sample.postfix.0 + sample.filters.0;
        let least = row.samples.iter().map(filters).fold(f64::INFINITY, f64::min);
        let most = row.samples.iter().map(filters).fold(0.0, f64::max);
        println!(
            "{:<26} {:>8.0} {:>7.2} {:>9.0} {:>9.0} {:>9.0} {:>15} {:>10.2} {:>10.2}",
            row.name,
            row.median(|sample| sample.rate),
            row.ratio(none, |sample| sample.rate),
            row.median(|sample| sample.postfix.0),
            row.median(filters),
            row.median(|sample| sample.filters.1),
            format!("{least:.0}–{most:.0}"),
            row.ratio(opendkim, filters),
            row.ratio(none, all),
        );
    }
    let Options { messages, rounds, sessions, per_session, size, .. } = options;
    println!(
        "CPU times in µs per message, of Postfix and of the filters; {rounds} rounds of {messages} messages of {size} octets each, medians; {sessions} \
         sessions at a time, {per_session} message{} in each; over IPv6, signed with 2048 bits of RSA; SPF, DKIM and DMARC pass",
        if *per_session == 1 { "" } else { "s" }
    );
}

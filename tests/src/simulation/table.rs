//! The outcome as a table, for people.

use std::fmt::{self, Display};

use super::layout::Layout;
use super::sender::Sender;
use super::tally::Tally;

/// Rows of a table, printed with its head.
#[derive(Debug, Default)]
pub struct Table(pub Vec<Row>);

/// What became of one kind of sender.
#[derive(Debug)]
pub struct Row {
    /// The kind of sender.
    pub sender: &'static str,
    /// Its server.
    pub mta: &'static str,
    /// The receiver's MX records.
    pub layout: &'static str,
    /// The counts.
    pub tally: Tally,
}

impl Row {
    /// A row without counts.
    pub fn new(sender: &Sender, layout: Layout) -> Self {
        Row { sender: sender.name, mta: sender.mta.as_str(), layout: layout.as_str(), tally: Tally::default() }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:25} {:11} {:11} {:>6} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6} {:>8} {:>6} {:>6} {:>6}",
            "sender",
            "server",
            "MX records",
            "mails",
            "IPv6",
            "IPv4",
            "lost",
            "mean",
            "p95",
            "worst",
            "greeting",
            "data",
            "spared",
            "let in"
        )?;
        self.0.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { sender, mta, layout, tally } = self;
        let (mean, p95, worst) = tally.delay();
        let spared = format!("{:.0} %", tally.percent_spared());
        write!(
            f,
            "{sender:25} {mta:11} {layout:11} {:>6} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6} {:>8} {:>6} {spared:>6} {:>6}",
            tally.mails,
            tally.in_over_ipv6,
            tally.in_over_ipv4,
            tally.lost,
            duration(mean),
            duration(p95),
            duration(worst),
            tally.refused_at_greeting,
            tally.refused_after_data,
            tally.let_in,
        )
    }
}

/// In the largest unit that leaves two digits or so.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

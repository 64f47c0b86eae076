//! Times, and the table of them.

use std::time::Instant;

/// How often each row is measured.
pub(crate) const ROUNDS: usize = 20_000;

/// Calls in one measurement: enough that reading the clock costs little beside them.
const CALLS: u32 = 16;

/// What one kind of call costs.
pub(crate) struct Row {
    name: String,
    nanoseconds: Vec<f64>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Row { name: name.into(), nanoseconds: Vec::with_capacity(ROUNDS) }
    }

    pub(crate) fn measure(&mut self, mut call: impl FnMut()) {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        self.nanoseconds.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }

    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
    }
}

/// Prints the rows as multiples of the first.
pub(crate) fn print(rows: &[Row]) {
    let Some(unit) = rows.first().map(|row| row.percentile(50)) else { return };
    println!("{:<34} {:>9} {:>9} {:>9} {:>9}", "", "p50 ns", "p99 ns", "p50 ×", "p99 ×");
    for row in rows {
        let (p50, p99) = (row.percentile(50), row.percentile(99));
        println!("{:<34} {p50:>9.0} {p99:>9.0} {:>9.1} {:>9.1}", row.name, p50 / unit, p99 / unit);
    }
    println!("{ROUNDS} rounds of {CALLS} calls each; × is a multiple of an empty component call's p50 in this run");
}

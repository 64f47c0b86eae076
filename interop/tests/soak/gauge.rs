//! What the processes take of the machine: memory, file descriptors, threads.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use smtp_fallback_interop::Program;

use crate::site::Site;

/// Between two measurements.
const PAUSE: Duration = Duration::from_secs(2);
/// So much more memory at the end than after the warm-up is no growth: an allocator gives back what it likes.
const NOISE_KB: f64 = 8.0 * 1024.0;
/// So many file descriptors and threads more than at the start may be left: connections to Redis and upstream, threads that wait for work.
const LEFT: u64 = 16;

/// Lines of a log without an event: the component took too long, or failed in another way.
pub(crate) const TOO_LONG: &str = "policy took too long";
pub(crate) const FAILED: &str = "policy failed";

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: f64,
    kb: f64,
    descriptors: u64,
    threads: u64,
}

struct Gauge {
    name: &'static str,
    pid: u32,
    /// Up to where its log was read, and what it says happened how often.
    mark: usize,
    events: BTreeMap<String, u64>,
    samples: Vec<Sample>,
}

pub(crate) struct Gauges {
    start: Instant,
    warm: Duration,
    end: Duration,
    next: Instant,
    gauges: Vec<Gauge>,
}

impl Gauges {
    /// For a load of `time`, of which the first part is the warm-up: connections, instances, threads and records are there after it.
    pub(crate) fn new(programs: &[(&'static str, &Program)], time: Duration) -> Gauges {
        let gauge = |&(name, program): &(&'static str, &Program)| Gauge {
            name,
            pid: program.pid(),
            mark: 0,
            events: BTreeMap::new(),
            samples: Vec::new(),
        };
        let now = Instant::now();
        let mut gauges = Gauges {
            start: now,
            warm: (time / 5).min(Duration::from_secs(300)),
            end: time,
            next: now,
            gauges: programs.iter().map(gauge).collect(),
        };
        gauges.measure();
        gauges
    }

    /// Lets time pass, and measures meanwhile.
    pub(crate) async fn pause(&mut self, site: &mut Site, time: Duration) {
        let end = Instant::now() + time;
        loop {
            if Instant::now() >= self.next {
                self.measure();
                self.read_logs(site);
                site.collect();
                self.next = Instant::now() + PAUSE;
            }
            let now = Instant::now();
            if now >= end {
                return;
            }
            tokio::time::sleep((end - now).min(PAUSE / 4)).await;
        }
    }

    fn measure(&mut self) {
        let at = self.start.elapsed().as_secs_f64();
        for gauge in &mut self.gauges {
            gauge.samples.push(sample(gauge.pid, at));
        }
    }

    /// None may have panicked.
    pub(crate) fn read_logs(&mut self, site: &Site) {
        for (gauge, (name, program)) in self.gauges.iter_mut().zip(site.programs()) {
            let (lines, mark) = program.lines_and_mark(gauge.mark);
            gauge.mark = mark;
            let bad = lines.iter().find(|line| line.contains("internal-error") || line.contains("panicked"));
            assert_eq!(bad, None, "{name}");
            for event in lines.iter().filter_map(|line| event(line)) {
                *gauge.events.entry(event.to_owned()).or_default() += 1;
            }
        }
    }

    /// Where it stands.
    pub(crate) fn line(&self) -> String {
        let each = self.gauges.iter().map(|gauge| {
            let last = gauge.last();
            format!("{}: {:.1} MB, {} fds, {} threads", gauge.name, last.kb / 1024.0, last.descriptors, last.threads)
        });
        format!("{:6.0} s  {}", self.start.elapsed().as_secs_f64(), each.collect::<Vec<_>>().join("; "))
    }

    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "{:<24} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11}  {:<18} {:<18}\n",
            "", "start", "warm", "peak", "end", "at rest", "slope", "fds", "threads"
        );
        for gauge in &self.gauges {
            let (first, last, figures) = (gauge.samples[0], gauge.last(), self.figures(gauge));
            let most = |value: fn(&Sample) -> u64| gauge.samples.iter().map(value).max().unwrap_or_default();
            let mb = |kb: f64| format!("{:.1} MB", kb / 1024.0);
            let way = |value: fn(&Sample) -> u64| format!("{} / {} / {}", value(&first), most(value), value(&last));
            table.push_str(&format!(
                "{:<24} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6.1} kB/min  {:<18} {:<18}\n",
                gauge.name,
                mb(first.kb),
                mb(figures.warm),
                mb(gauge.samples.iter().map(|sample| sample.kb).fold(0.0, f64::max)),
                mb(figures.end),
                mb(last.kb),
                figures.slope * 60.0,
                way(|sample| sample.descriptors),
                way(|sample| sample.threads),
            ));
        }
        table
            + "Memory is resident memory: warm and end are means of a tenth of the time, after the warm-up and before the end of the load; the slope is the one between. \
                 fds and threads: start / most / at rest."
    }

    /// What the logs say happened.
    pub(crate) fn events(&self) -> String {
        let line = |gauge: &Gauge| {
            let events: Vec<String> = gauge.events.iter().map(|(event, count)| format!("{event} {count}")).collect();
            format!("the log of {}: {}", gauge.name, events.join(", "))
        };
        self.gauges.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// How often something happened to one of them.
    pub(crate) fn count(&self, name: &str, event: &str) -> u64 {
        let gauge = self.gauges.iter().find(|gauge| gauge.name == name);
        gauge.and_then(|gauge| gauge.events.get(event)).copied().unwrap_or_default()
    }

    pub(crate) fn check(&self) {
        for gauge in &self.gauges {
            let (first, last, figures) = (gauge.samples[0], gauge.last(), self.figures(gauge));
            let name = gauge.name;
            assert!(figures.end < figures.warm + NOISE_KB, "{name}: memory grows: {figures:?}");
            assert!(last.descriptors <= first.descriptors + LEFT, "{name}: descriptors are left: {first:?}, {last:?}");
            assert!(last.threads <= first.threads + LEFT, "{name}: threads are left: {first:?}, {last:?}");
        }
    }

    fn figures(&self, gauge: &Gauge) -> Figures {
        let (warm, end) = (self.warm.as_secs_f64(), self.end.as_secs_f64());
        let tenth = end / 10.0;
        let between = |from: f64, to: f64| gauge.samples.iter().filter(move |sample| sample.at >= from && sample.at <= to);
        let mean = |from: f64, to: f64| {
            let values: Vec<f64> = between(from, to).map(|sample| sample.kb).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let points: Vec<(f64, f64)> = between(warm, end).map(|sample| (sample.at, sample.kb)).collect();
        Figures { warm: mean(warm, warm + tenth), end: mean(end - tenth, end), slope: slope(&points) }
    }
}

/// What a line of a log says happened.
fn event(line: &str) -> Option<&str> {
    if line.contains("the policy failed") {
        return Some(if line.contains("took more than") { TOO_LONG } else { FAILED });
    }
    line.split_once("event=\"")?.1.split('"').next()
}

impl Gauge {
    fn last(&self) -> Sample {
        *self.samples.last().expect("the first is taken at once")
    }
}

/// In kB, and kB a second.
#[derive(Debug)]
struct Figures {
    warm: f64,
    end: f64,
    slope: f64,
}

/// By least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (above, below) = points
        .iter()
        .fold((0.0, 0.0), |(above, below), point| (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2)));
    above / below
}

fn sample(pid: u32, at: f64) -> Sample {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| panic!("a process has ended: {error}"));
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {status}"));
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    Sample { at, kb: number("VmRSS:") as f64, descriptors, threads: number("Threads:") }
}

/// Ten minutes of a process that takes so much more memory a second, and keeps a descriptor each minute.
#[cfg(test)]
fn of_a_process(kb: f64, descriptors: u64) -> Gauges {
    let sample = |number: u64| Sample {
        at: 2.0 * number as f64,
        kb: 30_000.0 + 2.0 * number as f64 * kb + if number % 7 == 3 { 3000.0 } else { 0.0 },
        descriptors: 20 + descriptors * (number / 30),
        threads: 7,
    };
    let samples = (0..320).map(sample).collect();
    let gauge = Gauge { name: "a process", pid: 0, mark: 0, events: BTreeMap::new(), samples };
    let now = Instant::now();
    Gauges { start: now, warm: Duration::from_secs(120), end: Duration::from_secs(600), next: now, gauges: vec![gauge] }
}

#[test]
fn ups_and_downs_are_no_growth() {
    of_a_process(0.0, 0).check();
}

#[test]
#[should_panic(expected = "memory grows")]
fn what_grows_is_seen() {
    of_a_process(25.0, 0).check();
}

#[test]
#[should_panic(expected = "descriptors are left")]
fn what_is_not_closed_is_seen() {
    of_a_process(0.0, 2).check();
}

#[test]
fn a_slope_is_that_of_the_line() {
    let line: Vec<(f64, f64)> = (0..10).map(|x| (f64::from(x), 100.0 + 3.0 * f64::from(x))).collect();
    assert!((slope(&line) - 3.0).abs() < 1e-9);
    assert!(slope(&[(0.0, 5.0), (1.0, 5.0), (2.0, 5.0)]).abs() < 1e-9);
}

//! Steps of a job, with the time that each takes.

use std::time::{Duration, Instant};

use crate::Failure;

/// Runs steps one after another and prints their times at the end, also after a failure.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Runs one step.
    pub(crate) fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        eprintln!("==> {name}");
        let start = Instant::now();
        let result = work();
        self.done.push((name, start.elapsed()));
        result
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        eprint!("{}", table(&self.done));
    }
}

fn table(done: &[(&str, Duration)]) -> String {
    let width = done.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let total: Duration = done.iter().map(|(_, time)| time).sum();
    let rows = done.iter().copied().chain((done.len() > 1).then_some(("in all", total)));
    let lines = rows.map(|(name, time)| format!("    {name:width$}  {:7.1} s\n", time.as_secs_f64()));
    std::iter::once("Time of each step:\n".to_owned()).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_step_and_the_sum() {
        let done = [("format", Duration::from_millis(1240)), ("clippy, all", Duration::from_secs(100))];
        assert_eq!(
            table(&done),
            "Time of each step:\n    format           1.2 s\n    clippy, all    100.0 s\n    in all         101.2 s\n"
        );
        assert_eq!(table(&done[..1]), "Time of each step:\n    format      1.2 s\n");
    }

    #[test]
    fn a_failed_step_is_timed_and_its_failure_passed_on() {
        let mut steps = Steps::default();
        assert_eq!(steps.step("first", || Ok(7)), Ok(7));
        assert_eq!(steps.step("second", || Err::<(), _>("broken".to_owned())), Err("broken".to_owned()));
        assert_eq!(steps.done.len(), 2);
    }
}

//! When the server is left alone: after too many failures in a row, until a probe has succeeded.

/// So many failures in a row, and no call goes to the server any more.
pub(super) const FAILURES: u32 = 3;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No answer in time: what was asked for may happen yet.
    TimedOut,
    /// The connection is gone, or there never was one: nothing more will come over it, yet what was asked for may have happened.
    Lost(String),
    /// The server answered that it cannot do it: nothing has happened.
    Refused(String),
}

/// What kind of call it was. A server can refuse to write, and yet read: success with one says nothing of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
}

/// Counts failures. Closed: calls go to the server; open: they do not.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Why no call goes to the server.
    open: Option<String>,
    /// Calls without an answer, since the last answer.
    unanswered: u32,
    /// Refusals since the last success of such a call.
    refused_reads: u32,
    refused_writes: u32,
    /// What was wrong with the last write that the server answered.
    refusal: Option<String>,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What is wrong, for people.
    pub(super) fn problem(&self) -> Option<&str> {
        self.open.as_deref().or(self.refusal.as_deref())
    }

    pub(super) fn succeeded(&mut self, call: Call) {
        self.unanswered = 0;
        match call {
            Call::Read => self.refused_reads = 0,
            Call::Write => {
                self.refused_writes = 0;
                self.refusal = None;
            }
        }
    }

    /// Whether this failure has opened it.
    pub(super) fn failed(&mut self, call: Call, trouble: &Trouble) -> bool {
        let in_a_row = match (trouble, call) {
            (Trouble::TimedOut, _) => {
                self.unanswered += 1;
                self.unanswered
            }
            // Waiting for two more failures would cost two more updates: none can succeed before there is a new connection.
            (Trouble::Lost(_), _) => FAILURES,
            (Trouble::Refused(_), Call::Read) => {
                self.unanswered = 0;
                self.refused_reads += 1;
                self.refused_reads
            }
            (Trouble::Refused(why), Call::Write) => {
                self.unanswered = 0;
                self.refused_writes += 1;
                self.refusal = Some(why.clone());
                self.refused_writes
            }
        };
        let opens = in_a_row >= FAILURES && !self.is_open();
        if opens {
            self.open(match trouble {
                Trouble::TimedOut => format!("{FAILURES} calls in a row had no answer in time"),
                Trouble::Lost(why) | Trouble::Refused(why) => why.clone(),
            });
        }
        opens
    }

    pub(super) fn open(&mut self, why: String) {
        self.open = Some(why);
    }

    pub(super) fn close(&mut self) {
        *self = Breaker::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Trouble {
        Trouble::Refused("OOM".to_owned())
    }

    #[test]
    fn opens_at_the_third_time_out_in_a_row() {
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(Call::Read, &Trouble::TimedOut));
        assert!(!breaker.failed(Call::Write, &Trouble::TimedOut));
        breaker.succeeded(Call::Read);
        assert!(!breaker.failed(Call::Read, &Trouble::TimedOut));
        assert!(!breaker.failed(Call::Write, &Trouble::TimedOut));
        assert!(!breaker.is_open());
        assert!(breaker.failed(Call::Read, &Trouble::TimedOut));
        assert!(breaker.is_open());
        assert!(!breaker.failed(Call::Read, &Trouble::TimedOut), "opens once");
        breaker.succeeded(Call::Read);
        assert!(breaker.is_open(), "a late answer is no probe");
        breaker.close();
        assert!(!breaker.is_open());
        assert!(!breaker.failed(Call::Read, &Trouble::TimedOut), "counts anew");
    }

    #[test]
    fn opens_at_once_without_a_connection() {
        let mut breaker = Breaker::default();
        assert!(breaker.failed(Call::Read, &Trouble::Lost("broken pipe".to_owned())));
        assert_eq!(breaker.problem(), Some("broken pipe"));
    }

    #[test]
    fn opens_when_writes_are_refused_though_reads_succeed() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            assert!(!breaker.failed(Call::Write, &refused()));
            breaker.succeeded(Call::Read);
            assert_eq!(breaker.problem(), Some("OOM"));
        }
        assert!(breaker.failed(Call::Write, &refused()));
    }

    #[test]
    fn a_write_that_succeeds_ends_a_problem() {
        let mut breaker = Breaker::default();
        breaker.failed(Call::Write, &refused());
        breaker.failed(Call::Write, &refused());
        breaker.succeeded(Call::Write);
        assert_eq!(breaker.problem(), None);
        assert!(!breaker.failed(Call::Write, &refused()));
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let mut breaker = Breaker::default();
        breaker.failed(Call::Read, &Trouble::TimedOut);
        breaker.failed(Call::Read, &Trouble::TimedOut);
        breaker.failed(Call::Read, &refused());
        assert!(!breaker.failed(Call::Read, &Trouble::TimedOut));
    }
}

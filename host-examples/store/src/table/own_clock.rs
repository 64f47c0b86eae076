//! The table's own idea of the time: by it goes what has expired.
//!
//! A caller says what time it is, and so does the system; either may be wrong. A record that was ended by a wrong clock cannot be brought back.
//! So it has expired when it has by the clocks of both the caller and the table; and the table's clock does not follow the system's at
//! once when that one is far from the time that has passed: it goes on by itself until the two have been apart for a day. Meanwhile the
//! lesser of the two counts. That a record lives longer than it should does no harm: what is in it has times of its own.

#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The system's clock may be off by so many seconds: it was set right, or the machine slept.
const BELIEVED: u64 = 3600;

/// After so long, any other time is believed.
const DOUBTED: Duration = Duration::from_secs(86_400);

/// The system's clock: in tests, one that can be set ahead.
#[derive(Clone, Debug, Default)]
pub(crate) struct SystemClock {
    #[cfg(test)]
    pub(crate) ahead: Arc<AtomicU64>,
}

impl SystemClock {
    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        #[cfg(test)]
        let now = now + self.ahead.load(Ordering::Relaxed);
        now
    }
}

/// See the [module](self). All times are in seconds since 1970.
pub(crate) struct OwnClock {
    system: SystemClock,
    /// What it said at `at`.
    time: u64,
    at: Instant,
    /// While the system's clock is not believed.
    doubt: Option<Doubt>,
    /// What it said when it was last read.
    read: u64,
    /// The caller's time, beyond that, for which it was read last.
    asked: u64,
}

#[derive(Clone, Copy)]
struct Doubt {
    since: Instant,
    /// Before the restart.
    before: Duration,
    /// How many seconds the system's clock is ahead; less than 0 if it is behind.
    lead: i64,
}

impl Doubt {
    fn lasted(&self, at: Instant) -> Duration {
        self.before + at.saturating_duration_since(self.since)
    }
}

/// What lasts over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// What the clock says by itself.
    pub(crate) time: u64,
    /// For how many seconds it has not believed the system's clock; 0 while it does.
    pub(crate) doubted: u64,
}

impl OwnClock {
    /// Begins with the system's time.
    pub(crate) fn new(system: SystemClock) -> Self {
        let time = system.now();
        OwnClock { system, time, at: Instant::now(), doubt: None, read: time, asked: 0 }
    }

    /// Goes on where one before it ended: how long ago that was, only the system's clock could say.
    pub(crate) fn resume(system: SystemClock, noted: Noted) -> Self {
        let (now, at) = (system.now(), Instant::now());
        let doubt = Doubt { since: at, before: Duration::from_secs(noted.doubted), lead: ahead(now, noted.time) };
        let doubt = (noted.doubted > 0).then_some(doubt);
        let mut clock = OwnClock { system, time: noted.time, at, doubt, read: 0, asked: 0 };
        clock.read = clock.advance(now, at);
        clock
    }

    /// The time.
    pub(crate) fn read(&mut self) -> u64 {
        self.read = self.advance(self.system.now(), Instant::now());
        self.read
    }

    /// The lesser of the caller's clock and this one. As long as a caller's clock is right, this is read when the second changes, not
    /// at each write.
    pub(crate) fn at_most(&mut self, now: u64) -> u64 {
        if now > self.read && now != self.asked {
            self.asked = now;
            self.read();
        }
        now.min(self.read)
    }

    /// How many seconds the system's clock is ahead, or with a minus behind, while it is not believed.
    pub(crate) fn doubted_lead(&self) -> Option<i64> {
        self.doubt.map(|doubt| doubt.lead)
    }

    /// What is to be kept for [`OwnClock::resume`].
    pub(crate) fn noted(&mut self) -> Noted {
        self.read();
        let at = Instant::now();
        Noted { time: self.due(at), doubted: self.doubt.map_or(0, |doubt| doubt.lasted(at).as_secs().max(1)) }
    }

    /// From now on, callers are right.
    #[cfg(test)]
    pub(crate) fn believe_callers(&mut self) {
        self.read = u64::MAX;
    }

    /// The time, when the system's clock says this.
    fn advance(&mut self, system: u64, at: Instant) -> u64 {
        let due = self.due(at);
        let lead = ahead(system, due);
        if lead.unsigned_abs() > BELIEVED {
            let new = Doubt { since: at, before: Duration::ZERO, lead };
            // With another lead, it is another clock that has to prove itself.
            let doubt = self.doubt.filter(|doubt| doubt.lead.abs_diff(lead) <= BELIEVED).unwrap_or(new);
            self.doubt = Some(doubt);
            if doubt.lasted(at) < DOUBTED {
                return due.min(system);
            }
        }
        (self.doubt, self.time, self.at) = (None, system, at);
        system
    }

    /// What it says by itself.
    fn due(&self, at: Instant) -> u64 {
        self.time.saturating_add(at.saturating_duration_since(self.at).as_secs())
    }
}

/// How many seconds a clock is ahead of a time; bounded, so that no sum overflows.
fn ahead(clock: u64, time: u64) -> i64 {
    let bounded = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    bounded(clock) - bounded(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const YEAR: u64 = 365 * 86_400;

    fn clock() -> OwnClock {
        OwnClock { system: SystemClock::default(), time: NOW, at: Instant::now(), doubt: None, read: NOW, asked: 0 }
    }

    #[test]
    fn follows_the_system_but_not_far_ahead() {
        let mut clock = clock();
        let start = clock.at;
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(clock.advance(NOW + 10, after(10)), NOW + 10);
        assert_eq!(clock.advance(NOW + 3610, after(11)), NOW + 3610, "it slept");
        assert_eq!(clock.advance(NOW + 20, after(20)), NOW + 20, "back");
        assert_eq!(clock.advance(NOW + YEAR, after(30)), NOW + 30, "ahead");
        assert_eq!(clock.doubted_lead(), Some(YEAR as i64 - 30));
        assert_eq!(clock.advance(NOW + 40, after(40)), NOW + 40, "right again");
        assert_eq!(clock.doubted_lead(), None);
        // As after a start without a battery, until the time comes from the network.
        assert_eq!(clock.advance(1000, after(50)), 1000, "the lesser one");
        assert!(clock.doubted_lead().is_some_and(|lead| lead < 0));
        assert_eq!(clock.advance(NOW + 60, after(60)), NOW + 60, "at once");
        assert_eq!(clock.doubted_lead(), None);
        assert_eq!(clock.advance(u64::MAX, after(70)), NOW + 70);
    }

    #[test]
    fn believes_a_lead_that_lasts_a_day() {
        let mut clock = clock();
        let start = clock.at;
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(clock.advance(NOW + YEAR, after(0)), NOW);
        assert_eq!(clock.advance(NOW + YEAR + 86_399, after(86_399)), NOW + 86_399);
        // It jumps again: another day.
        assert_eq!(clock.advance(NOW + 2 * YEAR, after(86_400)), NOW + 86_400);
        assert_eq!(clock.advance(NOW + 2 * YEAR + 86_399, after(2 * 86_400 - 1)), NOW + 2 * 86_400 - 1);
        assert_eq!(clock.advance(NOW + 2 * YEAR + 86_400, after(2 * 86_400)), NOW + 2 * YEAR + 86_400);
        assert_eq!(clock.doubted_lead(), None);
    }

    #[test]
    fn believes_a_lag_that_lasts_a_day() {
        let mut clock = clock();
        let start = clock.at;
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(clock.advance(NOW - YEAR, after(0)), NOW - YEAR);
        assert_eq!(clock.advance(NOW - YEAR + 86_400, after(86_400)), NOW - YEAR + 86_400);
        assert_eq!(clock.doubted_lead(), None);
        assert_eq!(clock.advance(NOW, after(86_401)), NOW - YEAR + 86_401);
    }

    #[test]
    fn doubts_over_a_restart() {
        let system = SystemClock::default();
        let noted = |time, doubted| Noted { time, doubted };
        let now = system.now();
        let mut clock = OwnClock::resume(system.clone(), noted(now - 600, 0));
        assert!(clock.read() >= now && clock.doubted_lead().is_none());
        let mut clock = OwnClock::resume(system.clone(), noted(now - YEAR, 0));
        assert!(clock.read() < now - YEAR + 60);
        assert!(clock.doubted_lead().is_some());
        let again = clock.noted();
        assert!(again.time < now - YEAR + 60 && (1..60).contains(&again.doubted), "{again:?}");
        // So that a host that is started anew each day does not doubt for ever.
        let mut clock = OwnClock::resume(system, noted(now - YEAR, 86_400));
        assert!(clock.read() >= now);
    }

    #[test]
    fn is_read_when_the_second_changes() {
        let mut clock = clock();
        clock.system.ahead.store(5 * YEAR, Ordering::Relaxed);
        assert_eq!(clock.at_most(NOW - 5), NOW - 5);
        assert_eq!(clock.at_most(NOW), NOW);
        assert!(clock.doubt.is_none(), "it was not read");
        assert!((NOW..NOW + 60).contains(&clock.at_most(NOW + 900)));
        assert!(clock.doubt.is_some(), "it was");
        clock.believe_callers();
        assert_eq!(clock.at_most(NOW + YEAR), NOW + YEAR);
    }
}

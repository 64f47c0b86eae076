//! Evidence about a network or an address: how many of its messages passed and failed, the older the less (A6).
//!
//! All of it is integer arithmetic, since floating-point functions differ between machines in the last bit.

use crate::policy::Confidence;

/// One message, in the unit of the counts.
pub const MESSAGE: u32 = 1024;

/// Decayed counts, in 1/1024 message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Messages that passed, in units of 1/[`MESSAGE`].
    pub passed: u32,
    /// Messages that failed, likewise.
    pub failed: u32,
    /// Up to when they are decayed; seconds since 1970.
    pub at: u64,
}

impl Evidence {
    /// The counts as they are worth now. Decay goes in whole steps of 1/256 half-life, so that many small steps come to the same
    /// as one large one; the time of a step is rounded to whole seconds, which is 4 % of it at most (half-lives are an hour or more).
    pub(crate) fn decayed(self, now: u64, half_life: u32) -> Self {
        let half_life = u64::from(half_life.max(1));
        if self.passed == 0 && self.failed == 0 || self.at > now {
            // A clock that went back: the step is 0 (A7).
            return Evidence { at: now, ..self };
        }
        let steps = (now - self.at).min(64 * half_life) * 256 / half_life;
        if steps == 0 {
            return self;
        }
        let decay = |count: u32| {
            let halved = u64::from(count) >> (steps >> 8).min(63);
            ((halved * u64::from(DECAY[(steps & 255) as usize]) + (1 << 31)) >> 32) as u32
        };
        let (passed, failed) = (decay(self.passed), decay(self.failed));
        let at = if steps >= 64 * 256 { now } else { self.at + (steps * half_life + 128) / 256 };
        Evidence { passed, failed, at }
    }

    /// One message more.
    pub(crate) fn with(self, passed: bool) -> Self {
        let mut evidence = self;
        let count = if passed { &mut evidence.passed } else { &mut evidence.failed };
        *count = count.saturating_add(MESSAGE);
        // Two million messages: halve both, which keeps their ratio.
        if *count > u32::MAX / 2 {
            evidence.passed /= 2;
            evidence.failed /= 2;
        }
        evidence
    }

    /// "It has been demonstrated that a majority of messages would not pass" (P6): failed > passed and
    /// (failed − passed)² > z² · (failed + passed), the lower bound of Wilson's interval above one half (A6).
    pub(crate) fn proves_failing_majority(self, confidence: Confidence) -> bool {
        if self.failed <= self.passed {
            return false;
        }
        let thousandths_of_z_squared: u128 = match confidence {
            Confidence::P90 => 2706,
            Confidence::P95 => 3841,
            Confidence::P99 => 6635,
            Confidence::P999 => 10_830,
        };
        let difference = u128::from(self.failed - self.passed);
        let total = u128::from(self.failed) + u128::from(self.passed);
        difference * difference * 1000 > thousandths_of_z_squared * total * u128::from(MESSAGE)
    }

    /// An address's own good standing: 2 passes or more, and more passes than failures (P13). Passes count to the nearest whole
    /// message, else two of them would be too few a minute later; so two last for ten hours.
    pub(crate) fn good_standing(self) -> bool {
        self.passed >= 2 * MESSAGE - MESSAGE / 2 && self.passed > self.failed
    }

    /// Seconds from `now` until the total has fallen below one message; at least a half-life from when it was counted, so that single
    /// messages can add up.
    pub(crate) fn lifetime(self, now: u64, half_life: u32) -> u32 {
        let total = u64::from(self.passed) + u64::from(self.failed);
        if total == 0 {
            return 0;
        }
        let halvings = (total / u64::from(MESSAGE)).checked_ilog2().map_or(1, |log| log + 1);
        let ends = self.at.min(now).saturating_add(u64::from(halvings) * u64::from(half_life));
        u32::try_from(ends.saturating_sub(now)).unwrap_or(u32::MAX)
    }
}

/// 2^(−k/256) for k = 0 to 255, with 32 fractional bits; the first, 1, is one unit short of what would not fit.
const DECAY: [u32; 256] = {
    // 2^(−1/256) with 32 fractional bits.
    const STEP: u64 = 4_283_353_945;
    let mut table = [u32::MAX; 256];
    let mut value: u64 = 1 << 32;
    let mut k = 1;
    while k < 256 {
        value = (value * STEP + (1 << 31)) >> 32;
        table[k] = value as u32;
        k += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u32 = 24 * 3600;

    fn counts(passed: u32, failed: u32) -> Evidence {
        Evidence { passed: passed * MESSAGE, failed: failed * MESSAGE, at: 1_000_000 }
    }

    #[test]
    fn the_table_is_a_half_life() {
        for (k, &entry) in DECAY.iter().enumerate() {
            let exact = (-(k as f64) / 256.0).exp2() * 4_294_967_296.0;
            // Rounding adds up to 39 units; cutting off would make it more than 130.
            assert!((f64::from(entry) - exact).abs() < 40.0, "{k}: {entry}, {exact}");
        }
    }

    #[test]
    fn halves_in_a_half_life() {
        let evidence = counts(8, 100);
        assert_eq!(
            evidence.decayed(evidence.at + u64::from(DAY), DAY),
            Evidence { passed: 4 * MESSAGE, failed: 50 * MESSAGE, at: evidence.at + u64::from(DAY) }
        );
        assert_eq!(evidence.decayed(evidence.at, DAY), evidence);
        assert_eq!(
            evidence.decayed(evidence.at - 5, DAY),
            Evidence { at: evidence.at - 5, ..evidence },
            "a clock that went back"
        );
        let (two_days, less_than_a_step) = (2 * u64::from(DAY), 10);
        assert_eq!(
            evidence.decayed(evidence.at + two_days + less_than_a_step, DAY),
            Evidence { passed: 2 * MESSAGE, failed: 25 * MESSAGE, at: evidence.at + two_days },
            "the rest of a step counts the next time"
        );
        let late = evidence.decayed(u64::MAX, DAY);
        assert_eq!((late.passed, late.failed), (0, 0));
    }

    #[test]
    fn many_small_steps_come_to_the_same_as_one_large_one() {
        for half_life in [3600, DAY, 30 * DAY] {
            let start = counts(2, 50);
            let end = start.at + u64::from(half_life);
            let mut evidence = start;
            for now in (start.at..=end).step_by(7) {
                evidence = evidence.decayed(now, half_life);
            }
            let (small, large) = (evidence.decayed(end, half_life), start.decayed(end, half_life));
            let near = |a: u32, b: u32| a.abs_diff(b) <= b / 50 + 8;
            assert!(near(small.passed, large.passed) && near(small.failed, large.failed), "{half_life}: {small:?} {large:?}");
        }
    }

    #[test]
    fn a_proof_takes_3_4_7_or_11_failures_with_nothing_else() {
        for (confidence, failures) in [(Confidence::P90, 3), (Confidence::P95, 4), (Confidence::P99, 7), (Confidence::P999, 11)] {
            assert!(!counts(0, failures - 1).proves_failing_majority(confidence), "{confidence:?}");
            assert!(counts(0, failures).proves_failing_majority(confidence), "{confidence:?}");
        }
    }

    #[test]
    fn passes_are_weighed_against_failures() {
        // (15 − 5)² = 100 against 6.635 · 20 = 132.7; (18 − 5)² = 169 against 6.635 · 23 = 152.6.
        assert!(!counts(5, 15).proves_failing_majority(Confidence::P99));
        assert!(counts(5, 18).proves_failing_majority(Confidence::P99));
        assert!(!counts(10, 10).proves_failing_majority(Confidence::P90));
        assert!(!counts(1000, 10).proves_failing_majority(Confidence::P90));
        // 61456² · 1000 = 3841 · 960250 · 1024: as much as, but not more.
        let equal = Evidence { passed: 449_397, failed: 510_853, at: 0 };
        assert!(!equal.proves_failing_majority(Confidence::P95));
        let most = Evidence { passed: 0, failed: u32::MAX, at: 0 };
        assert!(most.proves_failing_majority(Confidence::P999));
    }

    #[test]
    fn good_standing_takes_two_passes_and_more_of_them_than_failures() {
        assert!(!counts(1, 0).good_standing());
        assert!(counts(2, 0).good_standing());
        assert!(counts(2, 1).good_standing());
        assert!(!counts(2, 2).good_standing());
        assert!(counts(2, 0).decayed(1_000_000 + 9 * 3600, DAY).good_standing());
        assert!(!counts(2, 0).decayed(1_000_000 + 11 * 3600, DAY).good_standing());
    }

    #[test]
    fn large_counts_keep_their_ratio() {
        let mut evidence = Evidence { passed: u32::MAX / 4, failed: u32::MAX / 2, at: 0 };
        evidence = evidence.with(false);
        assert!(evidence.failed.abs_diff(2 * evidence.passed) <= 2 * MESSAGE, "{evidence:?}");
        assert!(evidence.failed < u32::MAX / 3, "halved: {evidence:?}");
        let largest = Evidence { passed: 8, failed: u32::MAX / 2 - MESSAGE, at: 0 };
        assert_eq!(largest.with(false), Evidence { failed: u32::MAX / 2, ..largest }, "not yet");
    }

    #[test]
    fn lives_until_less_than_a_message_is_left() {
        assert_eq!(counts(0, 0).lifetime(1_000_000, DAY), 0);
        assert_eq!(counts(1, 0).lifetime(1_000_000, DAY), DAY);
        assert_eq!(counts(1, 2).lifetime(1_000_000, DAY), 2 * DAY);
        assert_eq!(counts(1, 3).lifetime(1_000_000, DAY), 3 * DAY);
        assert_eq!(counts(1, 0).lifetime(1_000_000 + u64::from(DAY), DAY), 0);
    }
}

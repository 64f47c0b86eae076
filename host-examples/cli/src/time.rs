//! Times in words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999, beyond which RFC 3339 has no form.
const LAST: u64 = 253_402_300_799;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// This machine's clock, which is the host's too: in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// "2026-11-24T19:00:00Z" (RFC 3339).
pub(crate) fn date(time: u64) -> String {
    if time > LAST {
        return format!("second {time} since 1970");
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time)).to_string()
}

/// "2026-11-24T19:00:00Z, 3 minutes ago".
pub(crate) fn date_and_distance(time: u64, now: u64) -> String {
    format!("{}, {}", date(time), distance(time, now))
}

/// "3 minutes ago", "in 2 days", "now".
pub(crate) fn distance(time: u64, now: u64) -> String {
    match (time.checked_sub(now), now.checked_sub(time)) {
        (Some(0), _) => "now".into(),
        (Some(seconds), _) => format!("in {}", length(seconds)),
        (_, seconds) => format!("{} ago", length(seconds.unwrap_or(0))),
    }
}

/// "3 minutes": in one unit, of which there are at least two, or one that is exact; to the nearest.
pub(crate) fn length(seconds: u64) -> String {
    let units = [(DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")];
    let fits = |unit| seconds >= 2 * unit || seconds == unit;
    let (unit, name) = units.into_iter().find(|&(unit, _)| fits(unit)).unwrap_or((1, "second"));
    let count = seconds / unit + u64::from(seconds % unit * 2 >= unit.max(2));
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_it() {
        assert_eq!(date_and_distance(1_795_546_800, 1_795_546_980), "2026-11-24T19:00:00Z, 3 minutes ago");
        assert_eq!(distance(100, 100), "now");
        assert_eq!(distance(101, 100), "in 1 second");
        assert_eq!(length(119), "119 seconds");
        assert_eq!(length(120), "2 minutes");
        assert_eq!(length(60), "1 minute");
        assert_eq!(length(7 * DAY), "7 days");
        assert_eq!(length(DAY), "1 day");
        // To the nearest: seconds after `--for 7d`, it ends in 7 days.
        assert_eq!(length(7 * DAY - 3), "7 days");
        assert_eq!(length(2 * DAY - 1), "48 hours");
        assert_eq!(length(2 * DAY + DAY / 2 - 1), "2 days");
        assert_eq!(length(u64::MAX), "213503982334601 days");
    }

    #[test]
    fn no_time_is_too_far() {
        assert_eq!(date(LAST), "9999-12-31T23:59:59Z");
        assert_eq!(date(LAST + 1), "second 253402300800 since 1970");
        assert!(date_and_distance(u64::MAX, 0).contains("in 213503982334601 days"));
        assert!(distance(0, u64::MAX).ends_with("ago"));
    }
}

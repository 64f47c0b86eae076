//! Times as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970 by the clock of this machine.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// "2026-11-24 19:15:26 UTC". A time beyond the year 9999, which only a wrong clock writes, is shown as that year's end.
pub(crate) fn utc(seconds: u64) -> String {
    let [date, time] = parts(seconds);
    format!("{date} {time} UTC")
}

/// As the `datetime` attribute of HTML wants it (RFC 3339).
pub(crate) fn rfc3339(seconds: u64) -> String {
    let [date, time] = parts(seconds);
    format!("{date}T{time}Z")
}

fn parts(seconds: u64) -> [String; 2] {
    /// 9999-12-31T23:59:59Z, the last that the format has room for.
    const LAST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap_or((&text, ""));
    [date.to_owned(), time.to_owned()]
}

/// "3 h 12 min": the two largest units that are not zero.
pub(crate) fn span(seconds: u64) -> String {
    let Some(first) = largest_unit(seconds) else { return "0 s".to_owned() };
    let (length, unit) = UNITS[first];
    let mut text = format!("{} {unit}", seconds / length);
    if let Some((smaller, unit)) = UNITS.get(first + 1)
        && let rest @ 1.. = seconds % length / smaller
    {
        text.push_str(&format!(" {rest} {unit}"));
    }
    text
}

/// "3 h": the largest unit that is not zero.
fn brief_span(seconds: u64) -> String {
    let Some(first) = largest_unit(seconds) else { return "0 s".to_owned() };
    let (length, unit) = UNITS[first];
    format!("{} {unit}", seconds / length)
}

const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];

fn largest_unit(seconds: u64) -> Option<usize> {
    UNITS.iter().position(|(length, _)| seconds >= *length)
}

/// "3 h 12 min ago", "in 7 d", "now".
pub(crate) fn from_now(time: u64, now: u64) -> String {
    away(time, now, span)
}

/// "3 h ago".
pub(crate) fn brief_from_now(time: u64, now: u64) -> String {
    away(time, now, brief_span)
}

fn away(time: u64, now: u64, span: fn(u64) -> String) -> String {
    match time.cmp(&now) {
        std::cmp::Ordering::Less => format!("{} ago", span(now - time)),
        std::cmp::Ordering::Equal => "now".to_owned(),
        std::cmp::Ordering::Greater => format!("in {}", span(time - now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(u64::MAX), "9999-12-31 23:59:59 UTC");
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (3659, "1 h"),
            (11_520, "3 h 12 min"),
            (86_400, "1 d"),
            (90_000, "1 d 1 h"),
            (7 * 86_400 + 59, "7 d"),
        ] {
            assert_eq!(span(seconds), expected);
        }
        assert_eq!(brief_span(11_520), "3 h");
        assert_eq!(brief_from_now(100, 100 + 3659), "1 h ago");
        assert_eq!(from_now(100, 160), "1 min ago");
        assert_eq!(from_now(160, 100), "in 1 min");
        assert_eq!(from_now(100, 100), "now");
    }
}

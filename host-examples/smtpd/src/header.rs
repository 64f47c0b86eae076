//! The header fields that this server puts before a message: Return-Path, Delivered-To and Received (RFC 5321 §4.4).

use std::fmt::Write;
use std::net::IpAddr;

/// What the fields say.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// MAIL FROM without angle brackets; empty for the null sender.
    pub mail_from: &'a str,
    /// The recipients without angle brackets.
    pub recipients: &'a [String],
    /// The client's name, as it was sent.
    pub ehlo_name: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The client said EHLO, not HELO.
    pub extended: bool,
    /// This host.
    pub host_name: &'a str,
    /// The message's id in logs and replies.
    pub id: &'a str,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub now: u64,
}

impl Trace<'_> {
    /// The fields, each line with its CRLF.
    ///
    /// Addresses come out of the grammar of MAIL and RCPT, which lets nothing through that ends a line. The EHLO name can be
    /// anything printable; what has a meaning in a header field is replaced by `?`.
    pub fn fields(&self) -> String {
        let mut fields = format!("Return-Path: <{}>\r\n", self.mail_from);
        for recipient in self.recipients {
            let _ = write!(fields, "Delivered-To: {recipient}\r\n");
        }
        let name: String = self.ehlo_name.chars().map(|c| if is_name_character(c) { c } else { '?' }).collect();
        let client = match self.client {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        let protocol = if self.extended { "ESMTP" } else { "SMTP" };
        let _ = write!(fields, "Received: from {name} ({client})\r\n\tby {} with {protocol} id {}", self.host_name, self.id);
        // Naming one of several recipients would tell each about the other.
        if let [recipient] = self.recipients {
            let _ = write!(fields, "\r\n\tfor <{recipient}>");
        }
        let _ = write!(fields, ";\r\n\t{}\r\n", date(self.now));
        fields
    }
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']')
}

/// RFC 5322 §3.3, in UTC.
fn date(now: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (now / 86_400, now % 86_400);
    let (year, month, day) = civil(days);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Year, month and day from days since 1970-01-01, in the Gregorian calendar. Years begin in March here, so that the leap day comes
/// last and every month has its place in a cycle of 153 days for five months.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days / 146_097; // of 400 years
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (era * 400 + year_of_era + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace<'static> {
        Trace {
            mail_from: "smith@example.com",
            recipients: &[],
            ehlo_name: "mail.example.com",
            client: IpAddr::V6("2001:db8::1".parse().expect("valid")),
            extended: true,
            host_name: "mx.demo.example",
            id: "0a1b",
            now: 1_795_524_018,
        }
    }

    #[test]
    fn writes_all_fields() {
        let recipients = ["jones@demo.example".to_owned()];
        assert_eq!(
            Trace { recipients: &recipients, ..trace() }.fields(),
            "Return-Path: <smith@example.com>\r\n\
             Delivered-To: jones@demo.example\r\n\
             Received: from mail.example.com ([IPv6:2001:db8::1])\r\n\
             \tby mx.demo.example with ESMTP id 0a1b\r\n\
             \tfor <jones@demo.example>;\r\n\
             \tTue, 24 Nov 2026 12:40:18 +0000\r\n"
        );
    }

    #[test]
    fn names_no_recipient_among_several() {
        let recipients = ["a@b".to_owned(), "c@d".to_owned()];
        let client = IpAddr::V4("192.0.2.1".parse().expect("valid"));
        let fields = Trace { mail_from: "", recipients: &recipients, client, extended: false, ..trace() }.fields();
        assert_eq!(
            fields,
            "Return-Path: <>\r\nDelivered-To: a@b\r\nDelivered-To: c@d\r\n\
             Received: from mail.example.com ([192.0.2.1])\r\n\tby mx.demo.example with SMTP id 0a1b;\r\n\
             \tTue, 24 Nov 2026 12:40:18 +0000\r\n"
        );
    }

    #[test]
    fn the_name_cannot_forge_anything() {
        let fields = Trace { ehlo_name: "a(b)c;\"d<e>,f\\g", ..trace() }.fields();
        assert!(fields.contains("from a?b?c??d?e??f?g (["), "{fields}");
    }

    #[test]
    fn dates() {
        for (now, expected) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_800, "Wed, 1 Mar 2000 00:00:00 +0000"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(date(now), expected);
        }
    }
}

//! The Received field that this server puts before a message (RFC 5321 §4.4).

use std::fmt::Write;
use std::net::IpAddr;

/// What the field says.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The client's name, as it was sent.
    pub ehlo_name: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// How the message came.
    pub protocol: Protocol,
    /// TLS version and cipher suite, where TLS was in use.
    pub tls: Option<&'a str>,
    /// This host.
    pub host_name: &'a str,
    /// The message's id in logs and replies.
    pub id: &'a str,
    /// The recipient, where there is only one.
    pub recipient: Option<&'a str>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub now: u64,
}

/// How a message came, for the `with` clause.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The client said EHLO, not HELO.
    pub extended: bool,
    /// Under TLS.
    pub tls: bool,
    /// The transaction uses SMTPUTF8.
    pub utf8: bool,
}

impl Protocol {
    /// The registered name (RFC 3848; RFC 6531 §4.3).
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol { utf8: true, tls: true, .. } => "UTF8SMTPS",
            Protocol { utf8: true, .. } => "UTF8SMTP",
            Protocol { extended: true, tls: true, .. } => "ESMTPS",
            Protocol { extended: true, .. } => "ESMTP",
            _ => "SMTP",
        }
    }
}

impl Trace<'_> {
    /// The field, each line with its CRLF.
    ///
    /// The recipient comes out of the grammar of RCPT, which lets nothing through that ends a line. The EHLO name can be anything
    /// printable; what has a meaning in a header field is replaced by `?`.
    pub fn received(&self) -> String {
        let name: String = self.ehlo_name.chars().map(|c| if is_name_character(c) { c } else { '?' }).collect();
        let client = match self.client {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        let mut field = format!("Received: from {name} ({client})\r\n");
        if let Some(tls) = self.tls {
            let _ = write!(field, "\t(using {tls})\r\n");
        }
        let _ = write!(field, "\tby {} with {} id {}", self.host_name, self.protocol.as_str(), self.id);
        if let Some(recipient) = self.recipient {
            let _ = write!(field, "\r\n\tfor <{recipient}>");
        }
        let _ = write!(field, ";\r\n\t{}\r\n", date(self.now));
        field
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

    const PLAIN: Protocol = Protocol { extended: true, tls: false, utf8: false };

    fn trace() -> Trace<'static> {
        Trace {
            ehlo_name: "mail.example.com",
            client: IpAddr::V6("2001:db8::1".parse().expect("valid")),
            protocol: PLAIN,
            tls: None,
            host_name: "mx.demo.example",
            id: "0a1b",
            recipient: None,
            now: 1_795_524_018,
        }
    }

    #[test]
    fn says_all_that_is_known() {
        let protocol = Protocol { tls: true, ..PLAIN };
        let field = Trace { recipient: Some("a@b"), tls: Some("TLSv1.3 X"), protocol, ..trace() }.received();
        assert_eq!(
            field,
            "Received: from mail.example.com ([IPv6:2001:db8::1])\r\n\t(using TLSv1.3 X)\r\n\
             \tby mx.demo.example with ESMTPS id 0a1b\r\n\tfor <a@b>;\r\n\tTue, 24 Nov 2026 12:40:18 +0000\r\n"
        );
    }

    #[test]
    fn and_no_more() {
        let client = IpAddr::V4("192.0.2.1".parse().expect("valid"));
        let field = Trace { client, protocol: Protocol { extended: false, ..PLAIN }, ..trace() }.received();
        assert_eq!(
            field,
            "Received: from mail.example.com ([192.0.2.1])\r\n\tby mx.demo.example with SMTP id 0a1b;\r\n\
             \tTue, 24 Nov 2026 12:40:18 +0000\r\n"
        );
    }

    #[test]
    fn protocols_have_their_registered_names() {
        for (extended, tls, utf8, name) in [
            (false, false, false, "SMTP"),
            (true, false, false, "ESMTP"),
            (true, true, false, "ESMTPS"),
            (true, false, true, "UTF8SMTP"),
            (true, true, true, "UTF8SMTPS"),
        ] {
            assert_eq!(Protocol { extended, tls, utf8 }.as_str(), name);
        }
    }

    #[test]
    fn the_name_cannot_forge_anything() {
        let field = Trace { ehlo_name: "a(b)c;\"d<e>,f\\g", ..trace() }.received();
        assert!(field.contains("from a?b?c??d?e??f?g (["), "{field}");
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

//! What upstream announces in reply to EHLO or LHLO (RFC 5321 §4.1.1.1).

use super::Reply;

/// The extensions that matter to a server in front: what it must not offer to its clients unless upstream does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// SIZE (RFC 1870), with the limit in octets if there is one. 0 means that there is none.
    pub size: Option<Option<u64>>,
    /// The attributes of XCLIENT in upper case; empty where XCLIENT is not announced.
    pub xclient: Vec<String>,
}

impl Offers {
    /// Of a positive reply. The first line is a greeting. Keywords that are not known, and lines that have none, say nothing.
    pub(super) fn parse(reply: &Reply) -> Self {
        let mut offers = Offers::default();
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace().map(str::to_ascii_uppercase);
            match words.next().as_deref() {
                Some("8BITMIME") => offers.eight_bit_mime = true,
                Some("SMTPUTF8") => offers.smtputf8 = true,
                Some("DSN") => offers.dsn = true,
                Some("ENHANCEDSTATUSCODES") => offers.enhanced_status_codes = true,
                Some("SIZE") => offers.size = Some(words.next().and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0)),
                Some("XCLIENT") => offers.xclient = words.collect(),
                _ => {}
            }
        }
        offers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &[&str]) -> Offers {
        Offers::parse(&Reply { code: 250, lines: lines.iter().map(|line| (*line).to_owned()).collect() })
    }

    #[test]
    fn reads_what_postfix_announces() {
        let lines = "mx.example|PIPELINING|SIZE 10240000|VRFY|ETRN|XCLIENT NAME ADDR PORT|ENHANCEDSTATUSCODES|8BITMIME|DSN|SMTPUTF8|CHUNKING";
        let expected = Offers {
            eight_bit_mime: true,
            smtputf8: true,
            dsn: true,
            enhanced_status_codes: true,
            size: Some(Some(10_240_000)),
            xclient: ["NAME", "ADDR", "PORT"].map(str::to_owned).to_vec(),
        };
        assert_eq!(parsed(&lines.split('|').collect::<Vec<_>>()), expected);
        assert_eq!(parsed(&lines.to_lowercase().split('|').collect::<Vec<_>>()), expected, "keywords have no case");
    }

    #[test]
    fn the_first_line_announces_nothing() {
        assert_eq!(parsed(&["DSN"]), Offers::default());
        assert_eq!(parsed(&["mx.example", "", " ", "DSNX", "X-DSN"]), Offers::default());
    }

    #[test]
    fn size_may_have_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE -1"] {
            assert_eq!(parsed(&["mx.example", line]).size, Some(None), "{line}");
        }
        assert_eq!(parsed(&["mx.example", "SIZE 18446744073709551615"]).size, Some(Some(u64::MAX)));
    }
}

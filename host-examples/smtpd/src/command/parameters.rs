//! The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), and those for delivery reports (RFC 3461).
//!
//! Each is read by its grammar, so that it can be passed on as it came. Whether the session offered it is not judged here.

use crate::reply::Reply;

/// The longest ENVID, in octets of its xtext (RFC 3461 §4.4).
const ENVID_MAX: usize = 100;
/// The longest ORCPT (RFC 3461 §4.2).
const ORCPT_MAX: usize = 500;

/// The parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// SIZE: the size that the client announces, in octets.
    pub size: Option<u64>,
    /// BODY.
    pub body: Option<Body>,
    /// SMTPUTF8: addresses, and the message's header, may have letters beyond ASCII.
    pub smtputf8: bool,
    /// RET: how much of the message a delivery report returns.
    pub ret: Option<Ret>,
    /// ENVID: the client's name for the message, in xtext.
    pub envid: Option<String>,
}

/// BODY (RFC 6152 §3). BINARYMIME is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Seven bits in each octet.
    SevenBit,
    /// Eight.
    EightBitMime,
}

/// RET (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Hdrs,
}

/// The parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParameters {
    /// NOTIFY: when to send a delivery report, in upper case.
    pub notify: Option<String>,
    /// ORCPT: the original recipient, in xtext.
    pub orcpt: Option<String>,
}

impl MailParameters {
    /// Reads what follows the address. The error is the reply.
    pub fn parse(text: &str) -> Result<Self, Reply> {
        let mut found = MailParameters::default();
        for (keyword, value) in words(text) {
            let value = value.unwrap_or_default();
            let valid = match keyword.to_ascii_uppercase().as_str() {
                "SIZE" => once(&mut found.size, size(value)),
                "BODY" => once(&mut found.body, Body::parse(value)),
                "SMTPUTF8" if value.is_empty() => !std::mem::replace(&mut found.smtputf8, true),
                "SMTPUTF8" => false,
                "RET" => once(&mut found.ret, Ret::parse(value)),
                "ENVID" => once(&mut found.envid, xtext(value, ENVID_MAX)),
                _ => return Err(unknown("SIZE, BODY, SMTPUTF8, RET and ENVID")),
            };
            if !valid {
                return Err(malformed(
                    "SIZE=octets, BODY=7BIT or BODY=8BITMIME, SMTPUTF8, RET=FULL or RET=HDRS, ENVID=xtext, each once",
                ));
            }
        }
        Ok(found)
    }

    /// Whether there are any, which only EHLO offers.
    pub fn is_empty(&self) -> bool {
        *self == MailParameters::default()
    }

    /// Whether there is one about delivery reports.
    pub fn wants_reports(&self) -> bool {
        self.ret.is_some() || self.envid.is_some()
    }
}

impl RcptParameters {
    /// Reads what follows the address. The error is the reply.
    pub fn parse(text: &str) -> Result<Self, Reply> {
        let mut found = RcptParameters::default();
        for (keyword, value) in words(text) {
            let value = value.unwrap_or_default();
            let valid = match keyword.to_ascii_uppercase().as_str() {
                "NOTIFY" => once(&mut found.notify, notify(value)),
                "ORCPT" => once(&mut found.orcpt, orcpt(value)),
                _ => return Err(unknown("NOTIFY and ORCPT")),
            };
            if !valid {
                return Err(malformed("NOTIFY=NEVER or NOTIFY=SUCCESS,FAILURE,DELAY, ORCPT=type;xtext, each once"));
            }
        }
        Ok(found)
    }

    /// Whether there are any; all of them are about delivery reports.
    pub fn is_empty(&self) -> bool {
        *self == RcptParameters::default()
    }
}

impl Body {
    /// The value as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Body::SevenBit => "7BIT",
            Body::EightBitMime => "8BITMIME",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        [Body::SevenBit, Body::EightBitMime].into_iter().find(|body| value.eq_ignore_ascii_case(body.as_str()))
    }
}

impl Ret {
    /// The value as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Ret::Full => "FULL",
            Ret::Hdrs => "HDRS",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        [Ret::Full, Ret::Hdrs].into_iter().find(|ret| value.eq_ignore_ascii_case(ret.as_str()))
    }
}

fn words(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .map(|word| word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value))))
}

/// Puts the value there; false where there is none, or was one.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let free = place.is_none() && value.is_some();
    if free {
        *place = value;
    }
    free
}

fn unknown(known: &str) -> Reply {
    Reply::new(555, "5.5.4", format!("parameter not recognised: known are {known}"))
}

fn malformed(expected: &'static str) -> Reply {
    Reply::new(501, "5.5.4", format!("parameter not valid: expected {expected}"))
}

/// 1 to 20 digits (RFC 1870 §4).
fn size(digits: &str) -> Option<u64> {
    let valid = matches!(digits.len(), 1..=20) && digits.bytes().all(|octet| octet.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// RFC 3461 §4.1.
fn notify(value: &str) -> Option<String> {
    let value = value.to_ascii_uppercase();
    let mut seen = Vec::new();
    for word in value.split(',') {
        if !matches!(word, "NEVER" | "SUCCESS" | "FAILURE" | "DELAY") || seen.contains(&word) {
            return None;
        }
        seen.push(word);
    }
    let alone = seen.len() == 1 || !seen.contains(&"NEVER");
    alone.then_some(value)
}

/// RFC 3461 §4.2: an address type, a semicolon, and the address in xtext.
fn orcpt(value: &str) -> Option<String> {
    let (kind, address) = value.split_once(';')?;
    let atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*-/?^_`{|}~".contains(&octet);
    // Of an address that is not ASCII the letters may stand as they are, between those that are encoded (RFC 6533 §3).
    let ascii: String = address.chars().filter(char::is_ascii).collect();
    let readable = xtext(&ascii, ORCPT_MAX).is_some() || (ascii.is_empty() && !address.is_empty());
    (!kind.is_empty() && kind.bytes().all(atom) && value.len() <= ORCPT_MAX && readable).then(|| value.to_owned())
}

/// RFC 3461 §4, with digits in either case, and what it stands for is no control character: whoever decodes it must not meet the end of a
/// line.
fn xtext(value: &str, most: usize) -> Option<String> {
    if value.is_empty() || value.len() > most {
        return None;
    }
    let mut octets = value.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'+' => {
                let mut digit = || octets.next().filter(u8::is_ascii_hexdigit);
                let (high, low) = (char::from(digit()?).to_digit(16)?, char::from(digit()?).to_digit(16)?);
                if matches!(high * 16 + low, 0..0x20 | 0x7f) {
                    return None;
                }
            }
            b'!'..=b'~' if octet != b'=' => {}
            _ => return None,
        }
    }
    Some(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> Result<MailParameters, u16> {
        MailParameters::parse(text).map_err(|reply| reply.code)
    }

    fn rcpt(text: &str) -> Result<RcptParameters, u16> {
        RcptParameters::parse(text).map_err(|reply| reply.code)
    }

    #[test]
    fn reads_those_of_mail() {
        assert!(mail("").expect("valid").is_empty());
        let all = mail("SIZE=12 body=8bitmime SMTPUTF8\tRET=hdrs ENVID=a+2Bb").expect("valid");
        let expected = MailParameters {
            size: Some(12),
            body: Some(Body::EightBitMime),
            smtputf8: true,
            ret: Some(Ret::Hdrs),
            envid: Some("a+2Bb".into()),
        };
        assert_eq!(all, expected);
        assert!(all.wants_reports() && !all.is_empty());
        assert_eq!(mail("SIZE=99999999999999999999").expect("valid").size, Some(u64::MAX));
    }

    #[test]
    fn refuses_wrong_ones_of_mail() {
        for text in [
            "SIZE",
            "SIZE=",
            "SIZE=-1",
            "SIZE=999999999999999999999",
            "SIZE=1 SIZE=2",
            "BODY",
            "BODY=BINARYMIME",
            "BODY=7BIT BODY=7BIT",
            "SMTPUTF8=1",
            "SMTPUTF8 SMTPUTF8",
            "RET=ALL",
            "RET=FULL RET=FULL",
            "ENVID=",
            "ENVID=a=b",
            "ENVID=+",
            "ENVID=+4",
            "ENVID=+0D+0A",
            "ENVID=ä",
        ] {
            assert_eq!(mail(text), Err(501), "{text}");
        }
        assert_eq!(mail("AUTH=<>"), Err(555));
        assert!(mail(&format!("ENVID={}", "x".repeat(100))).is_ok());
        assert_eq!(mail(&format!("ENVID={}", "x".repeat(101))), Err(501));
    }

    #[test]
    fn reads_those_of_rcpt() {
        assert!(rcpt("").expect("valid").is_empty());
        let both = rcpt("notify=success,Delay ORCPT=rfc822;a+40b").expect("valid");
        assert_eq!(both.notify.as_deref(), Some("SUCCESS,DELAY"));
        assert_eq!(both.orcpt.as_deref(), Some("rfc822;a+40b"));
        assert_eq!(rcpt("NOTIFY=NEVER").expect("valid").notify.as_deref(), Some("NEVER"));
    }

    #[test]
    fn takes_what_only_reports_depend_on_generously() {
        for text in ["ORCPT=utf-8;jörg+40b.example", "ORCPT=utf-8;ü", "ORCPT=rfc822;a+c3+A4b"] {
            assert!(rcpt(text).is_ok(), "{text}");
        }
        assert!(mail("ENVID=a+2b").is_ok());
    }

    #[test]
    fn refuses_wrong_ones_of_rcpt() {
        for text in [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=DELAY,DELAY",
            "NOTIFY=SOMETIMES",
            "NOTIFY=DELAY,",
            "NOTIFY=NEVER NOTIFY=NEVER",
            "ORCPT=a@b",
            "ORCPT=;a",
            "ORCPT=rfc822;",
            "ORCPT=rfc 822;a",
            "ORCPT=rfc822;a+0Ab",
            "ORCPT=rfc822;a=b",
        ] {
            assert_eq!(rcpt(text).map_err(|code| matches!(code, 501 | 555)), Err(true), "{text}");
        }
        assert_eq!(rcpt("SIZE=1"), Err(555));
        assert!(rcpt(&format!("ORCPT=x;{}", "x".repeat(498))).is_ok());
        assert_eq!(rcpt(&format!("ORCPT=x;{}", "x".repeat(499))), Err(501));
    }
}

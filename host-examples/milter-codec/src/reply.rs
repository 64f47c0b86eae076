//! What a filter answers.

use std::fmt;

use crate::packet;

/// Octets of one line of a reply, with codes and CRLF (RFC 5321 §4.5.3.1.5).
pub const LINE_MAX: usize = 512;
/// Lines of one reply. libmilter has the same limit, so that MTAs are known to take them.
pub const LINES_MAX: usize = 32;

/// An answer to one command.
///
/// There is none that closes the client's connection (`SMFIR_SHUTDOWN`): it is meant for the inside of Sendmail, has no text, and at the
/// end of a message Postfix **accepts** the message that it was to refuse. A [`Refusal`] with 421 is what closes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Go on. At the end of a message: accept it.
    Continue,
    /// Accept without asking again: the message, or at connect and HELO the whole connection.
    Accept,
    /// Refuse with 550 5.7.1 (Sendmail also 554), a text of the MTA. At connect and HELO for the whole connection.
    Reject,
    /// Refuse with 451 4.7.1, a text of the MTA. At connect and HELO for the whole connection.
    TempFail,
    /// Say 250 and throw the message away. Neither the sender nor the recipient will ever know, so a policy must not use it; it is here
    /// since the protocol has it. Postfix takes it for a broken filter at connect and HELO.
    Discard,
    /// Refuse with these words; at connect and HELO the whole connection. After a 421 both MTAs close.
    ///
    /// At connect they are not the greeting. Postfix says them at MAIL, after a greeting of 220 and a good EHLO, also what was refused at
    /// HELO; only a 421 comes at once, at connect in words of Postfix without an enhanced code. Sendmail leaves out code and text at
    /// connect: it says 554 for a 5xx, 421 for a 421 of one line, and 451 for the rest.
    Refuse(Refusal),
    /// Send no more of the body; go on with the end of the message.
    Skip,
}

impl Reply {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Reply::Continue => packet::encode(b'c', &[]),
            Reply::Accept => packet::encode(b'a', &[]),
            Reply::Reject => packet::encode(b'r', &[]),
            Reply::TempFail => packet::encode(b't', &[]),
            Reply::Discard => packet::encode(b'd', &[]),
            // Sendmail says 554 where the NUL is missing.
            Reply::Refuse(refusal) => packet::encode(b'y', &[refusal.doubled().as_bytes(), b"\0"]),
            Reply::Skip => packet::encode(b's', &[]),
        }
    }
}

/// A refusal with a code, an enhanced code and text, in a form that both MTAs pass on as it is. What they would turn into something else,
/// often into a permanent refusal, cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// All lines, as the client will see them, without the last CRLF.
    text: String,
}

/// Why a refusal cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalError {
    /// The code is no refusal.
    #[error("code {0}; expected 400 to 599")]
    Code(u16),
    /// The enhanced code is none, or of another class: Postfix would say 451 4.3.5 and Sendmail 55x.
    #[error("enhanced code {found:?} for code {code}; expected a form such as {}.4.8 (RFC 3463)", .code / 100)]
    EnhancedCode {
        /// The reply code.
        code: u16,
        /// What was given, shortened.
        found: String,
    },
    /// There is no line, or there are too many.
    #[error("{0} lines; expected 1 to {LINES_MAX}")]
    LineCount(usize),
    /// A line has no text. A bare code makes MTAs say something else.
    #[error("line {0} has no text")]
    EmptyLine(usize),
    /// A line is too long.
    #[error("line {0} is longer than {LINE_MAX} octets with its codes and CRLF")]
    LineLength(usize),
}

impl Refusal {
    /// A refusal, its `lines` without codes and line ends. Characters other than printable ASCII become question marks: Sendmail strips
    /// their eighth bit, and a line end would begin a line of somebody else's choice. A tab becomes a space.
    ///
    /// # Errors
    ///
    /// An MTA would make something else of it.
    pub fn new<L: AsRef<str>>(code: u16, enhanced_code: &str, lines: &[L]) -> Result<Self, RefusalError> {
        if !(400..600).contains(&code) {
            return Err(RefusalError::Code(code));
        }
        if !is_enhanced_code(enhanced_code, code / 100) {
            return Err(RefusalError::EnhancedCode { code, found: enhanced_code.chars().take(32).collect() });
        }
        if !(1..=LINES_MAX).contains(&lines.len()) {
            return Err(RefusalError::LineCount(lines.len()));
        }
        let mut text = String::new();
        for (number, line) in (1..).zip(lines) {
            let line = line.as_ref();
            if line.trim().is_empty() {
                return Err(RefusalError::EmptyLine(number));
            }
            let start = text.len();
            let separator = if number == lines.len() { ' ' } else { '-' };
            text.push_str(&format!("{code}{separator}{enhanced_code} "));
            text.extend(line.chars().map(printable));
            // Each line but the last one ends here with CRLF; the MTA adds the last one.
            if text.len() - start + 2 > LINE_MAX {
                return Err(RefusalError::LineLength(number));
            }
            if number < lines.len() {
                text.push_str("\r\n");
            }
        }
        Ok(Refusal { text })
    }

    /// What the client will see, with CRLF between the lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Each `%` twice. Sendmail takes the text for a format and refuses for good with 554 where one stands alone; Postfix drops it.
    fn doubled(&self) -> String {
        self.text.replace('%', "%%")
    }
}

impl fmt::Display for Refusal {
    /// In one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text.replace("\r\n", " / "))
    }
}

fn printable(character: char) -> char {
    match character {
        ' '..='~' => character,
        '\t' => ' ',
        _ => '?',
    }
}

/// RFC 3463 §2: a class of one digit, and two numbers of up to three digits.
fn is_enhanced_code(code: &str, class: u16) -> bool {
    let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = code.split('.').collect();
    matches!(parts[..], [first, subject, detail] if first == class.to_string() && number(subject) && number(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(code: u16, enhanced: &str, lines: &[&str]) -> Vec<u8> {
        Reply::Refuse(Refusal::new(code, enhanced, lines).expect("valid")).encode()
    }

    #[test]
    fn replies_as_octets() {
        assert_eq!(Reply::Continue.encode(), b"\0\0\0\x01c");
        assert_eq!(Reply::Accept.encode(), b"\0\0\0\x01a");
        assert_eq!(Reply::Reject.encode(), b"\0\0\0\x01r");
        assert_eq!(Reply::TempFail.encode(), b"\0\0\0\x01t");
        assert_eq!(Reply::Discard.encode(), b"\0\0\0\x01d");
        assert_eq!(Reply::Skip.encode(), b"\0\0\0\x01s");
        assert_eq!(wire(421, "4.4.8", &["over IPv4"]), b"\0\0\0\x15y421 4.4.8 over IPv4\0");
        let two = wire(456, "4.4.8", &["first", "last"]);
        assert_eq!(two, b"\0\0\0\x21y456-4.4.8 first\r\n456 4.4.8 last\0");
    }

    #[test]
    fn lines_end_with_crlf_between_them_only() {
        let refusal = Refusal::new(550, "5.7.26", &["a", "b", "c"]).expect("valid");
        assert_eq!(refusal.text(), "550-5.7.26 a\r\n550-5.7.26 b\r\n550 5.7.26 c");
        assert_eq!(refusal.to_string(), "550-5.7.26 a / 550-5.7.26 b / 550 5.7.26 c");
    }

    #[test]
    fn a_percent_sign_is_doubled_for_the_mta() {
        let refusal = Refusal::new(451, "4.4.8", &["100% of %s, %%"]).expect("valid");
        assert_eq!(refusal.text(), "451 4.4.8 100% of %s, %%");
        assert!(Reply::Refuse(refusal).encode().ends_with(b"100%% of %%s, %%%%\0"));
    }

    #[test]
    fn nothing_but_printable_ascii_goes_out() {
        let sent = wire(451, "4.4.8", &["a\r\n250 b\0c\td\u{fc}\x7f\u{2028}~"]);
        assert!(sent.ends_with(b"451 4.4.8 a??250 b?c d???~\0"), "{}", sent.escape_ascii());
    }

    #[test]
    fn codes_are_refusals() {
        let code = |code, enhanced| Refusal::new(code, enhanced, &["text"]).map(|_| ());
        assert_eq!(code(400, "4.0.0"), Ok(()));
        assert_eq!(code(599, "5.0.0"), Ok(()));
        for wrong in [0, 250, 354, 399, 600, 4210] {
            assert_eq!(code(wrong, "4.0.0"), Err(RefusalError::Code(wrong)));
        }
    }

    #[test]
    fn the_enhanced_code_is_of_the_same_class() {
        let accepted = |code, enhanced| Refusal::new(code, enhanced, &["text"]).is_ok();
        assert!(accepted(456, "4.4.8") && accepted(550, "5.7.26") && accepted(451, "4.999.999"));
        for enhanced in [
            "5.4.8", "2.4.8", "", "4", "4.4", "4.4.", "4..8", ".4.8", "4.4.8.1", "4.4.1000", "4.4.8 ", " 4.4.8", "44.4.8",
            "4.4.x", "4.4.+8",
        ] {
            assert!(!accepted(456, enhanced), "{enhanced:?}");
        }
        let error = Refusal::new(456, "5.4.8", &["text"]).expect_err("another class");
        assert_eq!(error.to_string(), "enhanced code \"5.4.8\" for code 456; expected a form such as 4.4.8 (RFC 3463)");
    }

    #[test]
    fn there_is_always_text() {
        assert_eq!(Refusal::new::<&str>(421, "4.4.8", &[]), Err(RefusalError::LineCount(0)));
        assert_eq!(Refusal::new(421, "4.4.8", &[""]), Err(RefusalError::EmptyLine(1)));
        assert_eq!(Refusal::new(421, "4.4.8", &["a", " \t"]), Err(RefusalError::EmptyLine(2)));
        assert!(Refusal::new(421, "4.4.8", &["a"; LINES_MAX]).is_ok());
        assert_eq!(Refusal::new(421, "4.4.8", &["a"; LINES_MAX + 1]), Err(RefusalError::LineCount(33)));
    }

    #[test]
    fn lines_have_a_length() {
        // "421 4.4.8 " and CRLF are twelve octets.
        assert!(Refusal::new(421, "4.4.8", &["x".repeat(500)]).is_ok());
        assert_eq!(Refusal::new(421, "4.4.8", &["x".repeat(501)]), Err(RefusalError::LineLength(1)));
        let percent = "%".repeat(500);
        assert!(Refusal::new(421, "4.4.8", &[&percent]).is_ok(), "what counts is what the client sees");
        assert_eq!(Refusal::new(421, "4.4.8", &["a".into(), "é".repeat(501)]), Err(RefusalError::LineLength(2)));
        assert!(Refusal::new(421, "4.4.8", &["é".repeat(500)]).is_ok(), "each character is one question mark");
    }
}

//! The last look at a reply before it goes out: a component that is wrong, or not the policy, must not harm a mail or a session.

use smtp_fallback_policy::contract::{Connection, Reason, Reply, Stage};

/// Why a reply must not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The client came over IPv4, which this policy never refuses (P9).
    #[error("a client that came over IPv4 would be refused")]
    Ipv4,
    /// The code is none that this policy uses, or 550 for a reason other than the operator's choice (P17, A34).
    #[error("code {code} for the reason {}; expected 451, 421 or 456, or 550 for never-falls-back", reason.as_str())]
    Code {
        /// The reply code.
        code: u16,
        /// The decision's reason.
        reason: Reason,
    },
    /// 456, but the client did not issue the verb (P8).
    #[error("code 456 for a client that did not issue the verb")]
    NotAcknowledged,
    /// The code does not fit the stage: 451 or 421 in place of the greeting, 421 after EHLO.
    #[error("code {code} at stage {stage:?}; expected 451 or 421 at the greeting, 421 after EHLO")]
    Stage {
        /// The reply code.
        code: u16,
        /// The stage.
        stage: Stage,
    },
    /// The connection stays open although the stage or the code (421, RFC 5321 §3.8) says that it ends.
    #[error("code {code} at stage {stage:?} without closing the connection")]
    NotClosing {
        /// The reply code.
        code: u16,
        /// The stage.
        stage: Stage,
    },
    /// 456 is for one message, and does not end the session (P19).
    #[error("456 with the connection closed")]
    Closing,
    /// The enhanced status code is not of the form 4.4.8 (RFC 3463 §2), or its class is not that of the code.
    #[error("enhanced code {enhanced_code:?}; expected a form such as {}.4.8", code / 100)]
    EnhancedCode {
        /// The reply code.
        code: u16,
        /// The enhanced status code, shortened.
        enhanced_code: String,
    },
    /// No line, or too many.
    #[error("{0} lines; expected 1 to {MAX_LINES}")]
    LineCount(usize),
    /// A line is empty, or holds something other than printable ASCII: a line end would begin a reply of the component's choice.
    #[error("line {0} is empty or not printable ASCII")]
    Line(usize),
    /// A line is longer than 512 octets with code, enhanced code and CRLF (RFC 5321 §4.5.3.1.5).
    #[error("line {0} is longer than 512 octets with its codes")]
    LineLength(usize),
}

/// The most lines of a reply.
const MAX_LINES: usize = 16;

/// The most octets of a line, with codes and CRLF (RFC 5321 §4.5.3.1.5).
const MAX_LINE: usize = 512;

/// Whether a reply may be sent, for a decision of this reason at this point of the session.
///
/// The rules for codes and lines are also those by which Postfix checks replies since July 2026: one that breaks them turns into
/// a local error there.
pub fn check_reply(reply: &Reply, reason: Reason, connection: &Connection) -> Result<(), ReplyError> {
    let Reply { code, enhanced_code, lines, close } = reply;
    let (code, stage) = (*code, connection.stage);
    if connection.client.is_ipv4() {
        return Err(ReplyError::Ipv4);
    }
    match code {
        451 | 421 => {}
        550 if reason == Reason::NeverFallsBack => {}
        456 if connection.acknowledged => {}
        456 => return Err(ReplyError::NotAcknowledged),
        _ => return Err(ReplyError::Code { code, reason }),
    }
    let fits = match stage {
        Stage::Greeting => code == 451 || code == 421,
        Stage::Ehlo => code == 421,
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::EndOfData => true,
    };
    if !fits {
        return Err(ReplyError::Stage { code, stage });
    }
    if !close && (code == 421 || stage == Stage::Greeting) {
        return Err(ReplyError::NotClosing { code, stage });
    }
    if *close && code == 456 {
        return Err(ReplyError::Closing);
    }
    if !is_enhanced_code(enhanced_code, code / 100) {
        return Err(ReplyError::EnhancedCode { code, enhanced_code: enhanced_code.chars().take(20).collect() });
    }
    if !(1..=MAX_LINES).contains(&lines.len()) {
        return Err(ReplyError::LineCount(lines.len()));
    }
    let codes = "456-".len() + enhanced_code.len() + " \r\n".len();
    for (line, number) in lines.iter().zip(1..) {
        if line.is_empty() || !line.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
            return Err(ReplyError::Line(number));
        }
        if codes + line.len() > MAX_LINE {
            return Err(ReplyError::LineLength(number));
        }
    }
    Ok(())
}

/// `class.subject.detail` (RFC 3463 §2), subject and detail of one to three digits.
fn is_enhanced_code(text: &str, class: u16) -> bool {
    let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit());
    let parts: Vec<&str> = text.split('.').collect();
    matches!(parts[..], [first, subject, detail] if first == class.to_string() && number(subject) && number(detail))
}

#[cfg(test)]
mod tests;

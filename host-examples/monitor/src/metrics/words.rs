//! The words that labels can have.

use smtp_fallback_policy::contract::{Decision, Note, Stage, Verdict};

/// Whether a decision took effect.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Enforce,
    Observe,
}

impl Mode {
    pub(super) const ALL: [Mode; 2] = [Mode::Enforce, Mode::Observe];

    pub(super) fn of(decision: &Decision) -> Mode {
        if decision.would.is_some() { Mode::Observe } else { Mode::Enforce }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        }
    }
}

pub(super) fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Greeting => "greeting",
        Stage::Ehlo => "ehlo",
        Stage::Mail => "mail",
        Stage::Rcpt => "rcpt",
        Stage::Data => "data",
        Stage::EndOfData => "end-of-data",
    }
}

pub(super) fn verdict_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Continue => "continue",
        Verdict::Accept => "accept",
        Verdict::Refuse(_) => "refuse",
    }
}

/// The reply code; of those that no genuine policy answers with, "other".
pub(super) fn code_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Continue | Verdict::Accept => "none",
        Verdict::Refuse(reply) => match reply.code {
            421 => "421",
            451 => "451",
            456 => "456",
            550 => "550",
            _ => "other",
        },
    }
}

/// The notes that have no metric of their own.
pub(super) const NOTES: [&str; 9] = [
    "good-standing",
    "capable",
    "not-rolled-out",
    "malformed-record",
    "ipv4-arrivals-not-visible",
    "never-falls-back",
    "let-in-used-up",
    "verb-not-believed",
    OTHER,
];

const OTHER: &str = "other";

/// The note; of those that this version does not know, "other".
pub(super) fn note_word(note: &Note) -> &'static str {
    NOTES.into_iter().find(|word| *word == note.as_str()).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp_fallback_policy::contract::Reply;

    #[test]
    fn words_are_bounded_whatever_a_policy_says() {
        assert_eq!(note_word(&Note::Capable), "capable");
        assert_eq!(note_word(&Note::Other("chosen".into())), "other");
        let refuse = |code| Verdict::Refuse(Reply { code, enhanced_code: "4.4.8".into(), lines: Vec::new(), close: false });
        assert_eq!(code_word(&refuse(456)), "456");
        assert_eq!(code_word(&refuse(499)), "other");
        assert_eq!(code_word(&Verdict::Accept), "none");
    }
}

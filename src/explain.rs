//! The decision in words, with the path that led to it.

use std::fmt::{self, Write as _};

use crate::contract::{Decision, Verdict};

/// What was looked at on the way to a decision, a line each. Off, it costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Trail(Option<Vec<String>>);

impl Trail {
    pub(crate) const fn off() -> Self {
        Trail(None)
    }

    pub(crate) const fn on() -> Self {
        Trail(Some(Vec::new()))
    }

    /// Whether somebody listens: asked only where the words themselves take work.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a line. The words are put together only where somebody listens, and in this one place, for the size of the component.
    #[inline(never)]
    pub(crate) fn say(&mut self, line: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.0 {
            lines.push(line.to_string());
        }
    }

    /// The whole story.
    pub(crate) fn tell(self, decision: &Decision) -> String {
        let mut text = String::new();
        for line in self.0.into_iter().flatten() {
            text.push_str("- ");
            text.push_str(&line);
            text.push('\n');
        }
        let reason = decision.reason.as_str();
        let told = match &decision.would {
            None => writeln!(text, "= {} ({reason})", verdict(&decision.verdict)),
            Some(would) => {
                writeln!(text, "= {}; enforced, it had been: {} ({reason})", verdict(&decision.verdict), verdict(would))
            }
        };
        told.expect("writing to a String does not fail");
        text
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Continue => "continue".into(),
        Verdict::Accept => "accept".into(),
        Verdict::Refuse(reply) => {
            let close = if reply.close { ", and close" } else { "" };
            let first = reply.lines.first().map_or("", String::as_str);
            format!("refuse with {} {} {first}{close}", reply.code, reply.enhanced_code)
        }
    }
}

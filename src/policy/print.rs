//! The policy as JSON, every setting written out.

use super::requirement::name;
use super::{Confidence, DecideAt, DomainList, NoFallbackAction, Policy, Requirement, Template};
use crate::contract::Mode;

/// The policy as JSON text with all its settings, indented by two spaces; `parse` reads it back as the same policy. `url` is left
/// out where the policy has none.
pub fn print(policy: &Policy) -> String {
    let mut out = Printer { text: String::with_capacity(2048), depth: 0, first: true };
    out.open('{');
    out.field("mode").string(if policy.mode == Mode::Enforce { "enforce" } else { "observe" });
    out.field("rollout_percent").number(policy.rollout_percent.into());
    out.field("require").requirement(&policy.require);
    out.field("trusted_sealers").domains(&policy.trusted_sealers);
    out.field("decide_at").string(if policy.decide_at == DecideAt::Earliest { "earliest" } else { "end-of-data" });

    out.field("network").open('{');
    out.field("prefix").number(policy.network.default.into());
    out.field("overrides").open('[');
    for (network, prefix) in &policy.network.overrides {
        out.entry().open('{');
        out.field("network").string(&network.to_string());
        out.field("prefix").number((*prefix).into());
        out.close('}');
    }
    out.close(']').close('}');

    out.field("exempt").open('{');
    out.field("local_networks").boolean(policy.exempt.local_networks);
    out.field("networks").open('[');
    for network in &policy.exempt.networks {
        out.entry().string(&network.to_string());
    }
    out.close(']');
    out.field("names").domains(&policy.exempt.names);
    out.field("domains").domains(&policy.exempt.domains);
    out.field("recipients").strings(policy.exempt.recipients.entries());
    out.field("recipients_match").string(if policy.exempt.any_recipient { "any" } else { "all" });
    out.close('}');

    out.field("reputation").open('{');
    out.field("distrust").domains(&policy.distrust);
    out.close('}');

    let penalty = &policy.penalty;
    out.field("penalty").open('{');
    out.field("at_greeting").boolean(penalty.at_greeting);
    out.field("confidence").raw(match penalty.confidence {
        Confidence::P90 => "0.90",
        Confidence::P95 => "0.95",
        Confidence::P99 => "0.99",
        Confidence::P999 => "0.999",
    });
    out.field("half_life").string(&duration(penalty.half_life));
    out.field("first").string(&duration(penalty.first));
    out.field("maximum").string(&duration(penalty.maximum));
    out.field("jitter_percent").number(penalty.jitter_percent.into());
    out.field("probe_one_in").number(penalty.probe_one_in);
    out.close('}');

    let no_fallback = &policy.no_fallback;
    out.field("no_fallback").open('{');
    out.field("action").string(match no_fallback.action {
        NoFallbackAction::LetIn => "let_in",
        NoFallbackAction::Alert => "alert",
        NoFallbackAction::Reject => "reject",
    });
    out.field("refusals").number(no_fallback.refusals);
    out.field("over").string(&duration(no_fallback.over));
    out.field("let_in_for").string(&duration(no_fallback.let_in_for));
    out.field("let_in_per_day").number(no_fallback.let_in_per_day);
    out.field("let_in_per_day_48").number(no_fallback.let_in_per_day_48);
    out.close('}');

    out.field("temporary_errors").open('{');
    out.field("per_network").number(policy.temporary_errors.per_network);
    out.field("per_48").number(policy.temporary_errors.per_48);
    out.close('}');

    out.field("codes").open('{');
    out.field("greeting").number(policy.codes.greeting.into());
    out.field("later").number(policy.codes.later.into());
    out.close('}');

    out.field("enhanced_codes").open('{');
    out.field("unauthenticated").string(&policy.enhanced_codes.unauthenticated);
    out.field("distrusted").string(&policy.enhanced_codes.distrusted);
    out.field("penalty").string(&policy.enhanced_codes.penalty);
    out.close('}');

    if let Some(url) = &policy.url {
        out.field("url").string(url);
    }

    out.field("texts").open('{');
    out.field("unauthenticated").lines(&policy.texts.unauthenticated);
    out.field("distrusted").lines(&policy.texts.distrusted);
    out.field("penalty").lines(&policy.texts.penalty);
    out.field("temporary_error").lines(&policy.texts.temporary_error);
    out.field("never_falls_back").lines(&policy.texts.never_falls_back);
    out.close('}').close('}');
    out.text
}

/// Seconds, at least one, as a duration in the largest unit that divides them: "15m", "1d".
pub(super) fn duration(seconds: u32) -> String {
    let units = [(24 * 3600, "d"), (3600, "h"), (60, "m")];
    let fits = |&&(unit, _): &&(u32, &str)| seconds.is_multiple_of(unit);
    let (unit, letter) = units.iter().find(fits).copied().unwrap_or((1, "s"));
    format!("{}{letter}", seconds / unit)
}

struct Printer {
    text: String,
    depth: usize,
    /// Nothing is inside the innermost bracket yet.
    first: bool,
}

impl Printer {
    fn open(&mut self, bracket: char) {
        self.text.push(bracket);
        self.depth += 1;
        self.first = true;
    }

    fn close(&mut self, bracket: char) -> &mut Self {
        self.depth -= 1;
        if !self.first {
            self.new_line();
        }
        self.text.push(bracket);
        self.first = false;
        self
    }

    fn new_line(&mut self) {
        self.text.push('\n');
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
    }

    /// Begins an entry of a list.
    fn entry(&mut self) -> &mut Self {
        if !self.first {
            self.text.push(',');
        }
        self.new_line();
        self.first = false;
        self
    }

    /// Begins a field.
    fn field(&mut self, name: &str) -> &mut Self {
        self.entry().string(name);
        self.text.push_str(": ");
        self
    }

    fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// All strings of a policy are printable ASCII, so only these two need an escape.
    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(c);
        }
        self.text.push('"');
    }

    fn number(&mut self, number: u32) {
        self.raw(&number.to_string());
    }

    fn boolean(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    fn strings(&mut self, strings: &[String]) {
        self.open('[');
        for string in strings {
            self.entry().string(string);
        }
        self.close(']');
    }

    fn domains(&mut self, domains: &DomainList) {
        self.strings(domains.entries());
    }

    fn lines(&mut self, lines: &[Template]) {
        self.open('[');
        for line in lines {
            self.entry().string(line.source());
        }
        self.close(']');
    }

    fn requirement(&mut self, requirement: &Requirement) {
        let (form, list) = match requirement {
            Requirement::Check(check) => return self.string(name(*check)),
            Requirement::Domains(domains) => {
                self.open('{');
                self.field("domains").domains(domains);
                self.close('}');
                return;
            }
            Requirement::Any(list) => ("any", list),
            Requirement::All(list) => ("all", list),
            Requirement::None(list) => ("none", list),
        };
        self.open('{');
        self.field(form).open('[');
        for requirement in list {
            self.entry().requirement(requirement);
        }
        self.close(']').close('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse;

    #[test]
    fn a_line_for_each_entry_and_none_within_empty_brackets() {
        let policy = parse(r#"{"exempt": {"names": ["mx.example", ".example.org"]}}"#).expect("a policy").0;
        let text = print(&policy);
        let exempt = r#"
  "exempt": {
    "local_networks": true,
    "networks": [],
    "names": [
      ".example.org",
      "mx.example"
    ],
    "domains": [],
"#;
        assert!(text.contains(exempt), "{text}");
        assert!(text.starts_with("{\n  \"") && text.ends_with("\n    ]\n  }\n}"), "{text}");
    }

    #[test]
    fn durations_in_the_largest_unit() {
        for (seconds, text) in [(1, "1s"), (60, "1m"), (61, "61s"), (3600, "1h"), (86_400, "1d"), (90_000, "25h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}

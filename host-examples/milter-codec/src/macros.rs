//! Macros: what the MTA knows beside the command, by names of one letter or in braces.

use std::collections::BTreeMap;

use crate::command::Command;
use crate::octets::Octets;
use crate::protocol::Stage;

/// The values that hold now.
///
/// They come before the command of their stage, and hold until that stage comes again or an earlier one does. So `i` of one message is
/// not found in the next, and what was said at the connection is found in all of its messages.
#[derive(Clone, Debug, Default)]
pub struct Macros {
    stages: BTreeMap<Stage, Vec<(Octets, Octets)>>,
    /// The stage whose macros came last, and whose command has not come yet.
    announced: Option<Stage>,
    /// The message is over. Its macros are still there for a log, until the next packet.
    over: bool,
}

impl Macros {
    /// The value of a macro, by its name as in the MTA's configuration: `i` or `{auth_authen}`. Some MTAs write `{i}`; that is found, too.
    pub fn get(&self, name: &str) -> Option<&Octets> {
        let name = bare(name.as_bytes());
        let mut all = self.stages.values().rev().flatten();
        all.find(|(found, _)| bare(found.as_bytes()) == name).map(|(_, value)| value)
    }

    /// Takes what a command says about them.
    pub(crate) fn take(&mut self, command: &Command) {
        match command {
            Command::Macros(stage, values) => self.announce(*stage, values.clone()),
            Command::Abort => self.end_message(),
            Command::Quit | Command::QuitNewConnection => *self = Macros::default(),
            other => other.stage().into_iter().for_each(|stage| self.command(stage)),
        }
    }

    /// Takes what comes before the command of `stage`.
    fn announce(&mut self, stage: Stage, values: Vec<(Octets, Octets)>) {
        self.end_message_if_over();
        self.stages.retain(|&known, _| known < stage);
        self.stages.insert(stage, values);
        self.announced = Some(stage);
    }

    /// The command of `stage` has come.
    fn command(&mut self, stage: Stage) {
        self.end_message_if_over();
        // Without macros of its own it must not be seen with those of the one before.
        let own = self.announced.take() == Some(stage);
        self.stages.retain(|&known, _| known < stage || (known == stage && own));
        self.over = stage == Stage::EndOfMessage;
    }

    /// The message is over.
    fn end_message(&mut self) {
        self.stages.retain(|&stage, _| stage < Stage::Mail);
        (self.announced, self.over) = (None, false);
    }

    fn end_message_if_over(&mut self) {
        if self.over {
            self.end_message();
        }
    }
}

/// `{i}` and `i` are one name.
fn bare(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(list: &[(&str, &str)]) -> Vec<(Octets, Octets)> {
        list.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    fn get<'a>(macros: &'a Macros, name: &str) -> Option<std::borrow::Cow<'a, str>> {
        macros.get(name).map(Octets::to_text)
    }

    #[test]
    fn names_with_and_without_braces() {
        let mut macros = Macros::default();
        macros.announce(Stage::Mail, values(&[("{i}", "4F"), ("{auth_authen}", ""), ("j", "mx.example")]));
        assert_eq!(get(&macros, "i").as_deref(), Some("4F"));
        assert_eq!(get(&macros, "{i}").as_deref(), Some("4F"));
        assert_eq!(get(&macros, "{j}").as_deref(), Some("mx.example"));
        assert_eq!(get(&macros, "{auth_authen}").as_deref(), Some(""), "empty is not absent");
        assert_eq!(get(&macros, "{auth_type}"), None);
        assert_eq!(get(&macros, "{"), None);
    }

    #[test]
    fn what_a_message_had_is_gone_with_it() {
        let mut macros = Macros::default();
        macros.announce(Stage::Connect, values(&[("j", "mx.example")]));
        macros.command(Stage::Connect);
        macros.announce(Stage::Mail, values(&[("i", "1")]));
        macros.command(Stage::Mail);
        macros.announce(Stage::EndOfMessage, values(&[("i", "2")]));
        macros.command(Stage::EndOfMessage);
        assert_eq!(get(&macros, "i").as_deref(), Some("2"), "the later stage counts, and at the end it is still there");
        macros.command(Stage::Mail);
        assert_eq!(get(&macros, "i"), None, "a message without macros has none of the one before");
        assert_eq!(get(&macros, "j").as_deref(), Some("mx.example"));
        macros.announce(Stage::Rcpt, values(&[("i", "3")]));
        macros.take(&Command::Abort);
        assert_eq!(get(&macros, "i"), None);
        assert_eq!(get(&macros, "j").as_deref(), Some("mx.example"), "an abort ends the message and not the connection");
        macros.take(&Command::QuitNewConnection);
        assert_eq!(get(&macros, "j"), None);
    }

    #[test]
    fn a_message_ends_with_what_follows_it() {
        let after_a_message = || {
            let mut macros = Macros::default();
            macros.announce(Stage::Mail, values(&[("i", "1")]));
            macros.command(Stage::Mail);
            macros.command(Stage::EndOfMessage);
            assert_eq!(get(&macros, "i").as_deref(), Some("1"), "a log may still want it");
            macros
        };
        let mut macros = after_a_message();
        macros.command(Stage::Unknown);
        assert_eq!(get(&macros, "i"), None);
        let mut macros = after_a_message();
        macros.announce(Stage::Rcpt, values(&[]));
        assert_eq!(get(&macros, "i"), None);
    }

    #[test]
    fn macros_belong_to_one_command() {
        let mut macros = Macros::default();
        macros.announce(Stage::Rcpt, values(&[("{rcpt_addr}", "a")]));
        macros.command(Stage::Rcpt);
        assert_eq!(get(&macros, "rcpt_addr").as_deref(), Some("a"));
        macros.command(Stage::Rcpt);
        assert_eq!(get(&macros, "rcpt_addr"), None, "the second recipient came without");
        // Postfix sends macros for a stage that it then does not report.
        macros.announce(Stage::EndOfHeader, values(&[("i", "1")]));
        macros.command(Stage::Body);
        assert_eq!(get(&macros, "i").as_deref(), Some("1"));
    }

    #[test]
    fn an_unknown_command_takes_nothing_away() {
        let mut macros = Macros::default();
        macros.announce(Stage::Mail, values(&[("i", "1")]));
        macros.command(Stage::Mail);
        macros.announce(Stage::Unknown, values(&[("x", "y")]));
        macros.command(Stage::Unknown);
        assert_eq!(get(&macros, "i").as_deref(), Some("1"));
        macros.announce(Stage::Rcpt, values(&[]));
        assert_eq!(get(&macros, "x"), None);
    }

    #[test]
    fn starttls_forgets_what_was_said_in_the_clear() {
        let mut macros = Macros::default();
        macros.announce(Stage::Helo, values(&[("{tls_version}", "")]));
        macros.command(Stage::Helo);
        macros.announce(Stage::Mail, values(&[("i", "1")]));
        macros.announce(Stage::Helo, values(&[("{tls_version}", "TLSv1.3")]));
        macros.command(Stage::Helo);
        assert_eq!(get(&macros, "tls_version").as_deref(), Some("TLSv1.3"));
        assert_eq!(get(&macros, "i"), None);
    }
}

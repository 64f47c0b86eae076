//! The requirement: a tree over checks.

use super::entries;
use super::json::{self, Kind};
use super::read::{Reader, Value};
use super::{DomainList, Requirement};
use crate::contract::Check;

/// The deepest a requirement goes; a check alone has depth 1.
pub(super) const MAX_DEPTH: usize = 16;
/// The most requirements in the tree.
pub(super) const MAX_NODES: usize = 128;
/// The most requirements in one `any`, `all` or `none`.
pub(super) const MAX_ENTRIES: usize = 32;

/// The checks by name.
pub(super) const CHECKS: &[&str] = &["spf", "dkim", "dmarc", "arc", "fcrdns", "tls"];
const CHECK_OF: [Check; 6] = [Check::Spf, Check::Dkim, Check::Dmarc, Check::Arc, Check::Fcrdns, Check::Tls];

/// The forms of an object.
pub(super) const FORMS: &[&str] = &["any", "all", "none", "domains"];

const EXPECTED: &str = "a check in quotes, or an object with one of any, all, none and domains";

/// The name of a check.
pub(super) fn name(check: Check) -> &'static str {
    CHECK_OF.iter().position(|of| *of == check).map_or("", |at| CHECKS[at])
}

/// Reads a requirement; with it the first place that names ARC.
pub(super) fn read<'a>(reader: &mut Reader<'a>, value: Value<'a>) -> (Option<Requirement>, Option<Value<'a>>) {
    let mut tree = Tree { nodes: 0, arc: None };
    (tree.requirement(reader, value, 1), tree.arc)
}

struct Tree<'a> {
    nodes: usize,
    arc: Option<Value<'a>>,
}

impl<'a> Tree<'a> {
    fn requirement(&mut self, reader: &mut Reader<'a>, value: Value<'a>, depth: usize) -> Option<Requirement> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            // One error says it; what follows is not looked at.
            if self.nodes == MAX_NODES + 1 {
                reader.error(value, "at most 128 checks and lists in the whole requirement", "make the requirement simpler");
            }
            return None;
        }
        if depth > MAX_DEPTH {
            reader.error(value, "a requirement at most 16 deep", "make the requirement simpler");
            return None;
        }
        match json::kind(value.raw) {
            Kind::String => {
                let check = CHECK_OF[reader.word(value, CHECKS)?];
                if check == Check::Arc {
                    self.arc.get_or_insert(value);
                }
                Some(Requirement::Check(check))
            }
            Kind::Object => self.object(reader, value, depth),
            Kind::List => {
                reader.error(
                    value,
                    EXPECTED,
                    "say how the entries count: {\"any\": [...]}, {\"all\": [...]} or {\"none\": [...]}",
                );
                None
            }
            _ => {
                reader.wrong_kind(value, EXPECTED, Kind::String);
                None
            }
        }
    }

    fn object(&mut self, reader: &mut Reader<'a>, value: Value<'a>, depth: usize) -> Option<Requirement> {
        let fields = reader.fields(value, FORMS)?;
        if fields.odd {
            return None;
        }
        let mut present = FORMS.iter().filter_map(|form| Some((*form, fields.get(form)?)));
        let (Some((form, inner)), None) = (present.next(), present.next()) else {
            reader.error(
                value,
                "an object with exactly one of any, all, none and domains",
                "put one requirement inside the other, or join them by all",
            );
            return None;
        };
        if form == "domains" {
            let entries = entries::domains(reader, inner, 1)?;
            return Some(Requirement::Domains(DomainList::new(entries.into_iter().map(|(domain, _)| domain).collect())));
        }
        let items = reader.items(inner, 1, MAX_ENTRIES, "a list of 1 to 32 requirements")?;
        let mut list = Vec::with_capacity(items.len());
        let mut right = true;
        for item in items {
            match self.requirement(reader, item, depth + 1) {
                Some(requirement) => list.push(requirement),
                None => right = false,
            }
        }
        right.then_some(match form {
            "any" => Requirement::Any(list),
            "all" => Requirement::All(list),
            _ => Requirement::None(list),
        })
    }
}

//! Reads fields and values, and collects every error on the way.

use std::borrow::Cow;

use super::json::{self, Kind};
use super::nearest::nearest;
use super::order::sort;
use super::syntax::{Lines, shorten};
use crate::contract::PolicyError;

/// The most errors that one answer lists.
pub(super) const MAX_ERRORS: usize = 100;

/// A value and its place in the document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) raw: &'a str,
    place: u32,
}

/// A step from a value to one inside it.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    /// A field's name, still in quotes.
    Field(&'a str),
    /// An entry of a list.
    Item(u32),
}

/// An object's fields, one slot for each name it may have.
pub(super) struct Fields<'a> {
    names: &'static [&'static str],
    values: Vec<Option<Value<'a>>>,
    /// Whether there were unknown or duplicate ones.
    pub(super) odd: bool,
}

impl<'a> Fields<'a> {
    /// The field of this name, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let at = self.names.iter().position(|known| *known == name);
        debug_assert!(at.is_some(), "{name} is not in the list of names");
        self.values.get(at?).copied().flatten()
    }
}

/// An error as it is kept until all are known; its words are made only for those that are shown.
struct Problem<'a> {
    value: Value<'a>,
    /// What stands there: the value, or the name of the field.
    found: &'a str,
    expected: Cow<'static, str>,
    advice: Cow<'static, str>,
    /// For an unknown word or field: the known ones.
    known: &'static [&'static str],
}

/// Reads one document.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// Where values stand: the value around, and the step from it. The first is the document's own.
    places: Vec<(u32, Step<'a>)>,
    problems: Vec<Problem<'a>>,
    /// Errors that were dropped because others stand before them.
    dropped: usize,
}

impl<'a> Reader<'a> {
    /// A reader and the value that the document is.
    pub(super) fn new(text: &'a str, whole: &'a str) -> (Self, Value<'a>) {
        let reader = Reader { text, places: vec![(0, Step::Item(0))], problems: Vec::new(), dropped: 0 };
        (reader, Value { raw: whole, place: 0 })
    }

    fn inside(&mut self, value: Value<'a>, step: Step<'a>, raw: &'a str) -> Value<'a> {
        self.places.push((value.place, step));
        // The text has at most 2^20 octets, and no value is entered twice.
        Value { raw, place: (self.places.len() - 1) as u32 }
    }

    /// The offset of a value, in octets.
    pub(super) fn offset(&self, value: Value<'a>) -> usize {
        json::offset(self.text, value.raw)
    }

    /// Of two values, the one that stands later.
    pub(super) fn later(&self, one: Value<'a>, other: Value<'a>) -> Value<'a> {
        if self.offset(one) > self.offset(other) { one } else { other }
    }

    /// Notes an error about a value.
    pub(super) fn error(
        &mut self,
        value: Value<'a>,
        expected: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) {
        self.note(Problem { value, found: value.raw, expected: expected.into(), advice: advice.into(), known: &[] });
    }

    fn note(&mut self, problem: Problem<'a>) {
        self.problems.push(problem);
        // Bounded, however many errors there are: now and then only the first are kept.
        if self.problems.len() >= 8 * MAX_ERRORS {
            self.keep_first();
        }
    }

    fn keep_first(&mut self) {
        let text = self.text;
        let offset = |problem: &Problem<'a>| json::offset(text, problem.found);
        sort(&mut self.problems, |one, other| offset(one).cmp(&offset(other)));
        self.dropped += self.problems.len().saturating_sub(MAX_ERRORS);
        self.problems.truncate(MAX_ERRORS);
    }

    /// Whether all was right so far.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// The errors, in the order they stand; the last says how many more there are, should there be too many.
    pub(super) fn into_errors(mut self) -> Vec<PolicyError> {
        self.keep_first();
        let mut lines = Lines::of(self.text);
        let mut errors: Vec<PolicyError> = self.problems.iter().map(|problem| self.words(problem, &mut lines)).collect();
        if self.dropped > 0
            && let Some(last) = errors.last_mut()
        {
            last.pointer = String::new();
            last.found = format!("{} more errors from here on", self.dropped + 1);
            last.expected = "none".into();
            last.advice = "correct the errors before, then try again".into();
        }
        errors
    }

    fn words(&self, problem: &Problem<'a>, lines: &mut Lines<'a>) -> PolicyError {
        let offset = json::offset(self.text, problem.found);
        let (line, column) = lines.position(offset);
        let mut expected = problem.expected.to_string();
        let mut advice = problem.advice.to_string();
        if !problem.known.is_empty() {
            expected = format!("{expected} {}", problem.known.join(", "));
            if let Some(name) = nearest(&json::string(problem.found), problem.known) {
                advice = format!("did you mean \"{name}\"?");
            }
        }
        let pointer = self.pointer(problem.value);
        PolicyError { pointer, line, column, offset: offset as u32, found: shorten(problem.found), expected, advice }
    }

    /// The JSON pointer of a value (RFC 6901).
    fn pointer(&self, value: Value<'a>) -> String {
        let mut steps = Vec::new();
        let mut place = value.place;
        while place != 0
            && let Some(&(around, step)) = self.places.get(place as usize)
        {
            steps.push(step);
            place = around;
        }
        let mut pointer = String::new();
        for step in steps.into_iter().rev() {
            pointer.push('/');
            match step {
                Step::Field(name) => pointer.push_str(&json::string(name).replace('~', "~0").replace('/', "~1")),
                Step::Item(at) => pointer.push_str(&at.to_string()),
            }
        }
        pointer
    }

    /// The fields of an object; unknown and duplicate ones are errors.
    pub(super) fn fields(&mut self, value: Value<'a>, names: &'static [&'static str]) -> Option<Fields<'a>> {
        if json::kind(value.raw) != Kind::Object {
            self.wrong_kind(value, "an object", Kind::Object);
            return None;
        }
        let mut fields = Fields { names, values: vec![None; names.len()], odd: false };
        let mut count = 0;
        json::members(value.raw, &mut |name, raw| {
            count += 1;
            let plain = json::string(name);
            let inner = self.inside(value, Step::Field(name), raw);
            match names.iter().position(|known| *known == plain) {
                Some(at) if fields.values[at].is_none() => fields.values[at] = Some(inner),
                Some(_) => self.note(Problem {
                    value: inner,
                    found: name,
                    expected: "each field once".into(),
                    advice: "this field is there already: remove one of the two".into(),
                    known: &[],
                }),
                None => self.note(Problem {
                    value: inner,
                    found: name,
                    expected: "one of the fields".into(),
                    advice: "there is no such field here: remove it".into(),
                    known: names,
                }),
            }
        });
        fields.odd = count > fields.values.iter().flatten().count();
        Some(fields)
    }

    /// The entries of a list of `min` to `max` entries.
    pub(super) fn items(&mut self, value: Value<'a>, min: usize, max: usize, expected: &'static str) -> Option<Vec<Value<'a>>> {
        if json::kind(value.raw) != Kind::List {
            self.wrong_kind(value, expected, Kind::List);
            return None;
        }
        let mut items = Vec::new();
        let count = json::items(value.raw, max, &mut |raw| {
            let inner = self.inside(value, Step::Item(items.len() as u32), raw);
            items.push(inner);
        });
        if count < min {
            self.error(value, expected, "write at least one entry, or leave the field out");
            return None;
        }
        if count > max {
            self.error(value, expected, format!("there are {count} entries: remove some"));
            return None;
        }
        Some(items)
    }

    /// A string.
    pub(super) fn string(&mut self, value: Value<'a>, expected: &'static str) -> Option<Cow<'a, str>> {
        if json::kind(value.raw) != Kind::String {
            self.wrong_kind(value, expected, Kind::String);
            return None;
        }
        Some(json::string(value.raw))
    }

    /// One of these words; its index.
    pub(super) fn word(&mut self, value: Value<'a>, words: &'static [&'static str]) -> Option<usize> {
        let found = (json::kind(value.raw) == Kind::String).then(|| json::string(value.raw));
        let at = found.and_then(|found| words.iter().position(|word| *word == found));
        if at.is_none() {
            let advice = "write one of these words, in double quotes".into();
            self.note(Problem { value, found: value.raw, expected: "one of the words".into(), advice, known: words });
        }
        at
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, value: Value<'a>) -> Option<bool> {
        if json::kind(value.raw) != Kind::Boolean {
            self.wrong_kind(value, "true or false", Kind::Boolean);
            return None;
        }
        Some(value.raw == "true")
    }

    /// A whole number from `min` to `max`, in plain digits.
    pub(super) fn number(&mut self, value: Value<'a>, min: u32, max: u32) -> Option<u32> {
        let digits = value.raw.bytes().all(|b| b.is_ascii_digit());
        let number = value.raw.parse().ok().filter(|number| digits && (min..=max).contains(number));
        if number.is_none() {
            let expected = format!("a whole number from {min} to {max}");
            match json::kind(value.raw) {
                Kind::Number if digits => {
                    let low = value.raw.parse().is_ok_and(|number: u32| number < min);
                    self.error(value, expected, if low { format!("the least is {min}") } else { format!("the most is {max}") });
                }
                Kind::Number => self.error(value, expected, "write plain digits, without sign, decimal point or exponent"),
                _ => self.wrong_kind(value, expected, Kind::Number),
            }
        }
        number
    }

    /// A duration such as "15m", in seconds; `min` and `max` likewise, `range` says them in words.
    pub(super) fn duration(&mut self, value: Value<'a>, min: u32, max: u32, range: &'static str) -> Option<u32> {
        const FORM: &str = "write digits and one of the units s, m, h and d, in double quotes: \"15m\", \"6h\" or \"1d\"";
        if json::kind(value.raw) == Kind::Number {
            self.error(value, range, FORM);
            return None;
        }
        let text = self.string(value, range)?;
        match seconds(&text) {
            Some(seconds) if (min..=max).contains(&seconds) => return Some(seconds),
            Some(seconds) if seconds < min => self.error(value, range, "this is too short"),
            Some(_) => self.error(value, range, "this is too long"),
            None => self.error(value, range, FORM),
        }
        None
    }

    /// Notes that a value is of another kind than it should be.
    pub(super) fn wrong_kind(&mut self, value: Value<'a>, expected: impl Into<Cow<'static, str>>, wanted: Kind) {
        let advice = match (json::kind(value.raw), wanted) {
            (Kind::Null, _) => "leave the field out for its default",
            (Kind::String, Kind::Number | Kind::Boolean) => "write it without quotes",
            (Kind::Object | Kind::List, Kind::String) => "write one string, in double quotes",
            (_, Kind::String) => "write it in double quotes",
            (_, Kind::List) => "write a list, in [ and ]",
            (_, Kind::Object) => "write an object, in { and }",
            (_, Kind::Boolean) => "write true or false",
            _ => "write a number",
        };
        self.error(value, expected, advice);
    }
}

/// "15m" in seconds: digits without a leading zero and a unit. A time too long for 32 bits counts as the longest.
fn seconds(text: &str) -> Option<u32> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().map_or(u32::MAX, |number: u32| number.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [("1s", 1), ("15m", 900), ("6h", 21_600), ("30d", 2_592_000), ("0s", 0)] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        assert_eq!(seconds("99999999999d"), Some(u32::MAX));
        assert_eq!(seconds("4294967295h"), Some(u32::MAX));
        for text in ["", "s", "15", "01m", "00s", "+1s", "-1s", "1 s", "1.5h", "1w", "1M", "١s", "1ś"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}

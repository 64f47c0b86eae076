//! What the component says of the policy: its JSON Schema, for editors and validators, and the defaults.

const SOURCE: &str = include_str!("schema.json");

/// The policy that `{}` stands for, with all its settings. A text and not [`super::print`] of the default, which would be as much code as
/// the rules themselves.
pub const fn defaults() -> &'static str {
    const SOURCE: &str = include_str!("defaults.json");
    const OCTETS: [u8; compact_length(SOURCE.as_bytes())] = compact(SOURCE.as_bytes());
    const TEXT: &str = text(&OCTETS);
    TEXT
}

/// The JSON Schema (draft 2020-12) of the policy, without the space between its tokens. It accepts what `parse` accepts, but for a few
/// rules that a schema cannot say: settings that contradict each other, ranges of durations, bits after a network's prefix, sizes of
/// the whole.
pub const fn schema() -> &'static str {
    const OCTETS: [u8; compact_length(SOURCE.as_bytes())] = compact(SOURCE.as_bytes());
    const TEXT: &str = text(&OCTETS);
    TEXT
}

const fn text(octets: &[u8]) -> &str {
    match std::str::from_utf8(octets) {
        Ok(text) => text,
        Err(_) => panic!("only space between tokens was left out"),
    }
}

/// Leaves out the space outside strings: what only people need is not shipped.
const fn compact<const N: usize>(source: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let (mut from, mut to, mut in_string) = (0, 0, false);
    while from < source.len() {
        if is_kept(source, from, in_string) {
            out[to] = source[from];
            to += 1;
        }
        in_string = in_string != is_quote(source, from);
        from += 1;
    }
    out
}

const fn compact_length(source: &[u8]) -> usize {
    let (mut from, mut length, mut in_string) = (0, 0, false);
    while from < source.len() {
        length += is_kept(source, from, in_string) as usize;
        in_string = in_string != is_quote(source, from);
        from += 1;
    }
    length
}

const fn is_kept(source: &[u8], at: usize, in_string: bool) -> bool {
    in_string || !source[at].is_ascii_whitespace()
}

/// Whether this octet begins or ends a string: a quote after an even number of backslashes.
const fn is_quote(source: &[u8], at: usize) -> bool {
    let mut backslashes = 0;
    while backslashes < at && source[at - 1 - backslashes] == b'\\' {
        backslashes += 1;
    }
    source[at] == b'"' && backslashes % 2 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_an_empty_policy() {
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(parsed(defaults()), parsed(&crate::policy::print(&crate::policy::Policy::default())));
    }

    #[test]
    fn nothing_but_space_is_left_out() {
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("the schema is JSON");
        assert_eq!(parsed(schema()), parsed(SOURCE));
        assert_eq!(schema().len(), parsed(SOURCE).to_string().len());
        assert!(!schema().contains('\n'));
    }

    #[test]
    fn a_quote_after_a_backslash_ends_no_string() {
        const SPACED: &[u8] = br#"{ "a b\" c" : "\\" , "\\\" d" : [ 1 ] }"#;
        let without: [u8; compact_length(SPACED)] = compact(SPACED);
        assert_eq!(text(&without), r#"{"a b\" c":"\\","\\\" d":[1]}"#);
    }
}

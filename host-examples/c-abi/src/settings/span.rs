//! Where a member of a JSON object stands in its text.

/// The text of the value of this name, in a text that was read as a JSON object before, and whose names have no escapes in them that matter
/// here: a name that is written with escapes is not found.
pub(super) fn of_member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let (mut depth, mut key, mut start) = (0_usize, None, None);
    let mut rest = object.char_indices();
    while let Some((at, char)) = rest.next() {
        match char {
            '"' => {
                let end = string_end(&mut rest)?;
                if depth == 1 && start.is_none() {
                    key = object.get(at + 1..end);
                }
            }
            ':' if depth == 1 => start = Some(at + 1),
            '{' | '[' => depth += 1,
            ',' | '}' if depth == 1 => {
                if key == Some(name)
                    && let Some(start) = start
                {
                    return object.get(start..at).map(str::trim);
                }
                (key, start) = (None, None);
                if char == '}' {
                    return None;
                }
            }
            '}' | ']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Where the quotation mark is that ends the string.
fn string_end(rest: &mut std::str::CharIndices<'_>) -> Option<usize> {
    while let Some((at, char)) = rest.next() {
        match char {
            '"' => return Some(at),
            '\\' => {
                rest.next();
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::of_member;

    #[test]
    fn a_member_is_found_as_it_was_written() {
        let of = |text| of_member(text, "policy");
        assert_eq!(of(r#"{"policy": {"a": 1, "a": [2, "}"]} , "x": 1}"#), Some(r#"{"a": 1, "a": [2, "}"]}"#));
        assert_eq!(of("{\"x\": \"policy\", \"y\": {\"policy\": 1}, \"policy\" :\n {}}"), Some("{}"));
        assert_eq!(of(r#"{"\"policy": 1, "é": "\\", "policy": "\"}"}"#), Some(r#""\"}""#));
        assert_eq!(of(r#"{"polic": {}, "policy ": {"policy": {}}}"#), None);
        assert_eq!(of("{}"), None);
        assert_eq!(of(r#"{"p\u006flicy": {}}"#), None, "see `Settings::read`");
        for broken in ["", "{", "}", "]", r#"{"policy"#, r#"{"policy": {"#, r#"["policy"]"#] {
            assert_eq!(of(broken), None, "{broken}");
        }
    }
}

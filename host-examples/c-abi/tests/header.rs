//! The header is the contract: it declares what the library exports, and the numbers of its codes.

use std::collections::BTreeSet;

const HEADER: &str = include_str!("../include/smtp_fallback.h");
const SOURCE: &str = include_str!("../src/lib.rs");
const CODES: &str = include_str!("../src/answer.rs");

/// The words that begin so and stand before a parenthesis.
fn functions(text: &str, before: &str, after: char) -> BTreeSet<String> {
    let words = text.split(before).skip(1);
    let name = |rest: &str| {
        let end = rest.find(|char: char| !(char.is_ascii_lowercase() || char == '_'))?;
        rest[end..].starts_with(after).then(|| format!("smtp_fallback_{}", &rest[..end]))
    };
    words.filter_map(name).collect()
}

#[test]
fn each_function_is_declared() {
    let declarations: String = HEADER.lines().filter(|line| line.starts_with(|char: char| char.is_ascii_lowercase())).collect();
    let declared = functions(&declarations, "smtp_fallback_", '(');
    let mut exported = functions(SOURCE, "extern \"C\" fn smtp_fallback_", '(');
    exported.extend(functions(SOURCE, "    smtp_fallback_", ' '));
    assert!(exported.remove("smtp_fallback_test_panic"), "for tests alone");
    assert_eq!(declared, exported);
    assert_eq!(declared.len(), 14);
}

#[test]
fn each_code_has_its_number() {
    for (name, number) in [("Argument", 1), ("Policy", 2), ("Component", 3), ("Store", 4), ("Forked", 5), ("Panic", 6)] {
        assert!(CODES.contains(&format!("    {name} = {number},\n")), "{name}");
        let line = format!("    SMTP_FALLBACK_{} = {number}", name.to_uppercase());
        assert!(HEADER.contains(&format!("{line},\n")) || HEADER.contains(&format!("{line}\n")), "{name}");
    }
}

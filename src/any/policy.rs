//! Any text as a policy.

use crate::address::Address;
use crate::contract::{Connection, PolicyError, Stage};
use crate::module::Module;
use crate::policy::{parse, print};

/// Reads the octets as a policy:
///
/// - what is read and printed is read again as the same, with the same warnings, and printed again as the same text;
/// - what is read is JSON for another reader, too; what is no JSON for that one (`is_json`) is a syntax error here;
/// - errors come in the order of their places, which are inside the text, with what stands there;
/// - [`Module::configure`] says the same, and after an error keeps the policy that it has.
pub fn check_policy(octets: &[u8], is_json: impl Fn(&str) -> bool) {
    let text = String::from_utf8_lossy(octets);
    let mut module = Module::new();
    module.configure(r#"{"mode": "observe"}"#, b"0123456789abcdef").expect("a policy");
    match module.configure(&text, b"0123456789abcdef") {
        Ok(summary) => {
            let (policy, warnings) = parse(&text).expect("it is a policy");
            assert!(is_json(&text), "another reader takes this for no JSON: {text}");
            let printed = print(&policy);
            let (again, warned) = parse(&printed).unwrap_or_else(|errors| panic!("{printed}: {}", errors[0]));
            assert_eq!(again, policy, "{printed}");
            assert_eq!(print(&again), printed);
            assert!(warned.iter().map(|w| &w.message).eq(warnings.iter().map(|w| &w.message)), "{warned:?}, {warnings:?}");
            assert!(warnings.iter().all(|warning| warning.pointer.is_empty() || warning.pointer.starts_with('/')));
            assert_eq!((summary.mode, summary.warnings), (policy.mode, warnings));
        }
        Err(errors) => {
            // Most inputs are no policy, and are read a second time for one thing only.
            if octets.len().is_multiple_of(8) {
                assert_eq!(parse(&text), Err(errors.clone()));
            }
            check_errors(&text, &errors);
            if !is_json(&text) {
                assert!(errors.len() == 1 && errors[0].pointer.is_empty(), "no JSON, and not said so: {errors:?}");
            }
            let connection = Connection::new(Stage::EndOfData, Address::from_words([0x2001_0db8, 0, 0, 1]));
            let decision = module.decide(&connection, None, None, None);
            assert!(decision.would.is_some(), "the policy before is not in force: {decision:?}");
        }
    }
}

fn check_errors(text: &str, errors: &[PolicyError]) {
    assert!((1..=100).contains(&errors.len()), "{} errors", errors.len());
    assert!(errors.is_sorted_by_key(|error| error.offset), "{errors:?}");
    for error in errors {
        let before = text.get(..error.offset as usize).unwrap_or_else(|| panic!("{error:?} is not at a character"));
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = 1 + before.matches('\n').count();
        let column = 1 + before[line_start..].chars().count();
        assert_eq!((error.line as usize, error.column as usize), (line, column), "{error}");
        assert!(error.found.chars().count() <= 40 && !error.found.contains(char::is_control), "{error}");
        assert!(!error.expected.is_empty() && !error.advice.is_empty(), "{error}");
        assert!(error.pointer.is_empty() || error.pointer.starts_with('/'), "{error}");
    }
}

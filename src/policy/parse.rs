//! From JSON text to the policy.

use super::Policy;
use super::read::Reader;
use super::{json, sections, warnings};
use crate::contract::{PolicyError, PolicyWarning};

/// Reads a policy from JSON text and checks it; gives what is unusual about it too (P16).
///
/// # Errors
/// All errors of the text at once, in the order they stand, 100 at most, of which the last says how many more there are. Errors of
/// syntax, size (1 MiB) and nesting (64) stand alone.
pub fn parse(text: &str) -> Result<(Policy, Vec<PolicyWarning>), Vec<PolicyError>> {
    let whole = json::document(text).map_err(|flaw| vec![flaw.into_error(text)])?;
    let (mut reader, value) = Reader::new(text, whole);
    let policy = sections::policy(&mut reader, value);
    if !reader.is_clean() {
        return Err(reader.into_errors());
    }
    let warnings = warnings::warnings(&policy);
    Ok((policy, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Check;
    use crate::policy::{Requirement, checks, print};

    /// The errors as "pointer line:column found", and their advice.
    fn errors(text: &str) -> Vec<(String, String)> {
        let errors = parse(text).expect_err(text);
        errors
            .into_iter()
            .map(|e| (format!("{} {}:{} {}", e.pointer, e.line, e.column, e.found), format!("{}; {}", e.expected, e.advice)))
            .collect()
    }

    /// The one error of a policy.
    fn error(text: &str) -> (String, String) {
        let mut errors = errors(text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        errors.remove(0)
    }

    fn policy(text: &str) -> Policy {
        parse(text).unwrap_or_else(|errors| panic!("{text}: {}", errors[0])).0
    }

    /// The pointers of the warnings; P14's is left out, unless it is the only one.
    fn warned(text: &str) -> Vec<String> {
        let (_, warnings) = parse(text).expect(text);
        assert!(warnings.iter().all(|warning| warning.message.len() > 40), "a warning says what it may cost");
        warnings.into_iter().map(|warning| warning.pointer).collect()
    }

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(policy("{}"), Policy::default());
        assert_eq!(policy(" {\r\n} \n"), Policy::default());
        assert_eq!(policy(&print(&Policy::default())), Policy::default());
        assert_eq!(policy("{\"network\":{},\"exempt\":{},\"penalty\":{},\"codes\":{},\"texts\":{}}"), Policy::default());
    }

    #[test]
    fn all_errors_come_at_once_in_their_order() {
        let text = r#"{
  "mode": "enforcing", "rollout_percent": 101,
  "penatly": {"first": 1},
  "penalty": {"first": "15", "first": "1m", "a/b~c": 1, "jitter_percent": "5"},
  "exempt": {"domains": ["ok.example", "bücher.example", 1]}
}"#;
        let found: Vec<String> = errors(text).into_iter().map(|(place, _)| place).collect();
        assert_eq!(
            found,
            [
                "/mode 2:11 \"enforcing\"",
                "/rollout_percent 2:43 101",
                "/penatly 3:3 \"penatly\"",
                "/penalty/first 4:24 \"15\"",
                "/penalty/first 4:30 \"first\"",
                "/penalty/a~1b~0c 4:45 \"a/b~c\"",
                "/penalty/jitter_percent 4:75 \"5\"",
                "/exempt/domains/1 5:40 \"bücher.example\"",
                "/exempt/domains/2 5:58 1",
            ]
        );
    }

    #[test]
    fn advice_names_what_is_near() {
        let advises = |text: &str, advice: &str| {
            let (place, words) = error(text);
            assert!(words.contains(advice), "{text}: {place}: {words}");
        };
        advises(r#"{"penatly": {}}"#, "did you mean \"penalty\"?");
        advises(r#"{"pen\u0061tly": {}}"#, "did you mean \"penalty\"?");
        advises(r#"{"mode": "observed"}"#, "did you mean \"observe\"?");
        advises(r#"{"require": "spf1"}"#, "did you mean \"spf\"?");
        advises(r#"{"require": ["spf"]}"#, "{\"any\": [...]}");
        advises(r#"{"require": {}}"#, "exactly one");
        advises(r#"{"greylisting": 1}"#, "there is no such field here");
        advises(r#"{"url": null}"#, "leave the field out");
        advises(r#"{"rollout_percent": "5"}"#, "without quotes");
        advises(r#"{"rollout_percent": 5.0}"#, "plain digits");
        advises(r#"{"network": {"prefix": 15}}"#, "from 16 to 128; the least is 16");
        advises(r#"{"network": {"prefix": 129}}"#, "the most is 128");
        advises(r#"{"network": {"prefix": 99999999999}}"#, "the most is 128");
        advises(r#"{"exempt": {"domains": ["*.example.org"]}}"#, "write .example.org");
        advises(r#"{"exempt": {"networks": ["2001:db8::1/32"]}}"#, "did you mean \"2001:db8::/32\"?");
        advises(r#"{"exempt": {"networks": ["192.0.2.0/24"]}}"#, "never refuses IPv4");
        advises(r#"{"enhanced_codes": {"penalty": "5.7.1"}}"#, "class has to be 4");
        advises(r#"{"texts": {"penalty": ["{clent}"]}}"#, "did you mean {client}?");
        advises(r#"{"texts": {"penalty": ["see {url}"]}}"#, "set url");
        advises(r#"{"texts": {"penalty": []}}"#, "at least one entry");
        advises(r#"{"network": {"overrides": [{"prefix": 64}]}}"#, "both network and prefix");
        // A wrong URL is one error, and not another one for each text that names it.
        advises(r#"{"url": "example.org", "texts": {"penalty": ["see {url}"]}}"#, "write it in full");
    }

    #[test]
    fn settings_do_not_contradict_each_other() {
        let at = |text: &str| error(text).0;
        assert_eq!(at(r#"{"penalty": {"first": "2h", "maximum": "1h"}}"#), "/penalty/maximum 1:40 \"1h\"");
        assert_eq!(at(r#"{"penalty": {"maximum": "1h", "first": "61m"}}"#), "/penalty/first 1:40 \"61m\"");
        assert_eq!(at(r#"{"penalty": {"maximum": "14m"}}"#), "/penalty/maximum 1:25 \"14m\"");
        assert_eq!(at(r#"{"penalty": {"first": "7h"}}"#), "/penalty/first 1:23 \"7h\"");
        policy(r#"{"penalty": {"first": "6h"}}"#);
        policy(r#"{"penalty": {"maximum": "15m"}}"#);
        // A first of 8d is no first, and the default in its place contradicts nothing.
        assert_eq!(at(r#"{"penalty": {"first": "8d", "maximum": "5m"}}"#), "/penalty/first 1:23 \"8d\"");

        assert_eq!(at(r#"{"require": {"none": ["spf", "arc"]}}"#), "/require/none/1 1:30 \"arc\"");
        assert_eq!(at(r#"{"trusted_sealers": [], "require": "arc"}"#), "/require 1:36 \"arc\"");
        assert_eq!(at(r#"{"require": "arc", "trusted_sealers": []}"#), "/trusted_sealers 1:39 []");
        assert_eq!(at(r#"{"require": "arc", "trusted_sealers": ["-"]}"#), "/trusted_sealers/0 1:40 \"-\"");
        policy(r#"{"require": "arc", "trusted_sealers": ["a.example"]}"#);

        let both = r#"{"exempt": {"domains": ["b.example", "A.example"]}, "reputation": {"distrust": ["a.example."]}}"#;
        assert_eq!(at(both), "/reputation/distrust/0 1:81 \"a.example.\"");
        let other_way = r#"{"reputation": {"distrust": ["a.example"]}, "exempt": {"domains": ["a.example"]}}"#;
        assert_eq!(at(other_way), "/exempt/domains/0 1:68 \"a.example\"");
        policy(r#"{"reputation": {"distrust": ["a.example"]}, "exempt": {"domains": [".a.example"]}}"#);
    }

    #[test]
    fn durations_have_a_shortest_and_a_longest() {
        const HOUR: u32 = 3600;
        // With a first penalty of one second or a maximum of seven days beside it, so that the two never contradict each other.
        let fields = [
            ("penalty", "", "half_life", HOUR, 720 * HOUR),
            ("penalty", r#""maximum": "7d", "#, "first", 1, 168 * HOUR),
            ("penalty", r#""first": "1s", "#, "maximum", 1, 168 * HOUR),
            ("no_fallback", "", "over", 1, 120 * HOUR),
            ("no_fallback", "", "let_in_for", 60, 720 * HOUR),
        ];
        for (section, beside, field, shortest, longest) in fields {
            let with = |seconds: u32| format!(r#"{{"{section}": {{{beside}"{field}": "{seconds}s"}}}}"#);
            policy(&with(shortest));
            policy(&with(longest));
            let short = error(&with(shortest - 1));
            assert!(short.0.starts_with(&format!("/{section}/{field} ")) && short.1.contains("too short"), "{short:?}");
            let long = error(&with(longest + 1));
            assert!(long.0.starts_with(&format!("/{section}/{field} ")) && long.1.contains("too long"), "{long:?}");
        }
    }

    #[test]
    fn overrides_are_sorted_and_hold_their_network() {
        let overrides = |text: &str| format!(r#"{{"network": {{"overrides": [{text}]}}}}"#);
        let policy = policy(&overrides(
            r#"{"network": "2001:db8::/32", "prefix": 96}, {"network": "2001:db8:1::/48", "prefix": 48}, {"prefix": 56, "network": "2001::/16"}"#,
        ));
        let lengths: Vec<(u8, u8)> =
            policy.network.overrides.iter().map(|(network, prefix)| (network.length(), *prefix)).collect();
        assert_eq!(lengths, [(48, 48), (32, 96), (16, 56)]);
        assert_eq!(error(&overrides(r#"{"network": "2001:db8::/32", "prefix": 31}"#)).0, "/network/overrides/0/prefix 1:67 31");
        let twice = overrides(r#"{"network": "2001:db8::/32", "prefix": 32}, {"network": "2001:DB8::0/32", "prefix": 64}"#);
        assert_eq!(error(&twice).0, "/network/overrides/1/network 1:84 \"2001:DB8::0/32\"");
    }

    #[test]
    fn no_more_than_100_errors() {
        let many = |count: usize| format!("{{\"exempt\":{{\"names\":[{}1]}},\"mode\":1}}", "1,".repeat(count - 2));
        let hundred = errors(&many(100));
        assert_eq!((hundred.len(), hundred[99].0.starts_with("/mode ")), (100, true));
        let more = errors(&many(101));
        assert_eq!((more.len(), more[98].0.as_str()), (100, "/exempt/names/98 1:217 1"));
        assert_eq!(more[99].0, " 1:219 2 more errors from here on");
        let fields: String = (0..100_000).map(|n| format!("\"{n}\":0,")).collect();
        let fields = errors(&format!("{{{fields}\"mode\":0}}"));
        assert_eq!((fields.len(), fields[0].0.as_str()), (100, "/0 1:2 \"0\""));
        assert_eq!(fields[99].0, " 1:685 99902 more errors from here on");
    }

    #[test]
    fn confidence_is_compared_as_text() {
        for (text, ok) in [
            ("0.9", true),
            ("0.90", true),
            ("0.9900", true),
            ("0.999", true),
            ("0.98999999999999999999", false),
            ("9e-1", false),
            ("0", false),
            ("90", false),
        ] {
            assert_eq!(parse(&format!("{{\"penalty\":{{\"confidence\":{text}}}}}")).is_ok(), ok, "{text}");
        }
    }

    #[test]
    fn checks_are_those_that_can_change_a_decision() {
        let checks = |text: &str| checks(&policy(text));
        assert_eq!(checks("{}"), [Check::Spf, Check::Dkim]);
        assert_eq!(checks(r#"{"require": {"all": ["tls", {"none": ["dmarc", "tls"]}]}}"#), [Check::Dmarc, Check::Tls]);
        let of_domains = [Check::Spf, Check::Dkim, Check::Dmarc];
        assert_eq!(checks(r#"{"require": {"domains": ["a.example"]}}"#), of_domains);
        assert_eq!(checks(r#"{"require": "spf", "exempt": {"domains": ["a.example"]}}"#), of_domains);
        // Distrust takes passes away, and needs none.
        assert_eq!(checks(r#"{"require": "tls", "reputation": {"distrust": ["a.example"]}}"#), [Check::Tls]);
        assert_eq!(checks(r#"{"require": "tls", "exempt": {"names": ["a.example"]}}"#), [Check::Fcrdns, Check::Tls]);
    }

    /// P16: each warning with the setting that causes it, and the nearest one that does not.
    #[test]
    fn stricter_policies_get_warnings() {
        assert_eq!(warned("{}"), ["/url"]);
        assert_eq!(warned(r#"{"url": "https://a.example/"}"#), [""; 0]);
        assert_eq!(warned(r#"{"mode": "observe"}"#), [""; 0]);
        let cases = [
            (r#""rollout_percent": 0"#, "/rollout_percent", r#""rollout_percent": 1"#),
            (r#""require": "spf""#, "/require", r#""require": {"any": ["tls", {"any": ["dkim"]}, "spf"]}"#),
            (r#""require": {"all": ["spf", "dkim"]}"#, "/require", r#""require": {"all": [{"any": ["spf", "dkim"]}]}"#),
            (
                r#""require": {"all": [{"any": ["spf", "dkim"]}, {"none": [{"domains": ["a.example"]}]}]}"#,
                "/require",
                r#""require": {"any": [{"all": ["dmarc", "tls"]}, "dkim", "spf"]}"#,
            ),
            (
                r#""trusted_sealers": ["a.example"]"#,
                "/trusted_sealers",
                r#""trusted_sealers": ["a.example"], "require": {"any": ["spf", "dkim", "arc"]}"#,
            ),
            (r#""decide_at": "earliest""#, "/decide_at", r#""decide_at": "end-of-data""#),
            (
                r#""no_fallback": {"action": "alert"}"#,
                "/no_fallback/action",
                r#""mode": "observe", "no_fallback": {"action": "alert"}"#,
            ),
            (r#""penalty": {"probe_one_in": 0}"#, "/penalty/probe_one_in", r#""penalty": {"probe_one_in": 1}"#),
            (r#""network": {"prefix": 47}"#, "/network/prefix", r#""network": {"prefix": 48}"#),
            (
                r#""network": {"overrides": [{"network": "2001:db8::/32", "prefix": 47}]}"#,
                "/network/overrides",
                r#""network": {"overrides": [{"network": "2001:db8::/32", "prefix": 48}]}"#,
            ),
            (r#""exempt": {"networks": ["::1", "2000::/15"]}"#, "/exempt/networks/1", r#""exempt": {"networks": ["2001::/16"]}"#),
            (
                r#""exempt": {"recipients_match": "any"}"#,
                "/exempt/recipients_match",
                r#""exempt": {"recipients_match": "any", "recipients": []}"#,
            ),
            (r#""penalty": {"first": "3601s"}"#, "/penalty/first", r#""penalty": {"first": "3601s", "at_greeting": false}"#),
            (r#""penalty": {"maximum": "25h"}"#, "/penalty/maximum", r#""penalty": {"first": "1h", "maximum": "24h"}"#),
            (
                r#""temporary_errors": {"per_network": 0}"#,
                "/temporary_errors/per_network",
                r#""temporary_errors": {"per_network": 1}"#,
            ),
            (r#""temporary_errors": {"per_48": 0}"#, "/temporary_errors/per_48", r#""temporary_errors": {"per_48": 10}"#),
            (
                r#""temporary_errors": {"per_48": 9}"#,
                "/temporary_errors/per_network",
                r#""temporary_errors": {"per_network": 20}"#,
            ),
            (r#""codes": {"later": 451}"#, "/codes/later", r#""codes": {"greeting": 421, "later": 421}"#),
        ];
        for (strict, pointer, usual) in cases {
            let with_url = |setting: &str| format!(r#"{{"url": "https://a.example/", {setting}}}"#);
            assert_eq!(warned(&with_url(strict)), [pointer], "{strict}");
            assert_eq!(warned(&with_url(usual)), [""; 0], "{usual}");
        }
    }

    #[test]
    fn requirements_are_bounded() {
        let nested = |depth: usize| (1..depth).fold("\"spf\"".to_string(), |inner, _| format!("{{\"none\":[{inner}]}}"));
        let require = |text: &str| format!("{{\"require\":{text}}}");
        assert!(matches!(policy(&require(&nested(16))).require, Requirement::None(_)));
        assert!(error(&require(&nested(17))).1.contains("at most 16 deep"));
        let list = |count: usize| format!("{{\"any\":[{}\"spf\"]}}", "\"spf\",".repeat(count - 1));
        // The root, three lists of 31 with their own node, and the rest.
        let wide = |rest: usize| require(&format!("{{\"all\":[{l},{l},{l},{}]}}", list(rest), l = list(31)));
        assert!(matches!(policy(&wide(30)).require, Requirement::All(lists) if lists.len() == 4));
        assert!(error(&wide(31)).1.contains("at most 128"));
        assert!(error(&require(&list(33))).1.contains("33 entries"));
    }

    /// Texts that went wrong anywhere: no panic, and every place is inside the text and the same by offset as by line and column.
    #[test]
    fn whatever_the_text_its_errors_have_a_place() {
        let good = print(&policy(r#"{"url": "https://a.example/", "exempt": {"names": ["a.example", "\u0062.example"]}}"#));
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            "\"",
            "\\",
            ",",
            ":",
            "\n",
            "\\ud800",
            "ü",
            "\u{202e}",
            "0",
            "-",
            "null",
            "\"mode\": 1,",
            "\t",
            " ",
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for _ in 0..5000 {
            let mut text = good.clone();
            for _ in 0..=random(3) {
                // A place inside a character is moved to its end.
                let mut at = random(text.len().max(1));
                while !text.is_char_boundary(at) {
                    at += 1;
                }
                match random(4) {
                    0 => text.truncate(at),
                    1 if at < text.len() => drop(text.remove(at)),
                    _ => text.insert_str(at, pieces[random(pieces.len())]),
                }
            }
            let Err(errors) = parse(&text) else { continue };
            assert!(!errors.is_empty() && errors.is_sorted_by_key(|error| error.offset), "{text}");
            for error in errors {
                let before = &text[..error.offset as usize];
                let line_start = before.rfind('\n').map_or(0, |at| at + 1);
                let place = (1 + before.matches('\n').count() as u32, 1 + before[line_start..].chars().count() as u32);
                assert_eq!((error.line, error.column), place, "{error}: {text}");
                assert!(error.found.chars().count() <= 40 && !error.found.contains(char::is_control), "{error}");
            }
        }
    }
}

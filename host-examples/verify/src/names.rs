//! Domain names as the checks compare and report them: lower case, A-labels, no final dot.

/// The length of the longest name (RFC 1035 §2.3.4), in octets and without the final dot.
pub(crate) const MAX_NAME: usize = 253;
/// A text that is longer than this becomes no name: a U-label has at most four octets for one of its A-label.
const MAX_TEXT: usize = 4 * MAX_NAME;

/// `text` as a name that can be asked for (RFC 7208 §4.3): at least two labels, and no address. U-labels (RFC 6531) become A-labels.
/// Underscores are let through: what the DNS has to say about those, it says. Absent for anything else.
pub(crate) fn domain_name(text: &str) -> Option<String> {
    let name = a_labels(text)?;
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // No top-level domain is a number: what ends in one is an IPv4 address without its brackets.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (name.len() <= MAX_NAME && name.contains('.') && name.split('.').all(label) && !numeric).then_some(name)
}

/// `text` as a result may have it: with A-labels where that can be (RFC 8616 §5), in lower case, without a final dot. Empty where it is
/// longer than any name, for everything that is reported has to fit into the memory of whoever reads it.
pub(crate) fn reported(text: &str) -> String {
    if text.len() > MAX_TEXT {
        return String::new();
    }
    a_labels(text).or_else(|| Some(text.to_lowercase())).filter(|name| name.len() <= MAX_NAME).unwrap_or_default()
}

/// `text` in lower case, with A-labels and without a final dot; absent where a U-label cannot be converted (RFC 5891 §5), and where it
/// is far too long.
pub(crate) fn a_labels(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_ascii() { Some(name.to_ascii_lowercase()) } else { idna::domain_to_ascii(name).ok() }
}

/// The part of `name` that somebody registered: its public suffix and one label more, by the list of publicsuffix.org. Absent where
/// `name` is a public suffix, such as `co.uk`.
pub(crate) fn registered(name: &str) -> Option<&str> {
    psl::domain_str(name)
}

/// The name of a header field in lower case, and without the white space that mail-auth does not see in it.
pub(crate) fn squeezed(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).map(u8::to_ascii_lowercase)
}

/// Whether `name` is `parent` or below it.
pub(crate) fn is_at_or_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_domain_names_are_looked_up() {
        for (text, name) in [
            ("Mail.Example.COM", "mail.example.com"),
            ("mail.example.com.", "mail.example.com"),
            ("_spf.example.com", "_spf.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example.", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(domain_name(text).as_deref(), Some(name), "{text}");
        }
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}example", "a.".repeat(124));
        let long_u_label = format!("{}.example", "ü".repeat(60));
        for text in [
            "",
            ".",
            "localhost",
            "localhost.",
            "[127.0.0.1]",
            "127.0.0.1",
            "[IPv6:2001:db8::1]",
            "2001:db8::1",
            "a..example",
            ".example.com",
            "a b.example",
            "a.example\r\n",
            "a/b.example",
            "\u{fffd}.example",
            "ü b.example",
            &long_label,
            &long_name,
            &long_u_label,
        ] {
            assert_eq!(domain_name(text), None, "{text}");
        }
        assert!(domain_name(&format!("{}.example", "a".repeat(63))).is_some());
        assert!(domain_name(&format!("{}examples.", "a.".repeat(122))).is_some(), "252 octets and the final dot");
    }

    #[test]
    fn what_is_reported_fits() {
        assert_eq!(reported("B\u{fc}cher.Example."), "xn--bcher-kva.example");
        assert_eq!(reported("[IPv6:::1]"), "[ipv6:::1]");
        assert_eq!(reported("\u{fffd}.Example"), "\u{fffd}.example", "it cannot be converted");
        assert_eq!(reported(&"x".repeat(MAX_NAME)).len(), MAX_NAME);
        for length in [MAX_NAME + 1, MAX_TEXT, MAX_TEXT + 1, 1 << 20] {
            assert_eq!(reported(&"x".repeat(length)), "", "{length}");
        }
        // Short enough before it is converted.
        assert_eq!(reported(&"\u{fc}.".repeat(80)), "");
        assert_eq!(a_labels(&"x".repeat(MAX_TEXT + 1)), None);
    }

    #[test]
    fn a_public_suffix_is_nobodys() {
        for (name, domain) in [
            ("a.b.example.com", Some("example.com")),
            ("example.com", Some("example.com")),
            ("com", None),
            ("a.b.co.uk", Some("b.co.uk")),
            ("b.co.uk", Some("b.co.uk")),
            ("co.uk", None),
            ("a.b.github.io", Some("b.github.io")),
            ("github.io", None),
            ("a.xn--85x722f.xn--55qx5d.cn", Some("xn--85x722f.xn--55qx5d.cn")),
            // Not in the list: one label is taken for a suffix.
            ("a.b.example", Some("b.example")),
        ] {
            assert_eq!(registered(name), domain, "{name}");
        }
    }

    #[test]
    fn below_means_at_a_dot() {
        assert!(is_at_or_below("a.example", "a.example"));
        assert!(is_at_or_below("b.a.example", "a.example"));
        assert!(!is_at_or_below("ba.example", "a.example"));
        assert!(!is_at_or_below("example", "a.example"));
    }
}

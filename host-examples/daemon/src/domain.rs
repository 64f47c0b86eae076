//! Domain names.

/// The longest domain, in octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;
/// The longest label of one, in octets (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;

/// Whether `text` is a domain as RFC 5321 §4.1.2 has it; underscores, which some hosts have in their names, are let through.
pub fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        matches!(label.len(), 1..=LABEL_MAX)
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    text.len() <= DOMAIN_MAX && text.split('.').all(is_label)
}

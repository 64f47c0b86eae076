//! Signs messages with DKIM (RFC 6376, RFC 8463) by test keys that everyone has.

use mail_auth::crypto::{Ed25519Key, HashImpl, RsaKey, Sha256, SigningKey};
use mail_auth::dkim::DkimSigner;
use mail_auth::headers::HeaderWriter;

/// Where the record of the RSA key is published: selector `demo`.
pub const RSA_KEY_NAME: &str = "demo._domainkey.signed.example";
/// The record of the RSA key, of 2048 bits.
pub const RSA_KEY_RECORD: &str = include_str!("../keys/rsa2048.txt").trim_ascii_end();
/// Where the record of the Ed25519 key is published: selector `demo-ed25519`.
pub const ED25519_KEY_NAME: &str = "demo-ed25519._domainkey.signed.example";
/// The record of the Ed25519 key.
pub const ED25519_KEY_RECORD: &str = include_str!("../keys/ed25519.txt").trim_ascii_end();

/// The fields that are signed.
const FIELDS: [&str; 5] = ["From", "To", "Subject", "Date", "Message-ID"];

/// Which key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// rsa-sha256, selector `demo`.
    Rsa,
    /// ed25519-sha256, selector `demo-ed25519`.
    Ed25519,
}

/// The message with a DKIM-Signature field of `signed.example` on top. The message has CRLF line ends and a From field: without
/// one, no verifier accepts the signature (RFC 6376 §6.1.1).
pub fn signed(message: &[u8], algorithm: Algorithm) -> mail_auth::Result<Vec<u8>> {
    signed_for(message, algorithm, crate::zone::SIGNED_DOMAIN)
}

/// The same for another domain, which has to publish the key record under the same selector.
pub fn signed_for(message: &[u8], algorithm: Algorithm, domain: &str) -> mail_auth::Result<Vec<u8>> {
    let field = match algorithm {
        Algorithm::Rsa => {
            let der = include_bytes!("../keys/rsa2048.der").as_slice();
            let key = RsaKey::<Sha256>::from_key_der(der.try_into().expect("the key is PKCS #8"))?;
            field(key, message, domain, "demo")?
        }
        Algorithm::Ed25519 => {
            let key = Ed25519Key::from_pkcs8_der(include_bytes!("../keys/ed25519.der"))?;
            field(key, message, domain, "demo-ed25519")?
        }
    };
    Ok([field.as_bytes(), message].concat())
}

fn field<K: SigningKey<Hasher: HashImpl>>(key: K, message: &[u8], domain: &str, selector: &str) -> mail_auth::Result<String> {
    Ok(DkimSigner::from_key(key).domain(domain).selector(selector).headers(FIELDS).sign(message)?.to_header())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_put_on_top() {
        let message = b"From: a@signed.example\r\nSubject: x\r\n\r\nHello.\r\n";
        for (algorithm, tags) in
            [(Algorithm::Rsa, "a=rsa-sha256; s=demo;"), (Algorithm::Ed25519, "a=ed25519-sha256; s=demo-ed25519;")]
        {
            let signed = String::from_utf8(signed(message, algorithm).unwrap()).unwrap();
            assert!(signed.starts_with("DKIM-Signature: v=1; "), "{signed}");
            assert!(signed.replace("\r\n\t", " ").contains(tags), "{signed}");
            assert!(signed.contains("d=signed.example"), "{signed}");
            assert!(signed.as_bytes().ends_with(message));
        }
    }
}

//! SPF (RFC 7208), for each of its two identities by itself.

use std::net::IpAddr;

use hickory_resolver::proto::rr::{Name, RData, Record};
use mail_auth::dns::ToFqdn;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{MessageAuthenticator, SpfResult};
use smtp_fallback_policy::contract::{AuthResult, Spf};
use tokio::time::{Instant, timeout_at};

/// What the checks of one message share.
pub(crate) struct Check<'a> {
    pub(crate) authenticator: &'a MessageAuthenticator,
    /// Not IPv4-mapped.
    pub(crate) client: IpAddr,
    pub(crate) ehlo_name: &'a str,
    pub(crate) host_name: &'a str,
    pub(crate) deadline: Instant,
}

impl Check<'_> {
    /// The MAIL FROM identity (RFC 7208 §2.4). `sender` is not empty.
    pub(crate) async fn mail_from(&self, sender: &str) -> Spf {
        let domain = sender.rsplit_once('@').map_or("", |(_, domain)| domain);
        match domain_name(domain) {
            Some(name) => {
                // mail-auth takes the domain from the sender, so that it has to lose its final dot there.
                let local_part = &sender[..sender.len() - domain.len()];
                let sender = format!("{local_part}{name}");
                self.run(SpfParameters::mail_from(self.client, self.ehlo_name, self.host_name, &sender), name).await
            }
            None => none(domain),
        }
    }

    /// The HELO identity (RFC 7208 §2.3).
    pub(crate) async fn helo(&self) -> Spf {
        match domain_name(self.ehlo_name) {
            Some(name) => self.run(SpfParameters::helo(self.client, &name, self.host_name), name.clone()).await,
            None => none(self.ehlo_name),
        }
    }

    async fn run(&self, parameters: SpfParameters<'_>, domain: String) -> Spf {
        let check = async {
            match auth_result(self.authenticator.check_host(parameters).await.result()) {
                result @ (AuthResult::None | AuthResult::Temperror | AuthResult::Permerror) => result,
                // RFC 7208 §4.5: whoever publishes two records has none that counts. mail-auth takes the first of them.
                result => match self.spf_records(&domain).await {
                    Some(0 | 1) => result,
                    Some(_) => AuthResult::Permerror,
                    None => AuthResult::Temperror,
                },
            }
        };
        let result = timeout_at(self.deadline, check).await.unwrap_or(AuthResult::Temperror);
        Spf { result, domain }
    }

    /// How many SPF records the domain publishes; `None` where they cannot be looked up. The resolver has just been asked, so that its
    /// cache answers.
    async fn spf_records(&self, domain: &str) -> Option<usize> {
        let is_spf = |record: &&Record| match &record.data {
            RData::TXT(text) => {
                let text = text.txt_data.concat().to_ascii_lowercase();
                text.strip_prefix(b"v=spf1").is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "))
            }
            _ => false,
        };
        let name = Name::from_str_relaxed(domain.to_fqdn()).ok()?;
        let lookup = self.authenticator.resolver().txt_lookup(name).await.ok()?;
        Some(lookup.answers().iter().filter(is_spf).count())
    }
}

/// RFC 7208 §4.3: without a domain name there is nothing to check.
fn none(domain: &str) -> Spf {
    Spf { result: AuthResult::None, domain: domain.to_ascii_lowercase() }
}

fn auth_result(result: SpfResult) -> AuthResult {
    match result {
        SpfResult::Pass => AuthResult::Pass,
        SpfResult::Fail => AuthResult::Fail,
        SpfResult::SoftFail => AuthResult::Softfail,
        SpfResult::Neutral => AuthResult::Neutral,
        SpfResult::TempError => AuthResult::Temperror,
        SpfResult::PermError => AuthResult::Permerror,
        SpfResult::None => AuthResult::None,
    }
}

/// `text` in lower case and without a final dot, where it is a domain name of at least two labels (RFC 7208 §4.3) and no address.
/// Underscores and letters beyond ASCII (RFC 6531) are let through: what the DNS has to say about those, it says.
fn domain_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii())
    };
    // No top-level domain is a number: what ends in one is an IPv4 address without its brackets.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (name.len() <= 253 && name.contains('.') && name.split('.').all(label) && !numeric).then_some(name)
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
            ("bücher.example", "bücher.example"),
        ] {
            assert_eq!(domain_name(text).as_deref(), Some(name), "{text}");
        }
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}example", "a.".repeat(124));
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
            &long_label,
            &long_name,
        ] {
            assert_eq!(domain_name(text), None, "{text}");
        }
        assert!(domain_name(&format!("{}.example", "a".repeat(63))).is_some());
        assert!(domain_name(&format!("{}examples.", "a.".repeat(122))).is_some(), "252 octets and the final dot");
    }

    #[test]
    fn every_result_keeps_its_meaning() {
        let results = [
            (SpfResult::Pass, "pass"),
            (SpfResult::Fail, "fail"),
            (SpfResult::SoftFail, "softfail"),
            (SpfResult::Neutral, "neutral"),
            (SpfResult::TempError, "temperror"),
            (SpfResult::PermError, "permerror"),
            (SpfResult::None, "none"),
        ];
        for (result, word) in results {
            assert_eq!(auth_result(result).as_str(), word);
        }
    }
}

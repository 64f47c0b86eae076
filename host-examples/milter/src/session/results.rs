//! Whether a message is authenticated: verified here, or by the field of a filter before this one.

use smtp_fallback_daemon::policy::now;
use smtp_fallback_policy::contract::{Arc, AuthResult, AuthResults, Dkim, Dmarc, Iprev, Spf};
use smtp_fallback_verify::Session;

use super::client::Client;
use super::mail::Mail;
use super::{Authentication, Service};

impl Service {
    /// What is known of the message's authentication; nothing where nobody asks for it.
    pub(super) async fn results(&self, client: &Client, mail: &Mail, id: Option<&str>) -> Option<AuthResults> {
        if !client.is_in_question(self) {
            return None;
        }
        let results = match &self.authentication {
            Authentication::Fields(ids) => {
                let Trusted { fields, all_spoke, forged } = Trusted::of(&mail.results, ids);
                for authserv_id in forged {
                    tracing::warn!(
                        event = "forged-results",
                        client = %client.ip,
                        id,
                        authserv_id,
                        "more than one Authentication-Results field has this id: none of them counts; the filter before this one must remove \
                         those that came with the message"
                    );
                }
                let results = self.policy.authentication_results(&fields, ids)?;
                if all_spoke { complete(results) } else { results }
            }
            Authentication::Verifier(verifier) => {
                let session = Session {
                    client: client.ip,
                    ehlo_name: client.ehlo_name.as_deref().unwrap_or_default(),
                    mail_from: &mail.mail_from,
                };
                match mail.text() {
                    Some(text) => verifier.verify(&session, text).await,
                    None => {
                        tracing::warn!(
                            event = "not-verified",
                            client = %client.ip,
                            id,
                            size = mail.size(),
                            "too large: its signatures are not verified"
                        );
                        unread(verifier.verify_envelope(&session).await)
                    }
                }
            }
        };
        self.temporary_errors.saw(&results, now());
        Some(results)
    }
}

/// The fields of the trusted ids.
struct Trusted {
    fields: Vec<String>,
    /// There is one of each id, whether it counts or not.
    all_spoke: bool,
    /// Ids of which there are more.
    forged: Vec<String>,
}

impl Trusted {
    /// The topmost field of each trusted id. Where there is a second one with the same id, somebody has forged one, and which of them cannot
    /// be told: none of them counts.
    fn of(fields: &[(usize, String)], ids: &[String]) -> Trusted {
        let mut trusted = Trusted { fields: Vec::new(), all_spoke: true, forged: Vec::new() };
        for (place, id) in ids.iter().enumerate() {
            let mut own = fields.iter().filter(|(kept, _)| *kept == place);
            match (own.next(), own.next()) {
                (Some((_, field)), None) => trusted.fields.push(field.clone()),
                (Some(_), Some(_)) => trusted.forged.push(id.clone()),
                (None, _) => trusted.all_spoke = false,
            }
        }
        trusted
    }
}

/// The filters have spoken, so a method that none of them names has no result. While one of them is silent, it may have been about to.
fn complete(results: AuthResults) -> AuthResults {
    let (result, domain) = (AuthResult::None, String::new());
    let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = results;
    AuthResults {
        spf_mail_from: spf_mail_from.or(Some(Spf { result, domain: domain.clone() })),
        spf_helo: spf_helo.or(Some(Spf { result, domain: domain.clone() })),
        dkim: dkim.or(Some(Vec::new())),
        dmarc: dmarc.or(Some(Dmarc { result, domain })),
        arc: arc.or(Some(Arc { result, sealers: Vec::new() })),
        iprev: iprev.or(Some(Iprev { result, name: None })),
    }
}

/// What stands for the results of a message that was too large to be looked at: they may have been good.
fn unread(envelope: AuthResults) -> AuthResults {
    let result = AuthResult::Temperror;
    AuthResults {
        dkim: Some(vec![Dkim { result, domain: String::new(), selector: String::new(), testing: false }]),
        dmarc: Some(Dmarc { result, domain: String::new() }),
        arc: Some(Arc { result, sealers: Vec::new() }),
        ..envelope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_of_an_id_counts_and_two_void_each_other() {
        let ids: Vec<String> = ["a.example", "b.example"].map(str::to_owned).into();
        // The ids that have a field, the topmost first, and whose counts.
        for (having, counting, all_spoke) in
            [("", "", false), ("a", "a", false), ("ba", "ab", true), ("aa", "", false), ("aba", "b", true), ("abba", "", true)]
        {
            let place = |id| if id == 'a' { 0 } else { 1 };
            let fields: Vec<(usize, String)> = having.chars().map(|id| (place(id), id.to_string())).collect();
            let trusted = Trusted::of(&fields, &ids);
            assert_eq!((trusted.fields.concat().as_str(), trusted.all_spoke), (counting, all_spoke), "{having}");
        }
    }

    #[test]
    fn what_none_of_them_names_has_no_result() {
        let spf = Spf { result: AuthResult::Pass, domain: "a.example".to_owned() };
        let complete = complete(AuthResults { spf_mail_from: Some(spf.clone()), ..AuthResults::default() });
        assert_eq!(complete.spf_mail_from, Some(spf));
        assert_eq!(complete.spf_helo.expect("spf-helo").result, AuthResult::None);
        assert_eq!(complete.dkim, Some(Vec::new()));
        assert_eq!(complete.dmarc.expect("dmarc").result, AuthResult::None);
        assert_eq!(complete.arc.expect("arc").result, AuthResult::None);
        assert_eq!(complete.iprev.expect("iprev").result, AuthResult::None);
    }

    #[test]
    fn what_was_not_looked_at_may_have_been_good() {
        let spf = Spf { result: AuthResult::Fail, domain: "a.example".to_owned() };
        let unread = unread(AuthResults { spf_mail_from: Some(spf.clone()), ..AuthResults::default() });
        assert_eq!(unread.spf_mail_from, Some(spf), "it needs no message");
        assert_eq!(unread.dkim.expect("dkim")[0].result, AuthResult::Temperror);
        assert_eq!(unread.dmarc.expect("dmarc").result, AuthResult::Temperror);
        assert_eq!(unread.arc.expect("arc").result, AuthResult::Temperror);
    }
}

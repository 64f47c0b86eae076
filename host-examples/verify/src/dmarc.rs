//! DMARC (RFC 7489, and its successor RFC 9989): whether SPF or DKIM passed for the domain of the From field.
//!
//! The record is looked for as RFC 9989 §4.10 has it, at the domain and at those above it. Two domains belong to one organisation only
//! where both ways to tell agree: the records found on that way (RFC 9989 §4.10.2), and the public suffix list (RFC 7489 §3.2). So a
//! registry that publishes a record without saying that it is one does not make all of its customers one organisation, and a list
//! that has aged does not either.

use std::collections::HashMap;
use std::sync::Arc;

use mail_auth::dmarc::{Alignment, DmarcRecord, Policy, Psd};
use mail_auth::dns::TxtRecordParser;
use smtp_fallback_policy::contract::{AuthResult, Dkim, Dmarc, Spf};
use tokio::time::Instant;

use crate::author::Author;
use crate::dns::{Dns, NoAnswer};
use crate::lookups;
use crate::names::registered;

/// Above a domain of this many labels or more, the next name that is asked for has one less than this (RFC 9989 §4.10).
const MAX_LABELS: usize = 8;

/// The DMARC records of a message's domains and of those above them.
#[derive(Default)]
pub(crate) struct Records(HashMap<String, Found>);

#[derive(Clone, Debug)]
enum Found {
    Record(Arc<DmarcRecord>),
    /// There is none that counts.
    Nothing,
    /// No answer before the deadline.
    Unknown,
}

impl Records {
    /// Asks for everything that [`result`] may need, all at once. `identifiers` are the domains that SPF or DKIM may pass for.
    pub(crate) async fn fetch(dns: &Dns, author: &Author, identifiers: Vec<String>, deadline: Instant) -> Records {
        let Author::Domain(author) = author else { return Records::default() };
        let related = identifiers.iter().filter(|identifier| may_belong_together(identifier, author));
        let names = related.chain([author]).flat_map(|domain| way_up(domain));
        let records = names.map(|name| (name.to_owned(), Found::Unknown)).collect();
        let look_up = |name: String| {
            let dns = dns.clone();
            async move { found(&dns, &name).await }
        };
        Records(lookups::all(records, deadline, look_up).await)
    }

    /// The records from `domain` upwards, ending with one that says that the way ends there (RFC 9989 §4.10).
    fn walk<'a>(&'a self, domain: &'a str) -> Result<Vec<(&'a str, &'a DmarcRecord)>, NoAnswer> {
        let mut walk = Vec::new();
        for name in way_up(domain) {
            match self.0.get(name) {
                Some(Found::Record(record)) => {
                    walk.push((name, &**record));
                    if record.psd != Psd::Default {
                        break;
                    }
                }
                Some(Found::Nothing) => {}
                Some(Found::Unknown) | None => return Err(NoAnswer),
            }
        }
        Ok(walk)
    }

    /// The organisational domain as the records say (RFC 9989 §4.10.2).
    fn organisation<'a>(&'a self, domain: &'a str) -> Result<&'a str, NoAnswer> {
        let walk = self.walk(domain)?;
        Ok(match walk.last() {
            None => domain,
            // The name below that of a registry.
            Some(&(name, record)) if record.psd == Psd::Yes && name != domain => {
                let labels = name.split('.').count() + 1;
                domain.rsplitn(labels + 1, '.').nth(labels).map_or(domain, |left| &domain[left.len() + 1..])
            }
            Some(&(name, _)) => name,
        })
    }

    /// The record that holds for `author`: its own, or else that of its organisation (RFC 9989 §4.10.1).
    fn policy<'a>(&'a self, author: &'a str) -> Result<Option<&'a DmarcRecord>, NoAnswer> {
        if let Some(Found::Record(record)) = self.0.get(author) {
            return Ok(Some(record));
        }
        let walk = self.walk(author)?;
        let organisation = self.organisation(author)?;
        let own = walk.iter().find(|(name, _)| *name == organisation);
        Ok(own.or(walk.last()).map(|&(_, record)| record))
    }

    fn aligned(&self, identifier: &str, author: &str, alignment: Alignment) -> Result<bool, NoAnswer> {
        if identifier == author {
            return Ok(true);
        }
        if alignment == Alignment::Strict || !may_belong_together(identifier, author) {
            return Ok(false);
        }
        Ok(self.organisation(identifier)? == self.organisation(author)?)
    }
}

/// The result for a message, from its other results. `spf` is that of the identity that counts: MAIL FROM, or HELO for the null
/// sender (RFC 7489 §3.1.2). Of the signatures, those under keys for testing do not count.
pub(crate) fn result(author: &Author, records: &Records, spf: Option<&Spf>, dkim: &[Dkim]) -> Dmarc {
    let (result, domain) = match author {
        Author::Nobody => (AuthResult::None, ""),
        Author::Unclear => (AuthResult::Permerror, ""),
        Author::Domain(author) => {
            let result = match records.policy(author) {
                Ok(None) => AuthResult::None,
                Ok(Some(record)) => for_record(record, author, records, spf, dkim),
                Err(NoAnswer) => AuthResult::Temperror,
            };
            (result, author.as_str())
        }
    };
    Dmarc { result, domain: domain.to_owned() }
}

fn for_record(record: &DmarcRecord, author: &str, records: &Records, spf: Option<&Spf>, dkim: &[Dkim]) -> AuthResult {
    let spf = spf.map(|spf| (spf.result, spf.domain.as_str(), record.aspf));
    let dkim = dkim.iter().filter(|dkim| !dkim.testing).map(|dkim| (dkim.result, dkim.domain.as_str(), record.adkim));
    let mut result = AuthResult::Fail;
    for (passed, identifier, alignment) in spf.into_iter().chain(dkim) {
        if !matches!(passed, AuthResult::Pass | AuthResult::Temperror) {
            continue;
        }
        match records.aligned(identifier, author, alignment) {
            Ok(true) if passed == AuthResult::Pass => return AuthResult::Pass,
            // It might have passed.
            Ok(true) | Err(NoAnswer) => result = AuthResult::Temperror,
            Ok(false) => {}
        }
    }
    result
}

/// Whether two domains have the same registered part, without which they are strangers.
fn may_belong_together(identifier: &str, author: &str) -> bool {
    registered(author).is_some_and(|part| registered(identifier) == Some(part))
}

/// The names at which records are looked for, `domain` first, the top-level domain last (RFC 9989 §4.10).
fn way_up(domain: &str) -> impl Iterator<Item = &str> {
    let total = domain.split('.').count();
    let names = std::iter::successors(Some(domain), |name| name.split_once('.').map(|(_, rest)| rest));
    names.enumerate().filter(move |(dropped, _)| *dropped == 0 || total - dropped < MAX_LABELS).map(|(_, name)| name)
}

async fn found(dns: &Dns, name: &str) -> Found {
    let Ok(texts) = dns.txt(&format!("_dmarc.{name}")).await else { return Found::Unknown };
    let mut records = texts.iter().filter(|text| DmarcRecord::parse(version(text)).is_ok());
    match (records.next(), records.next()) {
        (None, _) => Found::Nothing,
        // RFC 9989 §4.10: of several, none counts.
        (Some(_), Some(_)) => Found::Nothing,
        (Some(text), None) => read(text).map_or(Found::Nothing, |record| Found::Record(record.into())),
    }
}

/// The tag that a record begins with, and no other.
fn version(text: &[u8]) -> &[u8] {
    &text[..text.iter().position(|&byte| byte == b';').unwrap_or(text.len())]
}

/// Reads a record whose version is right. What cannot be read has its default (RFC 7489 §6.3); absent without a policy, or with a
/// broken one, where there is no place to report to either (RFC 7489 §6.6.3, RFC 9989 §4.10.1).
fn read(text: &[u8]) -> Option<DmarcRecord> {
    let mut tags = text.split(|&byte| byte == b';');
    let mut kept = tags.next()?.to_vec();
    let mut broken_policy = false;
    for tag in tags {
        let alone = [version(text), tag].join(&b';');
        if DmarcRecord::parse(&alone).is_ok() {
            kept.push(b';');
            kept.extend_from_slice(tag);
        } else {
            let name = tag.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
            broken_policy |= name.eq_ignore_ascii_case(b"p") || name.eq_ignore_ascii_case(b"sp");
        }
    }
    let record = DmarcRecord::parse(&kept).ok()?;
    let has_policy = record.p != Policy::Unspecified && !broken_policy;
    (has_policy || !record.rua.is_empty()).then_some(record)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use super::*;

    #[test]
    fn the_way_up_has_at_most_eight_names() {
        let names = |domain| way_up(domain).collect::<Vec<_>>();
        assert_eq!(names("a.b.example"), ["a.b.example", "b.example", "example"]);
        assert_eq!(names("example"), ["example"]);
        let eight = "s.t.u.v.w.x.y.z";
        assert_eq!(names(eight).len(), 8);
        let long = names("m.n.o.p.q.r.s.t.u.v.w.x.y.z");
        assert_eq!((long.len(), long[0], long[1], long[7]), (8, "m.n.o.p.q.r.s.t.u.v.w.x.y.z", "t.u.v.w.x.y.z", "z"));
    }

    #[test]
    fn records_tell_the_organisation() {
        let records = |texts: &[(&str, &str)]| {
            let mut found: HashMap<String, Found> =
                way_up("a.b.c.example").map(|name| (name.to_owned(), Found::Nothing)).collect();
            for (name, text) in texts {
                found.insert((*name).to_owned(), Found::Record(DmarcRecord::parse(text.as_bytes()).unwrap().into()));
            }
            Records(found)
        };
        for (texts, organisation) in [
            (&[][..], "a.b.c.example"),
            (&[("c.example", "v=DMARC1; p=none")], "c.example"),
            (&[("a.b.c.example", "v=DMARC1; p=none"), ("c.example", "v=DMARC1; p=none")], "c.example"),
            (&[("b.c.example", "v=DMARC1; p=none; psd=n"), ("c.example", "v=DMARC1; p=none")], "b.c.example"),
            (&[("c.example", "v=DMARC1; p=none; psd=y")], "b.c.example"),
            (&[("example", "v=DMARC1; p=none; psd=y")], "c.example"),
            (&[("b.c.example", "v=DMARC1; p=none; psd=y"), ("c.example", "v=DMARC1; p=none")], "a.b.c.example"),
            (&[("a.b.c.example", "v=DMARC1; p=none; psd=y")], "a.b.c.example"),
        ] {
            assert_eq!(records(texts).organisation("a.b.c.example").ok(), Some(organisation), "{texts:?}");
        }
    }
}

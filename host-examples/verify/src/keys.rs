//! The key records of a message's signatures, DKIM's and ARC's (RFC 6376 §3.6.1).
//!
//! They are fetched first, all at once and under the deadline; then mail-auth checks the signatures with what is there and asks the
//! DNS nothing more.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use mail_auth::dkim::DomainKey;
use mail_auth::dns::{ToFqdn, TxtRecord, TxtRecordParser};
use mail_auth::{DnsCache, DnsError, Error, NoCache, ResolverCache};
use tokio::time::Instant;

use crate::dns::Dns;
use crate::lookups;
use crate::names::a_labels;

/// The key records of one message, which mail-auth sees as its cache.
pub(crate) struct Keys(HashMap<Box<str>, TxtRecord>);

impl Keys {
    /// Without any key: mail-auth says then whether a key would be asked for at all.
    pub(crate) fn none() -> Keys {
        Keys(HashMap::new())
    }

    pub(crate) async fn fetch(dns: &Dns, names: Vec<String>, deadline: Instant) -> Keys {
        let keys = names.iter().map(|name| (fqdn(name), no_answer())).collect();
        let look_up = |name: Box<str>| {
            let dns = dns.clone();
            async move { key(&dns, &name).await }
        };
        Keys(lookups::all(keys, deadline, look_up).await)
    }

    /// Whether the key of this name says `t=y` (RFC 6376 §3.6.1, A28).
    pub(crate) fn testing(&self, name: &str) -> bool {
        matches!(self.0.get(&fqdn(name)), Some(TxtRecord::DomainKey(key)) if key.is_testing())
    }
}

async fn key(dns: &Dns, name: &str) -> TxtRecord {
    // RFC 8616 §5: in the DNS, A-labels.
    let Some(name) = a_labels(name) else { return absent() };
    let Ok(texts) = dns.txt(&name).await else { return no_answer() };
    let mut result = absent();
    for text in texts {
        match DomainKey::parse(&text) {
            Ok(_) if !is_for_mail(&text) => result = absent(),
            Ok(key) => return TxtRecord::DomainKey(key.into()),
            Err(error) => result = TxtRecord::Error(error),
        }
    }
    result
}

/// Whether the key may be used for mail and for SHA-256, the one hash that counts (RFC 6376 §3.6.1: `s=`, `h=`; RFC 8301).
fn is_for_mail(record: &[u8]) -> bool {
    let text = String::from_utf8_lossy(record);
    text.split(';').filter_map(|tag| tag.split_once('=')).all(|(tag, values)| {
        let mut values = values.split(':').map(str::trim);
        match tag.trim() {
            "s" => values.any(|value| value == "*" || value.eq_ignore_ascii_case("email")),
            "h" => values.any(|value| value.eq_ignore_ascii_case("sha256")),
            _ => true,
        }
    })
}

fn no_answer() -> TxtRecord {
    TxtRecord::Error(Error::Dns(DnsError::Resolver("no answer before the deadline".to_owned())))
}

fn absent() -> TxtRecord {
    TxtRecord::Error(Error::Dns(DnsError::InvalidRecordType))
}

/// The name as mail-auth asks its cache.
fn fqdn(name: &str) -> Box<str> {
    name.to_fqdn().into()
}

impl ResolverCache<Box<str>, TxtRecord> for Keys {
    fn get<Q>(&self, name: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // Never "not cached": mail-auth also looks for records about reports and third parties (RFC 6651, RFC 6541), at the
        // wish of whoever signed; none of them changes a result here.
        Some(self.0.get(name).cloned().unwrap_or_else(absent))
    }

    fn remove<Q>(&self, _: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: TxtRecord, _: std::time::Instant) {}
}

impl DnsCache for Keys {
    type Txt = Keys;
    type Mx = NoCache;
    type Ipv4 = NoCache;
    type Ipv6 = NoCache;
    type Ptr = NoCache;

    fn txt(&self) -> Option<&Keys> {
        Some(self)
    }

    fn mx(&self) -> Option<&NoCache> {
        None
    }

    fn ipv4(&self) -> Option<&NoCache> {
        None
    }

    fn ipv6(&self) -> Option<&NoCache> {
        None
    }

    fn ptr(&self) -> Option<&NoCache> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_for_other_uses_is_none() {
        for text in
            ["v=DKIM1; p=x", "s=*; p=x", "s=email", "s= other : EMAIL ; p=x", "h=sha256", "h=sha1:sha256", " h = SHA256 ", "x=s"]
        {
            assert!(is_for_mail(text.as_bytes()), "{text}");
        }
        for text in ["s=other; p=x", "s=", "v=DKIM1;s=tlsrpt", "h=sha1; p=x", "h=", "s=email; h=sha512", "s=*; h=sha256; s=other"]
        {
            assert!(!is_for_mail(text.as_bytes()), "{text}");
        }
    }
}

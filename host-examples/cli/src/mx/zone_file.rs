//! The layout as a zone file has it.

use std::collections::BTreeMap;
use std::path::Path;

use hickory_resolver::proto::rr::{LowerName, Name, RData, RecordSet, RecordType, RrKey};
use hickory_resolver::proto::serialize::txt::Parser;

use super::dns::address;
use super::layout::{Addresses, Alias, Host, Layout, implicit, name_of, named};
use crate::fail::Fail;

/// So many aliases of aliases are followed, as name servers do.
const MAX_ALIASES: usize = 8;

/// The records of a zone.
struct Zone {
    origin: Name,
    records: BTreeMap<RrKey, RecordSet>,
}

/// Reads the MX hosts of a domain and their addresses. The domain is the zone's origin, where the file names no other.
pub(super) fn read(file: &Path, domain: &str) -> Result<Layout, Fail> {
    let name = named(domain)?;
    let domain = name_of(&name);
    let text = std::fs::read_to_string(file).map_err(|error| Fail::file("read", &file.display().to_string(), error))?;
    let wrong =
        |error| Fail::Other(format!("{} is no zone file: {error}; expected records as in RFC 1035 section 5", file.display()));
    let (origin, records) = Parser::new(text, Some(file.to_owned()), Some(name.clone())).parse().map_err(wrong)?;
    let zone = Zone { origin, records };
    let mut mx: Vec<(u16, Name)> = Vec::new();
    for data in zone.find(&name, RecordType::MX) {
        if let RData::MX(mx_data) = data {
            mx.push((mx_data.preference, mx_data.exchange.clone()));
        }
    }
    if mx.is_empty() {
        let (_, ipv4, ipv6) = zone.addresses(&name);
        if ipv4.count() == Some(0) && ipv6.count() == Some(0) {
            let file = file.display();
            return Err(Fail::NotFound(format!(
                "{file} has neither MX records nor addresses of {domain}: name the domain as the file does"
            )));
        }
        return Ok(implicit(domain, ipv4, ipv6));
    }
    mx.sort();
    let is_null = mx.len() == 1 && mx.iter().all(|(_, host)| host.is_root());
    let hosts = mx.iter().filter(|_| !is_null).map(|(preference, host)| {
        let (alias, ipv4, ipv6) = zone.addresses(host);
        Host { preference: *preference, name: name_of(host), alias, ipv4, ipv6 }
    });
    Ok(Layout { hosts: hosts.collect(), domain, is_implicit: false, is_null })
}

impl Zone {
    /// What the file says of a host: whether it is an alias, and the addresses of what it stands for. Of a host elsewhere it says nothing.
    fn addresses(&self, host: &Name) -> (Alias, Addresses, Addresses) {
        let unknown = |why: &str| (Addresses::Unknown(why.to_owned()), Addresses::Unknown(why.to_owned()));
        let mut alias = None;
        let mut host = host.clone();
        for _ in 0..MAX_ALIASES {
            let cname = self.find(&host, RecordType::CNAME).next().cloned();
            let (ipv4, ipv6) = if !self.origin.zone_of(&host) {
                alias.get_or_insert_with(|| Alias::Unknown("not in this file".to_owned()));
                unknown("not in this file")
            } else if self.is_delegated(&host) {
                alias.get_or_insert_with(|| Alias::Unknown("delegated to another zone".to_owned()));
                unknown("delegated to another zone")
            } else if let Some(RData::CNAME(other)) = cname {
                alias.get_or_insert_with(|| Alias::Of(name_of(&other)));
                host = other.0;
                continue;
            } else {
                let family = |kind| Addresses::Known(self.find(&host, kind).filter_map(address).collect());
                (family(RecordType::A), family(RecordType::AAAA))
            };
            return (alias.unwrap_or(Alias::No), ipv4, ipv6);
        }
        let (ipv4, ipv6) = unknown("too many aliases of aliases");
        (alias.unwrap_or(Alias::No), ipv4, ipv6)
    }

    /// The records of a name, or where it has none of any type, those of the wildcard that covers it (RFC 4592).
    fn find(&self, name: &Name, kind: RecordType) -> impl Iterator<Item = &RData> {
        let owner = if self.exists(name) { Some(name.clone()) } else { self.wildcard(name) };
        let set = owner.and_then(|owner| self.records.get(&RrKey::new(LowerName::from(owner), kind)));
        set.into_iter().flat_map(|set| set.records_without_rrsigs()).map(|record| &record.data)
    }

    /// Whether the name, or one below it, has records.
    fn exists(&self, name: &Name) -> bool {
        let name = LowerName::from(name.clone());
        self.records.keys().any(|key| name.zone_of(&key.name))
    }

    fn wildcard(&self, name: &Name) -> Option<Name> {
        let mut parent = name.base_name();
        while self.origin.zone_of(&parent) && !parent.is_root() {
            let wildcard = parent.prepend_label("*").ok()?;
            if self.exists(&wildcard) {
                return Some(wildcard);
            }
            if self.exists(&parent) {
                return None;
            }
            parent = parent.base_name();
        }
        None
    }

    /// Whether a name between the origin and this one, or this one, has NS records of its own.
    fn is_delegated(&self, name: &Name) -> bool {
        let mut name = name.clone();
        while self.origin.zone_of(&name) && name.num_labels() > self.origin.num_labels() {
            if self.records.contains_key(&RrKey::new(LowerName::from(name.clone()), RecordType::NS)) {
                return true;
            }
            name = name.base_name();
        }
        false
    }
}

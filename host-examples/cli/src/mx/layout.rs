//! The MX hosts of a domain, with their addresses.

use std::net::IpAddr;

use hickory_resolver::proto::rr::Name;
use serde::Serialize;

use crate::fail::Fail;

/// The mail hosts of a domain.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The domain, in lower case and without a final dot.
    pub(super) domain: String,
    /// The best preference first.
    pub(super) hosts: Vec<Host>,
    /// The domain has no MX record: its own addresses take the mail (RFC 5321 §5.1).
    pub(super) is_implicit: bool,
    /// The domain takes no mail (RFC 7505).
    pub(super) is_null: bool,
}

/// An MX host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Host {
    /// Lower is better (RFC 5321 §5.1).
    pub(super) preference: u16,
    /// Its name, in lower case and without a final dot.
    pub(super) name: String,
    /// Whether it is an alias, which an MX record must not name (RFC 2181 section 10.3).
    pub(super) alias: Alias,
    /// Its A records.
    pub(super) ipv4: Addresses,
    /// Its AAAA records.
    pub(super) ipv6: Addresses,
}

/// Whether a name is an alias (a CNAME record).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Alias {
    /// It is none.
    No,
    /// Of this name.
    Of(String),
    /// The DNS did not say; why.
    Unknown(String),
}

/// The addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Addresses {
    /// These, or none.
    Known(Vec<IpAddr>),
    /// The DNS did not say; why.
    Unknown(String),
}

impl Addresses {
    /// How many there are, if that is known.
    pub(super) fn count(&self) -> Option<usize> {
        match self {
            Addresses::Known(addresses) => Some(addresses.len()),
            Addresses::Unknown(_) => None,
        }
    }

    /// For people.
    pub(super) fn words(&self, family: &str) -> String {
        match self {
            Addresses::Known(addresses) if addresses.is_empty() => format!("no {family}"),
            Addresses::Known(addresses) => {
                let all: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                format!("{family} {}", all.join(" "))
            }
            Addresses::Unknown(why) => format!("{family} unknown ({why})"),
        }
    }
}

/// How many addresses of each family there are at one preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) ipv4: usize,
    pub(super) ipv6: usize,
}

impl Layout {
    /// The addresses by preference, the best first, up to the first preference where they are not all known; and whether those are all.
    pub(super) fn groups(&self) -> (Vec<Group>, bool) {
        let group = |hosts: &[Host]| {
            let (mut ipv4, mut ipv6) = (0, 0);
            for host in hosts {
                (ipv4, ipv6) = (ipv4 + host.ipv4.count()?, ipv6 + host.ipv6.count()?);
            }
            Some(Group { ipv4, ipv6 })
        };
        let groups: Vec<Group> = self.by_preference().map_while(group).collect();
        let are_all = groups.len() == self.by_preference().count();
        (groups, are_all)
    }

    /// The hosts of one preference after the other, the best first.
    pub(super) fn by_preference(&self) -> impl Iterator<Item = &[Host]> {
        self.hosts.chunk_by(|one, other| one.preference == other.preference)
    }
}

/// A domain's name, as a person writes it.
pub(super) fn named(domain: &str) -> Result<Name, Fail> {
    let wrong = |why: &str| Fail::Other(format!("\"{domain}\" is no domain name: {why}; expected one such as example.org"));
    let mut name = Name::from_utf8(domain).map_err(|error| wrong(&error.to_string()))?;
    name.set_fqdn(true);
    if name.is_root() || domain.contains(['@', '/', ':']) {
        return Err(wrong("it has no label, or a sign that no mail domain has"));
    }
    Ok(name.to_lowercase())
}

/// A name for people: in lower case, without its final dot.
pub(super) fn name_of(name: &Name) -> String {
    let name = name.to_lowercase().to_ascii();
    name.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(&name).to_owned()
}

/// A domain without MX records: it is its own host, by an alias or not.
pub(super) fn implicit(domain: String, ipv4: Addresses, ipv6: Addresses) -> Layout {
    let host = Host { preference: 0, name: domain.clone(), alias: Alias::No, ipv4, ipv6 };
    Layout { domain, hosts: vec![host], is_implicit: true, is_null: false }
}

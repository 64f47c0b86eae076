//! Who sends.

use smtp_fallback_policy::address::Address;

use super::mail::Writing;
use super::mta::Mta;
use super::random::Random;
use super::receiver::Client;

/// A sender: one organisation, or one gang.
#[derive(Clone, Debug)]
pub struct Sender {
    /// As the table names it.
    pub name: &'static str,
    /// What its servers run.
    pub mta: Mta,
    /// Where they are.
    pub addresses: Addresses,
    /// Its servers have an IPv4 address, too.
    pub has_ipv4: bool,
    /// They issue the verb wherever the keyword is shown.
    pub verb: bool,
    /// Mails a day, on average.
    pub per_day: u32,
    /// How its mail is made.
    pub writing: Writing,
}

/// The IPv6 addresses of a sender: below 2001:db8::/32, `site` tells the /48s apart.
#[derive(Clone, Copy, Debug)]
pub enum Addresses {
    /// So many servers in each of so many /64s.
    Servers {
        /// The /48.
        site: u16,
        /// The first /64 in it.
        first: u16,
        /// How many /64s.
        networks: u16,
        /// Servers in each.
        each: u16,
        /// The last octets of the first server's address.
        host: u16,
    },
    /// A new address for each connection, within one /64 of each of so many /48s.
    Rotating {
        /// The first /48.
        site: u16,
        /// How many /48s.
        sites: u16,
    },
}

impl Addresses {
    /// One server alone in its /64.
    pub const fn one(site: u16) -> Self {
        Addresses::Servers { site, first: 1, networks: 1, each: 1, host: 0x25 }
    }

    /// One server in a /64 that it shares with others of this site.
    pub const fn neighbour(site: u16, host: u16) -> Self {
        Addresses::Servers { site, first: 1, networks: 1, each: 1, host }
    }

    /// The address of the next mail, and the number of the server that has it.
    fn choose(self, random: &mut Random) -> (Address, u16) {
        let (site, network, host, server) = match self {
            Addresses::Servers { site, first, networks, each, host } => {
                let (network, server) = (random.below(networks.into()) as u16, random.below(each.into()) as u16);
                (site, first + network, u64::from(host + server), network * each + server)
            }
            Addresses::Rotating { site, sites } => {
                let site = site + random.below(sites.into()) as u16;
                (site, 1, random.next(), random.below(1 << 16) as u16)
            }
        };
        let words = [0x2001_0db8, u32::from(site) << 16 | u32::from(network), (host >> 32) as u32, host as u32];
        (Address::from_words(words), server)
    }

    const fn site(self) -> u16 {
        match self {
            Addresses::Servers { site, .. } | Addresses::Rotating { site, .. } => site,
        }
    }
}

impl Sender {
    /// One that has both families and does not know the verb.
    pub const fn new(name: &'static str, mta: Mta, addresses: Addresses, per_day: u32, writing: Writing) -> Self {
        Sender { name, mta, addresses, has_ipv4: true, verb: false, per_day, writing }
    }

    /// The same without IPv4.
    pub const fn without_ipv4(self) -> Self {
        Sender { has_ipv4: false, ..self }
    }

    /// The same with the verb.
    pub const fn with_verb(self) -> Self {
        Sender { verb: true, ..self }
    }

    /// Its own domain.
    pub(super) fn domain(&self) -> String {
        format!("sender{}.example", self.addresses.site())
    }

    /// The server that sends a mail, with its IPv6 address.
    pub(super) fn client(&self, random: &mut Random) -> Client {
        let (address, server) = self.addresses.choose(random);
        Client { address, ehlo_name: format!("mx{server}.{}", self.domain()), verb: self.verb }
    }

    /// The same server as it comes over IPv4.
    pub(super) fn over_ipv4(&self, client: &Client) -> Client {
        let [.., host] = client.address.words();
        let site = u32::from(self.addresses.site()) & 0xff;
        Client { address: Address::from_words([0, 0, 0xffff, 0xcb00_7100 | site ^ host & 0xff]), ..client.clone() }
    }
}

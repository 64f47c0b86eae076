//! `check_host()` of RFC 7208 §4, over the DNS. Macros are expanded by mail-auth.

use std::net::{IpAddr, Ipv4Addr};

use mail_auth::spf::{Macro, Mechanism, Qualifier, Variables};
use smtp_fallback_policy::contract::AuthResult;

use crate::dns::{Dns, NoAnswer, fqdn};
use crate::names::{MAX_NAME, domain_name, is_at_or_below};
use crate::record::{self, Record};

/// Terms that ask the DNS (RFC 7208 §4.6.4).
const MAX_TERMS: usize = 10;
/// Terms whose question had an empty answer (RFC 7208 §4.6.4).
const MAX_VOID: usize = 2;
/// Addresses looked up for one `mx`, and names of the client tried for `ptr` and `%{p}` (RFC 7208 §4.6.4).
const MAX_HOSTS: usize = 10;

/// One run of `check_host()`.
pub(crate) struct Evaluation<'a> {
    dns: &'a Dns,
    client: IpAddr,
    variables: Variables<'a>,
    terms: usize,
    void: usize,
    /// The client's names that lead back to it, once they were asked for.
    client_names: Option<Vec<String>>,
}

/// What ends the evaluation at once.
enum Stop {
    Temporary,
    Permanent,
}

impl From<NoAnswer> for Stop {
    fn from(_: NoAnswer) -> Stop {
        Stop::Temporary
    }
}

impl<'a> Evaluation<'a> {
    /// `client` is not IPv4-mapped; `sender` has a local part and a domain.
    pub(crate) fn new(dns: &'a Dns, client: IpAddr, sender: &'a str, ehlo_name: &'a str) -> Evaluation<'a> {
        let mut variables = Variables::new();
        variables.set_ip(&client);
        variables.set_sender(sender.as_bytes());
        variables.set_helo_domain(ehlo_name.as_bytes());
        Evaluation { dns, client, variables, terms: 0, void: 0, client_names: None }
    }

    /// The result for `domain`. No explanation is looked up: nobody would see it.
    pub(crate) async fn run(mut self, domain: &str) -> AuthResult {
        match self.check_host(domain).await {
            Ok(result) => result.unwrap_or(AuthResult::None),
            Err(Stop::Temporary) => AuthResult::Temperror,
            Err(Stop::Permanent) => AuthResult::Permerror,
        }
    }

    /// Absent where `domain` has no record.
    async fn check_host(&mut self, domain: &str) -> Result<Option<AuthResult>, Stop> {
        let Some(record) = self.record(domain).await? else { return Ok(None) };
        for directive in &record.directives {
            // Anew each time: an `include` has set its own.
            self.variables.set_domain(domain.as_bytes().to_vec());
            if self.matches(&directive.mechanism, domain).await? {
                return Ok(Some(match directive.qualifier {
                    Qualifier::Pass => AuthResult::Pass,
                    Qualifier::Fail => AuthResult::Fail,
                    Qualifier::SoftFail => AuthResult::Softfail,
                    Qualifier::Neutral => AuthResult::Neutral,
                }));
            }
        }
        let Some(target) = &record.redirect else { return Ok(Some(AuthResult::Neutral)) };
        self.variables.set_domain(domain.as_bytes().to_vec());
        self.term()?;
        let target = self.expand(target, domain).await?;
        // The number of terms limits how deep this goes. RFC 7208 §6.1: there has to be a record.
        match Box::pin(self.check_host(&target)).await? {
            None => Err(Stop::Permanent),
            result => Ok(result),
        }
    }

    /// The one SPF record of `domain` (RFC 7208 §4.5).
    async fn record(&self, domain: &str) -> Result<Option<Record>, Stop> {
        let texts = self.dns.txt(domain).await?;
        let mut records = texts.iter().filter(|text| record::is_spf(text));
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Stop::Permanent),
            (Some(text), None) => record::parse(text).map(Some).ok_or(Stop::Permanent),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        if !matches!(mechanism, Mechanism::All | Mechanism::Ip4 { .. } | Mechanism::Ip6 { .. }) {
            self.term()?;
        }
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4 { addr, mask } => Ok(self.client_is_in(IpAddr::V4(*addr), *mask, 0)),
            Mechanism::Ip6 { addr, mask } => Ok(self.client_is_in(IpAddr::V6(*addr), 0, *mask)),
            Mechanism::A { macro_string, ip4_mask, ip6_mask } => {
                let target = self.expand(macro_string, domain).await?;
                let Some(name) = fqdn(&target) else { return Ok(false) };
                let addresses = self.dns.addresses_of(name, self.client).await?;
                self.void_if(addresses.is_empty())?;
                Ok(addresses.into_iter().any(|address| self.client_is_in(address, *ip4_mask, *ip6_mask)))
            }
            Mechanism::Mx { macro_string, ip4_mask, ip6_mask } => {
                let target = self.expand(macro_string, domain).await?;
                let Some(name) = fqdn(&target) else { return Ok(false) };
                let hosts = self.dns.mx(name).await?;
                self.void_if(hosts.is_empty())?;
                for (position, host) in hosts.into_iter().enumerate() {
                    if position == MAX_HOSTS {
                        return Err(Stop::Permanent);
                    }
                    let addresses = self.dns.addresses_of(host, self.client).await?;
                    if addresses.into_iter().any(|address| self.client_is_in(address, *ip4_mask, *ip6_mask)) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Mechanism::Include { macro_string } => {
                let target = self.expand(macro_string, domain).await?;
                match Box::pin(self.check_host(&target)).await? {
                    Some(result) => Ok(result == AuthResult::Pass),
                    None => Err(Stop::Permanent),
                }
            }
            Mechanism::Exists { macro_string } => {
                let target = self.expand(macro_string, domain).await?;
                // RFC 7208 §5.7: A, also for a client with an IPv6 address.
                let Some(name) = fqdn(&target) else { return Ok(false) };
                let addresses = self.dns.addresses_of(name, IpAddr::V4(Ipv4Addr::UNSPECIFIED)).await?;
                self.void_if(addresses.is_empty())?;
                Ok(!addresses.is_empty())
            }
            Mechanism::Ptr { macro_string } => {
                let target = self.expand(macro_string, domain).await?;
                Ok(self.client_names().await.iter().any(|name| is_at_or_below(name, &target)))
            }
        }
    }

    fn client_is_in(&self, network: IpAddr, ip4_mask: u32, ip6_mask: u128) -> bool {
        match (self.client, network) {
            (IpAddr::V4(client), IpAddr::V4(network)) => (client.to_bits() ^ network.to_bits()) & ip4_mask == 0,
            (IpAddr::V6(client), IpAddr::V6(network)) => (client.to_bits() ^ network.to_bits()) & ip6_mask == 0,
            _ => false,
        }
    }

    /// The name that a term is about: lower case, no final dot (RFC 7208 §7.3).
    async fn expand(&mut self, text: &Macro, domain: &str) -> Result<String, Stop> {
        if text.needs_ptr() {
            let names = self.client_names().await;
            let best = names.iter().find(|name| *name == domain);
            let best = best.or_else(|| names.iter().find(|name| is_at_or_below(name, domain))).or(names.first());
            let best = best.map_or_else(|| "unknown".to_owned(), String::clone);
            self.variables.set_validated_domain(best.into_bytes());
        }
        Ok(target(text.eval(&self.variables, domain, false).into_owned()))
    }

    /// The client's names that lead back to it (RFC 7208 §5.5). What cannot be looked up is left out, as §5.5 has it.
    async fn client_names(&mut self) -> &[String] {
        if self.client_names.is_none() {
            let mut confirmed = Vec::new();
            let names = self.dns.ptr(self.client).await.unwrap_or_default();
            for name in names.iter().take(MAX_HOSTS).filter_map(|name| domain_name(name)) {
                if self.dns.addresses(&name, self.client).await.is_ok_and(|addresses| addresses.contains(&self.client)) {
                    confirmed.push(name);
                }
            }
            self.client_names = Some(confirmed);
        }
        self.client_names.as_deref().unwrap_or_default()
    }

    fn term(&mut self) -> Result<(), Stop> {
        self.terms += 1;
        if self.terms > MAX_TERMS { Err(Stop::Permanent) } else { Ok(()) }
    }

    fn void_if(&mut self, empty: bool) -> Result<(), Stop> {
        self.void += usize::from(empty);
        if self.void > MAX_VOID { Err(Stop::Permanent) } else { Ok(()) }
    }
}

/// An expanded text as a name: in lower case, without a final dot, and, where it is too long, without labels on its left (RFC 7208
/// §7.3). Empty where that leaves nothing.
fn target(mut name: String) -> String {
    // Only these: a letter beyond ASCII exists nowhere, even if its lower case does.
    name.make_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    if let Some(excess) = name.len().checked_sub(MAX_NAME).filter(|&excess| excess > 0) {
        // The first dot that leaves no more than that after it.
        let dot = name.bytes().skip(excess - 1).position(|byte| byte == b'.').map(|position| excess - 1 + position);
        name.drain(..dot.map_or(name.len(), |dot| dot + 1));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_loses_labels_on_its_left() {
        let label = "a".repeat(MAX_NAME);
        assert_eq!(target("A.Example.".to_owned()), "a.example");
        assert_eq!(target("\u{212a}.example".to_owned()), "\u{212a}.example");
        assert_eq!(target(label.clone()), label);
        assert_eq!(target(format!("x.{label}")), label);
        assert_eq!(target(format!("x.y.{label}.")), label);
        assert_eq!(target(format!("xyz.{}", &label[1..])), &label[1..]);
        assert_eq!(target(format!("x.b.{}", &label[2..])), format!("b.{}", &label[2..]));
        assert_eq!(target(format!("{label}a")), "", "there is no dot");
        assert_eq!(target(format!("x.{label}a")), "");
        assert_eq!(target(format!("x{}.{label}", "\u{fc}".repeat(500))), label);
        let start = std::time::Instant::now();
        assert_eq!(target(format!("{}{label}", "x.".repeat(5_000_000))), label);
        assert!(start.elapsed() < std::time::Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

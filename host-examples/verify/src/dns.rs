//! The resolver, and what the checks ask it.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use mail_auth::MessageAuthenticator;

use crate::{Settings, VerifierError};

/// No answer is believed for longer, whatever its TTL: a key or an SPF record that was corrected shall count within a day.
const POSITIVE_MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The same for "there is none", as RFC 2308 §5 advises.
const NEGATIVE_MAX_TTL: Duration = Duration::from_secs(60 * 60);
/// How often a query is repeated, so that one lost packet is not a temporary error.
const ATTEMPTS: usize = 2;

/// mail-auth's entry point, over the name servers of `settings`.
pub(crate) fn authenticator(settings: &Settings) -> Result<MessageAuthenticator, VerifierError> {
    let (config, mut options) = if settings.nameservers.is_empty() {
        let system = read_system_conf().map_err(|error| VerifierError::SystemConfiguration(error.to_string()))?;
        if system.0.name_servers().is_empty() {
            return Err(VerifierError::SystemConfiguration("it names no server".to_owned()));
        }
        system
    } else {
        let servers = settings.nameservers.iter().map(|address| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.into())
        });
        (ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
    };
    options.attempts = ATTEMPTS;
    // All attempts fit into the deadline; one that is still open then is cut off by it.
    options.timeout = options.timeout.min(settings.deadline / (ATTEMPTS as u32 + 1));
    options.cache_size = settings.cache_entries as u64;
    options.positive_max_ttl = Some(POSITIVE_MAX_TTL);
    options.negative_max_ttl = Some(NEGATIVE_MAX_TTL);
    // What a domain publishes is in the DNS; this host's own file has no say in it.
    options.use_hosts_file = ResolveHosts::Never;
    MessageAuthenticator::new(config, options).map_err(|error| VerifierError::Resolver(error.to_string()))
}

/// The questions that the checks ask.
#[derive(Clone)]
pub(crate) struct Dns(TokioResolver);

/// No answer for now: the server did not give one, or a broken one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// The records of a name. Empty where there are none, where there is no such name, and where there can be none.
pub(crate) type Records<T> = Result<Vec<T>, NoAnswer>;

impl Dns {
    pub(crate) fn new(authenticator: &MessageAuthenticator) -> Dns {
        Dns(authenticator.resolver().clone())
    }

    /// The TXT records, each with its strings put together.
    pub(crate) async fn txt(&self, name: &str) -> Records<Vec<u8>> {
        let Some(name) = fqdn(name) else { return Ok(Vec::new()) };
        self.records(name, RecordType::TXT, |data| match data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        })
        .await
    }

    /// The addresses of the family of `like`: A or AAAA.
    pub(crate) async fn addresses(&self, name: &str, like: IpAddr) -> Records<IpAddr> {
        match fqdn(name) {
            Some(name) => self.addresses_of(name, like).await,
            None => Ok(Vec::new()),
        }
    }

    /// The same for a name that came from the DNS.
    pub(crate) async fn addresses_of(&self, name: Name, like: IpAddr) -> Records<IpAddr> {
        let kind = if like.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        self.records(name, kind, |data| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
        .await
    }

    /// The hosts of the MX records, those with the lowest preference first.
    pub(crate) async fn mx(&self, name: &str) -> Records<Name> {
        let Some(name) = fqdn(name) else { return Ok(Vec::new()) };
        let read = |data: &RData| match data {
            RData::MX(mx) => Some((mx.preference, mx.exchange.clone())),
            _ => None,
        };
        let mut records = self.records(name, RecordType::MX, read).await?;
        records.sort_by_key(|&(preference, _)| preference);
        Ok(records.into_iter().map(|(_, exchange)| exchange).collect())
    }

    /// The names that the PTR records give the address.
    pub(crate) async fn ptr(&self, address: IpAddr) -> Records<String> {
        let read = |data: &RData| match data {
            RData::PTR(name) => Some(name.to_ascii()),
            _ => None,
        };
        self.records(Name::from(address), RecordType::PTR, read).await
    }

    async fn records<T>(&self, name: Name, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Records<T> {
        match self.0.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup.answers().iter().filter_map(|record| read(&record.data)).collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(_) => Err(NoAnswer),
        }
    }
}

/// `name` with or without its final dot; absent where no name can be like that. Letters beyond ASCII are for the callers to convert:
/// whatever still has some, such as a macro with a local part of RFC 6531, exists nowhere (RFC 8616 §4).
fn fqdn(name: &str) -> Option<Name> {
    if !name.is_ascii() {
        return None;
    }
    // By label: an octet such as `\\` stands for itself here, and not for an escape.
    Name::from_labels(name.strip_suffix('.').unwrap_or(name).split('.').map(str::as_bytes)).ok()
}

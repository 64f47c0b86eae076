//! The resolver, and what the checks ask it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use mail_auth::MessageAuthenticator;

use crate::cache::{Cache, Datum};
use crate::{Settings, VerifierError};

/// No answer is believed for longer, whatever its TTL: a key or an SPF record that was corrected shall count soon, and nobody
/// shall fill the cache for long.
const POSITIVE_MAX_TTL: Duration = Duration::from_secs(60 * 60);
/// The same for "there is none"; less than the hours that RFC 2308 §5 allows.
const NEGATIVE_MAX_TTL: Duration = Duration::from_secs(15 * 60);
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
    // Ours is the one that counts octets.
    options.cache_size = 0;
    // What a domain publishes is in the DNS; this host's own file has no say in it.
    options.use_hosts_file = ResolveHosts::Never;
    MessageAuthenticator::new(config, options).map_err(|error| VerifierError::Resolver(error.to_string()))
}

/// The questions that the checks ask.
#[derive(Clone)]
pub(crate) struct Dns {
    resolver: TokioResolver,
    cache: Arc<Cache>,
}

/// No answer for now: the server did not give one, or a broken one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// The records of a name. Empty where there are none, where there is no such name, and where there can be none.
pub(crate) type Records<T> = Result<Vec<T>, NoAnswer>;

impl Dns {
    /// See [`Settings::cache_entries`].
    pub(crate) fn new(authenticator: &MessageAuthenticator, cache_entries: usize) -> Dns {
        Dns { resolver: authenticator.resolver().clone(), cache: Arc::new(Cache::new(cache_entries)) }
    }

    /// The TXT records, each with its strings put together.
    pub(crate) async fn txt(&self, name: &str) -> Records<Vec<u8>> {
        let Some(name) = fqdn(name) else { return Ok(Vec::new()) };
        self.records(name, RecordType::TXT, |data| match data {
            Datum::Text(text) => Some(text.to_vec()),
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
            Datum::Address(address) => Some(*address),
            _ => None,
        })
        .await
    }

    /// The hosts of the MX records, those with the lowest preference first.
    pub(crate) async fn mx(&self, name: Name) -> Records<Name> {
        let read = |data: &Datum| match data {
            Datum::Mx(preference, exchange) => Some((*preference, exchange.clone())),
            _ => None,
        };
        let mut records = self.records(name, RecordType::MX, read).await?;
        records.sort_by_key(|&(preference, _)| preference);
        Ok(records.into_iter().map(|(_, exchange)| exchange).collect())
    }

    /// The names that the PTR records give the address.
    pub(crate) async fn ptr(&self, address: IpAddr) -> Records<String> {
        let read = |data: &Datum| match data {
            Datum::Name(name) => Some(name.to_ascii()),
            _ => None,
        };
        self.records(Name::from(address), RecordType::PTR, read).await
    }

    async fn records<T>(&self, name: Name, kind: RecordType, read: impl Fn(&Datum) -> Option<T>) -> Records<T> {
        let name = name.to_lowercase();
        let answer = match self.cache.find(&name, kind, Instant::now()) {
            Some(answer) => answer,
            None => self.ask(name, kind).await?,
        };
        Ok(answer.iter().filter_map(read).collect())
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Arc<[Datum]>, NoAnswer> {
        let result = self.resolver.lookup(name.clone(), kind).await;
        let now = Instant::now();
        let (answer, ttl) = match result {
            Ok(lookup) => (data(&lookup), lookup.valid_until().saturating_duration_since(now).min(POSITIVE_MAX_TTL)),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                // Absent without the SOA record that says how long it holds (RFC 2308 §5).
                let ttl = Duration::from_secs(none.negative_ttl.unwrap_or(0).into()).min(NEGATIVE_MAX_TTL);
                (Vec::new(), ttl)
            }
            Err(_) => return Err(NoAnswer),
        };
        let answer: Arc<[Datum]> = answer.into();
        self.cache.keep(name, kind, answer.clone(), now, ttl);
        Ok(answer)
    }
}

/// What the checks need of an answer: a fraction of what it takes as hickory has it, a list of allocated strings for each record.
fn data(lookup: &Lookup) -> Vec<Datum> {
    let data = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(Datum::Text(text.txt_data.concat().into())),
        RData::A(address) => Some(Datum::Address(IpAddr::V4(address.0))),
        RData::AAAA(address) => Some(Datum::Address(IpAddr::V6(address.0))),
        RData::MX(mx) => Some(Datum::Mx(mx.preference, mx.exchange.clone())),
        RData::PTR(name) => Some(Datum::Name(name.0.clone())),
        _ => None,
    });
    data.collect()
}

/// `name` with or without its final dot; absent where no name can be like that. Letters beyond ASCII are for the callers to convert:
/// whatever still has some, such as a macro with a local part of RFC 6531, exists nowhere (RFC 8616 §4).
pub(crate) fn fqdn(name: &str) -> Option<Name> {
    if !name.is_ascii() {
        return None;
    }
    // By label: an octet such as `\\` stands for itself here, and not for an escape.
    Name::from_labels(name.strip_suffix('.').unwrap_or(name).split('.').map(str::as_bytes)).ok()
}

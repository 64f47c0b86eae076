//! The resolver.

use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
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

//! The layout as the DNS has it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use super::layout::{Addresses, Host, Layout, implicit, name_of, named};
use crate::fail::Fail;

/// How long one question may take, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;
/// No domain has more MX hosts than this; whoever publishes more is asked no further.
const MAX_HOSTS: usize = 100;

/// What a name server said.
enum Answer {
    /// These, or none.
    Records(Vec<RData>),
    /// There is no such name.
    NoName,
    /// No answer, or one that is none; why.
    Failed(String),
}

/// Asks for the MX hosts and their addresses.
pub(super) async fn look_up(domain: &str, server: Option<SocketAddr>) -> Result<Layout, Fail> {
    let name = named(domain)?;
    let domain = name_of(&name);
    let resolver = resolver(server)?;
    let mx = match ask(&resolver, &name, RecordType::MX).await {
        Answer::Records(records) => records,
        Answer::NoName => return Err(Fail::NotFound(format!("there is no domain {domain}"))),
        Answer::Failed(why) => return Err(Fail::Other(format!("the MX records of {domain} are unknown: {why}"))),
    };
    let mx = mx.into_iter().filter_map(|data| match data {
        RData::MX(mx) => Some((mx.preference, mx.exchange)),
        _ => None,
    });
    let mut mx: Vec<(u16, Name)> = mx.take(MAX_HOSTS).collect();
    if mx.is_empty() {
        let (ipv4, ipv6) = addresses(&resolver, &name).await;
        return Ok(implicit(domain, ipv4, ipv6));
    }
    mx.sort();
    let is_null = mx.len() == 1 && mx.iter().all(|(_, host)| host.is_root());
    let mut hosts = Vec::new();
    for (preference, host) in mx.iter().filter(|_| !is_null) {
        let (ipv4, ipv6) = addresses(&resolver, host).await;
        hosts.push(Host { preference: *preference, name: name_of(host), ipv4, ipv6 });
    }
    Ok(Layout { domain, hosts, is_implicit: false, is_null })
}

async fn addresses(resolver: &TokioResolver, host: &Name) -> (Addresses, Addresses) {
    tokio::join!(family(resolver, host, RecordType::A), family(resolver, host, RecordType::AAAA))
}

async fn family(resolver: &TokioResolver, host: &Name, kind: RecordType) -> Addresses {
    match ask(resolver, host, kind).await {
        Answer::Records(records) => Addresses::Known(records.iter().filter_map(address).collect()),
        Answer::NoName => Addresses::Known(Vec::new()),
        Answer::Failed(why) => Addresses::Unknown(why),
    }
}

/// The address in an A or AAAA record.
pub(super) fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

async fn ask(resolver: &TokioResolver, name: &Name, kind: RecordType) -> Answer {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Answer::Records(lookup.answers().iter().map(|record| record.data.clone()).collect()),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NoError => Answer::Records(Vec::new()),
            ResponseCode::NXDomain => Answer::NoName,
            code => Answer::Failed(format!("the name server answered {code}")),
        },
        Err(error) => Answer::Failed(format!("no answer from the name server: {error}")),
    }
}

fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, Fail> {
    let (config, mut options) = match server {
        None => read_system_conf().map_err(|error| {
            Fail::Other(format!(
                "this machine names no name server ({error}): set /etc/resolv.conf right, or use --server ADDRESS:PORT"
            ))
        })?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let servers = vec![NameServerConfig::new(server.ip(), true, connections.into())];
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        }
    };
    options.timeout = TIMEOUT;
    options.attempts = ATTEMPTS;
    // What senders see is in the DNS; this machine's own file has no say in it.
    options.use_hosts_file = ResolveHosts::Never;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    builder.build().map_err(|error| Fail::Other(format!("cannot ask the DNS: {error}")))
}

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
use tokio::time::{Instant, timeout_at};

use super::layout::{Addresses, Alias, Host, Layout, implicit, name_of, named};
use crate::fail::Fail;

/// How long one question may take, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;
/// How long all questions of a run may take together: a hundred hosts whose name servers are silent would take ten minutes.
pub(super) const TIME: Duration = Duration::from_secs(60);
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

/// Asks for the MX hosts and their addresses, for so long at most: what is not answered until then is unknown.
pub(super) async fn look_up(domain: &str, server: Option<SocketAddr>, time: Duration) -> Result<Layout, Fail> {
    let name = named(domain)?;
    let domain = name_of(&name);
    let asker = Asker { resolver: resolver(server)?, time, end: Instant::now() + time };
    let mx = match asker.ask(&name, RecordType::MX).await {
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
        let (ipv4, ipv6) = asker.addresses(&name).await;
        return Ok(implicit(domain, ipv4, ipv6));
    }
    mx.sort();
    let is_null = mx.len() == 1 && mx.iter().all(|(_, host)| host.is_root());
    let mut hosts = Vec::new();
    for (preference, host) in mx.iter().filter(|_| !is_null) {
        let (alias, (ipv4, ipv6)) = tokio::join!(asker.alias(host), asker.addresses(host));
        hosts.push(Host { preference: *preference, name: name_of(host), alias, ipv4, ipv6 });
    }
    Ok(Layout { domain, hosts, is_implicit: false, is_null })
}

/// All questions of a run.
struct Asker {
    resolver: TokioResolver,
    /// So long they may take together.
    time: Duration,
    end: Instant,
}

impl Asker {
    async fn addresses(&self, host: &Name) -> (Addresses, Addresses) {
        tokio::join!(self.family(host, RecordType::A), self.family(host, RecordType::AAAA))
    }

    async fn family(&self, host: &Name, kind: RecordType) -> Addresses {
        match self.ask(host, kind).await {
            Answer::Records(records) => Addresses::Known(records.iter().filter_map(address).collect()),
            Answer::NoName => Addresses::Known(Vec::new()),
            Answer::Failed(why) => Addresses::Unknown(why),
        }
    }

    /// Asked for by itself: with the addresses, a name server follows it in silence.
    async fn alias(&self, host: &Name) -> Alias {
        match self.ask(host, RecordType::CNAME).await {
            Answer::Records(records) => {
                let other =
                    records.iter().find_map(|data| if let RData::CNAME(other) = data { Some(name_of(other)) } else { None });
                other.map_or(Alias::No, Alias::Of)
            }
            Answer::NoName => Alias::No,
            Answer::Failed(why) => Alias::Unknown(why),
        }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Answer {
        let Ok(answer) = timeout_at(self.end, self.resolver.lookup(name.clone(), kind)).await else {
            return Answer::Failed(format!(
                "not answered within the {} s that all questions together may take",
                self.time.as_secs()
            ));
        };
        match answer {
            Ok(lookup) => Answer::Records(lookup.answers().iter().map(|record| record.data.clone()).collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NoError => Answer::Records(Vec::new()),
                ResponseCode::NXDomain => Answer::NoName,
                code => Answer::Failed(format!("the name server answered {code}")),
            },
            Err(error) => Answer::Failed(format!("no answer from the name server: {error}")),
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use smtp_fallback_demo::zone::{Kind, NameServer, Zone};

    use super::*;

    #[tokio::test]
    async fn what_is_not_answered_in_the_time_of_a_run_is_unknown() {
        let mut zone = Zone::new();
        for number in 0..9 {
            let host = format!("mx{number}.example.org");
            zone.add("example.org", Kind::Mx, &format!("{number}0 {host}")).unwrap();
            zone.add(&host, Kind::A, &format!("192.0.2.{number}")).unwrap();
        }
        zone.delay("example.org", Duration::from_millis(300));
        let server = NameServer::start(zone).await.unwrap();
        let begun = Instant::now();
        let layout = look_up("example.org", Some(server.addr()), Duration::from_secs(1)).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let (first, last) = (layout.hosts.first().unwrap(), layout.hosts.last().unwrap());
        assert_eq!((layout.hosts.len(), first.ipv4.count(), &first.alias), (9, Some(1), &Alias::No));
        let words = last.ipv4.words("IPv4");
        assert_eq!(words, "IPv4 unknown (not answered within the 1 s that all questions together may take)");
        assert!(matches!(last.alias, Alias::Unknown(_)) && last.ipv6.count().is_none(), "{last:?}");
        let error = look_up("example.org", Some(server.addr()), Duration::from_millis(100)).await.unwrap_err();
        assert!(
            matches!(&error, Fail::Other(text) if text.contains("the MX records of example.org are unknown: not answered")),
            "{error:?}"
        );
    }
}

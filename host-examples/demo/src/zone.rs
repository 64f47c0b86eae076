//! A name server on the loopback interface, with a zone that can be changed while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use crate::sign;

/// A running name server. It stops when it is dropped.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<State>,
    _server: Server<Handler>,
}

/// The domain that the demo's server receives mail for.
pub const RECEIVING_DOMAIN: &str = "demo.example";
/// Its domain passes SPF from `::1` and `127.0.0.1`.
pub const SPF_DOMAIN: &str = "spf.example";
/// It publishes neither SPF nor DKIM.
pub const PLAIN_DOMAIN: &str = "none.example";
/// Its SPF record fails every client.
pub const FAILING_DOMAIN: &str = "fail.example";
/// It publishes the DKIM keys of [`sign`], and no SPF.
pub const SIGNED_DOMAIN: &str = "signed.example";
/// Every question about it is answered SERVFAIL.
pub const SERVFAIL_DOMAIN: &str = "servfail.example";

impl NameServer {
    /// Serves `zone` on a free port of 127.0.0.1, over UDP and TCP.
    pub async fn start(zone: Zone) -> io::Result<NameServer> {
        NameServer::start_on(zone, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Serves `zone` on `address`; port 0 stands for a free one.
    pub async fn start_on(zone: Zone, address: SocketAddr) -> io::Result<NameServer> {
        let (udp, tcp) = bind(address).await?;
        let address = udp.local_addr()?;
        let state = Arc::new(State { zone: RwLock::new(zone), queries: AtomicU64::new(0) });
        let mut server = Server::new(Handler(state.clone()));
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(10), 16);
        Ok(NameServer { address, state, _server: server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Changes the zone; the next answer is given from the changed one.
    pub fn change<T>(&self, change: impl FnOnce(&mut Zone) -> T) -> T {
        change(&mut self.state.zone.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many questions it was asked so far.
    pub fn queries(&self) -> u64 {
        self.state.queries.load(Ordering::Relaxed)
    }
}

/// The kinds of records that a [`Zone`] can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Preference and host name, such as `10 mx.demo.example`.
    Mx,
    /// A host name.
    Ptr,
    /// Another name for the host: the answer to questions for any kind that the name has no records of.
    Cname,
    /// Any text; it is cut into strings of 255 octets as the DNS wants them.
    Txt,
}

/// A record that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{name} {kind:?} \"{text}\": not a record: expected {expected}")]
pub struct ZoneError {
    name: String,
    kind: Kind,
    text: String,
    expected: &'static str,
}

/// What a name server answers. Names are without a final dot, and their case does not matter.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// Seconds for which answers, also negative ones, may be kept. 0 by default, so that a change is seen at once.
    pub ttl: u32,
    records: BTreeMap<(String, Kind), Vec<RData>>,
    failing: BTreeSet<String>,
    incomplete: BTreeSet<String>,
    silent: BTreeSet<String>,
    slow: BTreeMap<String, Duration>,
}

impl Zone {
    /// A zone without a name.
    pub fn new() -> Zone {
        Zone::default()
    }

    /// The demo's zone: the domains that this module names, and the MX records of the receiving one, each host with one kind of
    /// address (D1-D3).
    pub fn demo() -> Zone {
        let mut zone = Zone::new();
        let records = [
            (RECEIVING_DOMAIN, Kind::Mx, "10 mx6.demo.example"),
            (RECEIVING_DOMAIN, Kind::Mx, "10 mx4.demo.example"),
            ("mx6.demo.example", Kind::Aaaa, "::1"),
            ("mx4.demo.example", Kind::A, "127.0.0.1"),
            (SPF_DOMAIN, Kind::Txt, "v=spf1 ip6:::1 ip4:127.0.0.1 -all"),
            (PLAIN_DOMAIN, Kind::A, "127.0.0.1"),
            (FAILING_DOMAIN, Kind::Txt, "v=spf1 -all"),
            (SIGNED_DOMAIN, Kind::A, "127.0.0.1"),
            (sign::RSA_KEY_NAME, Kind::Txt, sign::RSA_KEY_RECORD),
            (sign::ED25519_KEY_NAME, Kind::Txt, sign::ED25519_KEY_RECORD),
        ];
        for (name, kind, text) in records {
            zone.add(name, kind, text).expect("the demo's records are well-formed");
        }
        zone.fail(SERVFAIL_DOMAIN);
        zone
    }

    /// Adds a record to those of this name and kind.
    pub fn add(&mut self, name: &str, kind: Kind, text: &str) -> Result<(), ZoneError> {
        let data = record_data(name, kind, text)?;
        self.records.entry((normalised(name), kind)).or_default().push(data);
        Ok(())
    }

    /// Replaces the records of this name and kind; with no text, removes them.
    pub fn replace(&mut self, name: &str, kind: Kind, texts: &[&str]) -> Result<(), ZoneError> {
        let data = texts.iter().map(|text| record_data(name, kind, text)).collect::<Result<Vec<_>, _>>()?;
        let key = (normalised(name), kind);
        if data.is_empty() {
            self.records.remove(&key);
        } else {
            self.records.insert(key, data);
        }
        Ok(())
    }

    /// From now on, SERVFAIL for this name and all below it.
    pub fn fail(&mut self, name: &str) {
        self.failing.insert(normalised(name));
    }

    /// From now on, no answer at all for this name and all below it.
    pub fn silence(&mut self, name: &str) {
        self.silent.insert(normalised(name));
    }

    /// From now on, SERVFAIL for this name where it has no record of the kind that is asked for.
    pub fn fail_the_rest(&mut self, name: &str) {
        self.incomplete.insert(normalised(name));
    }

    /// From now on, every answer about this name and all below it comes that much later.
    pub fn delay(&mut self, name: &str, delay: Duration) {
        self.slow.insert(normalised(name), delay);
    }

    /// Takes [`Zone::fail`], [`Zone::fail_the_rest`], [`Zone::silence`] and [`Zone::delay`] back.
    pub fn repair(&mut self, name: &str) {
        self.slow.remove(&normalised(name));
        self.failing.remove(&normalised(name));
        self.incomplete.remove(&normalised(name));
        self.silent.remove(&normalised(name));
    }

    fn delay_of(&self, name: &str) -> Option<Duration> {
        self.slow.iter().filter(|(parent, _)| is_at_or_below(name, parent)).map(|(_, delay)| *delay).max()
    }

    fn answer(&self, name: &str, kind: RecordType) -> Answer {
        let below = |names: &BTreeSet<String>| names.iter().any(|parent| is_at_or_below(name, parent));
        if below(&self.silent) {
            return Answer::Silence;
        }
        if below(&self.failing) {
            return Answer::Code(ResponseCode::ServFail);
        }
        let kind = match kind {
            RecordType::A => Some(Kind::A),
            RecordType::AAAA => Some(Kind::Aaaa),
            RecordType::MX => Some(Kind::Mx),
            RecordType::PTR => Some(Kind::Ptr),
            RecordType::TXT => Some(Kind::Txt),
            _ => None,
        };
        let records = |kind| self.records.get(&(name.to_owned(), kind));
        match kind.and_then(records).or_else(|| records(Kind::Cname)) {
            Some(data) => Answer::Records(data.clone()),
            None if self.incomplete.contains(name) => Answer::Code(ResponseCode::ServFail),
            None if self.records.keys().any(|(owner, _)| is_at_or_below(owner, name)) => Answer::Code(ResponseCode::NoError),
            None => Answer::Code(ResponseCode::NXDomain),
        }
    }
}

enum Answer {
    Records(Vec<RData>),
    Code(ResponseCode),
    Silence,
}

fn is_at_or_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn normalised(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_lowercase()
}

/// A name from the wire as [`Zone`] writes it: its octets, without escapes.
fn written(name: &Name) -> String {
    let labels: Vec<_> = name.iter().map(String::from_utf8_lossy).collect();
    normalised(&labels.join("."))
}

fn record_data(name: &str, kind: Kind, text: &str) -> Result<RData, ZoneError> {
    let host = |text: &str| match text.strip_suffix('.').unwrap_or(text) {
        "" => Some(Name::root()),
        // By label: a name may hold any octets, also those that its written form would escape.
        text => Name::from_labels(text.split('.').map(str::as_bytes)).ok(),
    };
    let (data, expected) = match kind {
        Kind::A => (text.parse::<Ipv4Addr>().ok().map(|address| RData::A(A(address))), "an IPv4 address"),
        Kind::Aaaa => (text.parse::<Ipv6Addr>().ok().map(|address| RData::AAAA(AAAA(address))), "an IPv6 address"),
        Kind::Mx => {
            let parts = text.split_once(' ').and_then(|(preference, exchange)| Some((preference.parse().ok()?, host(exchange)?)));
            (
                parts.map(|(preference, exchange)| RData::MX(MX::new(preference, exchange))),
                "a preference, a space and a host name",
            )
        }
        Kind::Ptr => (host(text).map(|host| RData::PTR(PTR(host))), "a host name"),
        Kind::Cname => (host(text).map(|host| RData::CNAME(CNAME(host))), "a host name"),
        // No text at all is one empty string: a record has at least one.
        Kind::Txt if text.is_empty() => (Some(RData::TXT(TXT::from_bytes(vec![b""]))), "any text"),
        Kind::Txt => (Some(RData::TXT(TXT::from_bytes(text.as_bytes().chunks(255).collect()))), "any text"),
    };
    let error = || ZoneError { name: name.to_owned(), kind, text: text.to_owned(), expected };
    match host(name) {
        Some(_) => data.ok_or_else(error),
        None => Err(ZoneError { expected: "a domain name to put it under", ..error() }),
    }
}

/// A UDP and a TCP socket on the same port.
async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    // A port that is free for one protocol need not be for the other: try some.
    for _ in 0..20 {
        let udp = UdpSocket::bind(address).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => {}
        }
    }
    let ip: IpAddr = address.ip();
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no port of {ip} is free for both UDP and TCP")))
}

struct State {
    zone: RwLock<Zone>,
    queries: AtomicU64,
}

struct Handler(Arc<State>);

impl Handler {
    async fn respond(&self, request: &Request, mut response: impl ResponseHandler) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = true;
        let mut answers = Vec::new();
        let mut negative = Vec::new();
        match request.request_info() {
            Ok(info) => {
                self.0.queries.fetch_add(1, Ordering::Relaxed);
                let owner = Name::from(info.query.name());
                let (answer, delay, ttl) = {
                    let zone = self.0.zone.read().unwrap_or_else(PoisonError::into_inner);
                    let name = written(&owner);
                    (zone.answer(&name, info.query.query_type()), zone.delay_of(&name), zone.ttl)
                };
                if let Some(delay) = delay {
                    tokio::time::sleep(delay).await;
                }
                match answer {
                    Answer::Records(data) => {
                        answers = data.into_iter().map(|data| Record::from_rdata(owner.clone(), ttl, data)).collect();
                    }
                    Answer::Code(code) => {
                        metadata.response_code = code;
                        if code != ResponseCode::ServFail {
                            negative.push(soa(ttl));
                        }
                    }
                    Answer::Silence => {
                        // Longer than any resolver waits.
                        tokio::time::sleep(Duration::from_secs(60)).await;
                        metadata.response_code = ResponseCode::ServFail;
                    }
                }
            }
            Err(_) => metadata.response_code = ResponseCode::FormErr,
        }
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &request.edns {
            builder.edns(edns);
        }
        match response.send_response(builder.build(metadata, &answers, [], &negative, [])).await {
            Ok(info) => info,
            // The client has gone away; nobody is left to tell.
            Err(_) => ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() }),
        }
    }
}

impl RequestHandler for Handler {
    // The trait comes from the `async_trait` macro; this is its method as the macro writes it.
    fn handle_request<'life0, 'life1, 'async_trait, R, T>(
        &'life0 self,
        request: &'life1 Request,
        response_handle: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'async_trait>>
    where
        R: 'async_trait + ResponseHandler,
        T: 'async_trait + Time,
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.respond(request, response_handle))
    }
}

/// Says for how long "there is none" holds (RFC 2308 §3).
fn soa(ttl: u32) -> Record {
    let data = SOA::new(Name::root(), Name::root(), 1, 3600, 600, 86400, ttl);
    Record::from_rdata(Name::root(), ttl, RData::SOA(data))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use super::*;

    fn code(zone: &Zone, name: &str, kind: RecordType) -> String {
        match zone.answer(name, kind) {
            Answer::Records(data) => data.iter().map(|data| data.to_string()).collect::<Vec<_>>().join(" | "),
            Answer::Code(code) => format!("{code:?}"),
            Answer::Silence => "silence".to_owned(),
        }
    }

    #[test]
    fn a_zone_answers_what_it_holds() {
        let mut zone = Zone::demo();
        assert_eq!(code(&zone, "spf.example", RecordType::TXT), "v=spf1 ip6:::1 ip4:127.0.0.1 -all");
        assert_eq!(code(&zone, "demo.example", RecordType::MX), "10 mx6.demo.example. | 10 mx4.demo.example.");
        assert_eq!(code(&zone, "none.example", RecordType::TXT), "NoError", "the name is there, no such record");
        assert_eq!(code(&zone, "_domainkey.signed.example", RecordType::TXT), "NoError", "only something below is there");
        assert_eq!(code(&zone, "other.example", RecordType::TXT), "NXDomain");
        assert_eq!(code(&zone, "a.servfail.example", RecordType::TXT), "ServFail");
        assert_eq!(code(&zone, "notservfail.example", RecordType::TXT), "NXDomain");

        zone.fail_the_rest("spf.example");
        assert_eq!(code(&zone, "spf.example", RecordType::TXT), "v=spf1 ip6:::1 ip4:127.0.0.1 -all");
        assert_eq!(code(&zone, "spf.example", RecordType::A), "ServFail");
        assert_eq!(code(&zone, "a.spf.example", RecordType::A), "NXDomain", "this name only");
        zone.repair("spf.example");
        assert_eq!(code(&zone, "spf.example", RecordType::A), "NoError");

        zone.delay("slow.example", Duration::from_secs(1));
        assert_eq!(zone.delay_of("a.slow.example"), Some(Duration::from_secs(1)));
        assert_eq!(zone.delay_of("example"), None);
        zone.repair("slow.example");
        assert_eq!(zone.delay_of("a.slow.example"), None);

        zone.add("alias.example", Kind::Cname, "spf.example").unwrap();
        zone.add("alias.example", Kind::A, "192.0.2.1").unwrap();
        assert_eq!(code(&zone, "alias.example", RecordType::TXT), "spf.example.");
        assert_eq!(code(&zone, "alias.example", RecordType::A), "192.0.2.1");
        zone.add("odd:name+*.example", Kind::A, "192.0.2.1").unwrap();
        let odd = Name::from_labels([b"Odd:name+*".as_slice(), b"example"]).unwrap();
        assert_eq!(code(&zone, &written(&odd), RecordType::A), "192.0.2.1");

        zone.replace("Spf.Example.", Kind::Txt, &["v=spf1 +all"]).unwrap();
        zone.add("spf.example", Kind::Txt, "other").unwrap();
        assert_eq!(code(&zone, "spf.example", RecordType::TXT), "v=spf1 +all | other");
        zone.replace("spf.example", Kind::Txt, &[]).unwrap();
        zone.silence("silent.example");
        assert_eq!(code(&zone, "spf.example", RecordType::TXT), "NXDomain");
        assert_eq!(code(&zone, "x.silent.example", RecordType::A), "silence");
        zone.repair("silent.example");
        zone.repair("servfail.example");
        assert_eq!(code(&zone, "x.silent.example", RecordType::A), "NXDomain");
        assert_eq!(code(&zone, "servfail.example", RecordType::TXT), "NXDomain");
    }

    #[test]
    fn wrong_records_are_refused_with_a_reason() {
        let mut zone = Zone::new();
        let mut error = |name, kind, text| zone.add(name, kind, text).unwrap_err().to_string();
        assert_eq!(error("a.example", Kind::A, "::1"), r#"a.example A "::1": not a record: expected an IPv4 address"#);
        assert!(error("a.example", Kind::Aaaa, "127.0.0.1").ends_with("an IPv6 address"));
        assert!(error("a.example", Kind::Cname, "a..example").ends_with("a host name"));
        assert!(error("a.example", Kind::Mx, "mx.example").ends_with("a preference, a space and a host name"));
        assert!(error("a.example", Kind::Mx, "70000 mx.example").ends_with("a preference, a space and a host name"));
        assert!(error(&format!("{}.example", "a".repeat(64)), Kind::Txt, "x").ends_with("a domain name to put it under"));
        assert!(zone.add("a.example", Kind::Txt, &"x".repeat(600)).is_ok(), "more than one string of a TXT record can hold");
    }
}

//! All that takes part: an upstream, a Redis, two smtpd and the milter in a Postfix.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use smtp_fallback_demo::tls;
use smtp_fallback_demo::zone::{Kind, SPF_DOMAIN, Zone};
use smtp_fallback_interop::{Milter, Postfix, Program, Setting, Setup, Smtpd};

use crate::double::Double;
use crate::mail::Attempt;
use crate::{fixture, redis};

/// Enforce, with penalties of 3 s. They differ in the address that the reply names.
pub(crate) const POLICIES: [&str; 2] = [
    r#"{"mode": "enforce", "url": "https://a.demo.example/", "exempt": {"local_networks": false},
        "penalty": {"first": "3s", "maximum": "3s", "jitter_percent": 0, "probe_one_in": 0}}"#,
    r#"{"mode": "enforce", "url": "https://b.demo.example/", "exempt": {"local_networks": false},
        "penalty": {"first": "3s", "maximum": "3s", "jitter_percent": 0, "probe_one_in": 0}}"#,
];

/// What passes by SPF: clients over IPv6, and those that come back over IPv4.
const SPF: &str = "v=spf1 ip6:2001:db8::/32 ip4:192.0.2.0/24 -all";

/// Clients say who they are by the PROXY protocol.
const LISTENERS: &str = "[[listener]]\naddress = \"[::1]:0\"\nproxy_from = [\"::1\"]\nextension = true\n\n\
                         [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_from = [\"127.0.0.1\"]\n\n";

/// The programs under test, by name.
pub(crate) const SMTPD: &str = "smtpd";
pub(crate) const FAULTY: &str = "smtpd, component traps";
pub(crate) const MILTER: &str = "milter";

pub(crate) struct Site {
    pub(crate) redis: redis::Server,
    /// `None` while it is away.
    upstream: Option<Double>,
    upstream_address: SocketAddr,
    /// With the shipped component, and its records in Redis.
    pub(crate) smtpd: Smtpd,
    /// With a component that traps and loops, and its records on disk.
    pub(crate) faulty: Smtpd,
    /// With the shipped component, and its records in the same Redis.
    pub(crate) milter: Milter,
    pub(crate) postfix: Postfix,
    copies: BTreeMap<Attempt, usize>,
}

impl Site {
    pub(crate) async fn start() -> Site {
        let redis = redis::Server::start();
        // An address of its own, so that nobody else gets the port while upstream is away.
        let (upstream, upstream_address) = Double::tcp(([127, 55, 0, 1], 0).into()).await;
        // So few records at hand that there are as many after the warm-up.
        let shared = format!("[store.redis]\nservers = [{:?}]\nlocal_records = 5000\n", redis.url());
        let setting = |policy, deadline: &str, component, store: &str| Setting {
            policy,
            top: "domains = [\"demo.example\"]\nipv4_arrivals_visible = true\n".to_owned(),
            listeners: LISTENERS.to_owned(),
            tables: format!(
                "[policy_limits]\ndeadline = \"{deadline}\"\n\n{store}\n[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n\n\
                 [limits]\nidle = \"15s\"\ndata_block = \"10s\"\n\n[upstream]\naddress = \"{upstream_address}\"\nprotocol = \"smtp\"\n\
                 tell = \"proxy-v1\"\n\n[upstream.timeouts]\n{}",
                ["connect", "greeting", "command", "data", "block", "dot"].map(|name| format!("{name} = \"1500ms\"\n")).concat()
            ),
            files: certificate(),
            component,
        };
        // The component's time limit is one of real time: on a busy machine it is to decide only where the component never ends.
        let smtpd = Smtpd::start(setting(POLICIES[0], "10s", None, &shared)).await;
        let component = Some(fixture::traps_or_loops_sometimes());
        let faulty = Smtpd::start(setting("{}", "50ms", component, "[store]\npath = \"mail/records.redb\"\n")).await;
        let milter = Milter::start(POLICIES[0], &format!("ipv4_arrivals_visible = true\n{shared}")).await;
        let postfix = Postfix::start(Setup::for_proxy().with("smtpd_milters", &milter.for_postfix()));
        for nameserver in [&smtpd.nameserver, &faulty.nameserver, &milter.nameserver] {
            nameserver.change(publish);
        }
        let upstream = Some(upstream);
        Site { redis, upstream, upstream_address, smtpd, faulty, milter, postfix, copies: BTreeMap::new() }
    }

    /// The processes under test.
    pub(crate) fn programs(&self) -> [(&'static str, &Program); 3] {
        [(SMTPD, self.smtpd.program()), (FAULTY, self.faulty.program()), (MILTER, self.milter.program())]
    }

    /// Upstream, while it is there.
    pub(crate) fn upstream(&self) -> &Double {
        self.upstream.as_ref().expect("it is there")
    }

    /// Upstream goes away, with all its connections.
    pub(crate) async fn stop_upstream(&mut self) {
        let taken = self.upstream.take().expect("it is there").stop().await;
        self.count(taken);
    }

    pub(crate) async fn start_upstream(&mut self) {
        self.upstream = Some(Double::tcp(self.upstream_address).await.0);
    }

    /// Counts what has come to upstream; nothing of it is kept.
    pub(crate) fn collect(&mut self) {
        if let Some(upstream) = &self.upstream {
            let taken = upstream.drain();
            self.count(taken);
        }
    }

    fn count(&mut self, taken: Vec<Vec<u8>>) {
        for message in taken {
            let attempt = Attempt::read(&message).unwrap_or_else(|error| panic!("a message is not whole: {error}"));
            *self.copies.entry(attempt).or_default() += 1;
        }
    }

    /// How often each attempt has arrived, at upstream or in Postfix's Maildir.
    pub(crate) async fn arrived(mut self) -> BTreeMap<Attempt, usize> {
        self.stop_upstream().await;
        let delivered = tokio::task::block_in_place(|| self.postfix.delivered());
        // Postfix keeps the line ends of UNIX.
        let whole =
            delivered.iter().map(|message| String::from_utf8(message.clone()).unwrap().replace('\n', "\r\n").into_bytes());
        self.count(whole.collect());
        self.copies
    }
}

fn publish(zone: &mut Zone) {
    zone.replace(SPF_DOMAIN, Kind::Txt, &[SPF]).unwrap();
}

/// A certificate and its key.
fn certificate() -> Vec<(&'static str, String)> {
    let folder = tempfile::tempdir().unwrap();
    tls::renew(folder.path(), "mx.demo.example").unwrap();
    ["mx.pem", "mx.key"].map(|name| (name, fs::read_to_string(folder.path().join(name)).unwrap())).to_vec()
}

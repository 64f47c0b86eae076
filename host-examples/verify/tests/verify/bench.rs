//! What the tests share: a name server and a verifier that asks it.

use std::time::Duration;

use smtp_fallback_demo::zone::{Kind, NameServer, Zone};
use smtp_fallback_policy::contract::{AuthResults, Dkim};
use smtp_fallback_verify::{Session, Settings, Verifier};

pub(crate) struct Bench {
    pub(crate) server: NameServer,
    pub(crate) verifier: Verifier,
}

impl Bench {
    /// A name server with the demo's zone and these TXT records, and a verifier with a cache.
    pub(crate) async fn new(records: &[(&str, &str)]) -> Bench {
        Bench::with(records, 0, Settings::default()).await
    }

    pub(crate) async fn with(records: &[(&str, &str)], ttl: u32, settings: Settings) -> Bench {
        let mut zone = Zone::demo();
        zone.ttl = ttl;
        for (name, text) in records {
            zone.add(name, Kind::Txt, text).unwrap();
        }
        let server = NameServer::start(zone).await.unwrap();
        let verifier = verifier(&server, settings);
        Bench { server, verifier }
    }

    pub(crate) async fn verify(&self, client: &str, ehlo_name: &str, mail_from: &str, message: &[u8]) -> AuthResults {
        let session = Session { client: client.parse().unwrap(), ehlo_name, mail_from };
        self.verifier.verify(&session, message).await
    }

    pub(crate) async fn verify_envelope(&self, client: &str, ehlo_name: &str, mail_from: &str) -> AuthResults {
        let session = Session { client: client.parse().unwrap(), ehlo_name, mail_from };
        self.verifier.verify_envelope(&session).await
    }

    /// "result domain" of DMARC, from ::1.
    pub(crate) async fn dmarc(&self, ehlo_name: &str, mail_from: &str, message: &[u8]) -> String {
        let dmarc = self.verify("::1", ehlo_name, mail_from, message).await.dmarc.unwrap();
        format!("{} {}", dmarc.result.as_str(), dmarc.domain)
    }

    /// The DKIM results of a message from nobody.
    pub(crate) async fn dkim(&self, message: &[u8]) -> Vec<Dkim> {
        self.verify("::1", "", "", message).await.dkim.unwrap()
    }
}

pub(crate) fn verifier(server: &NameServer, settings: Settings) -> Verifier {
    Verifier::new(Settings { nameservers: vec![server.addr()], ..settings }).unwrap()
}

pub(crate) fn deadline(milliseconds: u64) -> Settings {
    Settings { deadline: Duration::from_millis(milliseconds), ..Settings::default() }
}

//! What is known of the client, from commands and macros.

use std::net::IpAddr;

use smtp_fallback_daemon::domain::is_domain;
use smtp_fallback_milter_codec::{self as codec, Macros};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{KEYWORD, Listener, Tls};
use smtp_fallback_policy::network::Network;

use super::{Service, Services};

/// Bits of an IPv6 address that share the memory for messages; of an IPv4 address all do.
const NETWORK_BITS: u8 = 64;

/// A client of the MTA.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) address: Address,
    pub(super) ip: IpAddr,
    /// One for each connection.
    pub(super) nonce: u32,
    pub(super) kind: Listener,
    /// It came through a front, which has shown the keyword to it and passes the verb on.
    pub(super) front_offers: bool,
    pub(super) ehlo_name: Option<String>,
    pub(super) tls: Tls,
    pub(super) authenticated: bool,
    /// The client has issued the verb since it said EHLO.
    pub(super) acknowledged: bool,
    /// Nothing on this connection needs to be asked about.
    pub(super) settled: bool,
}

impl Client {
    /// A client that has connected; none where it has no IP address that can be read.
    pub(super) fn new(client: &codec::Client, macros: &Macros, services: &Services) -> Option<Client> {
        let named = || macros.get("{client_addr}")?.to_text().parse().ok();
        let address = match client {
            codec::Client::Internet(address, _) => *address,
            codec::Client::Local(_) => return None,
            _ => named()?,
        };
        let daemon = macros.get("{daemon_name}").map(|name| name.to_text());
        let is_one_of = |names: &[String]| daemon.as_ref().is_some_and(|daemon| names.iter().any(|name| name == daemon));
        let port = macros.get("{daemon_port}").map(|port| port.to_text());
        let submission = is_one_of(&services.submission) || matches!(port.as_deref(), Some("465" | "587"));
        let front = is_one_of(&services.fronts);
        let front_decides = front && !services.behind_front;
        Some(Client {
            address,
            ip: ip(address),
            nonce: getrandom::u32().unwrap_or_default(),
            kind: if submission { Listener::Submission } else { Listener::Mx },
            // Only clients over IPv6 have something to fall back from (A23).
            front_offers: front && services.behind_front && !address.is_ipv4(),
            ehlo_name: None,
            tls: Tls::None,
            authenticated: false,
            acknowledged: false,
            // Of two that decide, each would count what the other has refused.
            settled: front_decides,
        })
    }

    /// HELO or EHLO, which makes what went before void, the acknowledgement too (A10, A11).
    pub(super) fn helo(&mut self, name: &str, macros: &Macros) {
        self.ehlo_name = Some(name.to_owned());
        self.acknowledged = false;
        self.tls = tls(macros);
    }

    /// MAIL, before which a client may have authenticated itself, or begun TLS without another EHLO.
    pub(super) fn mail(&mut self, macros: &Macros) {
        let has = |name: &str| macros.get(name).is_some_and(|value| !value.as_bytes().is_empty());
        self.authenticated = has("{auth_authen}") || has("{auth_type}");
        let tls = tls(macros);
        if (self.tls == Tls::None) != (tls == Tls::None) {
            // What was said before STARTTLS, anybody may have changed (A11).
            self.acknowledged = false;
        }
        self.tls = tls;
    }

    /// A command that the MTA does not know: perhaps the verb of the extension, by A8.
    pub(super) fn unknown_command(&mut self, line: &[u8], within_message: bool) {
        let is_verb = line.trim_ascii().eq_ignore_ascii_case(KEYWORD.as_bytes());
        if is_verb && self.keyword_shown() && !within_message {
            self.acknowledged = true;
        }
    }

    /// The keyword was in the reply to its EHLO. That it said EHLO, and not HELO, is the front's to know: it passes the verb on only then.
    pub(super) fn keyword_shown(&self) -> bool {
        self.front_offers && self.ehlo_name.is_some()
    }

    /// The network that its messages' memory is counted to.
    pub(super) fn network(&self) -> Network {
        Network::of(self.address, if self.address.is_ipv4() { 128 } else { NETWORK_BITS })
    }

    /// Whether its messages have to be authenticated.
    pub(super) fn is_in_question(&self, service: &Service) -> bool {
        !self.settled && !self.address.is_ipv4() && service.policy.is_loaded()
    }
}

fn ip(address: Address) -> IpAddr {
    IpAddr::from(address.bits().to_be_bytes()).to_canonical()
}

/// Postfix has `{cert_subject}` only for a certificate that it verified, and then it is a name. Sendmail has the subject of any, such as
/// `/C=DE/CN=mail.example`, and says in `{verify}` whether it proves something.
fn tls(macros: &Macros) -> Tls {
    let value = |name: &str| macros.get(name).map(|value| value.to_text().into_owned()).filter(|value| !value.is_empty());
    if value("{tls_version}").is_none() {
        return Tls::None;
    }
    let verified = |subject: &String| match value("{verify}") {
        Some(verify) => verify == "OK",
        None => !subject.starts_with('/'),
    };
    match value("{cert_subject}").filter(verified) {
        Some(subject) => Tls::Verified(common_name(&subject).into_iter().collect()),
        None => Tls::Encrypted,
    }
}

/// The host name of a subject: itself, or of one such as `/C=DE/CN=mail.example` the common name.
fn common_name(subject: &str) -> Option<String> {
    let name = match subject.strip_prefix('/') {
        Some(parts) => parts.split('/').find_map(|part| part.strip_prefix("CN="))?,
        None => subject,
    };
    is_domain(name).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str, services: &Services) -> Client {
        let connected = codec::Client::Internet(address.parse().expect("an address"), 40_000);
        Client::new(&connected, &Macros::default(), services).expect("it has an address")
    }

    #[test]
    fn a_client_without_an_address_is_none() {
        for connected in
            [codec::Client::Unknown, codec::Client::Local("/run/socket".into()), codec::Client::Unreadable("nonsense".into(), 25)]
        {
            assert!(Client::new(&connected, &Macros::default(), &Services::default()).is_none(), "{connected:?}");
        }
    }

    #[test]
    fn without_macros_it_came_to_no_service_in_particular() {
        let services = Services { submission: vec![String::new()], fronts: vec![String::new()], behind_front: true };
        let mut client = client("2001:db8::25", &services);
        client.helo("client.example", &Macros::default());
        client.mail(&Macros::default());
        client.unknown_command(KEYWORD.as_bytes(), false);
        assert!(client.kind == Listener::Mx && !client.front_offers && !client.settled);
        assert!(!client.acknowledged && !client.authenticated && client.tls == Tls::None);
    }

    #[test]
    fn addresses_are_logged_as_what_they_are() {
        for (address, logged) in
            [("2001:db8:0:0::25", "2001:db8::25"), ("::ffff:192.0.2.25", "192.0.2.25"), ("192.0.2.25", "192.0.2.25")]
        {
            assert_eq!(client(address, &Services::default()).ip.to_string(), logged);
        }
    }

    #[test]
    fn memory_is_shared_by_a_64_and_by_one_ipv4_address() {
        let network = |address| client(address, &Services::default()).network();
        assert_eq!(network("2001:db8::25"), network("2001:db8::ffff:26"));
        assert_ne!(network("2001:db8::25"), network("2001:db8:0:1::25"));
        assert_ne!(network("192.0.2.25"), network("192.0.2.26"));
    }

    #[test]
    fn a_subject_is_a_name_or_has_one() {
        for (subject, name) in [
            ("mail.example", Some("mail.example")),
            ("Mail.Example", Some("mail.example")),
            ("/C=DE/O=Example/CN=mail.example", Some("mail.example")),
            ("/CN=mail.example/C=DE", Some("mail.example")),
            ("/C=DE/O=Example", None),
            ("/C=DE/CN=Mail Example", None),
            ("Mail Example", None),
            ("/CN=", None),
            ("/", None),
        ] {
            assert_eq!(common_name(subject).as_deref(), name, "{subject}");
        }
    }
}

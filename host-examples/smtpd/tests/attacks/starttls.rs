//! STARTTLS: what somebody puts into the connection before the handshake is thrown away, and what was known before it is void
//! (RFC 3207 §4.2, A11). Handshakes that are none, that stall and that break off leave nothing behind.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::naive::Naive;
use crate::peer::{OBSERVE, Peer};
use crate::server::{RECIPIENT, Server, Setting, message};

const ENFORCE: &str = r#"{"mode": "enforce", "exempt": {"local_networks": false}, "penalty": {"at_greeting": false}}"#;
const INJECTED: &str = "EHLO injected.example\r\nIPV6-IPV4-FALLBACK\r\nMAIL FROM:<injected@demo.example>\r\nRCPT TO:<jones@demo.example>\r\nDATA\r\n";
/// How a TLS 1.3 ClientHello begins: the header of a record that goes on.
const HALF_A_HANDSHAKE: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh";

/// A folder with the server's certificate.
struct Pki {
    folder: TempDir,
}

impl Pki {
    fn new() -> (Pki, TlsConnector) {
        let pki = Pki { folder: tempfile::tempdir().unwrap() };
        let connector = pki.renew();
        (pki, connector)
    }

    /// Writes a new certificate; a client that trusts this one and no other.
    fn renew(&self) -> TlsConnector {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["mx.demo.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(self.folder.path().join("mx.pem"), certificate.pem()).unwrap();
        fs::write(self.folder.path().join("mx.key"), key.serialize_pem()).unwrap();
        trusting(certificate.der().clone())
    }

    fn tables(&self, limits: &str) -> String {
        let path = |name| self.folder.path().join(name);
        let (certificate, key) = (path("mx.pem"), path("mx.key"));
        format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\n[policy_limits]\ndeadline = \"10s\"\n\n{limits}\n")
    }

    async fn server(&self, policy: &'static str, limits: &str) -> Server {
        Server::start(Setting { policy, tables: self.tables(limits), ..Setting::default() }).await
    }
}

fn trusting(certificate: CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    TlsConnector::from(Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth()))
}

async fn handshake(peer: Peer, connector: &TlsConnector) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
    let name = ServerName::try_from("mx.demo.example").unwrap();
    connector.connect(name, peer.into_stream()).await.map(Peer::over)
}

/// After STARTTLS was answered.
async fn ready(server: &Server) -> Peer {
    let mut peer = Peer::introduced(server.ipv6).await;
    assert_eq!(peer.command("STARTTLS").await.code, 220);
    peer
}

async fn secure(server: &Server, connector: &TlsConnector) -> Peer<TlsStream<TcpStream>> {
    let mut peer = handshake(ready(server).await, connector).await.unwrap();
    assert_eq!(peer.command("EHLO client.example").await.code, 250);
    peer
}

/// All that comes until the connection ends, in good order or not.
async fn octets(peer: Peer) -> Vec<u8> {
    let (mut stream, mut octets) = (peer.into_stream(), Vec::new());
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut octets)).await.expect("the connection ends");
    octets
}

#[tokio::test]
async fn a11_commands_behind_it_in_the_same_segment() {
    let (pki, connector) = Pki::new();
    let server = pki.server(ENFORCE, "").await;
    for injected in [INJECTED, "NOOP\r\n", "\r\n", "\n", "STARTTLS\r\n", "NO", "\0", "QUIT\r\n", &"NOOP\r\n".repeat(150)] {
        let mut peer = Peer::introduced(server.ipv6).await;
        peer.send(format!("STARTTLS\r\n{injected}")).await;
        assert_eq!(peer.reply().await.code, 220);
        // Under TLS each reply is that to the client's own command.
        let mut peer = handshake(peer, &connector).await.unwrap();
        assert_eq!(
            peer.codes(&["RCPT TO:<jones@demo.example>", "MAIL FROM:<smith@plain.example>"]).await,
            [503, 503],
            "{injected:?}"
        );
        let hello = peer.command("EHLO client.example").await;
        assert!(hello.code == 250 && hello.lines.len() > 1 && !hello.announces("STARTTLS"), "{hello}");
        assert_eq!(peer.codes(&["RCPT TO:<jones@demo.example>", "DATA", "QUIT"]).await, [503, 503, 221], "{injected:?}");
        peer.closed().await;
        server.logged(&["commands-discarded", &format!("octets={}", injected.len())]);
    }
    assert!(server.delivered().is_empty());
}

/// Before STARTTLS in the same segment: that is a group of commands, as far as it is one.
#[tokio::test]
async fn it_is_the_last_of_its_group() {
    let (pki, connector) = Pki::new();
    let server = pki.server(OBSERVE, "").await;
    let mut peer = Peer::greeted(server.ipv6).await;
    peer.send("EHLO client.example\r\nMAIL FROM:<first@plain.example>\r\nSTARTTLS\r\nRSET\r\n").await;
    for code in [250, 250, 220] {
        assert_eq!(peer.reply().await.code, code);
    }
    let mut peer = handshake(peer, &connector).await.unwrap();
    assert_eq!(peer.codes(&["EHLO client.example", "RCPT TO:<jones@demo.example>"]).await, [250, 503]);
}

#[tokio::test]
async fn commands_behind_it_in_the_next_segment() {
    let (pki, connector) = Pki::new();
    let server = pki.server(OBSERVE, "").await;
    for injected in [INJECTED.as_bytes(), b"NOOP\r\n", b"QUIT\r\n", b"\r\n\r\n\r\n"] {
        let mut peer = ready(&server).await;
        peer.send(injected).await;
        let octets = octets(peer).await;
        // An alert of TLS, or nothing; no reply.
        assert!(octets.is_empty() || octets[0] == 0x15 && octets.len() == 7, "{}", octets.escape_ascii());
    }
    // In front of a handshake that is one.
    let mut peer = ready(&server).await;
    peer.send("NOOP\r\n").await;
    assert!(handshake(peer, &connector).await.is_err());
    server.logged(&["tls-failure"]);
    assert!(server.delivered().is_empty());
}

#[tokio::test]
async fn a11_what_was_before_is_void() {
    let (pki, connector) = Pki::new();
    let server = pki.server(ENFORCE, "").await;
    let rcpt = format!("RCPT TO:<{RECIPIENT}>");
    for acknowledged in [false, true] {
        let mut peer = Peer::introduced(server.ipv6).await;
        let before = ["IPV6-IPV4-FALLBACK", "MAIL FROM:<smith@plain.example>", &rcpt, "STARTTLS"];
        assert_eq!(peer.codes(&before).await, [250, 250, 250, 220]);
        let mut peer = handshake(peer, &connector).await.unwrap();
        let after =
            ["DATA", "BDAT 0", "MAIL FROM:<a@b.example>", "IPV6-IPV4-FALLBACK", "STARTTLS", "EHLO client.example", "STARTTLS"];
        assert_eq!(peer.codes(&after).await, [503, 503, 503, 503, 503, 250, 503]);
        if acknowledged {
            assert_eq!(peer.command("IPV6-IPV4-FALLBACK").await.code, 250);
        }
        assert_eq!(peer.codes(&["MAIL FROM:<smith@plain.example>", &rcpt, "DATA"]).await, [250, 250, 354]);
        peer.send([&message(1)[..], b".\r\n"].concat()).await;
        assert_eq!(peer.reply().await.code, if acknowledged { 456 } else { 421 });
    }
}

#[tokio::test]
async fn where_it_is_refused() {
    let (pki, _) = Pki::new();
    let server = pki.server(OBSERVE, "").await;
    let mut peer = Peer::greeted(server.ipv6).await;
    let lines =
        ["STARTTLS", "HELO client.example", "STARTTLS", "EHLO client.example", "STARTTLS now", "STARTTLS\u{a0}", "STARTTLS\n"];
    assert_eq!(peer.codes(&lines).await, [503, 250, 503, 250, 501, 500, 500]);
    peer.send("STARTTLS\0\r\nNOOP\r\n").await;
    assert_eq!([peer.reply().await.code, peer.reply().await.code], [500, 250]);
    assert!(peer.has_no_more());
}

#[tokio::test]
async fn in_front_nothing_injected_reaches_upstream() {
    let (pki, connector) = Pki::new();
    let naive = Naive::start().await;
    let top = "domains = [\"demo.example\"]".to_owned();
    let tables = format!("[upstream]\naddress = \"{}\"\ntell = \"xclient\"\n\n{}", naive.address, pki.tables(""));
    let server = Server::start(Setting { policy: OBSERVE, top, tables, ..Setting::default() }).await;
    let mut peer = Peer::introduced(server.ipv6).await;
    assert_eq!(peer.codes(&["MAIL FROM:<before@plain.example>", "RCPT TO:<jones@demo.example>"]).await, [250, 250]);
    peer.send(format!("STARTTLS\r\n{INJECTED}")).await;
    assert_eq!(peer.reply().await.code, 220);
    let mut peer = handshake(peer, &connector).await.unwrap();
    let lines =
        ["DATA", "EHLO client.example", "DATA", "MAIL FROM:<after@plain.example>", "RCPT TO:<jones@demo.example>", "DATA"];
    assert_eq!(peer.codes(&lines).await, [503, 250, 503, 250, 250, 354]);
    assert_eq!(peer.command("Subject: after\r\n\r\n.").await.code, 250);
    assert_eq!(peer.command("QUIT").await.code, 221);
    let heard = naive.heard();
    assert_eq!(heard.with("MAIL"), ["MAIL FROM:<before@plain.example>", "MAIL FROM:<after@plain.example>"]);
    assert!(heard.messages == [b"Subject: after\r\n\r\n"] && heard.with("DATA").len() == 1, "{heard:?}");
    assert!(!format!("{heard:?}").contains("injected"), "{heard:?}");
}

#[tokio::test]
async fn handshakes_that_are_none() {
    let (pki, connector) = Pki::new();
    let server = pki.server(OBSERVE, "[limits]\ntls_handshake = \"2s\"\nconnections = 1\n").await;
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let garbage: [&[u8]; 9] = [
        &noise,
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", // SSL 2
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\xff\xff\x01",             // a record that is too long
        b"\x16\x03\x01\x00\x00",                 // and one that is empty
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", // a ClientHello of 16 MB
        b"\x17\x03\x03\x00\x10AAAAAAAAAAAAAAAA", // data before the handshake
        b"\x15\x03\x01\x00\x02\x02\x28",         // an alert
        &[0; 70_000],
    ];
    for octets_sent in garbage {
        // Each time the only place there is: the one before has given it back.
        let mut peer = ready_once_free(&server).await;
        peer.send_what_is_taken(octets_sent).await;
        let begin = Instant::now();
        let octets = octets(peer).await;
        assert!(octets.is_empty() || octets[0] == 0x15, "an alert, or nothing: {}", octets.escape_ascii());
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    }
    let mut peer = handshake(ready_once_free(&server).await, &connector).await.unwrap();
    assert_eq!(peer.command("EHLO client.example").await.code, 250);
}

#[tokio::test]
async fn handshakes_that_stall_or_break_off() {
    let (pki, connector) = Pki::new();
    let server = pki.server(OBSERVE, "[limits]\ntls_handshake = \"1s\"\nconnections = 1\n").await;
    for part in [&b""[..], HALF_A_HANDSHAKE] {
        let mut peer = ready_once_free(&server).await;
        peer.send(part).await;
        let begin = Instant::now();
        assert_eq!(octets(peer).await, b"");
        // It is waited for that long; then the connection ends at once, or when the client ends it.
        assert!((Duration::from_millis(900)..Duration::from_secs(8)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        server.logged(&["tls-failure", "not done within 1 s"]);
    }
    for part in [&b""[..], HALF_A_HANDSHAKE, &HALF_A_HANDSHAKE[..1]] {
        let mut peer = ready_once_free(&server).await;
        peer.send(part).await;
        let mut stream = peer.into_stream();
        stream.shutdown().await.unwrap();
        drop(stream);
    }
    let peer = ready_once_free(&server).await;
    assert_eq!(handshake(peer, &connector).await.unwrap().command("EHLO client.example").await.code, 250);
}

/// After STARTTLS was answered, on the server's only connection.
async fn ready_once_free(server: &Server) -> Peer {
    for _ in 0..1000 {
        let mut peer = Peer::new(TcpStream::connect(server.ipv6).await.unwrap());
        if peer.reply().await.code == 220 {
            assert_eq!(peer.codes(&["EHLO client.example", "STARTTLS"]).await, [250, 220]);
            return peer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place is not given back:\n{}", server.log());
}

#[tokio::test]
async fn new_certificates_while_an_old_session_goes_on() {
    let (pki, old) = Pki::new();
    let server = pki.server(OBSERVE, "").await;
    let mut session = secure(&server, &old).await;
    let between = ready(&server).await;
    let new = pki.renew();
    assert!(handshake(ready(&server).await, &new).await.is_err(), "it is not read yet");
    server.hangup();
    server.logged(&["certificates-loaded"]);
    assert!(handshake(ready(&server).await, &old).await.is_err(), "no session has the old one any more");
    let mut second = secure(&server, &new).await;
    // Who was told 220 before has the certificate of that time.
    let mut between = handshake(between, &old).await.unwrap();
    // One that cannot be read changes nothing.
    fs::write(pki.folder.path().join("mx.key"), "no key").unwrap();
    server.hangup();
    server.logged(&["certificates-kept", "mx.key"]);
    let mut third = secure(&server, &new).await;
    for peer in [&mut session, &mut second, &mut between, &mut third] {
        assert_eq!(
            peer.codes(&["EHLO client.example", "NOOP", "MAIL FROM:<a@plain.example>", "QUIT"]).await,
            [250, 250, 250, 221]
        );
        peer.closed().await;
    }
}

//! TLS, with authorities of the tests' own.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use smtp_fallback_store::Store;
use smtp_fallback_store::redis::{RedisSettings, RedisStore};

use crate::basics::does_what_a_store_does;
use crate::connect;
use crate::server::{Server, free_port};

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    // A name of its own: OpenSSL takes a certificate for self-signed if it has the name of its issuer.
    parameters.distinguished_name.push(DnType::CommonName, "authority of the tests' own");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for the name, and its key.
fn certificate(authority: &Authority, name: &str, folder: &Path) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let paths = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&paths.0, certificate.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

/// For a server with TLS on a second port. Writes its certificate and that of the authority, "ca.crt", into the folder.
pub(crate) fn arguments(authority: &Authority, clients: &str, port: u16, folder: &Path) -> Vec<String> {
    let (certificate, key) = certificate(authority, "127.0.0.1", folder);
    let ca = folder.join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let words = [
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        certificate.to_str().unwrap(),
        "--tls-key-file",
        key.to_str().unwrap(),
        "--tls-ca-cert-file",
        ca.to_str().unwrap(),
        "--tls-auth-clients",
        clients,
    ];
    words.map(str::to_owned).to_vec()
}

/// A server with TLS on a second port, and the settings for it. `clients`: whether they need a certificate of the same authority.
fn server(authority: &Authority, clients: &str) -> (Server, RedisSettings) {
    let port = free_port();
    let server = Server::with(|folder| arguments(authority, clients, port, folder));
    let settings =
        RedisSettings { ca: Some(server.folder().join("ca.crt")), ..crate::settings(format!("rediss://127.0.0.1:{port}")) };
    (server, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_authority_is_trusted() {
    let (_server, settings) = server(&authority(), "no");
    does_what_a_store_does(&connect(&settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_is_not() {
    let (server, mut settings) = server(&authority(), "no");
    let other = server.folder().join("other.crt");
    std::fs::write(&other, authority().pem()).unwrap();
    settings.ca = Some(other);
    let health = RedisStore::connect(&settings).await.unwrap().health();
    assert!(health.serves_local_copy);
    assert!(health.problem.as_deref().unwrap().contains("certificate"), "{health:?}");
    // Nor do the system's authorities know it.
    settings.ca = None;
    assert!(RedisStore::connect(&settings).await.unwrap().health().serves_local_copy);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_is_not() {
    let (_server, mut settings) = server(&authority(), "no");
    settings.servers = vec![settings.servers[0].replace("127.0.0.1", "localhost")];
    let health = RedisStore::connect(&settings).await.unwrap().health();
    assert!(health.problem.as_deref().unwrap().contains("certificate"), "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_its_certificate() {
    let authority = authority();
    let (server, mut settings) = server(&authority, "yes");
    assert!(RedisStore::connect(&settings).await.unwrap().health().serves_local_copy, "without a certificate");
    let (certificate, key) = certificate(&authority, "mx.example.org", server.folder());
    settings.client_certificate = Some(certificate);
    settings.client_key = Some(key);
    does_what_a_store_does(&connect(&settings).await).await;
}

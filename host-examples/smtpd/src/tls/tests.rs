use std::fs;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;

/// A folder with a certificate of the server's own, and an authority for clients.
pub(crate) struct Pki {
    folder: TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Pki {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::<String>::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("signed");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("writable");
        let pki = Pki { folder, authority: Issuer::new(parameters, key) };
        pki.renew("mx.demo.example");
        pki
    }

    /// Writes another certificate in place of the server's.
    pub(crate) fn renew(&self, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new([name.to_owned()]).expect("a name").self_signed(&key).expect("signed");
        fs::write(self.files().certificate, certificate.pem()).expect("writable");
        fs::write(self.files().key, key.serialize_pem()).expect("writable");
    }

    pub(crate) fn files(&self) -> Files {
        let path = |name| self.folder.path().join(name);
        Files { certificate: path("mx.pem"), key: path("mx.key"), client_ca: None }
    }

    pub(crate) fn files_with_client_ca(&self) -> Files {
        Files { client_ca: Some(self.folder.path().join("ca.pem")), ..self.files() }
    }

    /// A client's certificate, issued by the authority or by itself, and its key.
    pub(crate) fn client(&self, name: &str, by_authority: bool) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = match by_authority {
            true => parameters.signed_by(&key, &self.authority),
            false => parameters.self_signed(&key),
        };
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        (certificate.expect("signed").der().clone(), key)
    }
}

/// A client that believes every server, and shows this certificate.
pub(crate) fn connector(identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> TlsConnector {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.expect("supported").dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let config = match identity {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).expect("they fit"),
        None => builder.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn error(files: Files) -> String {
    Certificates::load(files).err().expect("cannot be used").to_string()
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let pki = Pki::new();
    let files = pki.files();
    Certificates::load(files.clone()).expect("can be used");
    let missing = error(Files { certificate: "/nowhere/mx.pem".into(), ..files.clone() });
    assert!(missing.starts_with("/nowhere/mx.pem: no certificates can be read"), "{missing}");
    let swapped = error(Files { certificate: files.key.clone(), ..files.clone() });
    assert!(swapped.contains("mx.key: has no certificate in it; it must hold certificates in PEM"), "{swapped}");
    let swapped = error(Files { key: files.certificate.clone(), ..files.clone() });
    assert!(swapped.contains("mx.pem: no private key can be read"), "{swapped}");
    let foreign = Pki::new();
    let mixed = error(Files { key: foreign.files().key, ..files.clone() });
    assert!(mixed.contains("must belong together"), "{mixed}");
    let no_authority = error(Files { client_ca: Some(files.key.clone()), ..files });
    assert!(no_authority.contains("mx.key: has no certificate"), "{no_authority}");
}

#[test]
fn a_bad_reload_keeps_what_was_there() {
    let pki = Pki::new();
    let certificates = Certificates::load(pki.files()).expect("can be used");
    let before = certificates.current();
    fs::write(pki.files().key, "no key").expect("writable");
    certificates.reload().expect_err("there is no key");
    assert!(Arc::ptr_eq(&before, &certificates.current()));
    pki.renew("mx2.demo.example");
    certificates.reload().expect("can be used");
    assert!(!Arc::ptr_eq(&before, &certificates.current()));
}

#[test]
fn a28_only_a_chain_to_the_authority_is_verified() {
    let pki = Pki::new();
    let loaded = Certificates::load(pki.files_with_client_ca()).expect("can be used").current();
    let (own, _) = pki.client("Mail.Client.example", true);
    assert_eq!(loaded.verified_names(std::slice::from_ref(&own)), Some(vec!["mail.client.example".to_owned()]));
    assert_eq!(loaded.verified_names(&[]), None);
    assert_eq!(loaded.verified_names(&[pki.client("mail.client.example", false).0]), None, "signed by itself");
    assert_eq!(loaded.verified_names(&[Pki::new().client("mail.client.example", true).0]), None, "by another authority");
    assert_eq!(loaded.verified_names(&[CertificateDer::from(vec![1, 2, 3])]), None);
    let without = Certificates::load(pki.files()).expect("can be used").current();
    assert_eq!(without.verified_names(&[own]), None, "nobody is verified where no authority is named");
}

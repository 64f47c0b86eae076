//! Certificates for trying STARTTLS out, and a client that believes every server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// A client's certificate and its key.
pub type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// The files of a server's certificate in a folder of their own, and an authority for clients.
pub struct Pki {
    folder: TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Pki {
    /// With a certificate for `mx.demo.example`.
    pub fn new() -> io::Result<Pki> {
        let folder = tempfile::tempdir()?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut parameters = CertificateParams::new(Vec::<String>::new()).map_err(io::Error::other)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).map_err(io::Error::other)?;
        fs::write(folder.path().join("ca.pem"), certificate.pem())?;
        renew(folder.path(), "mx.demo.example")?;
        Ok(Pki { folder, authority: Issuer::new(parameters, key) })
    }

    /// Where the files are: `mx.pem`, `mx.key`, and the authority's `ca.pem`.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    /// A client's certificate, signed by the authority or else by itself.
    pub fn client(&self, name: &str, by_authority: bool) -> io::Result<Identity> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut parameters = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = match by_authority {
            true => parameters.signed_by(&key, &self.authority),
            false => parameters.self_signed(&key),
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((certificate.map_err(io::Error::other)?.der().clone(), key))
    }
}

/// Writes another certificate and its key, `mx.pem` and `mx.key`, one after the other; the certificate.
pub fn renew(folder: &Path, name: &str) -> io::Result<CertificateDer<'static>> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = CertificateParams::new([name.to_owned()]).and_then(|parameters| parameters.self_signed(&key));
    let certificate = certificate.map_err(io::Error::other)?;
    fs::write(folder.join("mx.pem"), certificate.pem())?;
    fs::write(folder.join("mx.key"), key.serialize_pem())?;
    Ok(certificate.der().clone())
}

/// A client that believes every server, and shows this certificate.
pub fn connector(identity: Option<Identity>) -> Result<TlsConnector, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let config = match identity {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key)?,
        None => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
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

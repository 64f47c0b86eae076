//! Certificates for STARTTLS, which can be read again while the server runs, and what a client's own certificate is worth.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

/// The files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate and those between it and the authority, in PEM, its own first.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// The authorities whose clients count as verified, in PEM; without it no client is asked for a certificate.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with a file. The text says which, and what to do.
#[derive(Debug)]
pub struct TlsError {
    path: PathBuf,
    found: String,
    advice: &'static str,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.found, self.advice)
    }
}

impl std::error::Error for TlsError {}

/// The certificates in force.
pub struct Certificates {
    files: Files,
    current: RwLock<Arc<Loaded>>,
}

/// Certificates as they were read at one time. A session uses the same ones for the handshake and for what it makes of it.
pub struct Loaded {
    acceptor: TlsAcceptor,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Certificates {
    /// Reads the files.
    pub fn load(files: Files) -> Result<Certificates, TlsError> {
        let loaded = Loaded::from_files(&files)?;
        Ok(Certificates { files, current: RwLock::new(Arc::new(loaded)) })
    }

    /// Reads the files again, for handshakes that begin later. On an error those before stay in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = Arc::new(Loaded::from_files(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// Those in force.
    pub fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Loaded {
    /// What makes handshakes.
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// The DNS names of a client's certificate whose chain leads to one of the authorities (A28); `chain` is what it showed, its own
    /// first. That it has the key was proved in the handshake.
    pub fn verified_names(&self, chain: &[CertificateDer<'_>]) -> Option<Vec<String>> {
        let (own, between) = chain.split_first()?;
        self.clients.as_ref()?.verify_client_cert(own, between, UnixTime::now()).ok()?;
        let certificate = webpki::EndEntityCert::try_from(own).ok()?;
        Some(certificate.valid_dns_names().map(str::to_ascii_lowercase).collect())
    }

    fn from_files(files: &Files) -> Result<Loaded, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| TlsError {
            path: files.key.clone(),
            found: format!("no private key can be read: {error}"),
            advice: "it must hold one key in PEM without a password, readable for this user; check `key` in [tls]",
        })?;
        let clients = match &files.client_ca {
            Some(path) => Some(client_verifier(path, &provider)?),
            None => None,
        };
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let unusable = |error: Error| TlsError {
            path: files.certificate.clone(),
            found: format!("cannot be used with the key {}: {error}", files.key.display()),
            advice: "certificate and key must belong together; check `certificate` and `key` in [tls]",
        };
        let builder = builder.map_err(unusable)?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::new(AnyClient(Arc::clone(verifier)))),
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key).map_err(unusable)?;
        Ok(Loaded { acceptor: TlsAcceptor::from(Arc::new(config)), clients })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |found: String| TlsError {
        path: path.to_owned(),
        found,
        advice: "it must hold certificates in PEM, readable for this user; check [tls] in the configuration",
    };
    // A pipe in place of a file would hold a reload up for ever.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(unreadable("is no file".to_owned()));
    }
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => Err(unreadable("has no certificate in it".to_owned())),
        read => read.map_err(|error| unreadable(format!("no certificates can be read: {error}"))),
    }
}

fn client_verifier(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |error: &dyn fmt::Display| TlsError {
        path: path.to_owned(),
        found: format!("cannot be used: {error}"),
        advice: "it must hold certificates of authorities; check `client_ca` in [tls]",
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    verifier.map_err(|error| unusable(&error))
}

/// Lets every client in whatever it shows: mail must not be lost for a certificate that nobody asked it to have. That a client has the
/// key to its certificate is still proved; whether the chain is worth anything is judged later, by [`Loaded::verified_names`].
#[derive(Debug)]
struct AnyClient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client that has one certificate is to show it, whoever issued it.
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests;

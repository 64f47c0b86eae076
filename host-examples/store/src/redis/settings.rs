//! Where the server is, and how it is spoken to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::redis::{ClientTlsConfig, TlsCertificates};
use serde::Deserialize;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// How long a prefix of keys may be, in octets.
const MAX_PREFIX_OCTETS: usize = 128;

/// The settings of the shared store, such as a table of a configuration file. Whatever is not named here is refused.
///
/// `Debug` shows no password, even if one was put into a URL by mistake.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// URLs: `redis://HOST:PORT`, `rediss://HOST:PORT` with TLS, `unix:///PATH`; after a host, `/N` chooses database N. The port is 6379
    /// if absent. One server; or, of a cluster, one node or more, from which the others are found. No name and no password: see
    /// `username` and `password_file`.
    pub servers: Vec<String>,
    /// The servers are nodes of one cluster. All with TLS, or all without; database 0 only.
    #[serde(default)]
    pub cluster: bool,
    /// The user (of the server's ACL); the default user if absent.
    pub username: Option<String>,
    /// A file with the password; a line break at its end is no part of it. Read at start.
    pub password_file: Option<PathBuf>,
    /// The authorities that the server's certificate is checked with, in PEM; the system's if absent. Only with `rediss://`.
    pub ca: Option<PathBuf>,
    /// This host's certificate, for a server that asks for one, and those between it and the authority, in PEM.
    pub client_certificate: Option<PathBuf>,
    /// Its key, in PEM.
    pub client_key: Option<PathBuf>,
    /// What all keys begin with, printable ASCII, up to 128 octets. Hosts share records if they have the server and this in common.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// How long one call may take, in milliseconds, 1 to 1000. A message needs two look-ups: with 10 it waits 20 ms at most.
    #[serde(default = "default_time_limit")]
    pub time_limit_ms: u64,
    /// How many records are kept here, for the time when the server gives no answer; at least 1. A record takes some 200 octets.
    #[serde(default = "default_local_records")]
    pub local_records: usize,
}

/// The settings cannot be used. Says which, what was expected, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// A value that cannot be, or that does not go with another.
    #[error("{setting}: {problem}")]
    Setting {
        /// The name of the setting.
        setting: &'static str,
        /// What was found, what was expected, and what to do.
        problem: String,
    },
    /// A file cannot be read. Cause: its name, or its permissions.
    #[error("{setting}: {} cannot be read: {problem}; check the name and who may read it", path.display())]
    Unreadable {
        /// The name of the setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
}

/// The settings, checked, with the contents of the files.
pub(super) struct Checked {
    pub(super) servers: Vec<::redis::ConnectionInfo>,
    pub(super) cluster: bool,
    pub(super) tls: Option<TlsCertificates>,
    pub(super) prefix: String,
    pub(super) time_limit: Duration,
    pub(super) local_records: usize,
    /// For messages.
    pub(super) address: String,
}

impl RedisSettings {
    /// One server, and the defaults for the rest.
    pub fn new(server: impl Into<String>) -> Self {
        RedisSettings {
            servers: vec![server.into()],
            cluster: false,
            username: None,
            password_file: None,
            ca: None,
            client_certificate: None,
            client_key: None,
            prefix: default_prefix(),
            time_limit_ms: default_time_limit(),
            local_records: default_local_records(),
        }
    }

    /// The files that the settings name: a host can make relative paths absolute.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = [&mut self.password_file, &mut self.ca, &mut self.client_certificate, &mut self.client_key];
        files.into_iter().flatten()
    }

    /// Checks everything that can be checked without the server, the files too: [`super::RedisStore::connect`] fails where this does, and
    /// nowhere else.
    ///
    /// # Errors
    /// See [`RedisError`].
    pub fn validate(&self) -> Result<(), RedisError> {
        super::link::Client::new(&self.check()?).map(|_| ())
    }

    /// The settings, checked, with the contents of the files.
    pub(super) fn check(&self) -> Result<Checked, RedisError> {
        let wrong = |setting, problem: String| RedisError::Setting { setting, problem };
        match (self.servers.len(), self.cluster) {
            (0, _) => return Err(wrong("servers", "found none; expected one, such as \"redis://192.0.2.1:6379\"".to_owned())),
            (1, _) | (_, true) => {}
            (n, false) => {
                let problem = format!("found {n}, expected one; if they are nodes of one cluster, set cluster = true");
                return Err(wrong("servers", problem));
            }
        }
        let password = self.password()?;
        let servers = (1..).zip(&self.servers).map(|(number, url)| {
            let info = server(url).map_err(|problem| wrong("servers", format!("number {number} {problem}")))?;
            let mut login = info.redis_settings().clone();
            if let Some(username) = &self.username {
                login = login.set_username(username);
            }
            if let Some(password) = &password {
                login = login.set_password(password);
            }
            Ok(info.set_redis_settings(login))
        });
        let servers = servers.collect::<Result<Vec<_>, RedisError>>()?;
        let with_tls = servers.iter().filter(|server| is_tls(server)).count();
        if self.cluster {
            if servers.iter().any(|server| matches!(server.addr(), ::redis::ConnectionAddr::Unix(_))) {
                return Err(wrong("servers", "found a UNIX socket of a cluster, expected redis:// or rediss://".to_owned()));
            }
            if servers.iter().any(|server| server.redis_settings().db() != 0) {
                return Err(wrong("servers", "found a database other than 0, but a cluster has no other; remove it".to_owned()));
            }
            if with_tls != 0 && with_tls != servers.len() {
                let problem = "found redis:// and rediss://, expected one of them: all nodes of a cluster use TLS, or none does";
                return Err(wrong("servers", problem.to_owned()));
            }
        }
        let tls = self.tls(with_tls != 0)?;
        if self.prefix.len() > MAX_PREFIX_OCTETS || !self.prefix.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            let problem = format!("found {:?}, expected up to {MAX_PREFIX_OCTETS} octets of printable ASCII", self.prefix);
            return Err(wrong("prefix", problem));
        }
        if !(1..=1000).contains(&self.time_limit_ms) {
            return Err(wrong("time_limit_ms", format!("found {}, expected 1 to 1000; 10 is usual", self.time_limit_ms)));
        }
        if self.local_records == 0 {
            return Err(wrong("local_records", "found 0, expected at least 1; 100000 is usual".to_owned()));
        }
        Ok(Checked {
            address: servers.iter().map(|server| server.addr().to_string()).collect::<Vec<_>>().join(", "),
            servers,
            cluster: self.cluster,
            tls,
            prefix: self.prefix.clone(),
            time_limit: Duration::from_millis(self.time_limit_ms),
            local_records: self.local_records,
        })
    }

    fn password(&self) -> Result<Option<String>, RedisError> {
        let setting = "password_file";
        let Some(path) = &self.password_file else {
            return match &self.username {
                None => Ok(None),
                Some(_) => Err(RedisError::Setting {
                    setting: "username",
                    problem: "found without password_file, expected both; add the file".to_owned(),
                }),
            };
        };
        let octets = contents(setting, path)?;
        let text = String::from_utf8(octets).unwrap_or_default();
        let password = text.strip_suffix('\n').unwrap_or(&text);
        let password = password.strip_suffix('\r').unwrap_or(password);
        if password.is_empty() || password.contains('\n') {
            let problem = format!("{} holds no password, expected one line of UTF-8", path.display());
            return Err(RedisError::Setting { setting, problem });
        }
        Ok(Some(password.to_owned()))
    }

    fn tls(&self, used: bool) -> Result<Option<TlsCertificates>, RedisError> {
        let files = [("ca", &self.ca), ("client_certificate", &self.client_certificate), ("client_key", &self.client_key)];
        if !used && let Some((setting, _)) = files.iter().find(|(_, file)| file.is_some()) {
            let problem = "found, but no server is spoken to with TLS; write rediss://, or remove it".to_owned();
            return Err(RedisError::Setting { setting, problem });
        }
        let root_cert = match &self.ca {
            None => None,
            Some(path) => Some(certificates("ca", path)?),
        };
        let client_tls = match (&self.client_certificate, &self.client_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: certificates("client_certificate", certificate)?,
                client_key: contents("client_key", key)?,
            }),
            (Some(_), None) => {
                let problem = "found without client_key, expected both; add the key".to_owned();
                return Err(RedisError::Setting { setting: "client_certificate", problem });
            }
            (None, Some(_)) => {
                let problem = "found without client_certificate, expected both; add the certificate".to_owned();
                return Err(RedisError::Setting { setting: "client_key", problem });
            }
        };
        Ok(used.then_some(TlsCertificates { client_tls, root_cert }))
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &String| match url.rsplit_once('@') {
            Some((_, rest)) => format!("…@{rest}"),
            None => url.clone(),
        };
        f.debug_struct("RedisSettings")
            .field("servers", &self.servers.iter().map(shown).collect::<Vec<_>>())
            .field("cluster", &self.cluster)
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .field("ca", &self.ca)
            .field("client_certificate", &self.client_certificate)
            .field("client_key", &self.client_key)
            .field("prefix", &self.prefix)
            .field("time_limit_ms", &self.time_limit_ms)
            .field("local_records", &self.local_records)
            .finish()
    }
}

pub(super) fn is_tls(server: &::redis::ConnectionInfo) -> bool {
    matches!(server.addr(), ::redis::ConnectionAddr::TcpTls { .. })
}

/// The problem is said without the URL while that may hold a password.
fn server(url: &str) -> Result<::redis::ConnectionInfo, String> {
    if url.contains('@') {
        return Err("has a name or a password in it; put them into username and password_file".to_owned());
    }
    let expected = "expected redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH";
    if !["redis://", "rediss://", "unix:///"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(format!("is {url:?}, {expected}"));
    }
    if url.contains(['?', '#']) {
        return Err(format!("is {url:?}: what follows \"?\" or \"#\" is not understood; remove it"));
    }
    // The library takes any path for a UNIX socket, even none.
    if url == "unix:///" {
        return Err(format!("is {url:?}, {expected}"));
    }
    ::redis::IntoConnectionInfo::into_connection_info(url).map_err(|error| format!("is {url:?}, {expected}: {error}"))
}

fn contents(setting: &'static str, path: &Path) -> Result<Vec<u8>, RedisError> {
    std::fs::read(path).map_err(|error| RedisError::Unreadable { setting, path: path.to_owned(), problem: error.to_string() })
}

/// The contents of a file with at least one certificate.
fn certificates(setting: &'static str, path: &Path) -> Result<Vec<u8>, RedisError> {
    let pem = contents(setting, path)?;
    let sound = CertificateDer::pem_slice_iter(&pem).try_fold(0, |n, certificate| certificate.map(|_| n + 1));
    match sound {
        Ok(1..) => Ok(pem),
        Ok(_) | Err(_) => {
            let problem = format!("{} holds no certificates, expected some in PEM (-----BEGIN CERTIFICATE-----)", path.display());
            Err(RedisError::Setting { setting, problem })
        }
    }
}

fn default_prefix() -> String {
    "smtp-fallback:".to_owned()
}

fn default_time_limit() -> u64 {
    10
}

fn default_local_records() -> usize {
    100_000
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests;

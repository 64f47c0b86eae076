//! Configuration files (TOML): what those of all daemons have, and reading them.
//!
//! Whatever is wrong is refused with its place, what was expected and what to do; nothing is ignored. Each daemon has its own [`Configuration`]
//! with the same names for the same things, and gives the common part as [`Settings`].

mod changes;
mod policy;
mod records;
pub mod value;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use changes::InForce;
pub use policy::{PolicyLimits, Verify};
pub use records::{Monitor, Store};

/// The type of a configuration file.
pub trait Configuration: DeserializeOwned {
    /// The paths in it: relative ones start at the folder of the file.
    fn paths(&mut self) -> Vec<&mut PathBuf>;

    /// Whether its values fit together.
    ///
    /// # Errors
    /// Says which do not, what was expected, and what to do.
    fn check(&self) -> Result<(), String>;
}

/// What every daemon's configuration has, whatever the daemon speaks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This host's name.
    pub host_name: String,
    /// The policy component.
    pub component: PathBuf,
    /// A folder for its machine code, so that it need not be compiled at each start.
    pub component_cache: Option<PathBuf>,
    /// The policy, a JSON file.
    pub policy: PathBuf,
    /// Limits of the component.
    pub policy_limits: PolicyLimits,
    /// Where the policy's records live.
    pub store: Store,
    /// Where metrics and the status page are served; nowhere if absent.
    pub monitor: Option<Monitor>,
    /// The user that the daemon becomes once its sockets are bound.
    pub user: Option<String>,
    /// Its group; the user's own if absent.
    pub group: Option<String>,
    /// The same mail would be taken over IPv4 (A20, R9).
    pub reachable_over_ipv4: bool,
    /// Whether arrivals over IPv4 are seen here (A34, A37).
    pub ipv4_arrivals: Ipv4Arrivals,
    /// Files that may be open at a time.
    pub open_files: u64,
    /// Where no client's certificate is verified: what to do about it, for a policy that asks for one.
    pub no_verified_clients: Option<&'static str>,
}

/// What the policy is told about arrivals over IPv4 (A34, A37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Arrivals {
    /// Mail of these domains that arrives over IPv4 is seen here, or on hosts that share the records.
    pub visible: bool,
    /// Why, and how to change it: for people.
    pub why: &'static str,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// The text is no configuration: says where, and what was expected.
    Invalid(PathBuf, Box<toml::de::Error>),
    /// The values do not fit together: says which, and what to do.
    Contradiction(PathBuf, String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable(path, error) => {
                write!(f, "the configuration {} cannot be read: {error}; check the name after --config", path.display())
            }
            ConfigError::Invalid(path, error) => {
                write!(f, "the configuration {}: {}", path.display(), error.to_string().trim_end())
            }
            ConfigError::Contradiction(path, text) => write!(f, "the configuration {}: {text}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {}

fn from_text<C: Configuration>(path: &Path, text: &str) -> Result<C, ConfigError> {
    let mut config: C = toml::from_str(text).map_err(|error| ConfigError::Invalid(path.to_owned(), Box::new(error)))?;
    config.check().map_err(|text| ConfigError::Contradiction(path.to_owned(), text))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for file in config.paths() {
        *file = folder.join(&*file);
    }
    Ok(config)
}

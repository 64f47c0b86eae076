//! The tables `[verify]` and `[policy_limits]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use smtp_fallback_verify::{Settings, Verifier, VerifierError};

use super::value;

/// How messages are verified.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// Name servers to ask; empty for those of the system.
    #[serde(deserialize_with = "value::socket_addresses")]
    pub nameservers: Vec<SocketAddr>,
    /// The time for all look-ups that are made at once: what is not known then is a temporary error. 100 ms to 1 min.
    #[serde(deserialize_with = "value::verify_deadline")]
    pub deadline: Duration,
    /// DNS answers that are remembered.
    pub cache_entries: usize,
}

impl Verify {
    /// What verifies messages by these settings. Needs a tokio runtime.
    ///
    /// # Errors
    /// The resolver cannot be set up.
    pub fn verifier(&self) -> Result<Verifier, VerifierError> {
        let Verify { nameservers, deadline, cache_entries } = self.clone();
        Verifier::new(Settings { nameservers, deadline, cache_entries })
    }
}

impl Default for Verify {
    fn default() -> Self {
        Verify { nameservers: Vec::new(), deadline: Duration::from_secs(5), cache_entries: 8192 }
    }
}

/// Limits of the policy component.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyLimits {
    /// The time for one call. 1 ms to 10 s.
    #[serde(deserialize_with = "value::call_deadline")]
    pub deadline: Duration,
    /// The memory of one instance. 1 MiB to 1 GiB.
    #[serde(deserialize_with = "value::instance_memory")]
    pub memory: usize,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        PolicyLimits { deadline: Duration::from_millis(50), memory: 16 << 20 }
    }
}

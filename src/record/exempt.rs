//! Letting a network in by hand (P15).

use super::network::LetIn;
use super::{Codec as _, NetworkRecord, network_key};
use crate::contract::RecordUpdate;
use crate::network::Network;

/// Why a network cannot be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExemptError {
    /// It is a network of IPv4, about which the policy keeps nothing (P9).
    Ipv4,
}

impl std::fmt::Display for ExemptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing that comes over IPv4 is refused: expected an IPv6 network")
    }
}

impl std::error::Error for ExemptError {}

/// The record that lets `network` in for so many seconds, whatever its mail lacks; 0 ends that. `found` is the value that is stored under
/// [`network_key`]; the rest of it is kept. It takes effect where the policy counts this network as one (`network.prefix`).
///
/// It weighs a million messages: a store that is full keeps it to the last.
pub fn exempt(network: Network, found: Option<&[u8]>, now: u64, seconds: u32) -> Result<RecordUpdate, ExemptError> {
    if network.is_ipv4() {
        return Err(ExemptError::Ipv4);
    }
    let mut record = found.and_then(NetworkRecord::decode).unwrap_or_default();
    record.let_in =
        (seconds > 0).then(|| LetIn { since: now, until: now.saturating_add(seconds.into()), by_operator: true, failing: None });
    // How long the other parts are worth keeping depends on the policy. A week is longer than most of them, and the next message
    // corrects it.
    let others = if record == (NetworkRecord { let_in: record.let_in, ..NetworkRecord::default() }) { 0 } else { 7 * 24 * 3600 };
    Ok(RecordUpdate {
        key: network_key(network),
        value: record.encode(),
        expires_in: seconds.max(others),
        weight: super::lifetime::network_weight(&record),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Evidence;

    #[test]
    fn keeps_what_is_known_and_ends_again() {
        let network = Network::parse("2001:db8::/64").expect("valid");
        let known = NetworkRecord { evidence: Evidence { passed: 1, failed: 2, at: 3 }, ..NetworkRecord::default() };
        let update = exempt(network, Some(&known.encode()), 1000, 3600).expect("IPv6");
        let record = NetworkRecord::decode(&update.value).expect("a record");
        assert_eq!(record.evidence, known.evidence);
        assert_eq!(record.let_in, Some(LetIn { since: 1000, until: 4600, by_operator: true, failing: None }));
        assert!(update.weight >= 1_000_000 && update.expires_in == 7 * 24 * 3600);
        let update = exempt(network, Some(&update.value), 1000, 0).expect("IPv6");
        assert_eq!(NetworkRecord::decode(&update.value), Some(known));
    }

    #[test]
    fn a_network_that_nothing_is_known_of_is_kept_for_that_time_and_then_removed() {
        let network = Network::parse("2001:db8::/64").expect("valid");
        let update = exempt(network, None, 1000, 60).expect("IPv6");
        assert_eq!(update.expires_in, 60);
        assert_eq!(exempt(network, Some(&update.value), 1000, 0).expect("IPv6").expires_in, 0);
        assert_eq!(exempt(network, Some(b"foreign"), 1000, 60), Ok(update), "what is no record counts as absent");
        let error = exempt(Network::parse("192.0.2.0/24").expect("valid"), None, 1000, 60).expect_err("IPv4");
        assert_eq!(error, ExemptError::Ipv4);
        assert!(error.to_string().ends_with("expected an IPv6 network"), "{error}");
    }
}

//! What is to be decided: the host's input, seen together with the policy.

use crate::contract::{AuthResult, AuthResults, Connection, Envelope, Message, Mode, Stage, Verdict};
use crate::hash::HashKey;
use crate::network::Network;
use crate::policy::Policy;

/// One call of `decide`.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) key: HashKey,
    pub(crate) connection: &'a Connection,
    pub(crate) envelope: Option<&'a Envelope>,
    /// Who wrote the mail, for its fingerprint.
    pub(crate) message: Option<&'a Message>,
    pub(crate) auth_results: Option<&'a AuthResults>,
}

impl<'a> Case<'a> {
    pub(crate) fn is_end_of_data(&self) -> bool {
        self.connection.stage == Stage::EndOfData
    }

    /// The client's network (P13).
    pub(crate) fn network(&self) -> Network {
        self.policy.network.network_of(self.connection.client)
    }

    /// Whether the roll-out includes this network (A35).
    pub(crate) fn is_rolled_out(&self, network: Network) -> bool {
        match self.policy.rollout_percent {
            0 => false,
            100.. => true,
            percent => self.key.rollout_place(network) < percent,
        }
    }

    /// Whether refusals reach this client (A38, A35).
    pub(crate) fn is_enforced(&self, network: Network) -> bool {
        self.policy.mode == Mode::Enforce && self.is_rolled_out(network)
    }

    /// The verdict that lets the mail go its way at this stage.
    pub(crate) fn passing(&self) -> Verdict {
        if self.is_end_of_data() { Verdict::Accept } else { Verdict::Continue }
    }

    /// Domains that SPF, DKIM or DMARC authenticated, in lower case, without repeats (P11).
    pub(crate) fn authenticated_domains(&self) -> Vec<String> {
        let mut domains = Vec::new();
        self.for_each_pass(|domain| {
            let domain = domain.strip_suffix('.').unwrap_or(domain);
            if !domain.is_empty() && !domains.iter().any(|known: &String| known.eq_ignore_ascii_case(domain)) {
                domains.push(domain.to_ascii_lowercase());
            }
        });
        domains
    }

    /// Calls `f` for the domain of each pass that counts (A28).
    pub(crate) fn for_each_pass(&self, mut f: impl FnMut(&'a str)) {
        let Some(results) = self.auth_results else { return };
        for spf in self.spf_results().filter(|spf| spf.result == AuthResult::Pass) {
            f(&spf.domain);
        }
        for dkim in results.dkim.iter().flatten().filter(|dkim| dkim.result == AuthResult::Pass && !dkim.testing) {
            f(&dkim.domain);
        }
        if let Some(dmarc) = results.dmarc.as_ref().filter(|dmarc| dmarc.result == AuthResult::Pass) {
            f(&dmarc.domain);
        }
    }

    /// The SPF results that count: MAIL FROM's, and for the null sender HELO's (A28; RFC 7208 §2.4 lets the null sender's
    /// MAIL FROM identity be postmaster at the HELO name, so some hosts report that one).
    pub(crate) fn spf_results(&self) -> impl Iterator<Item = &'a crate::contract::Spf> {
        let results = self.auth_results.filter(|_| self.envelope.is_some());
        let helo = results.filter(|_| self.is_null_sender()).and_then(|results| results.spf_helo.as_ref());
        results.and_then(|results| results.spf_mail_from.as_ref()).into_iter().chain(helo)
    }

    /// Whether the host gave no result at all (A27).
    pub(crate) fn has_no_evidence(&self) -> bool {
        self.auth_results.is_none_or(AuthResults::is_empty)
    }

    pub(crate) fn is_null_sender(&self) -> bool {
        self.envelope.is_some_and(|envelope| envelope.mail_from.is_empty())
    }
}

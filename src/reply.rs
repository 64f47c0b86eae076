//! The replies: codes and texts (P2 to P5, P8, P14, P17, P20).

use crate::case::Case;
use crate::contract::{Reply, Stage};
use crate::lacking;
use crate::network::Network;
use crate::policy::{Template, TextValues};

/// Added where SPF is `permerror`, which the sender's administrator can mend (A27).
const PERMERROR: &str =
    "The SPF record of the sender's domain cannot be evaluated (permerror): its administrator should correct it";

/// The requirement is not met.
pub(crate) fn unauthenticated(case: &Case<'_>, network: Network) -> Reply {
    let failed = lacking::failed(case);
    let policy = case.policy;
    let mut lines = fill(case, &policy.texts.unauthenticated, &lacking::listed(&failed), network);
    if failed.contains(&("SPF", "permerror")) {
        lines.insert(1, PERMERROR.into());
    }
    later(case, &policy.enhanced_codes.unauthenticated, lines)
}

/// The requirement is met by distrusted domains only (A30).
pub(crate) fn distrusted(case: &Case<'_>, network: Network) -> Reply {
    let lines = fill(case, &case.policy.texts.distrusted, "distrusted domain", network);
    later(case, &case.policy.enhanced_codes.distrusted, lines)
}

/// At the greeting and at EHLO. Clients answer a 451 to EHLO with HELO, so there it is always 421 (A2).
pub(crate) fn penalty(case: &Case<'_>, network: Network) -> Reply {
    let policy = case.policy;
    let code = if case.connection.stage == Stage::Greeting { policy.codes.greeting } else { 421 };
    let failed = lacking::names(&policy.require);
    let lines = fill(case, &policy.texts.penalty, &failed, network);
    Reply { code, enhanced_code: policy.enhanced_codes.penalty.clone(), lines, close: true }
}

/// Too many temporary errors: not about IPv4, so neither 4.4.8 nor a close (A27, A15).
pub(crate) fn temporary_error(case: &Case<'_>, network: Network) -> Reply {
    let failed = lacking::unknown(case);
    let lines = fill(case, &case.policy.texts.temporary_error, &failed, network);
    Reply { code: 451, enhanced_code: "4.4.3".into(), lines, close: false }
}

/// The client does not fall back, and the operator chose to say so for good (A34, P17): RFC 7372 §3.3 has the code.
pub(crate) fn never_falls_back(case: &Case<'_>, network: Network) -> Reply {
    let lines = fill(case, &case.policy.texts.never_falls_back, &lacking::listed(&lacking::failed(case)), network);
    Reply { code: 550, enhanced_code: "5.7.26".into(), lines, close: false }
}

/// 456 for whoever issued the verb, and for nobody else (P2, P8); the session goes on (P19). Else 421 and close (P4), or what the
/// operator set (A32), where only 421 closes.
fn later(case: &Case<'_>, enhanced_code: &str, lines: Vec<String>) -> Reply {
    let code = if case.connection.acknowledged { 456 } else { case.policy.codes.later };
    Reply { code, enhanced_code: enhanced_code.into(), lines, close: code == 421 }
}

fn fill(case: &Case<'_>, templates: &[Template], failed: &str, network: Network) -> Vec<String> {
    let client = case.connection.client.to_string();
    // Few lines name the network, and writing it takes as long as the rest of a refusal's text.
    let prefix = if templates.iter().any(Template::names_prefix) { network.to_string() } else { String::new() };
    let values = TextValues { failed, client: &client, prefix: &prefix, url: case.policy.url.as_deref().unwrap_or_default() };
    templates.iter().map(|template| template.fill(&values)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::policy::MAX_TEXT;

    #[test]
    fn the_longest_address_and_network_fit_their_bounds() {
        let longest = Address::from_bits(u128::MAX >> 1 | 1);
        assert!(longest.to_string().len() <= 39);
        assert!(Network::of(longest, 128).to_string().len() <= 43);
        assert!(PERMERROR.len() <= MAX_TEXT);
    }
}

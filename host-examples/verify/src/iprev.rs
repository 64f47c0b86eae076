//! Whether the client's reverse name leads back to its address (RFC 8601 §2.7.3).

use std::net::IpAddr;

use smtp_fallback_policy::contract::{AuthResult, Iprev};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::dns::{Dns, NoAnswer};
use crate::names::domain_name;

/// How many of the client's names are tried, as many as SPF may (RFC 7208 §4.6.4).
pub const MAX_CLIENT_NAMES: usize = 10;

/// `client` is not IPv4-mapped.
pub(crate) async fn check(dns: &Dns, client: IpAddr, deadline: Instant) -> Iprev {
    let Ok(Ok(names)) = timeout_at(deadline, dns.ptr(client)).await else { return without_name(AuthResult::Temperror) };
    if names.is_empty() {
        return without_name(AuthResult::Permerror);
    }
    // All at once: a name that nobody answers for does not hide one that leads back.
    let mut lookups = JoinSet::new();
    for name in names.iter().take(MAX_CLIENT_NAMES).filter_map(|name| domain_name(name)) {
        let dns = dns.clone();
        lookups.spawn(
            async move { dns.addresses(&name, client).await.map(|addresses| addresses.contains(&client).then_some(name)) },
        );
    }
    let mut result = AuthResult::Fail;
    let mut confirmed: Option<String> = None;
    loop {
        match timeout_at(deadline, lookups.join_next()).await {
            Ok(None) => break,
            // Always the same of several, however the DNS sorts them: somebody may have listed it.
            Ok(Some(Ok(Ok(Some(name))))) => confirmed = Some(confirmed.map_or(name.clone(), |other| other.min(name))),
            Ok(Some(Ok(Ok(None)))) => {}
            Ok(Some(Ok(Err(NoAnswer)))) => result = AuthResult::Temperror,
            Ok(Some(Err(error))) => {
                tracing::error!(%error, "the look-up of a client's name stopped");
                result = AuthResult::Temperror;
            }
            Err(_) => {
                result = AuthResult::Temperror;
                break;
            }
        }
    }
    match confirmed {
        Some(name) => Iprev { result: AuthResult::Pass, name: Some(name) },
        None => without_name(result),
    }
}

fn without_name(result: AuthResult) -> Iprev {
    Iprev { result, name: None }
}

//! Look-ups of several names at once, of which those count that are done in time.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Asks for every name in `found` by `look_up`, all at once, and puts the answers in. Ends when all are there, or at the deadline: what is
/// still under way is stopped then, and keeps the value that it had.
pub(crate) async fn all<N, V, F>(mut found: HashMap<N, V>, deadline: Instant, look_up: impl Fn(N) -> F) -> HashMap<N, V>
where
    N: Clone + Eq + Hash + Send + 'static,
    V: Send + 'static,
    F: Future<Output = V> + Send + 'static,
{
    let mut lookups = JoinSet::new();
    for name in found.keys().cloned() {
        let answer = look_up(name.clone());
        lookups.spawn(async move { (name, answer.await) });
    }
    while let Ok(Some(lookup)) = timeout_at(deadline, lookups.join_next()).await {
        match lookup {
            Ok((name, answer)) => drop(found.insert(name, answer)),
            Err(error) => tracing::error!(%error, "a look-up stopped"),
        }
    }
    found
}

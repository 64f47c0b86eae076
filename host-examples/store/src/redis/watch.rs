//! The store's task: sees whether the server answers, and brings it back into use when it does.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::breaker::{Call, Trouble};
use super::link::Link;
use super::local::Replay;
use super::script::Swapped;

/// How often the server is asked whether it is there.
const EVERY: Duration = Duration::from_secs(1);

/// How long it may take to connect: to several addresses, with TLS.
const CONNECTING: Duration = Duration::from_secs(3);

/// How long a new connection may take for its first answer, and a change for its replay: nobody waits for these.
const PATIENCE: Duration = Duration::from_secs(1);

/// Changes that are on their way to the server at the same time.
const REPLAYS: usize = 64;

/// What a recovery did with the updates that the local copy took meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replayed {
    pub(super) replayed: u64,
    pub(super) dropped: u64,
}

/// Runs until the store is dropped.
pub(super) async fn watch(store: Weak<Shared>) {
    let mut last = Instant::now();
    let mut recovered = last;
    loop {
        let Some(wake) = store.upgrade().map(|shared| shared.wake.clone()) else { return };
        tokio::select! {
            () = sleep_until(last + EVERY) => {}
            () = wake.notified() => {}
        }
        let Some(shared) = store.upgrade() else { return };
        match shared.link() {
            // One that was lost is tried anew at once, but a server that comes and goes not more often than others are probed.
            None => {
                sleep_until(recovered + EVERY).await;
                recover(&shared).await;
                recovered = Instant::now();
            }
            Some(link) => {
                // Finds out before a mail does, and keeps firewalls from forgetting the connection. The call counts what comes of it.
                let ping = |link: Link| async move { link.ping().await };
                if shared.call(link.clone(), Call::Read, shared.time_limit, ping).await.is_ok() {
                    shared.keep_secret(&link.link).await;
                }
            }
        }
        last = Instant::now();
    }
}

/// One try to bring the server into use.
pub(super) async fn recover(shared: &Shared) {
    let link = match probe_reading(shared).await {
        Ok(link) => link,
        Err(trouble) => return shared.still_away(trouble, None),
    };
    let outcome = match probe_writing(shared, &link).await {
        Ok(()) => {
            shared.use_link(&link);
            let done = replay_all(shared, &link).await;
            shared.keep_secret(&link).await;
            done
        }
        Err(trouble) => Err(trouble),
    };
    match outcome {
        Ok(Replayed { replayed, dropped }) => {
            if shared.is_back() {
                match dropped {
                    0 => tracing::info!(event = "store-recovered", replayed, dropped, "the shared store is in use"),
                    _ => tracing::warn!(
                        event = "store-recovered",
                        replayed,
                        dropped,
                        "the shared store is in use; updates were dropped whose records others had changed meanwhile"
                    ),
                }
            }
        }
        Err(trouble) => shared.still_away(trouble, Some(&link)),
    }
    warn_of_eviction(shared, &link).await;
}

/// Once. A server that does not tell, tells nothing.
async fn warn_of_eviction(shared: &Shared, link: &Link) {
    if shared.eviction_asked.load(Ordering::Relaxed) {
        return;
    }
    let policy = patiently(PATIENCE, link.eviction_policy()).await;
    if matches!(policy, Ok(_) | Err(Trouble::Refused(_))) {
        shared.eviction_asked.store(true, Ordering::Relaxed);
    }
    if let Ok(Some(policy)) = policy {
        tracing::warn!(
            event = "store-evicts",
            policy,
            "when the server is full it removes records, exemptions and penalties among them: give the hosts a server of their own, with \
             maxmemory-policy noeviction"
        );
    }
}

/// A new connection over which reading works, in the time that calls have.
async fn probe_reading(shared: &Shared) -> Result<Link, Trouble> {
    let link = patiently(CONNECTING, shared.client.connect()).await?;
    patiently(PATIENCE, link.ping()).await?;
    patiently(shared.time_limit, link.read(vec![shared.names.secret()])).await?;
    Ok(link)
}

/// Whether writing one key works over it, too.
async fn probe_writing(shared: &Shared, link: &Link) -> Result<(), Trouble> {
    // Whatever the answer is: it wrote, or could have. Gone by itself after a second.
    let name = shared.names.probe(shared.number);
    let _: Swapped = patiently(shared.time_limit, link.swap(&name, None, b"probe", 1)).await?;
    Ok(())
}

/// Tells the server what was changed here, until nothing is left.
async fn replay_all(shared: &Shared, link: &Link) -> Result<Replayed, Trouble> {
    let mut done = Replayed::default();
    // A round settles its changes, unless they are changed again meanwhile; others do not come, since new ones go to the server.
    for _ in 0..shared.rounds {
        let replays = shared.replays(REPLAYS, &mut done);
        if replays.is_empty() {
            return Ok(done);
        }
        replay(shared, link, replays, &mut done).await?;
    }
    done.dropped += shared.give_up();
    Ok(done)
}

/// One round. What has no answer stays to be replayed: if it has happened after all, the next time is a conflict with a value of our own.
async fn replay(shared: &Shared, link: &Link, replays: Vec<Replay>, done: &mut Replayed) -> Result<(), Trouble> {
    let mut writes = JoinSet::new();
    for replay in replays {
        let (link, name) = (link.clone(), shared.names.of(&replay.key));
        writes.spawn(async move {
            let swap = link.swap(&name, replay.base.as_deref(), &replay.value, replay.expires_in);
            (patiently(PATIENCE, swap).await, replay)
        });
    }
    let mut failure = None;
    let mut conflicts: Vec<Replay> = Vec::new();
    while let Some(write) = writes.join_next().await {
        match write {
            Ok((Ok(Swapped::Stored), replay)) => done.replayed += shared.replayed(replay),
            Ok((Ok(Swapped::Conflict), replay)) => conflicts.push(replay),
            Ok((Err(trouble), replay)) => {
                if !matches!(trouble, Trouble::Refused(_)) && replay.expires_in > 0 {
                    shared.lock().local.not_answered(replay.key, &replay.value);
                }
                failure = Some(trouble);
            }
            Err(error) => failure = Some(Trouble::Lost(error.to_string())),
        }
    }
    if let Some(trouble) = failure {
        return Err(trouble);
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    let found = patiently(PATIENCE, link.read(conflicts.iter().map(|replay| shared.names.of(&replay.key)).collect())).await?;
    for (replay, found) in conflicts.into_iter().zip(found) {
        shared.conflicted(replay, &found, done);
    }
    Ok(())
}

async fn patiently<T>(limit: Duration, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(limit, work).await.unwrap_or(Err(Trouble::TimedOut))
}

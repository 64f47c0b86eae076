//! The store that all hosts of a domain share: Redis or Valkey, one server or a cluster. With a local copy for the time when it
//! gives no answer.
//!
//! # Layout
//! For hosts in other languages that share the records. Keys are text: the prefix (`smtp-fallback:` unless it is configured),
//! then
//!
//! | Rest of the key | Value | Lives |
//! |---|---|---|
//! | `address:2001:db8::1/128`, `network:2001:db8::/64`, `budget:2001:db8::/48` | a record | as long as the module says (EX) |
//! | `exact:` or `inferred:`, then 32 hexadecimal digits in lower case | a record | as long as the module says (EX) |
//! | `secret` | the secret, as 64 hexadecimal digits in lower case | for ever |
//! | `probe:` and 16 hexadecimal digits | nothing of interest | 1 s |
//!
//! Addresses are written as RFC 5952 has it, IPv4 networks as IPv4 (`192.0.2.0/24`). A record is the octets that the module gave,
//! verbatim: 1 to [`MAX_VALUE_OCTETS`]. What is longer, or empty, or no string is no record: it is read as nothing, and written
//! over. The weight is not kept.
//!
//! Records are read by `GETRANGE key 0 4096` and `PTTL key`, in one pipeline: a value of any length costs no more than a record,
//! and the local copy knows when it expires. They are written by a script (`EVALSHA`, or `EVAL` for a server that does not know
//! it) that compares, and then sets with `EX` or deletes, in one step; it touches one key, so it runs in a cluster as well. What
//! expires, expires by the server's clock. The secret is set with `NX`, and what is there then counts; each host looks every
//! second, and puts it back when it is gone. Another one than it started with shows in [`Health::problem`]. A user with a
//! restricted ACL needs `+@read +@write +@scripting +ping`, and `+cluster|slots +asking` in a cluster, on the keys of the prefix.
//! With `+config|get` the host can tell at its start that the server evicts.
//!
//! # Room
//! The shares for each network, and the order in which records go, are the embedded store's. A server of this kind knows neither
//! networks nor weights: here only the time that a record lives limits what stays. So give the hosts a server of their own, with
//! `maxmemory` and `maxmemory-policy noeviction`. A flood of new addresses can fill it; then it takes nothing new, and all that it
//! has stays, exemptions and penalties among it. With any other policy it removes records of its own choice: `volatile-ttl`, for
//! one, what expires soonest, such as the exemption that ends in an hour, before the flood that lives for a day. The log warns of
//! such a server at the start.
//!
//! What a full server has is read as ever. What is written meanwhile stays in the local copy, within its limits, which are those of
//! the embedded store, shares included: it holds for this host, and is done on the server when there is room. Updates for which the
//! copy has no room are dropped, and counted in [`Health::dropped`]; [`Health::problem`] says that the server refuses writes.
//!
//! # No answer
//! Each call has its time limit; a message needs two look-ups, so with the default it spends 20 ms at most. When there is no
//! answer in time, the local copy answers: what was last read or written here, up to `local_records`. After three calls without
//! an answer in a row, after three refusals in a row, or when the connection is lost, the server is left alone. Then the local
//! copy takes reads and writes at once, and every second a probe tries a new connection, reading and writing. (If it refuses
//! nothing but writes, what is not changed here is read from it all the same.) When the probe succeeds,
//! calls go there again, and what was changed here is done on the server as well, by compare-and-set against what it was last
//! known to have; until that is done, the local copy serves those records. Where others have changed the record meanwhile, theirs
//! stays: ours is dropped, and counted in [`Health::dropped`], as is what the full local copy had to let go. What an operator said of a network
//! meanwhile (that it is let in, or is so no longer) is said again on top of theirs. Where the server has
//! no record any more, since it expired there or the server was started anew, ours is stored as a new one: also where others have
//! removed it, since that looks the same.
//!
//! A write that had no answer in time may have been done, or may be done later, when the server comes to it. Its caller gets
//! [`StoreError::Unavailable`], and counts the update as dropped; the local copy keeps what was there before. So an update that
//! was done may be reported as dropped; but none is lost without a report, and none is counted twice: nothing is ever sent again
//! unless the server said that it did not do it, or it is a compare-and-set whose first try, if it was done, makes the second a
//! conflict. The value of such a write is remembered: if the server turns out to have it, that is this host's own doing, and what was
//! changed here since takes its place.

mod breaker;
mod calls;
mod keys;
mod link;
mod local;
mod script;
mod settings;
mod state;
mod watch;

use std::sync::Arc;

use smtp_fallback_policy::contract::{Key, StoredRecord};
use tokio::task::JoinHandle;

use crate::{BoxFuture, Cursor, Health, Page, Secret, Store, StoreError, Swap, Write};
use state::Shared;

#[cfg(doc)]
use crate::MAX_VALUE_OCTETS;

pub use settings::{RedisError, RedisSettings};

/// The shared store. See the [module](self) for what is where, and what happens without an answer.
///
/// Needs a tokio runtime; has a task on it, which ends when the store is dropped.
pub struct RedisStore {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl RedisStore {
    /// Checks the settings, then tries to reach the server, for some seconds at most. Fails if the settings cannot be used, not if the server
    /// cannot be reached: a host must start then, too. The local copy serves until it can.
    pub async fn connect(settings: &RedisSettings) -> Result<RedisStore, RedisError> {
        let shared = Arc::new(Shared::new(settings.check()?)?);
        watch::recover(&shared).await;
        shared.log_away();
        let task = tokio::spawn(watch::watch(Arc::downgrade(&shared)));
        Ok(RedisStore { shared, task })
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.task.abort();
        let waiting = self.shared.health().unsaved;
        if waiting > 0 {
            tracing::warn!(event = "store-closed", records = waiting, "the shared store was not told of all changes");
        }
    }
}

impl Store for RedisStore {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        Box::pin(self.shared.read(keys, now))
    }

    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(self.shared.swap(write))
    }

    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(self.shared.scan(cursor, limit.max(1), now))
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        Box::pin(self.shared.secret())
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}

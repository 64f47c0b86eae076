//! Where the policy's records live: the interface of a store, one in memory, and writing records back after a decision.
//!
//! A host reads with [`Store::get_many`] what `keys` names, passes it to `decide`, and hands the records of the answer to
//! [`write_back`], off the reply's path: the client need not wait for it.

mod memory;
mod write_back;

use std::future::Future;
use std::pin::Pin;

use smtp_fallback_policy::contract::{Key, RecordUpdate, StoredRecord};

pub use memory::MemoryStore;
pub use write_back::{TRIES, WriteBack, write_back};

/// The longest value that a store takes, in octets. The module's records are far shorter; a longer one is a fault.
pub const MAX_VALUE_OCTETS: usize = 4096;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps records: octets that only the policy module can read, each under a key, with an expiry and a weight.
///
/// Asynchronous, because a store that several hosts share answers over the network. An implementation MUST answer within a
/// time limit of its own (seconds at most): a decision waits for `get_many`.
pub trait Store: Send + Sync {
    /// The unexpired records under these keys, in any order. A record that is not there, or has expired at `now`, is left out.
    ///
    /// `now` is in seconds since 1970-01-01T00:00:00Z.
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>>;

    /// Stores the update if the unexpired value under its key is `expected`, in one indivisible step. With `None` it stores if
    /// there is no value, or only one that has expired at `now`.
    ///
    /// The record expires at `now` + `expires_in`; an `expires_in` of 0 removes what is there. The value may have up to
    /// [`MAX_VALUE_OCTETS`] octets. When the store is full, it makes room for the new record.
    fn compare_and_set<'a>(
        &'a self,
        expected: Option<&'a [u8]>,
        update: &'a RecordUpdate,
        now: u64,
    ) -> BoxFuture<'a, Result<Swap, StoreError>>;
}

/// The outcome of [`Store::compare_and_set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after a conflict nothing was stored"]
pub enum Swap {
    /// The update is in force.
    Stored,
    /// Another value is there than was expected: nothing was changed.
    Conflict,
}

/// Why a store cannot do its work. Decisions go on without its records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The value has more than [`MAX_VALUE_OCTETS`] octets. Cause: a module that writes larger records than this store was
    /// made for, or no valid module at all.
    #[error(
        "the record's value has {octets} octets, expected at most {MAX_VALUE_OCTETS}; check that the policy component is genuine"
    )]
    ValueTooLarge {
        /// The length of the value.
        octets: usize,
    },
    /// No answer, or none in time. Cause: a shared store that is down, overloaded or not reachable. The text says which.
    #[error("the store gives no answer: {0}; check that it runs and can be reached")]
    Unavailable(String),
}

//! Where the policy's records live: the interface of a store, the stores, and writing records back after a decision.
//!
//! A host reads with [`Store::get_many`] what `keys` names, passes it to `decide`, and hands the records of the answer to
//! [`write_back`], or to [`Basis::write_back`] with a deadline, off the reply's path: the client need not wait for it.

pub mod control;
pub mod embedded;
mod memory;
pub mod redis;
mod table;
mod write_back;

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, RecordUpdate, StoredRecord};

pub use memory::MemoryStore;
pub use table::Limits;
pub use write_back::{Basis, TRIES, WriteBack, write_back};

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

    /// Stores the update if the unexpired value under its key is the expected one, in one indivisible step.
    ///
    /// The record expires `expires_in` after `now`; an `expires_in` of 0 removes what is there. The value may have up to
    /// [`MAX_VALUE_OCTETS`] octets. When the store is full, it makes room for the new record.
    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>>;

    /// The unexpired records from a cursor on, in the store's own order: for reports and exports, never for a decision. About `limit` of them
    /// (at least one, unless the end is reached); [`Page::next`] leads on. A record that is written meanwhile may come twice, or not at all.
    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// The secret that keys the hashes of networks and mails (A33, A35). Made by whoever asks first, and then the same for all that share the
    /// store, for as long as it lives.
    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>>;

    /// How the store does. Answered at once, from what it knows.
    fn health(&self) -> Health;
}

/// The secret of all hosts that share a store: 32 random octets.
pub type Secret = [u8; 32];

/// One write.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// What has to be there: a value, or with `None` no value, or only one that has expired at `now`.
    pub expected: Option<&'a [u8]>,
    /// What is to be there.
    pub update: &'a RecordUpdate,
    /// The client whose mail this is about. The record of a mail counts for its network's share of the store; those of addresses
    /// and networks count for the one in their key. A record that is there keeps its place, whoever writes it next.
    pub source: Address,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub now: u64,
}

/// Where [`Store::scan`] goes on. The default is the beginning. Its text means something to the store that gave it only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// A part of a store's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub records: Vec<Listed>,
    /// Where to go on; absent at the end.
    pub next: Option<Cursor>,
}

/// A record with what the store knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Key and value.
    pub record: StoredRecord,
    /// The first second in which it means nothing, since 1970.
    pub expires_at: u64,
    /// What it costs to lose it; 0 where the store does not keep weights.
    pub weight: u32,
}

/// How a store does, for logs, metrics and the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// "memory", "embedded" or "redis"; "control" of a [`ControlStore`](control::ControlStore), which tells of its connection only.
    pub kind: String,
    /// What is wrong, in words for people; absent while all is well.
    pub problem: Option<String>,
    /// Answers come from a local copy, since the shared store gives none, or takes no writes.
    pub serves_local_copy: bool,
    /// How many records there are; absent where counting them is too costly.
    pub records: Option<u64>,
    /// How many there may be.
    pub capacity: Option<u64>,
    /// Unexpired records that had to go, since the start, because the store or a network's share was full.
    pub evicted: u64,
    /// Updates that are not on disk.
    pub unsaved: u64,
    /// Writes that found another value than they expected, since the start.
    pub conflicts: u64,
    /// Calls without an answer in time, since the start.
    pub timeouts: u64,
    /// Updates that were lost, since the start: no store took them.
    pub dropped: u64,
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

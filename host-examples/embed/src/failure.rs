//! What can go wrong at run time, and how often it did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smtp_fallback_policy::contract::PolicyError;

use crate::reply_check::ReplyError;

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The component stopped itself, as by a failed assertion.
    #[error("the component trapped: {0}")]
    Trap(String),
    /// It took longer than the deadline, which is given.
    #[error("the component took more than {} ms", .0.as_millis())]
    Deadline(Duration),
    /// It wanted more memory than the limit, which is given in octets.
    #[error("the component wanted more than {0} octets of memory")]
    Memory(usize),
    /// It answered with a reply that must not be sent.
    #[error("the component's reply cannot be sent: {0}")]
    Reply(ReplyError),
    /// Its answer cannot be read: text that is no UTF-8, an address outside its memory, more octets than the memory limit.
    #[error("the component's answer cannot be read: {0}")]
    Answer(String),
    /// All instances were busy for the whole deadline.
    #[error("no instance of the component became free in time")]
    Unavailable,
    /// The thread that watches the time limit cannot be started, at the first call: see [`Threads`](crate::Threads).
    #[error("cannot start the thread that watches the time limit: {0}")]
    Thread(String),
}

/// How often calls failed, since the pool was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureCounts {
    /// [`Failure::Trap`].
    pub trap: u64,
    /// [`Failure::Deadline`].
    pub deadline: u64,
    /// [`Failure::Memory`].
    pub memory: u64,
    /// [`Failure::Reply`] and [`Failure::Answer`], and each `would` that was dropped.
    pub reply: u64,
    /// [`Failure::Unavailable`] and [`Failure::Thread`].
    pub unavailable: u64,
}

/// A policy was not taken. The one before, if any, stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// It has errors, at least one. Shown one a line.
    #[error("{}", lines(.0))]
    Policy(Vec<PolicyError>),
    /// The component failed on reading it.
    #[error("the policy could not be read: {0}")]
    Failed(Failure),
}

/// The counters behind [`FailureCounts`].
#[derive(Default)]
pub(crate) struct Counters {
    trap: AtomicU64,
    deadline: AtomicU64,
    memory: AtomicU64,
    reply: AtomicU64,
    unavailable: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, failure: &Failure) {
        let counter = match failure {
            Failure::Trap(_) => &self.trap,
            Failure::Deadline(_) => &self.deadline,
            Failure::Memory(_) => &self.memory,
            Failure::Reply(_) | Failure::Answer(_) => &self.reply,
            Failure::Unavailable | Failure::Thread(_) => &self.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> FailureCounts {
        let Counters { trap, deadline, memory, reply, unavailable } = self;
        let [trap, deadline, memory, reply, unavailable] =
            [trap, deadline, memory, reply, unavailable].map(|counter| counter.load(Ordering::Relaxed));
        FailureCounts { trap, deadline, memory, reply, unavailable }
    }
}

fn lines(errors: &[PolicyError]) -> String {
    errors.iter().map(PolicyError::to_string).collect::<Vec<_>>().join("\n")
}

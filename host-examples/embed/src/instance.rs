//! One instance, and how its failures are told apart.

use smtp_fallback_policy::contract::{PolicyError, Summary};
use wasmtime::{ResourceLimiter, Store, Trap};

use crate::bindings::PolicyModule;
use crate::bindings::exports::smtp_fallback::policy::policy::{self as wit, Guest};
use crate::component::{Component, Permit};
use crate::convert::Cross;
use crate::failure::Failure;
use crate::watch::Deadline;

/// An instance with its memory. After a failed call it is dead: drop it.
pub(crate) struct Instance {
    store: Store<MemoryLimit>,
    exports: PolicyModule,
    deadline: Deadline,
    /// Declared last, so that the memory is given back before the right to use it.
    _permit: Option<Permit>,
}

impl Instance {
    /// A fresh one, without a policy. The permit is released with it.
    pub(crate) fn new(component: &Component, permit: Option<Permit>) -> Result<Self, Failure> {
        let deadline = component.deadline();
        let mut store = Store::new(component.pre().engine(), MemoryLimit { octets: component.limits().memory, denied: false });
        store.limiter(|limit| limit);
        // Lists of lists can name the same octets again and again: bound what an answer grows to on this side.
        store.set_hostcall_fuel(component.limits().memory);
        store.set_epoch_deadline(deadline.epochs());
        let instantiated = component.pre().instantiate(&mut store);
        let exports = instantiated.map_err(|error| failure(&error, &store, deadline))?;
        Ok(Instance { store, exports, deadline, _permit: permit })
    }

    /// Sets the policy.
    pub(crate) fn configure(&mut self, policy: &str, secret: &[u8]) -> Result<Result<Summary, Vec<PolicyError>>, Failure> {
        let deadline = self.deadline.for_configure();
        self.call_within(deadline, |guest, store| guest.call_configure(store, policy, secret)).map(Cross::cross)
    }

    /// Runs one call, within the deadline.
    pub(crate) fn call<T>(
        &mut self,
        call: impl FnOnce(&Guest, &mut Store<MemoryLimit>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.call_within(self.deadline, call)
    }

    fn call_within<T>(
        &mut self,
        deadline: Deadline,
        call: impl FnOnce(&wit::Guest, &mut Store<MemoryLimit>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.store.set_epoch_deadline(deadline.epochs());
        self.store.data_mut().denied = false;
        let answer = call(self.exports.smtp_fallback_policy_policy(), &mut self.store);
        answer.map_err(|error| failure(&error, &self.store, deadline))
    }
}

/// The memory that an instance may have, and whether it wanted more during the last call.
pub(crate) struct MemoryLimit {
    octets: usize,
    denied: bool,
}

/// Far more than the functions of the policy.
const TABLE_ELEMENTS: usize = 10_000;

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.octets;
        self.denied |= !allowed;
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.denied = true;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

/// What the error means. An instance that is denied memory aborts: that is told from other traps by the denial.
fn failure(error: &wasmtime::Error, store: &Store<MemoryLimit>, deadline: Deadline) -> Failure {
    let limit = store.data();
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Failure::Deadline(deadline.length()),
        _ if limit.denied => Failure::Memory(limit.octets),
        Some(trap) => Failure::Trap(trap.to_string()),
        None if error.is::<wasmtime::PoolConcurrencyLimitError>() => Failure::Unavailable,
        None => Failure::Answer(format!("{error:#}")),
    }
}

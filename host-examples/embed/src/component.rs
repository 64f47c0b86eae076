//! Loading: from octets to a component that is ready to make instances.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smtp_fallback_policy::contract::{CONTRACT_VERSION, Summary};
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::PolicyModulePre;
use crate::cache::{Cache, Key, hex, sha256};
use crate::failure::{ConfigureError, Failure};
use crate::instance::{Instance, MemoryLimit};
use crate::watch::{Deadline, Threads, Watch};

/// What a component may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest that one call may take, to within a tenth; at least 1 ms. It is real time: on a host with far more work than
    /// processors a thread that is not run for so long exceeds it too. Setting a policy may take 20 times as long, and at least
    /// a second.
    pub deadline: Duration,
    /// Octets of memory that one instance may have; also the most octets that one answer may hold.
    pub memory: usize,
    /// Instances that may exist at once, and so calls that run at once; those of all pools of one [`Component`] together. A call
    /// that finds none free waits for one, at most for `deadline`.
    pub instances: u32,
}

impl Default for Limits {
    /// 50 ms, 16 MiB, 64 instances. A decision takes microseconds and some hundred KiB.
    fn default() -> Self {
        Limits { deadline: Duration::from_millis(50), memory: 16 << 20, instances: 64 }
    }
}

/// How a component is loaded. The default is that of [`Component::from_bytes`].
#[derive(Clone, Debug, Default)]
pub struct Loading<'a> {
    /// What it may use.
    pub limits: Limits,
    /// Where its machine code may be, and is kept.
    pub cache: Option<&'a Cache>,
    /// When it may have threads.
    pub threads: Threads,
}

/// A compiled component. Clones share it.
#[derive(Clone)]
pub struct Component {
    pre: PolicyModulePre<MemoryLimit>,
    limits: Limits,
    deadline: Deadline,
    shared: Arc<Shared>,
}

/// Where the machine code of a component comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled.
    Compiled,
    /// It was compiled before, and taken from a [`Cache`].
    Cache,
}

/// The component cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: {source}; correct the path, or build the component by `cargo xtask component`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A limit is zero or too large.
    #[error("limits: {0}")]
    Limits(&'static str),
    /// The octets are not a valid component, or want more than the limits allow.
    #[error("not a component that can be run: {0}")]
    Invalid(String),
    /// It wants functions of its host. The policy sees only what a call passes in, so this is not the policy.
    #[error("the component imports {}; the policy component imports nothing", .0.join(", "))]
    Imports(Vec<String>),
    /// Its exports are not those of this contract.
    #[error("the component does not export smtp-fallback:policy/policy@{version}: {error}", version = CONTRACT_VERSION, error = .0)]
    Contract(String),
    /// It failed on starting.
    #[error("the component does not start: {0}")]
    Start(Failure),
    /// The system does not give what the engine needs, mostly address space: each instance reserves 4 GiB of it (but no memory).
    #[error("cannot set up the engine, with fewer instances it may succeed: {0}")]
    Engine(String),
    /// No thread can be started.
    #[error("cannot start the thread that watches the time limit: {0}")]
    Thread(std::io::Error),
}

impl Component {
    /// Compiles a component and tries it out. Only WebAssembly is accepted, never machine code.
    pub fn from_bytes(bytes: &[u8], limits: &Limits) -> Result<Self, LoadError> {
        Component::from_bytes_with(bytes, &Loading { limits: limits.clone(), ..Loading::default() })
    }

    /// [`Component::from_bytes`] of a file.
    pub fn from_file(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, LoadError> {
        Component::from_bytes(&read(path.as_ref())?, limits)
    }

    /// As [`Component::from_bytes`], but machine code that was compiled before from the same octets, for the same processor and by
    /// the same engine, is taken from `cache`; else it is compiled, and kept there. All that is checked on a component is checked
    /// on one from the cache.
    ///
    /// A cache that fails is no error: what it cannot give is compiled, what it cannot take is not kept, and a warning is logged.
    pub fn from_bytes_cached(bytes: &[u8], limits: &Limits, cache: &Cache) -> Result<Self, LoadError> {
        Component::from_bytes_with(bytes, &Loading { limits: limits.clone(), cache: Some(cache), ..Loading::default() })
    }

    /// [`Component::from_bytes_cached`] of a file.
    pub fn from_file_cached(path: impl AsRef<Path>, limits: &Limits, cache: &Cache) -> Result<Self, LoadError> {
        Component::from_bytes_cached(&read(path.as_ref())?, limits, cache)
    }

    /// [`Component::from_bytes_with`] of a file.
    pub fn from_file_with(path: impl AsRef<Path>, loading: &Loading) -> Result<Self, LoadError> {
        Component::from_bytes_with(&read(path.as_ref())?, loading)
    }

    /// Loads a component as is said, from a cache as [`Component::from_bytes_cached`] has it, and tries it out.
    pub fn from_bytes_with(bytes: &[u8], loading: &Loading) -> Result<Self, LoadError> {
        let Loading { limits, cache, threads } = loading;
        check_limits(limits)?;
        if bytes.starts_with(CORE_MODULE) {
            return Err(LoadError::Invalid("it is a core module; `cargo xtask component` makes a component of it".to_owned()));
        }
        let engine = Engine::new(config(limits).parallel_compilation(*threads == Threads::AtLoad))
            .map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let hash = sha256(bytes);
        let cache = cache.map(|cache| (cache, Key::new(hash, &engine)));
        let (machine_code, origin) = match cache.as_ref().and_then(|(cache, key)| cache.take(key, &engine)) {
            Some(machine_code) => (machine_code, Origin::Cache),
            None => {
                let compiled = wasmtime::component::Component::from_binary(&engine, bytes);
                (compiled.map_err(|error| LoadError::Invalid(format!("{error:#}")))?, Origin::Compiled)
            }
        };
        let imports: Vec<_> = machine_code.component_type().imports(&engine).map(|(name, _)| name.to_owned()).collect();
        if !imports.is_empty() {
            return Err(LoadError::Imports(imports));
        }
        let contract = |error: wasmtime::Error| LoadError::Contract(format!("{error:#}"));
        let instance_pre = Linker::new(&engine).instantiate_pre(&machine_code).map_err(contract)?;
        let pre = PolicyModulePre::new(instance_pre).map_err(contract)?;

        let deadline = Deadline::new(limits.deadline);
        let watch = Watch::new(&engine, deadline);
        if *threads == Threads::AtLoad {
            watch.forever().map_err(LoadError::Thread)?;
        }
        let shared = Arc::new(Shared { sha256: hex(&hash), origin, live: AtomicU32::new(0), spare: Mutex::new(()), watch });
        let component = Component { pre, limits: limits.clone(), deadline, shared };
        component.with_spare(|_| ()).map_err(|failure| match failure {
            Failure::Answer(error) => LoadError::Contract(error),
            failure => LoadError::Start(failure),
        })?;
        if let (Some((cache, key)), Origin::Compiled) = (&cache, origin) {
            cache.keep(key, &machine_code);
        }
        Ok(component)
    }

    /// The limits that it was loaded with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// SHA-256 of the WebAssembly, in hexadecimal: says in a host's log which component runs.
    pub fn sha256(&self) -> &str {
        &self.shared.sha256
    }

    /// Whether it was compiled now or before.
    pub fn origin(&self) -> Origin {
        self.shared.origin
    }

    pub(crate) fn pre(&self) -> &PolicyModulePre<MemoryLimit> {
        &self.pre
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The right to make an instance; `None` when as many exist as may.
    pub(crate) fn permit(&self) -> Option<Permit> {
        let most = self.limits.instances;
        let taken = self.shared.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| (live < most).then_some(live + 1));
        taken.ok().map(|_| Permit(Arc::clone(&self.shared)))
    }

    /// Tries a policy out, and runs `accepted` before another policy can be tried: policies come into force in the order in which
    /// they were accepted.
    pub(crate) fn try_policy<T>(
        &self,
        policy_json: &str,
        secret: &[u8],
        accepted: impl FnOnce(Summary) -> T,
    ) -> Result<T, ConfigureError> {
        self.with_spare(|instance| {
            let answer = instance.configure(policy_json, secret).map_err(ConfigureError::Failed)?;
            Ok(accepted(answer.map_err(ConfigureError::Policy)?))
        })
        .map_err(ConfigureError::Failed)?
    }

    /// From now on the time limit is watched; from loading on, unless [`Threads`] says otherwise.
    pub(crate) fn watch(&self) -> Result<(), Failure> {
        self.shared.watch.forever().map_err(|error| Failure::Thread(error.to_string()))
    }

    /// Uses an instance beside those of the pools, so that a busy pool does not keep a new policy out.
    fn with_spare<T>(&self, use_it: impl FnOnce(&mut Instance) -> T) -> Result<T, Failure> {
        let _one_at_a_time = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let _watched = self.shared.watch.meanwhile().map_err(|error| Failure::Thread(error.to_string()))?;
        Ok(use_it(&mut Instance::new(self, None)?))
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { sha256, origin, .. } = &*self.shared;
        let mut debug = f.debug_struct("Component");
        debug.field("sha256", sha256).field("origin", origin).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What the clones of a component share.
struct Shared {
    /// Of the WebAssembly, in hexadecimal.
    sha256: String,
    origin: Origin,
    /// Instances of pools that exist.
    live: AtomicU32,
    /// Guards the one instance beside them.
    spare: Mutex<()>,
    watch: Watch,
}

/// The right to have an instance, as long as it is held.
pub(crate) struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Magic and version of a core module; a component's version differs.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

const PAGE: usize = 64 << 10;

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

fn check_limits(limits: &Limits) -> Result<(), LoadError> {
    let Limits { deadline, memory, instances } = limits;
    if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(deadline) {
        return Err(LoadError::Limits("`deadline` must be 1 ms to 1 h"));
    }
    if !(PAGE..=1 << 30).contains(memory) {
        return Err(LoadError::Limits("`memory` must be 64 KiB to 1 GiB"));
    }
    if !(1..=10_000).contains(instances) {
        return Err(LoadError::Limits("`instances` must be 1 to 10000"));
    }
    Ok(())
}

pub(crate) fn config(limits: &Limits) -> Config {
    // One more, for trying policies out.
    let instances = limits.instances + 1;
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES)
        .total_memories(instances)
        .total_tables(instances * CORE_INSTANCES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(1)
        .max_tables_per_component(CORE_INSTANCES)
        .max_memory_size(limits.memory.next_multiple_of(PAGE))
        // A replaced instance finds the pages of the one before: three times as fast as giving them back.
        .linear_memory_keep_resident(256 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        // The shipped component has no names to show.
        .wasm_backtrace_max_frames(None);
    config
}

/// The component is one core module; other builds wrap it in up to three helpers.
const CORE_INSTANCES: u32 = 4;

//! The thread that counts epochs: by them a call ends that takes too long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// When a component may have threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// From loading on. It is compiled on all processors, and the thread that watches the time limit runs as long as the component lives.
    #[default]
    AtLoad,
    /// From the first call of a [`Pool`](crate::Pool) on. For a process that loads, sets a policy, and then forks: threads do not survive
    /// that. Compiling is done on the caller's thread. Loading and setting a policy have a time limit all the same: the thread
    /// that watches it has ended when they return.
    AtFirstCall,
}

/// A time limit, counted in the engine's epochs.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    length: Duration,
    /// Of an epoch.
    period: Duration,
}

impl Deadline {
    pub(crate) fn new(length: Duration) -> Self {
        Deadline { length, period: (length / 10).clamp(Duration::from_millis(1), Duration::from_millis(100)) }
    }

    /// The one for setting a policy.
    pub(crate) fn for_configure(self) -> Self {
        Deadline { length: (self.length * 20).max(Duration::from_secs(1)), ..self }
    }

    pub(crate) fn length(self) -> Duration {
        self.length
    }

    /// Epochs from now. One more than fit: the current one may be about to end.
    pub(crate) fn epochs(self) -> u64 {
        u64::try_from(self.length.as_nanos().div_ceil(self.period.as_nanos())).unwrap_or(u64::MAX - 1) + 1
    }
}

/// Counts the epochs of one engine, in one thread at most: two would halve the time limit.
pub(crate) struct Watch {
    engine: EngineWeak,
    period: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ticking: Option<Ticking>,
    /// Those who need it until they say otherwise.
    needed_by: usize,
    /// It goes on until the end.
    forever: bool,
}

impl Watch {
    /// Nothing is counted yet.
    pub(crate) fn new(engine: &Engine, deadline: Deadline) -> Self {
        Watch { engine: engine.weak(), period: deadline.period, state: Mutex::default() }
    }

    /// Counts from now on, until this is dropped.
    pub(crate) fn forever(&self) -> std::io::Result<()> {
        let mut state = self.lock();
        self.tick(&mut state)?;
        state.forever = true;
        Ok(())
    }

    /// Counts for as long as the guard lives. When the last guard goes, the thread has ended, unless it goes on for ever.
    pub(crate) fn meanwhile(&self) -> std::io::Result<Meanwhile<'_>> {
        let mut state = self.lock();
        self.tick(&mut state)?;
        state.needed_by += 1;
        Ok(Meanwhile(self))
    }

    fn tick(&self, state: &mut State) -> std::io::Result<()> {
        if state.ticking.is_none() {
            state.ticking = Some(Ticking::start(self.engine.clone(), self.period)?);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Watch::meanwhile`].
pub(crate) struct Meanwhile<'a>(&'a Watch);

impl Drop for Meanwhile<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.needed_by -= 1;
        // Ended under the lock: else a second thread could begin before this one has ended.
        if state.needed_by == 0 && !state.forever {
            state.ticking = None;
        }
    }
}

/// The thread. It has ended when this was dropped.
struct Ticking {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticking {
    fn start(engine: EngineWeak, period: Duration) -> std::io::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let tick = move || {
            // Bounded by the engine's life. The engine must not be held while waiting, or it would live for ever.
            while !ended.load(Ordering::Acquire) {
                let Some(engine) = engine.upgrade() else { break };
                engine.increment_epoch();
                drop(engine);
                std::thread::park_timeout(period);
            }
        };
        let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(tick)?;
        Ok(Ticking { end, thread: Some(thread) })
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to panic about.
            let _ = thread.join();
        }
    }
}

/// As `top -H` shows it: at most 15 octets on Linux.
const THREAD_NAME: &str = "policy-epochs";

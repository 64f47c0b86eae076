//! Warnings and failures, line by line, to a function of the caller's. What the caller does not take is lost: standard error may be
//! the socket of a client.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::{self, Write};
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The caller's function, and what it gets beside the line.
type Log = (unsafe extern "C" fn(*mut c_void, c_int, *const c_char), *mut c_void);

/// Where lines go. One that was replaced is kept: another thread may be about to use it. No lock guards it, since a process may fork while
/// one is held.
struct Sink {
    log: Option<Log>,
    #[expect(dead_code, reason = "keeps those before reachable, so that they are no leak")]
    before: *mut Sink,
}

static SINK: AtomicPtr<Sink> = AtomicPtr::new(null_mut());

/// Sends lines there from now on.
pub(crate) fn to(log: Option<Log>) {
    begin();
    let sink = Box::into_raw(Box::new(Sink { log, before: SINK.load(Ordering::Acquire) }));
    SINK.store(sink, Ordering::Release);
}

/// Takes the log of all parts of the library, and the words of a panic.
pub(crate) fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let started = tracing_subscriber::fmt()
            .with_max_level(Level::WARN)
            .with_writer(Lines)
            .with_ansi(false)
            .with_level(false)
            .with_target(false)
            .without_time()
            .log_internal_errors(false)
            .try_init();
        // Only this library's own copy of the logging code is meant: nobody else can have started it.
        debug_assert!(started.is_ok(), "{started:?}");
        // In a program in Rust that links the library as an archive, other panics are for the hook that was there.
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            if INSIDE.get() || thread.name().is_some_and(|name| THREADS.contains(&name)) {
                tracing::error!(event = "panic", %panic, "a fault of the library");
            } else {
                others(panic);
            }
        }));
    });
}

/// The library's own threads: of its runtime, of a file's store, of the time limit.
const THREADS: [&str; 3] = ["smtp-fallback", "store-writer", "policy-epochs"];

thread_local! {
    /// The thread is inside a function of the library.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What is done inside a function of the library, so that a panic in it is the library's.
pub(crate) fn inside<T>(work: impl FnOnce() -> T) -> T {
    INSIDE.set(true);
    let done = work();
    INSIDE.set(false);
    done
}

struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(WARNING)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line(if *metadata.level() == Level::ERROR { ERROR } else { WARNING })
    }
}

const ERROR: c_int = 1;
const WARNING: c_int = 2;

/// Writes one line of this level, which comes in one piece.
struct Line(c_int);

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        // SAFETY: NULL, or a sink, of which none is ever freed.
        let sink = unsafe { SINK.load(Ordering::Acquire).as_ref() };
        if let Some((log, context)) = sink.and_then(|sink| sink.log) {
            let text = String::from_utf8_lossy(octets);
            let line: String = text.trim_end().chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
            let line = CString::new(line)?;
            // SAFETY: the caller gave the function for this, with this context; the line lives until it returns.
            unsafe { log(context, self.0, line.as_ptr()) };
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

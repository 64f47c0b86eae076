//! Looking again and again, for a bounded time.

use std::time::{Duration, Instant};

/// How long anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What `look` finds, as soon as it finds something; panics with `what` and its last words when that takes too long.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(words) => assert!(Instant::now() < deadline, "{what}: not within {} s\n{words}", PATIENCE.as_secs()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

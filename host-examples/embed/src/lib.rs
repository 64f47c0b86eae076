//! Runs the policy component inside a mail server: under a time limit and a memory limit, on any number of threads, and so that
//! a component that fails never costs a mail.
//!
//! A [`Component`] is compiled once. A [`Pool`] holds instances of it that were configured with one policy; a call borrows one,
//! and an instance that failed is replaced. [`Pool::decide`] cannot fail: where the component does, the mail is accepted, the
//! cause is logged by `tracing` and counted ([`Pool::failures`]). A reply is checked before it is handed out ([`check_reply`]).
//!
//! ```no_run
//! use smtp_fallback_embed::{Component, Limits, Pool};
//! use smtp_fallback_policy::contract::{Connection, Stage, Verdict};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let component = Component::from_file("dist/smtp-fallback-policy.wasm", &Limits::default())?;
//! let (pool, summary) = Pool::configure(&component, "{}", b"16 random octets")?;
//! for warning in &summary.warnings {
//!     eprintln!("policy{}: {}", warning.pointer, warning.message);
//! }
//!
//! let mut connection = Connection {
//!     listener_offers: true,
//!     now: 1_800_000_000,
//!     nonce: 4,
//!     ..Connection::new(Stage::Greeting, "2001:db8::25".parse()?)
//! };
//! for key in pool.keys(&connection, None, None) {
//!     // Look the key up and push what was found to `connection.records`.
//! #   let _ = (key, &mut connection);
//! }
//! match pool.decide(&connection, None, None, None).decision.verdict {
//!     Verdict::Continue => {} // Send the 220, and ask again at the next stage.
//!     Verdict::Accept => {}   // Send the 220, and do not ask again on this connection.
//!     Verdict::Refuse(reply) => println!("{} {}", reply.code, reply.lines[0]),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Compiling takes most of the time of loading. [`Component::from_file_cached`] keeps the machine code in a [`Cache`], a directory
//! that nobody but the host's own user can write (Unix only), and takes it from there at the next start. What is run is always the
//! WebAssembly that the host names: machine code stands in for exactly the octets that it was compiled from.
//!
//! A server that forks loads the component after the fork: the thread that watches the time limit does not survive it. Or it loads it with
//! [`Threads::AtFirstCall`], and makes no call before the fork.
#![deny(unsafe_code)]

mod cache;
mod component;
mod convert;
mod failure;
mod instance;
mod pool;
mod reply_check;
mod watch;

pub use cache::{Cache, CacheError};
pub use component::{Component, Limits, LoadError, Loading, Origin};
pub use failure::{ConfigureError, Failure, FailureCounts};
pub use pool::{Decided, Pool};
pub use reply_check::{ReplyError, check_reply};
pub use watch::Threads;

/// What wasmtime generates from the contract. The arguments of calls borrow: nothing is copied on the way in but once, into the
/// component's memory.
#[allow(unsafe_code, missing_docs, unreachable_pub)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "policy-module",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
